"""An exported file is served without torch and what needs it, with what `deploy/requirements.txt` brings."""

import json
import re
import subprocess
import sys
from pathlib import Path

from pix2pix.serve.options import Options
from pix2pix.serve.served import load_models
from tests.inference.small_models import make_model

ROOT = Path(__file__).parents[2]
REFUSED = ("torch", "torchvision", "torchmetrics", "matplotlib", "skimage", "scipy", "onnx", "safetensors",
           "huggingface_hub", "tensorboard", "httpx2", "jinja2")  # fmt: skip
PROGRAM = f"""
import sys
sys.modules.update(dict.fromkeys({REFUSED}))  # importing one of these fails
from pix2pix.cli.commands import serve
from pix2pix.serve import app, server, workers
from pix2pix.serve.options import Options
from pix2pix.serve.served import load_models
load_models([sys.argv[1]], Options())["small"].engine.warm_up()
"""


def test_a_file_is_served_without_torch(tmp_path: Path) -> None:
    from pix2pix.export.onnx import export_onnx

    make_model().save(tmp_path / "small")
    export_onnx(tmp_path / "small", output=tmp_path / "small.onnx")
    (served,) = load_models([str(tmp_path / "small.onnx")], Options()).values()
    assert served.description["epoch"] == 1
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "small.onnx")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_container_needs_what_the_package_states() -> None:
    """The names and floors of deploy/requirements.txt are those of pyproject.toml."""
    stated = set(re.findall(r'"([A-Za-z_0-9-]+>=[\d.]+)', (ROOT / "pyproject.toml").read_text("utf-8")))
    needed = {line.partition(" ")[0] for line in (ROOT / "deploy/requirements.txt").read_text("utf-8").splitlines()} - {
        "#"
    }
    assert needed <= stated, json.dumps(sorted(needed - stated))
