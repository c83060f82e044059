"""An exported graph gives the model's own pixels, whatever its settings and the sizes of the images."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pix2pix.cli import main
from pix2pix.config.io import make_config
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.errors import ConfigError, ModelError
from pix2pix.export import onnx as export_module
from pix2pix.export.compare import LIMITS, Limit, translate_natively
from pix2pix.export.engines import open_onnxruntime
from pix2pix.export.example_images import draw_sources
from pix2pix.export.network import phase_kernels
from pix2pix.export.onnx import export_onnx
from pix2pix.export.translator_graph import build_graph
from pix2pix.inference.translator import Translator
from pix2pix.model import Model, build_networks, make_model_config
from pix2pix.model.onnx_model import checksum_fits
from pix2pix.networks import set_norm_statistics

ROOT = Path(__file__).parents[2]
SIZES = ((32, 32), (1, 1), (5, 1), (7, 50), (45, 33))


class Case(NamedTuple):
    """What is other than in the plain model: its settings, and how it presents images."""

    data: Mapping[str, Any] = {}
    generator: Mapping[str, Any] = {}
    statistics: Any = "running"
    scale: tuple[float, float] | None = (1.0, 1.0)
    enlarged: tuple[float, float] = (1.0, 1.0)
    native: bool = False
    sizes: tuple[tuple[int, int], ...] = SIZES


CLASSES = ("#000000", "#0000aa", "#ff0000", "#00ff55")
FLOATS = {"source_type": "float32", "source_range": ((-50.0, 300.0),), "source_channels": 2}
CASES = {
    "running averages": Case(),
    "statistics of the image": Case(statistics="image"),
    "instance norm": Case(generator={"norm": "instance"}),
    "group norm": Case(generator={"norm": "group"}),
    "no norm": Case(generator={"norm": "none"}),
    "resize": Case(generator={"upsampling": "resize"}),
    "shuffle": Case(generator={"upsampling": "shuffle"}),
    "shallow": Case(generator={"depth": 1}),
    "bottleneck": Case(generator={"bottleneck_size": 4}, statistics="image"),
    "without skips": Case(generator={"kind": "encoder_decoder"}),
    "resnet": Case(generator={"kind": "resnet"}, statistics="image"),
    "resnet, resize": Case(generator={"kind": "resnet", "upsampling": "resize", "norm": "instance"}),
    "resized always": Case(scale=None),
    "scaled": Case(scale=(0.5, 0.75), sizes=((32, 32), (9, 70), (131, 94))),
    "sizes of files": Case(native=True),
    "enlarged": Case({"resize_source": True}, enlarged=(2.0, 1.5)),
    "gray to colour": Case({"source_channels": 1}),
    "16 bits to heights": Case(
        {
            "source_type": "uint16", "source_range": ((0.0, 4095.0),), "source_channels": 1,
            "target_type": "float32", "target_range": ((-200.0, 1800.0),), "target_channels": 1,
        }
    ),
    "holes": Case(
        FLOATS | {
            "nodata": "nan", "source_fill": (3.0, 40.0), "mask_value": -9999.0, "target_type": "int16",
            "target_range": ((-1000.0, 5000.0), (0.0, 10.0)), "target_channels": 2,
        },
    ),
    "holes of a value": Case(
        FLOATS | {
            "nodata": -40.0, "source_fill": (3.0,), "mask_value": "nan", "target_type": "float32",
            "target_range": ((0.0, 1.0),), "resize_source": True,
        },
        enlarged=(2.0, 2.0),
    ),
    "labels": Case({"source_kind": "labels", "source_labels": CLASSES}, scale=(0.5, 0.5)),
    "gray labels": Case({"source_kind": "labels", "source_labels": ("7", "300", "40000"), "source_channels": 1,
                         "source_type": "uint16"}),
    "to labels": Case({"target_kind": "labels", "target_labels": CLASSES}),
    "to gray labels": Case({"target_kind": "labels", "target_labels": ("0", "1", "300"), "target_channels": 1,
                            "target_type": "uint16"}, scale=None),
    "two sources": Case({"sources": {"1": {"channels": 1, "type": "uint16", "range": ((0.0, 999.0),)},
                                     "2": {"channels": 3, "kind": "labels", "labels": CLASSES}}}),
}  # fmt: skip


def make_model(case: Case) -> Model:
    """An untrained model of few weights, whose outputs are not flat."""
    channels = {} if "sources" in case.data else {"source_channels": 3}
    values = {
        "data": {"image_size": 32, "target_channels": 3, **channels, **case.data},
        "generator": {"base_channels": 4, **case.generator},
        "discriminator": {"base_channels": 4, "patch_size": 16},
        "augment": {"load_size": "native"} if case.native else {},
    }
    config = make_config(values)
    torch.manual_seed(0)
    generator, _ = build_networks(config)
    with torch.no_grad():
        for name, weights in [*generator.named_parameters(), *generator.named_buffers()]:
            if weights.ndim == 4:
                weights.mul_(6)
            elif "running" in name or name.endswith("bias"):
                weights.copy_(torch.rand_like(weights) + (0.5 if "var" in name else 0))
    set_norm_statistics(generator, case.statistics)
    described = make_model_config(
        config, case.statistics, case.scale, converts=False, epoch=1, validation={}, enlarged=case.enlarged
    )
    return Model(generator.eval(), None, described)


def draw(model: Model, size: tuple[int, int]) -> list[NDArray[Any]]:
    """Example sources, with holes where the model knows them."""
    images = draw_sources(model.sources, size, seed=size[0])
    for image, source in zip(images, model.sources, strict=True):
        if source.nodata is not None:
            image[: size[0] // 2, size[1] // 3 :, 0] = np.nan if source.nodata == "nan" else source.nodata
    return images


@pytest.mark.parametrize("name", CASES)
def test_graph_gives_the_models_pixels(name: str) -> None:
    """One graph, images of several sizes one after the other; a batch gives what its images give alone."""
    case = CASES[name]
    model = make_model(case)
    translator, run = Translator(model), open_onnxruntime(build_graph(model).SerializeToString())
    for size in case.sizes:
        sources = draw(model, size)
        expected = translate_natively(translator, sources)
        found = run([np.stack([one, one[::-1, ::-1]]) for one in sources])
        assert (found.dtype, found.shape[1:]) == (expected.dtype, expected.shape)
        turned = translate_natively(translator, [one[::-1, ::-1] for one in sources])
        for ours, theirs in zip(found, (expected, turned), strict=True):
            compare(ours, theirs, model)
    assert len(np.unique(found)) > 1


def compare(found: NDArray[Any], expected: NDArray[Any], model: Model) -> None:
    if isinstance(model.target_values, LabelEncoding):
        assert (found != expected).mean() < 0.01
        return
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    low, high = np.array(model.target_values.bounds).T
    error = np.abs(np.nan_to_num(found).astype(np.float64) - np.nan_to_num(expected))
    whole = expected.dtype.kind != "f"  # numbers near a half are rounded either way
    assert (error <= (high - low) * 2e-4 + whole).all(), error.max()
    assert (error / (high - low)).mean() < 3e-4


def test_phases_are_the_transposed_convolution() -> None:
    for side, over in ((4, 0), (3, 1)):
        layer = torch.nn.ConvTranspose2d(3, 3, side, 2, 1, over)
        x = torch.randn(2, 3, 5, 1)
        y = torch.nn.functional.conv2d(x, phase_kernels(layer.weight), layer.bias.repeat(4), padding=1)
        y = y.unflatten(1, (2, 2, 3)).permute(0, 3, 4, 1, 5, 2).flatten(2, 3).flatten(3, 4)[..., 1:-1, 1:-1]
        torch.testing.assert_close(y, layer(x))


# ---- the file ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model(CASES["statistics of the image"]).save(folder)
    return folder


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return export_onnx(folder, output=folder / "model.onnx").path


def test_file_describes_itself(file: Path) -> None:
    model = onnx.load(file, load_external_data=False)
    fields = {prop.key: prop.value for prop in model.metadata_props}
    assert fields["pix2pix.task"].startswith("image-to-image translation of 3 channels of uint8")
    assert json.loads(fields["pix2pix.config.json"])["norm_statistics"] == "image"
    assert [one["name"] for one in json.loads(fields["pix2pix.sources"])] == ["source"]
    assert len(json.loads(fields["pix2pix.differences"])) == 3
    assert not [one for one in model.graph.initializer if one.external_data]
    content = file.read_bytes()
    assert checksum_fits(content, fields["pix2pix.checksum"])
    assert not checksum_fits(content.replace(b"3 channels", b"4 channels"), fields["pix2pix.checksum"])


def test_example_needs_neither_torch_nor_this_package(file: Path, folder: Path, tmp_path: Path) -> None:
    """A process that finds nothing but onnxruntime, numpy and Pillow."""
    (image,) = draw_sources(make_model(CASES["running averages"]).sources, (21, 40))
    Image.fromarray(image).save(tmp_path / "in.png")
    site = tmp_path / "site"
    site.mkdir()
    for name in ("onnxruntime", "numpy", "numpy.libs", "PIL", "pillow.libs", "packaging", "flatbuffers", "google"):
        found = Path(np.__file__).parents[1] / name
        if found.exists():
            (site / name).symlink_to(found)
    code = (
        f"import sys; sys.path.append({str(site)!r}); sys.argv[:1] = []; import runpy\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "assert not {'torch', 'pix2pix'} & sys.modules.keys()"
    )
    words = [ROOT / "examples/onnx/translate.py", file, tmp_path / "in.png", tmp_path / "out.png"]
    command = [sys.executable, "-I", "-S", "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = Translator.from_pretrained(folder, device="cpu")(Image.open(tmp_path / "in.png"))
    error = np.abs(np.asarray(Image.open(tmp_path / "out.png")).astype(int) - np.asarray(expected))
    assert error.max() <= 1
    assert error.mean() < 0.01


@pytest.mark.skipif("PIX2PIX_NODE_MODULES" not in os.environ, reason="needs onnxruntime-node and fast-png")
@pytest.mark.parametrize("case", ["two sources", "to gray labels"])
def test_example_in_javascript(case: str, tmp_path: Path) -> None:
    """Node.js gives the model's pixels, of 8 and 16 bits, at an odd size."""
    model = make_model(CASES[case])
    (tmp_path / "model.onnx").write_bytes(build_graph(model).SerializeToString())
    (tmp_path / "node_modules").symlink_to(os.environ["PIX2PIX_NODE_MODULES"])
    shutil.copy(ROOT / "examples/onnx/translate.mjs", tmp_path)
    sources = draw_sources(model.sources, (45, 33))
    names = [f"{number}.png" for number in range(len(sources))]
    for name, source in zip(names, sources, strict=True):
        Image.fromarray(source.squeeze()).save(tmp_path / name)
    command = ["node", "translate.mjs", "model.onnx", *names, "out.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = translate_natively(Translator(model, device="cpu"), sources).squeeze()
    found = np.asarray(Image.open(tmp_path / "out.png"))
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.abs(found.astype(int) - expected).max() <= ("labels" not in case)


@pytest.mark.parametrize(("precision", "share"), [("16", 0.001), ("int8", 0.02)])
def test_lower_precision(precision: Any, share: float, folder: Path, tmp_path: Path) -> None:
    """Smaller files of a stated error; int8 on the images of a folder, whose sizes differ."""
    sources = make_model(CASES["statistics of the image"]).sources
    for number in range(3):
        Image.fromarray(draw_sources(sources, (40, 36 + 9 * number), number)[0]).save(tmp_path / f"{number}.png")
    done = export_onnx(folder, output=tmp_path / "m.onnx", precision=precision, calibration=[tmp_path])
    assert 0 < max(one.share_mean for one in done.differences) < share
    fields = {prop.key: prop.value for prop in onnx.load(done.path).metadata_props}
    assert fields["pix2pix.precision"] == precision
    types = {one.data_type for one in onnx.load(done.path).graph.initializer}
    assert {"16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}[precision] in types
    assert any("convolutions are int8" in note for note in done.notes) == (precision == "int8")


def test_command_exports_models_of_version_0_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of two sources, gray values of 16 bits and label colours."""
    run = ROOT / "tests/fixtures/version_0_1/runs/stacks"
    main(["export", str(run), "--output", str(tmp_path / "stacks.onnx")])
    printed = capsys.readouterr().out
    assert printed.startswith("precision 32, ")
    assert all(word in printed for word in ("onnxruntime", "32x32", "21x25", "40x48", "uint16 values"))
    ports = onnx.load(tmp_path / "stacks.onnx").graph.input
    assert [port.name for port in ports] == ["source_1", "source_2"]


def test_bad_words(file: Path, folder: Path) -> None:
    for words, named in (
        ({"output": folder / "model.bin"}, "ends in .onnx"),
        ({"output": file}, "--overwrite"),
        ({"output": file / "new.onnx"}, f"no file can be made in {file}"),
        ({"output": folder / "new.onnx", "precision": "8"}, "--precision 8"),
        ({"output": folder / "new.onnx", "precision": "int8"}, "--calibration"),
    ):
        with pytest.raises(ConfigError, match=named):
            export_onnx(folder, **words)  # type: ignore[arg-type]
    assert not (folder / "new.onnx").exists()


def test_what_a_killed_export_left_goes(folder: Path, tmp_path: Path) -> None:
    for name in (".new.onnx.1.partial", ".other.onnx.1.partial"):
        (tmp_path / name).write_bytes(b"half")
    export_onnx(folder, output=tmp_path / "new.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.onnx.1.partial", "new.onnx"]


def test_missing_extra_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs onnx and onnxruntime: pip install 'pix2pix\[export\]'"):
        export_onnx(folder, output=folder / "new.onnx")


def test_file_that_differs_is_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one with the taps of the transposed convolutions in another order."""
    before = sorted(folder.iterdir())
    monkeypatch.setattr("pix2pix.export.network.phase_kernels", lambda weight: phase_kernels(weight).flip(2))
    with pytest.raises(ModelError, match="is not written, since it would not translate as the model does"):
        export_onnx(folder, output=folder / "new.onnx")
    assert sorted(folder.iterdir()) == before


def test_refused_precision_names_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "16", Limit(0, 0))
    with pytest.raises(ModelError, match=r"of the range; use a higher precision: --precision 32$"):
        export_onnx(folder, output=folder / "new.onnx", precision="16")


def test_differences_of_classes_are_shares_of_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model(CASES["to labels"]).save(tmp_path / "model")
    main(["export", str(tmp_path / "model"), "--output", str(tmp_path / "m.onnx")])
    out = capsys.readouterr().out
    assert "%  of the pixels\n" in out
    assert "range" not in out
    monkeypatch.setitem(LIMITS, "16", Limit(-1, -1))
    with pytest.raises(ModelError, match="% of the pixels have another class; use a higher precision"):
        export_onnx(tmp_path / "model", output=tmp_path / "new.onnx", precision="16")


def test_checksum_is_that_of_the_file_without_it(file: Path) -> None:
    fields = {prop.key: prop.value for prop in onnx.load(file).metadata_props}
    digits = fields["pix2pix.checksum"].encode()
    assert hashlib.sha256(file.read_bytes().replace(digits, b"")).hexdigest().encode() == digits
