"""A package of bioimage.io: its own library reads it, and its ONNX file gives the outputs that it states."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml

from pix2pix.errors import ConfigError, ModelError
from pix2pix.export.bioimageio import export_bioimageio
from pix2pix.export.compare import translate_natively
from pix2pix.export.example_images import draw_sources
from pix2pix.inference.translator import Translator
from tests.untrained import untrained

pytestmark = [
    pytest.mark.skipif(not find_spec("bioimageio"), reason="needs pix2pix[bioimageio]"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of files that bioimageio.spec leaves open
]

BYTES = {"source_channels": 3, "target_channels": 3}
DEPTH = {
    "sources": {1: {"channels": 1, "type": "uint16", "range": [(0, 4095)]}, 2: {"channels": 2, "type": "uint8"}},
    "target_channels": 1, "target_type": "float32", "target_range": [(-50.0, 300.0)],
}  # fmt: skip
CLASSES = {
    "source_channels": 1,
    "target_channels": 1,
    "target_kind": "labels",
    "target_labels": ["0", "1", "7"],
    "resize_source": True,
}
CHECK = """
import sys
from pathlib import Path
from bioimageio.spec import load_description_and_validate_format_only as load, ValidationContext
with ValidationContext(perform_io_checks=False):
    assert load(Path(sys.argv[1])).status in ("passed", "valid-format"), "not valid"
"""
CORE_CHECK = """
import sys
from pathlib import Path
from bioimageio.core import test_model
summary = test_model(Path(sys.argv[1]))
assert summary.status == "passed", summary.format()
"""
CORE = os.environ.get("PIX2PIX_BIOIMAGEIO_CORE")
"""Python of an environment with bioimageio.core, which pins versions that this package cannot take."""


def save_model(folder: Path, data: dict[str, Any], enlarged: tuple[float, float] = (1.0, 1.0)) -> Path:
    settings = {"data": data, "training": {"license": "cc-by-4.0"}}
    untrained(settings, base_channels=2, enlarged=enlarged).save(folder)
    return folder


@pytest.mark.parametrize(
    ("data", "enlarged"), [(BYTES, 1.0), (DEPTH, 1.0), (CLASSES, 2.0)], ids=["8 bits", "two sources", "classes"]
)
def test_a_package_is_valid_and_gives_the_outputs_of_the_model(
    data: dict[str, Any], enlarged: float, tmp_path: Path
) -> None:
    folder = save_model(tmp_path / "model", data, (enlarged, enlarged))
    package = export_bioimageio(folder, output=tmp_path / "model.zip").path
    with zipfile.ZipFile(package) as content:
        described = yaml.safe_load(content.read("rdf.yaml").partition(b"---")[2])
        assert described["license"] == "CC-BY-4.0"
        assert str(tmp_path) not in content.read("rdf.yaml").decode()
        session = onnxruntime.InferenceSession(content.read("weights.onnx"))
    translator = Translator.from_pretrained(folder, device="cpu")
    sources = draw_sources(translator.model.sources, (45, 33))
    names = [one.name for one in session.get_inputs()]
    first = [one[None].transpose(0, 3, 1, 2).astype(np.float32) for one in sources]
    (output,) = session.run(None, dict(zip(names, first, strict=True)))
    expected = translate_natively(translator, sources)
    assert output.dtype == np.float32
    assert output[0].transpose(1, 2, 0) == pytest.approx(expected, abs=1.01 if data is BYTES else 0.5)
    if data is BYTES:  # the others take as long again
        subprocess.run([sys.executable, "-c", CHECK, package], check=True, timeout=120)
    if CORE:
        subprocess.run([CORE, "-c", CORE_CHECK, package], check=True, timeout=120)


def test_what_a_package_cannot_say_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", {**BYTES, "resize_source": True}, (1.5, 1.5))
    with pytest.raises(ModelError, match=r"outputs are 1\.5 and 1\.5 times larger than their sources"):
        export_bioimageio(folder, output=tmp_path / "model.zip")
    with pytest.raises(ConfigError, match=r"expected the name of a file that ends in \.zip"):
        export_bioimageio(folder, output=tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
