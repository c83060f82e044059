"""Runs whose files were damaged or come from others: `info` and `compare` give numbers or one sentence."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pix2pix.errors import ConfigError, ModelError
from pix2pix.evaluation.compare import compare
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.model import describe_model
from pix2pix.reports.metrics_file import read_evaluation_metrics

NAMES = [
    "config.yaml", "metrics.csv", "model/config.json", "model/generator.safetensors", "checkpoints/state.json",
    "evaluation/test/metrics.json", "evaluation/test/per_image.csv",
]  # fmt: skip
STRANGE = [b"9" * 30, b"-1", b"nan", b"1e400", b"true", b'"x"', b"[]", b"null", b"{}", b"\x1b[2J"]


@pytest.fixture(scope="module")
def evaluated(run: Path, facades: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(run, folder)
    evaluate(folder, facades)
    return folder


def damaged(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    digits = [n for n, byte in enumerate(content) if 48 <= byte <= 57] or [0]
    digit = draw.choice(digits)
    return draw.choice(
        [
            content[:at],
            b"",
            bytes(len(content)),
            content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :],
            content[:at] + b"\0\xff" + content[at:],
            content[:digit] + draw.choice(STRANGE) + content[digit + 1 :],
            content + content,
            draw.choice([b"[]", b"null", b"1", b"a,b\n1,2\n", draw.randbytes(300)]),
        ]
    )


def outcome(call: Callable[[], Any]) -> str:
    """The sentence of an expected error, or nothing."""
    try:
        call()
    except (ConfigError, ModelError) as error:
        return str(error)
    except OSError as error:
        return str(error.filename)
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_give_one_sentence(name: str, evaluated: Path, run: Path, tmp_path: Path) -> None:
    copy, draw = tmp_path / "copy", random.Random(name)
    shutil.copytree(evaluated, copy)
    if not (copy / name).exists():
        pytest.skip("no such file in a run of this version")
    original = (copy / name).read_bytes()
    for _ in range(25):
        (copy / name).write_bytes(damaged(original, draw))
        for call in (lambda: describe_model(copy), lambda: compare(copy, run)):
            message = outcome(call)
            assert message.isprintable()
            assert len(message) < 1200
            assert message == "" or str(copy) in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("name", NAMES)
def test_pipes_in_a_run_do_not_hang(name: str, evaluated: Path, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(evaluated, copy)
    (copy / name).unlink(missing_ok=True)
    os.mkfifo(copy / name)
    outcomes = [outcome(lambda: describe_model(copy)), outcome(lambda: compare(copy, run))]
    assert any(str(copy) in message for message in outcomes) or name == "checkpoints/state.json"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("l1", "0.1", "l1: Input should be a valid number"),
        ("psnr", [1], "psnr: Input"),
        ("split", 3, "split: Input"),
        ("images", 1e9, "images: Input"),
        ("intervals", {"l1": [1]}, "intervals.l1"),
        ("baselines", {"source": 1}, "baselines.source: Input"),
        ("labels", [], "labels: Input"),
    ],
)
def test_types_in_metrics_are_checked(name: str, value: Any, words: str, evaluated: Path, tmp_path: Path) -> None:
    values = json.loads((evaluated / "evaluation/test/metrics.json").read_text(encoding="utf-8"))
    (tmp_path / "metrics.json").write_text(json.dumps({**values, name: value}), encoding="utf-8")
    with pytest.raises(ModelError, match=words):
        read_evaluation_metrics(tmp_path / "metrics.json")
