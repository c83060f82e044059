"""The exported page without a browser: what is written, kept and refused."""

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.export.compact import store_weights
from pix2pix.serve import browser_runtime
from pix2pix.serve.site import export_site
from tests.serve.browser.models import save_models
from tests.serve.browser.pictures import COLOURS


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_models(tmp_path_factory.mktemp("models"), COLOURS, 32)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtime")
    for name in browser_runtime.FILES:
        (folder / name).write_text(name)
    return folder


def test_a_folder_is_whole_and_written_over_only_when_asked(
    models: dict[str, Path], runtime: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    site = export_site(models["lines"], output=folder, draw="lines", onnxruntime_web=runtime)
    (model,) = json.loads((folder / "models.json").read_text())["models"]
    assert model["sources"] == [
        {
            "name": "source",
            "channels": 1,
            "dtype": "uint8",
            "kind": "lines",
            "background": "#ffffff",
            "stroke": "#000000",
        }
    ]
    assert (folder / model["file"]["path"]).stat().st_size == model["file"]["bytes"]
    index = (folder / "index.html").read_text()
    assert '<p id="output-hint">Loading. Opened from a disk, this page needs a server' in index
    assert 'content="onnx"' in index
    assert "default-src 'none'" in index
    assert {"page/app.js", "page/worker.js", "page/style.css"} <= {
        path.relative_to(folder).as_posix() for path in folder.rglob("*")
    }
    assert max(one.mean for one in site.differences) < 0.5
    with pytest.raises(ConfigError, match="is not empty"):
        export_site(models["photo"], output=folder, onnxruntime_web=runtime)
    (folder / "CNAME").write_text("of the user")
    export_site(models["photo"], output=folder, onnxruntime_web=runtime, overwrite=True)
    assert [path.name for path in (folder / "models").iterdir()] == ["photo.onnx"]
    assert (folder / "CNAME").is_file()


def test_what_no_browser_can_do_is_refused(models: dict[str, Path], runtime: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the source has 1 channel of uint16"):
        export_site(models["gray16"], output=tmp_path / "site", onnxruntime_web=runtime)
    with pytest.raises(ConfigError, match=r"holds no ort.*expected the package onnxruntime-web@"):
        export_site(models["photo"], output=tmp_path / "site", onnxruntime_web=tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="no exported page"):
        export_site(models["photo"], output=tmp_path / "own", onnxruntime_web=runtime, overwrite=True)
    assert not (tmp_path / "site").exists()


def test_the_runtime_comes_from_npm_checked_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(browser_runtime.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="npm is not installed"):
        browser_runtime.find_runtime(None)
    monkeypatch.setattr(browser_runtime.shutil, "which", lambda _: "npm")

    def offline(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(browser_runtime.subprocess, "run", offline)
    with pytest.raises(ConfigError, match="connect to the network"):
        browser_runtime.find_runtime(None)

    def other(command: list[str], **_: object) -> None:
        (Path(command[-1]) / "onnxruntime-web.tgz").write_bytes(b"something else")

    monkeypatch.setattr(browser_runtime.subprocess, "run", other)
    with pytest.raises(DataError, match="is not the package that was published"):
        browser_runtime.find_runtime(None)


@pytest.mark.parametrize(("stored", "bits", "error"), [("16", 16, 5e-4), ("int8", 8, 5e-3)])
def test_stored_weights_take_fewer_bits_and_compute_the_same(stored: str, bits: int, error: float) -> None:
    random = np.random.default_rng(0)
    weights = (
        random.normal(size=(64, 32, 3, 3)).astype(np.float32)
        * np.logspace(-3, 1, 64, dtype=np.float32)[:, None, None, None]
    )
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 32, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 64, 6, 6])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    compact = store_weights(model, stored)  # type: ignore[arg-type]
    onnx.checker.check_model(compact, full_check=True)
    assert len(compact.SerializeToString()) < weights.size * bits / 8 + 2000
    x = random.normal(size=(1, 32, 8, 8)).astype(np.float32)
    outputs = [onnxruntime.InferenceSession(one.SerializeToString()).run(None, {"x": x})[0] for one in (model, compact)]
    scale = np.abs(outputs[0]).max(axis=(0, 2, 3))
    assert (np.abs(outputs[0] - outputs[1]).max(axis=(0, 2, 3)) <= 4 * error * scale).all()
