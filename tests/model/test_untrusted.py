"""Models that others made: whatever their files hold is refused in one sentence, before it takes memory."""

import json
import os
import resource
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pix2pix.config.io import make_config
from pix2pix.errors import ModelError
from pix2pix.model import Model, build_networks, load_model, make_model_config
from pix2pix.model.model_config import CONFIG, ModelConfig
from pix2pix.model.weights import GENERATOR

SETTINGS = make_config(
    {
        "data": {"image_size": 64, "source_channels": 3, "target_channels": 3},
        "generator": {"base_channels": 4},
        "discriminator": {"base_channels": 4, "patch_size": 16},
    }
)
MODEL = make_model_config(SETTINGS, "image", (1.0, 1.0), converts=False, epoch=1, validation={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    generator, discriminator = build_networks(MODEL.settings)
    Model(generator, discriminator, MODEL).save(folder)
    return folder


def changed(values: Any, path: str, value: Any) -> Any:
    """A copy of nested values with another value at `a.b.c`."""
    name, _, rest = path.partition(".")
    return {**values, name: changed(values[name], rest, value) if rest else value}


def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    inner = {name: leaves(value, f"{prefix}{name}.") for name, value in values.items() if isinstance(value, dict)}
    return [found for name in values for found in [f"{prefix}{name}", *inner.get(name, [])]]


def write_card(folder: Path, values: Any) -> None:
    (folder / CONFIG).write_text(json.dumps(values), encoding="utf-8")


CARD = json.loads(MODEL.model_dump_json(by_alias=True))
FIELDS = leaves(CARD)
TYPES = ["true", "1x1", "9" * 30, "9" * 5000, "\x1b[31m", "auto", "native", "labels", "unet", "#000000,#ffffff", "nan"]
NUMBERS = [0, -1, 1, 2, 3, 8, 64, 4096, 10**30, 10**400, 1e300, -1e300, 1e-300, 0.5, True, None]
SIMPLE = st.sampled_from([*NUMBERS, *TYPES]) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
STRANGE = SIMPLE | st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(fields=st.lists(st.tuples(st.sampled_from(FIELDS), STRANGE), min_size=1, max_size=3))
def test_any_card_gives_a_model_or_one_sentence(fields: list[tuple[str, Any]], folder: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = CARD
    for name, value in fields:
        try:
            values = changed(values, name, value)
        except (KeyError, TypeError):  # an earlier change has replaced what is around it
            continue
    write_card(folder, values)
    message = str(folder)
    try:
        assert load_model(folder, discriminator=True).prepared.in_channels >= 1
    except ModelError as error:
        message = str(error)
    assert str(folder) in message
    assert message.isprintable()
    assert len(message) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("config.generator.base_channels", 4096, r"config\.generator\.base_channels = 4096: expected 1,024 or less"),
        ("config.generator.base_channels", 10**30, "expected 1,024 or less"),
        ("config.generator.base_channels", 1024, "does not fit its config.json"),
        ("config.discriminator.base_channels", 1024, "does not fit its config.json"),
        ("config.generator.kind", "resnet", "does not fit its config.json"),
        ("config.data.image_size", "9" * 5000, r"99' is not a size; expected 256"),
        ("config.data.image_size", 1_000_000, r"image_size\.0 = 1000000: expected 16,384 or less"),
        ("config.data.source_channels", 10**9, "expected 65,536 or less"),
        ("config.data.source_range", 5, "source_range"),
        ("config.data.source_range", [[0, 1e300]], "from -1e.38 to 1e.38"),
        ("config.data.source_labels", ["#000000"] * 300, "2 to 256 different classes"),
        ("config.data.sources", {"99": {}}, "expected 1 to 64"),
        ("config.training.epochs", 10**20, "expected 1,000,000 or less"),
        ("config.data.path", "a" * 5000, r"expected 4,096 characters or fewer"),
        ("config.generator.dropout_layers", [1] * 1000, "expected 64 items or fewer"),
        ("config.provenance", {str(n): "" for n in range(1000)}, "provenance"),
        ("scale", [1e300, 1], r"scale\.0 = 1e\+300: expected 16,384 or less"),
        ("scale", [1e-300, 1], "expected 1e-06 or more"),
        ("epoch", 10**30, "expected 1,000,000 or less"),
        ("validation", {"a" * 1000: 1}, "validation"),
        ("\x1b]0;title\x07", 1, r"there is no setting `\\x1b\]0;title\\x07`"),
    ],
)
def test_each_field_has_a_limit_that_the_message_names(field: str, value: Any, message: str, folder: Path) -> None:
    write_card(folder, changed(CARD, field, value))
    with pytest.raises(ModelError, match=message):
        load_model(folder, discriminator=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"scale": NaN}', "NaN is not JSON"),
        (b'{"epoch": 1, "epoch": 2}', "the name 'epoch' stands twice"),
        (b"[" * 500_000, "nested too deeply"),
        (b'{"epoch": ' + b"1" * 5000 + b"}", "4300 digits"),
        (b" " * 2**21, "has more than 1,048,576 bytes"),
        (b"\xff\xfe", "utf-8"),
        (b"[]", "expected settings by name"),
        (b"", "cannot be read as a model configuration"),
    ],
)
def test_a_card_that_is_no_card_is_refused(content: bytes, message: str, folder: Path) -> None:
    (folder / CONFIG).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def header(entries: Any, length: int | None = None, body: bytes = b"") -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
HEADERS = {
    "nothing": b"",
    "short": b"\1\2\3",
    "a length of 2^63": header(ONE, 2**63),
    "a length of 90 MB": header(ONE, 90_000_000),
    "a length beyond the file": header(ONE, 1000),
    "no JSON": header(b"{{{{"),
    "a list": header([1, 2]),
    "deep": header(b"[" * 100_000),
    "40 GB": header({"a": {"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4 * 10**10]}}),
    "a negative shape": header({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, body=b"0" * 8),
    "an overflowing shape": header({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}}, body=b"0" * 8),
    "offsets turned round": header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, body=b"0" * 8),
    "overlapping": header({**ONE, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, body=b"0" * 12),
    "a hole": header({**ONE, "b": {"dtype": "F32", "shape": [2], "data_offsets": [12, 20]}}, body=b"0" * 20),
    "an unknown type": header({"a": {"dtype": "OBJ", "shape": [2], "data_offsets": [0, 8]}}, body=b"0" * 8),
    "another type": header({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}, body=b"0" * 8),
    "another name": header(ONE, body=b"0" * 8),
    "an evil name": header({"\x1b[2J": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, body=b"0" * 8),
    "a pickle": b"\x80\x04cposix\nsystem\n(S'false'\ntR.",
    "a zip": b"PK\3\4" + b"\0" * 100,
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_header_is_checked_before_anything_is_built(
    content: bytes, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    write_card(copy, CARD)
    (copy / GENERATOR).write_bytes(content)
    monkeypatch.setattr(torch.nn.Module, "to_empty", lambda *_, **__: pytest.fail("memory was taken"))
    with pytest.raises(ModelError, match=r"generator\.safetensors: ") as caught:
        load_model(copy)
    assert str(caught.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("name", [CONFIG, GENERATOR, "discriminator.safetensors"])
def test_a_pipe_in_a_model_folder_does_not_hang(name: str, tmp_path: Path) -> None:
    generator, discriminator = build_networks(MODEL.settings)
    Model(generator, discriminator, MODEL).save(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    os.mkfifo(tmp_path / "model" / name)
    with pytest.raises(ModelError, match=f"{name}: .*is a pipe, expected a regular file"):
        load_model(tmp_path / "model", discriminator=True)


def test_the_largest_networks_of_the_settings_take_no_memory_before_their_weights_fit(folder: Path) -> None:
    """The same card without the comparison of headers would take 56 GB."""
    write_card(folder, changed(CARD, "config.generator", {"base_channels": 1024, "depth": 6, "dropout_layers": [1]}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=r"does not fit its config\.json"):
        load_model(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_every_number_of_a_card_has_limits() -> None:
    """A new field without them would fail here."""
    schema = ModelConfig.model_json_schema()
    free = []

    def walk(node: Any, where: str) -> None:
        if isinstance(node, dict):
            kind = None if {"enum", "const"} & node.keys() else node.get("type")
            least = {"minimum", "exclusiveMinimum"} & node.keys()
            if kind in ("integer", "number") and not (least and {"maximum", "exclusiveMaximum"} & node.keys()):
                free.append(where)
            if kind == "string" and "maxLength" not in node:
                free.append(where)
            for name, inner in node.items():
                walk(inner, f"{where}.{name}")
        elif isinstance(node, list):
            for inner in node:
                walk(inner, where)

    walk(schema, "")
    checked = (
        ".validation.",
        ".LabelNames",
        "labels",
        "range",
        "crop_background",
    )  # numbers for people; words that a validator checks
    assert [where for where in free if not any(word in where for word in checked)] == []
