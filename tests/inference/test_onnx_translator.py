"""An exported file translates as its model does, in a process that has no torch, and is refused if it is not whole."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from packaging.requirements import Requirement
from PIL import Image

from pix2pix.data.io import images
from pix2pix.errors import ConfigError, ModelError
from pix2pix.export.metadata import describe, seal
from pix2pix.export.translator_graph import build_graph
from pix2pix.inference.onnx_translator import OnnxTranslator
from pix2pix.inference.translate import translate
from pix2pix.inference.translator import Translator
from pix2pix.model import Model
from pix2pix.model.onnx_model import is_onnx_name, load_onnx
from tests.export.test_onnx import CASES, compare, draw, make_model

ROOT = Path(__file__).parents[2]
NAMES = ("statistics of the image", "16 bits to heights", "labels", "holes", "two sources", "enlarged")
SIZE = (41, 30)


def export(model: Model, path: Path, **fields: str) -> Path:
    """Write an exported file without measuring it, with other values of some fields."""
    path.write_bytes(seal(build_graph(model), describe(model, "32", (), ()) | fields))
    return path


def modules_beyond(requirements: Path) -> set[str]:
    """The installed modules that an installation of these requirements would not have."""
    lines = (line for line in requirements.read_text("utf-8").splitlines() if line and not line.startswith("#"))
    names, seen = [Requirement(line).name for line in lines], set[str]()
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                names.append(needed.name)
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if not seen & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} and module != "pix2pix"
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each model, with its file and its sources as arrays and as images."""
    place = tmp_path_factory.mktemp("exported") / "models"
    for name in NAMES:
        folder = place / name
        for part in ("sources", "files"):
            (folder / part).mkdir(parents=True)
        model = make_model(CASES[name])
        export(model, folder / "model.onnx")
        for number, values in enumerate(draw(model, SIZE)):
            np.save(folder / "sources" / f"{number}.npy", values)
            suffix = ".png" if values.dtype == np.uint8 else ".tif"
            images.write(folder / "files" / f"{number}{suffix}", values)
    return place


@pytest.fixture(scope="module")
def done(place: Path) -> dict[str, Any]:
    """What a process without torch did: exit codes and texts of its commands by the name of the model."""
    forbidden = ",".join(modules_beyond(ROOT / "deploy" / "requirements.txt"))
    script = Path(__file__).with_name("without_torch.py")
    end = subprocess.run([sys.executable, script, forbidden, place], capture_output=True, text=True, timeout=300)
    assert end.returncode == 0, end.stderr
    return dict(json.loads(end.stdout))


@pytest.mark.parametrize("name", NAMES)
def test_file_translates_without_torch_as_the_model_does(name: str, place: Path, done: dict[str, Any]) -> None:
    folder, model = place / name, make_model(CASES[name])
    sources = [np.load(path) for path in sorted((folder / "sources").iterdir())]
    expected = Translator(model)(sources[0] if len(sources) == 1 else sources)
    called = np.load(folder / "called.npy")
    assert (called.dtype, called.shape) == (expected.dtype, expected.shape)
    compare(*(one if one.ndim == 3 else one[..., None] for one in (called, expected)), model)

    first, again, info = done[name]
    assert first[0] == 0, first[2]
    assert "1 translated into" in first[2]
    assert "(cpu, onnxruntime, " in first[2]
    assert "1 was there already" in again[2]
    (output,) = [path for path in (folder / "out").iterdir() if not path.name.startswith(".")]
    written = images.read(output)
    assert np.array_equal(
        written, called if called.ndim == 3 else called[..., None], equal_nan=called.dtype.kind == "f"
    )
    facts = json.loads(info[1])
    assert (facts["precision"], facts["target_values"]) == ("32", model.target_values.describe())
    assert [one["type"] for one in facts["sources"]] == [source.file_type for source in model.sources]
    assert facts["target"]["channels"] == model.prepared.target.file_channels


def test_nothing_heavy_is_imported_and_folders_are_refused_in_a_sentence(done: dict[str, Any]) -> None:
    assert done["heavy"] == []
    code, _, err = done["folder"]
    assert code == 1
    assert "which is not installed: pip install torch" in err


@pytest.mark.parametrize("name", NAMES)
def test_openvino_translates_the_same_file(name: str, place: Path) -> None:
    pytest.importorskip("openvino")
    folder, model = place / name, make_model(CASES[name])
    sources = [np.load(path) for path in sorted((folder / "sources").iterdir())]
    both: list[Any] = [
        OnnxTranslator.load(folder / "model.onnx", engine=engine)(sources[0] if len(sources) == 1 else sources)
        for engine in ("openvino", "onnxruntime")
    ]
    compare(*(one if one.ndim == 3 else one[..., None] for one in both), model)


# ---- in a process with torch -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(place: Path) -> Path:
    return place / NAMES[0] / "model.onnx"


@pytest.fixture(scope="module")
def pair(file: Path) -> tuple[OnnxTranslator, Translator]:
    """The same model as a file and by torch."""
    return OnnxTranslator.load(file, engine="onnxruntime", threads=1), Translator(make_model(CASES[NAMES[0]]))


def kinds() -> Iterator[Any]:
    values = np.random.default_rng(0).integers(0, 256, (2, 20, 33, 4), np.uint8)
    yield Image.fromarray(values[0, ..., :3])
    yield Image.fromarray(values[0])  # transparent
    yield Image.fromarray(values[0, ..., 0])  # gray
    yield values[..., :3]
    yield values[0, ..., 0]
    yield torch.from_numpy(values[..., :3].copy()).permute(0, 3, 1, 2)
    yield [values[0, ..., :3], Image.fromarray(values[1])]


@pytest.mark.parametrize("image", list(kinds()), ids=range(7))
def test_calls_take_and_return_what_those_of_a_model_do(image: Any, pair: tuple[OnnxTranslator, Translator]) -> None:
    exported, native = pair
    for found, expected in zip(*(one(image) if isinstance(image, list) else [one(image)] for one in pair), strict=True):
        assert type(found) is type(expected)
        ours, theirs = np.asarray(found), np.asarray(expected)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        compare(ours, theirs, native.model) if ours.shape[-1] == 3 else None
    assert exported._logged == native._logged  # the same conversions are told


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((8, 8, 3), np.float32), "takes uint8 only"),
        (np.zeros((8, 8, 3), np.uint16), "expected uint8"),
        (np.zeros((0, 8, 3), np.uint8), "not empty"),
        (np.zeros((8, 8, 5), np.uint8), "has 5 channels"),
        ("photo.png", "PIL.Image.open reads a file"),
    ],
)
def test_other_images_are_refused(image: Any, words: str, pair: tuple[OnnxTranslator, Translator]) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        pair[0](image)


def test_unknown_classes_and_missing_sources_are_refused(place: Path) -> None:
    labels = OnnxTranslator.load(place / "labels" / "model.onnx", engine="onnxruntime")
    with pytest.raises(ModelError, match="not one of the 4 classes"):
        labels(np.full((8, 8, 3), 9, np.uint8))
    two = OnnxTranslator.load(place / "two sources" / "model.onnx", engine="onnxruntime")
    with pytest.raises(ModelError, match="expected a list of images"):
        two(np.zeros((8, 8), np.uint16))


@pytest.mark.parametrize(
    "choices",
    [
        {"dropout": True}, {"samples": 2}, {"precision": "bf16"}, {"present": "native"}, {"tile": 32}, {"overlap": 32},
        {"seed": 3}, {"device": "mps"}, {"device": "cuda"}, {"engine": "torch"},
    ],
    ids=str,
)  # fmt: skip
def test_choices_that_a_file_does_not_have_are_refused(choices: dict[str, Any], file: Path, tmp_path: Path) -> None:
    if choices == {"device": "cuda"} and "CUDAExecutionProvider" in __import__("onnxruntime").get_available_providers():
        pytest.skip("this onnxruntime has a GPU")
    (name,) = choices
    with pytest.raises(ConfigError, match=f"--{name}"):
        translate(file, file.parent / "files", output=tmp_path / "out", **{"engine": "onnxruntime", **choices})
    assert not (tmp_path / "out").exists()


# ---- files that are not whole ------------------------------------------------------------------------------------


def spoil(path: Path, kind: str) -> None:
    """Make an exported file what it must not be."""
    content, model = path.read_bytes(), onnx.load(path)
    if kind in ("weights elsewhere", "weights elsewhere in a node", "foreign operators", "of others"):
        tensor = model.graph.initializer[0]
        if kind == "weights elsewhere in a node":
            tensor = helper.make_tensor("value", 1, [1], b"\0\0\0\0", raw=True)
        if kind.startswith("weights"):
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="/etc/passwd")
        if kind == "weights elsewhere in a node":
            branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "branch", [], [])
            model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
        if kind == "foreign operators":
            model.graph.node[0].domain = "com.microsoft"
        if kind == "of others":
            del model.metadata_props[:]
        content = model.SerializeToString()
    cuts = {"torn": content[: len(content) // 2], "empty": b"", "text": b"hello", "one byte": content[:-9] + b"x" * 9}
    path.write_bytes(cuts.get(kind, content))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("torn", "a part of one"),
        ("empty", "a part of one"),
        ("text", "a damaged one|a part of one"),
        ("one byte", "damaged|part of one|checksum"),
        ("weights elsewhere", "lie in other files"),
        ("weights elsewhere in a node", "lie in other files"),
        ("foreign operators", "another domain"),
        ("of others", "did not write it"),
    ],
)
def test_spoiled_files_are_refused_before_a_runtime_sees_them(
    kind: str, words: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(file.read_bytes())
    spoil(path, kind)
    monkeypatch.setattr("pix2pix.inference.onnx_translator.open_session", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(ModelError, match=words) as caught:
        Translator.from_pretrained(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pix2pix.format": "2"}, "has format 2"),
        ({"pix2pix.size_multiple": "many"}, "size_multiple is missing or means nothing"),
        ({"pix2pix.size_multiple": "0"}, "size_multiple is missing or means nothing"),
        ({"pix2pix.size_multiple": "9" * 30}, "size_multiple is missing or means nothing"),
        ({"pix2pix.precision": "8"}, "precision is missing or means nothing"),
        ({"pix2pix.config.json": "{"}, "configuration cannot be read"),
        ({"pix2pix.config.json": "{}"}, "not a model configuration"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused(fields: dict[str, str], words: str, tmp_path: Path) -> None:
    path = export(make_model(CASES[NAMES[0]]), tmp_path / "model.onnx", **fields)
    with pytest.raises(ModelError, match=words):
        load_onnx(path)


def test_configuration_of_another_graph_is_refused(place: Path, tmp_path: Path) -> None:
    """Neither inputs of other names nor outputs of other channels reach the user."""
    graph, other = build_graph(make_model(CASES[NAMES[0]])), make_model(CASES["two sources"])
    path = tmp_path / "model.onnx"
    path.write_bytes(seal(graph, describe(other, "32", (), ())))
    with pytest.raises(ModelError, match="inputs do not fit"):
        OnnxTranslator.load(path, engine="onnxruntime")
    path.write_bytes(seal(graph, describe(make_model(CASES["enlarged"]), "32", (), ())))
    with pytest.raises(ModelError, match="output is not that of its configuration"):
        OnnxTranslator.load(path, engine="onnxruntime")(np.zeros((32, 32, 3), np.uint8))


def test_names_and_folders_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert not is_onnx_name(tmp_path / "folder.onnx")
    assert not is_onnx_name("hf://owner/model.onnx")
    assert is_onnx_name("Model.ONNX")
    with pytest.raises(ModelError, match="no such file; `pix2pix export"):
        Translator.from_pretrained(tmp_path / "none.onnx")


def test_a_runtime_that_is_missing_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pix2pix.inference.onnx_engines.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install onnxruntime"):
        Translator.from_pretrained(file)
