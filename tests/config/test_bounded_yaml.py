"""YAML that others wrote: bounded in time and memory, and each refusal names its line."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix2pix.config.bounded_yaml import MAX_DEPTH, parse_yaml
from pix2pix.config.io import make_config, read_yaml, to_yaml
from pix2pix.errors import ConfigError

LAUGHS = "a0: &a0 [x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30))
CASES = {
    "aliases of aliases": (LAUGHS, "line 6: aliases and lists come to more than 200,000 values"),
    "merges of merges": (MERGES, "aliases and lists come to more than 200,000 values"),
    "an alias in its own anchor": ("a: &a [*a]\n", r"line 1: the alias \*a has no complete anchor before it"),
    "nesting": ("a: " + "[" * 100, f"line 1: nested more than {MAX_DEPTH} levels deep"),
    "much nesting": ("a: " + "[" * 100_000, "not valid YAML at line 1"),
    "nested mappings": ("".join(f"{' ' * n}a:\n" for n in range(500)), f"line 21: nested more than {MAX_DEPTH} levels"),
    "a name twice": (
        "data:\n  image_size: 64\n  image_size: 128\n",
        "line 3: 'image_size' stands twice in one section",
    ),
    "a section twice": ("data: {}\ntraining: {}\ndata: {}\n", "line 3: 'data' stands twice"),
    "a number twice": ("data: {sources: {1: {}, '1': {}}}", "'1' stands twice"),
    "a long word": ("data: {path: " + "a" * 5000 + "}", "line 1: a value has more than 4,096 characters"),
    "a long number": ("training: {epochs: " + "1" * 4200 + "}", "line 1: a value has more than 4,096 characters"),
    "two documents": ("a: 1\n---\na: 2\n", "not valid YAML at line 2"),
    "an object": ("a: !!python/object/apply:os.system ['false']\n", "not valid YAML at line 1"),
    "a list as a name": ("? [a, b]\n: 1\n", "not valid YAML"),
    "no day": ("a: 2020-02-30\n", "not valid YAML"),
    "not UTF-8": (b"a: \xff\n", "cannot be read as a configuration"),
    "no mapping": ("- a\n", "expected sections"),
    "too large": ("#" * 2**21, "has more than 1,048,576 bytes"),
}


@pytest.mark.parametrize(("text", "message"), CASES.values(), ids=CASES)
def test_hostile_yaml_is_refused_at_once(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    began = time.monotonic()
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert time.monotonic() - began < 5


def test_honest_aliases_and_merges_stay() -> None:
    text = "base: &base {a: 1, b: [2, 3]}\none: {<<: *base, a: 5}\ntwo: *base\n"
    assert parse_yaml(text) == {
        "base": {"a": 1, "b": [2, 3]},
        "one": {"a": 5, "b": [2, 3]},
        "two": {"a": 1, "b": [2, 3]},
    }


def test_settings_with_everything_in_them_are_read_back(tmp_path: Path) -> None:
    config = make_config({"data": {"source_labels": [f"#0000{n:02x}" for n in range(256)], "source_kind": "labels"}})
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert make_config(read_yaml(tmp_path / "config.yaml")) == config


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_in_place_of_settings_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "settings.yaml")
    with pytest.raises(ConfigError, match="is a pipe, expected a regular file"):
        read_yaml(tmp_path / "settings.yaml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**30, "1x1", "auto"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = ["data", "augment", "generator", "discriminator", "loss", "optimizer", "training", "provenance"]
NAMES = ["image_size", "sources", "source_range", "load_size", "source_labels", "mask_value", "patch_size", "betas"]


@given(st.dictionaries(st.sampled_from(SECTIONS), st.dictionaries(st.sampled_from(NAMES), VALUES) | VALUES))
def test_any_settings_are_checked_or_refused_in_one_sentence(values: dict[str, object]) -> None:
    message = ""
    try:
        make_config(values)
    except ConfigError as error:
        message = str(error)
    assert len(message) < 1000
    assert message.isprintable()
