"""Several sources to one target: stacked to the bit, drawn as one, and carried from files to a translator."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pix2pix.cli import main
from pix2pix.config import Augment, Data
from pix2pix.config.io import make_config
from pix2pix.data.checks.check import check
from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import file_facts, images
from pix2pix.data.io.arrays import to_pil
from pix2pix.data.loading.dataset import PairDataset, make_dataset
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.translator import Translator
from pix2pix.model import load_model

TINY = ["--image-size", "32", "--base-channels", "4", "--generator.depth", "3", "--discriminator.patch-size", "16",
        "--batch-size", "2", "--samples", "1", "--device", "cpu"]  # fmt: skip
COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)


def make(root: Path, count: int = 7, side: int = 32) -> Path:
    """8-bit RGB, float32 depth in metres and a label map -> 16 bits; no two pictures alike."""
    rng = np.random.default_rng(0)
    for n in range(count):
        ramp = np.cumsum(np.cumsum(rng.normal(size=(side, side)), 0), 1)
        ramp = (ramp - ramp.min()) / (ramp.max() - ramp.min())
        rgb = np.stack([ramp, 1 - ramp, ramp**2], axis=2)
        images.write(root / f"source_1/{n}.png", (rgb * 255).astype(np.uint8))
        images.write(root / f"source_2/{n}.tif", (ramp * 40 - 1.5).astype(np.float32)[..., None])
        images.write(root / f"source_3/{n}.png", COLOURS[np.digitize(ramp, [0.3, 0.6])])
        images.write(root / f"target/{n}.tif", (ramp * 60000).astype(np.uint16)[..., None])
    return root


def settings(root: Path, **more: Any) -> Data:
    values = {"path": str(root), "image_size": 32, "val_fraction": 0, "test_fraction": 0, "cache": "none"}
    return make_config({"data": {"sources": {3: {"kind": "labels"}}, **values, **more}}).data


def dataset(data: Data, augment: Augment | None = None, load_size: tuple[int, int] | None = None) -> PairDataset:
    pairs = find_pairs(data).splits["train"]
    return make_dataset(pairs, prepare_data(data, pairs), data, augment, load_size)


def pix2pix(*words: object) -> None:
    main([str(word) for word in words])


def failed(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        pix2pix(*words)
    said = capsys.readouterr().err
    assert exit.value.code == code, said
    assert "Traceback" not in said
    return said


# ---- the stack -------------------------------------------------------------------------------------------------


def test_the_stack_is_the_files_to_the_bit(tmp_path: Path) -> None:
    data = settings(
        make(tmp_path), sources={"2": {"range": "-2,40"}, "3": {"kind": "labels", "labels": "#0000ff,#000000,#ff0000"}}
    )
    batches = dataset(data)
    assert (batches.source_channels, batches.source_widths, batches.target_channels) == (7, (3, 1, 3), 1)
    for index, pair in enumerate(batches.pairs):
        rgb, depth, classes = (images.read(ref.path).transpose(2, 0, 1) for ref in pair.sources)
        stack = np.concatenate([
            rgb / np.float32(127.5) - np.float32(1),
            (depth + np.float32(2)) * np.float32(2 / 42) - np.float32(1),
            np.stack([2 * (classes == colour[:, None, None]).all(axis=0) - 1.0 for colour in COLOURS[[2, 0, 1]]]),
        ])  # fmt: skip
        assert torch.equal(batches[0, index][0], torch.from_numpy(stack.astype(np.float32)))


def test_one_draw_moves_all_sources_and_the_target(tmp_path: Path) -> None:
    """Of one picture in every place, all channels stay the same, however it is moved."""
    for n, ramp in enumerate(np.random.default_rng(1).integers(0, 256, (3, 40, 40, 1), np.uint8)):
        for folder in ("source_1", "source_2", "target"):
            images.write(tmp_path / f"{folder}/{n}.png", ramp)
    augment = Augment(vertical_flip=0.5, rotate90=0.5, affine=0.5, affine_degrees=20)
    batches, seen = dataset(settings(tmp_path, sources={}), augment, (36, 36)), set()
    for epoch in range(1, 30):
        source, target, _ = batches[epoch, 0]
        assert torch.equal(source[0], source[1])
        assert torch.equal(source[:1], target)
        seen.add(source.numpy().tobytes())
    assert len(seen) > 20


def test_light_changes_the_eight_bit_images_alone(tmp_path: Path) -> None:
    data = settings(make(tmp_path))
    plain, lit = (dataset(data, Augment(photometric=light), (36, 36)) for light in (0.0, 1.0))
    (as_it_is, wanted, _), (source, target, _) = plain[1, 0], lit[1, 0]
    assert not torch.allclose(source[:3], as_it_is[:3], atol=0.01)
    assert torch.equal(source[3:], as_it_is[3:])
    assert torch.equal(target, wanted)


def test_label_maps_of_a_stack_stay_classes(tmp_path: Path) -> None:
    batches = dataset(settings(make(tmp_path)), Augment(affine=1.0, affine_degrees=30), (43, 43))
    for epoch in range(1, 6):
        source, _, _ = batches[epoch, epoch % 7]
        assert set(source[4:].unique().tolist()) == {-1.0, 1.0}
        assert (source[4:].sum(dim=0) == -1).all()  # one class a pixel
    shown = batches.draw_source(source)
    assert shown.shape == (32, 3 * 32, 3)
    assert {tuple(pixel) for pixel in shown[:, 64:].reshape(-1, 3).tolist()} <= {tuple(c) for c in COLOURS.tolist()}


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_a_changed_second_source_is_read_again(tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_facts, "FRESH_SECONDS", 0)
    sources = {2: {"range": "-2,40"}, 3: {"kind": "labels"}}
    data = settings(make(tmp_path / "data"), cache=cache, cache_dir=str(tmp_path / "cache"), sources=sources)
    before = dataset(data)[0, 0][0]
    depth = tmp_path / "data/source_2/0.tif"
    images.write(depth, images.read(depth) + np.float32(1))
    os.utime(depth, ns=(1, 1))
    after = dataset(data)[0, 0][0]
    assert torch.equal(after[:3], before[:3])
    assert torch.allclose(after[3], before[3] + 2 / 42, atol=1e-5)


# ---- what cannot be --------------------------------------------------------------------------------------------


def smaller(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values[:-4])


def with_nan(values: NDArray[Any]) -> NDArray[Any]:
    values[3, 4] = np.nan
    return values


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (smaller, r"source_2/4\.tif: is 28x32 \(HxW\), but its target \S*target/4\.tif is 32x32; the images of a pair"),
        (with_nan, r"source_2/4\.tif: holds NaN"),
        (
            lambda values: values.astype(np.int16),
            r"source_2/4\.tif: holds int16 values, but float32 as in 6 of 7 images of source 2 is expected",
        ),
        (
            lambda values: values.repeat(2, 2),
            r"source_2/4\.tif: has 2 channels, but 1 as in 6 of 7 images .*; save all with the same",
        ),
    ],
)  # fmt: skip
def test_a_bad_second_source_is_named(tmp_path: Path, change: Any, reason: str) -> None:
    data = settings(make(tmp_path))
    path = tmp_path / "source_2/4.tif"
    images.write(path, change(images.read(path)))
    report = check(data)
    assert [re.search(reason, f"{path}: {problem}") is not None for path, problem in report.problems] == [True]
    assert report.bad == {("train", "4")}
    batches = dataset(settings(tmp_path, sources={2: {"range": "-2,40", "channels": None}, 3: {"kind": "labels"}}))
    with pytest.raises(DataError, match=r"source_2/4\.tif"):
        batches[0, 4]


def test_the_check_tells_of_each_source(tmp_path: Path) -> None:
    make(tmp_path)
    for folder, suffix in (("source_1", "png"), ("source_2", "tif"), ("source_3", "png"), ("target", "tif")):
        os.replace(tmp_path / f"{folder}/6.{suffix}", tmp_path / f"{folder}/five.{suffix}")
        (tmp_path / f"{folder}/six.{suffix}").write_bytes((tmp_path / f"{folder}/five.{suffix}").read_bytes())
    report = check(settings(tmp_path))
    each_source = report.to_json()["each_source"]
    assert [(one["channels"], one["type"]) for one in each_source] == [(3, "uint8"), (1, "float32"), (3, "uint8")]
    assert each_source[1]["values"]["low"] == -1.5
    assert each_source[2]["values"]["colours"].keys() == {"000000", "ff0000", "0000ff"}
    assert (report.source_channels, report.target_channels) == (7, 1)
    assert "source 1: 3, source 2: 1, source 3: 3, target: 1" in report.to_text()
    assert [str(reason) for _, reason in report.warnings] == ["the pair train/six is train/five again"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sources": {4: {"kind": "labels"}}}, r"data\.sources\.4: these pairs have 3 sources"),
        ({"source_channels": 3}, r"data\.source_channels is for pairs with one source: .* in --sources\.2\.channels"),
        ({"source_range": "type"}, r"data\.source_range is for pairs with one source"),
        ({"source_kind": "labels", "sources": {}}, r"data\.source_kind is for pairs with one source"),
        (
            {"sources": {2: {"range": "type"}}},
            r"data\.sources\.2\.range type: .* float32 .*or --sources\.2\.range=LOW,HIGH",
        ),
    ],
)
def test_settings_that_fit_no_stack(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataset(settings(make(tmp_path, 2), **more))


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"0": {}}, "'0' is not the number of a source"),
        ({"depth": {}}, "'depth' is not the number of a source"),
        ({2: {"rnge": "type"}}, r"no setting `data\.sources\.2\.rnge`; did you mean `data\.sources\.2\.range`"),
        ({2: {"labels": "0,1"}}, r"add --sources\.2\.kind labels"),
        ({2: {"kind": "labels", "range": "0,1"}}, "classes have no range"),
    ],
)
def test_settings_that_cannot_be(sources: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({"data": {"sources": sources}})


def test_numbered_settings_of_a_single_source_are_misuse(tmp_path: Path) -> None:
    pairs = [Pair("1", find_pairs(settings(make(tmp_path, 1))).splits["train"][0].source, None)]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="these pairs have one: use --source-range"):
        prepare_data(settings(tmp_path), pairs)


# ---- from files to the target's units --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(data, run): three sources by flags, one of them a label map."""
    root = tmp_path_factory.mktemp("sources")
    make(root / "data")
    pix2pix(
        "train", *places(root / "data"), "--sources.3.kind", "labels", "--run", root / "run", "--epochs", "1", *TINY
    )
    return root / "data", root / "run"


def places(root: Path) -> list[object]:
    sources = [word for n in (1, 2, 3) for word in ("--source", root / f"source_{n}")]
    return [*sources, "--target", root / "target"]


def test_a_stack_is_trained_resumed_and_described(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = trained
    pix2pix("info", run, "--json")
    facts = json.loads(capsys.readouterr().out)
    assert facts["channels"] == "7 -> 1"
    assert facts["source_1"] == "3 channels of uint8 from 0 to 255"
    assert facts["source_2"].startswith("1 channel of float32 from -1.5 to 38.5")
    assert facts["source_3"] == "3 classes #000000, #0000ff, #ff0000"
    words = ["--run", run, *TINY, "--epochs", "2"]
    pix2pix("train", *places(data), "--sources.3.kind", "labels", *words)
    assert "resuming from epoch 1" in capsys.readouterr().err
    said = failed(capsys, 2, "train", *places(data), "--sources.3.kind", "labels", "--sources.2.range", "0,9", *words)
    assert "other settings: data.sources.2.range was ((" in said


def test_what_is_measured_is_what_is_translated(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From folders, files, arrays and tensors, in the target's type."""
    data, run = trained
    folders = [data / f"source_{n}" for n in (1, 2, 3)]
    files = [folders[0] / "0.png", folders[1] / "0.tif", folders[2] / "0.png"]
    pix2pix("evaluate", run, *places(data), "--split", "train", "--json")
    assert json.loads(capsys.readouterr().out)["data"].count(" and ") == 3
    pix2pix("translate", run, *folders, "--output", tmp_path / "all")
    pix2pix("translate", run, *files, "--output", tmp_path / "one")
    of_folder, of_files = (images.read(tmp_path / f"{name}/0.png") for name in ("all", "one"))
    assert of_folder.dtype == np.uint16
    assert np.array_equal(of_folder, of_files)
    assert len(list((tmp_path / "all").glob("[!.]*"))) == 7
    measured = [*(run / "evaluation/train/outputs").iterdir()]
    for path in measured:
        made = images.read(tmp_path / f"all/{path.with_suffix('.png').name}").astype(int)
        assert np.abs(made - images.read(path)).max() <= 1
    translator = Translator.from_pretrained(run, device="cpu")
    arrays = [images.read(file) for file in files]
    assert np.array_equal(translator(arrays), of_folder[..., 0])
    mixed = [to_pil(arrays[0]), arrays[1][..., 0], arrays[2]]
    assert np.array_equal(translator(mixed), of_folder[..., 0])
    as_tensor = translator([tensors.channels_first(array) for array in arrays])
    assert torch.equal(as_tensor, tensors.channels_first(of_folder))


def test_inputs_that_are_no_stack(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = trained
    folders, out = [data / f"source_{n}" for n in (1, 2, 3)], ["--output", tmp_path / "out"]
    said = failed(capsys, 2, "translate", run, *folders[:2], *out)
    assert "got 2 inputs, but the model makes one output of 3 sources, in this order: source 1 with 3 channels" in said
    said = failed(capsys, 1, "translate", run, *folders[:2], folders[2] / "0.png", *out)
    assert "0.png: is an image, but other sources are folders" in said
    said = failed(capsys, 1, "translate", run, folders[1] / "0.tif", folders[0] / "0.png", folders[2] / "0.png", *out)
    assert "0.tif: holds float32 values, but the model translates uint8" in said
    said = failed(capsys, 1, "translate", run, *[folders[0] / "0.png"] * 3, *out)
    assert "0.png: holds uint8 values, but the model translates float32" in said
    small = tmp_path / "small.tif"
    images.write(small, smaller(images.read(folders[1] / "0.tif")))
    said = failed(capsys, 1, "translate", run, folders[0] / "0.png", small, folders[2] / "0.png", *out)
    assert f"{small}: is 28x32 (HxW), but {folders[0] / '0.png'} is 32x32; the sources of one image need" in said
    assert not (tmp_path / "out").exists()
    translator = Translator.from_pretrained(run, device="cpu")
    with pytest.raises(ModelError, match="expected a list of images: the model makes one output of 3 sources"):
        translator(images.read(folders[0] / "0.png"))
    with pytest.raises(ModelError, match="got 1 image, but the model"):
        translator([images.read(folders[0] / "0.png")])
    said = failed(capsys, 1, "evaluate", run, *places(data)[2:])
    assert "the pairs have 2 sources each, but the model was trained on 3" in said
    card = run / "model/config.json"
    leaving_out = card.read_text("utf-8").replace('"skip_bad": false', '"skip_bad": true')
    shutil.copytree(run / "model", tmp_path / "model")
    edited = re.sub('"checksum".*\n', "", leaving_out)  # it does not fit an edited file
    (tmp_path / "model/config.json").write_text(edited, "utf-8")
    assert '"skip_bad": true' in edited
    said = failed(capsys, 1, "evaluate", tmp_path / "model", *places(data)[2:])
    assert "the pairs have 2 sources each, but the model was trained on 3" in said


def test_folders_to_translate_go_by_name(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lacks a partner is named, and the others are translated; patterns tell names that differ."""
    data, run = trained
    for number, suffix in ((1, "png"), (2, "tif"), (3, "png")):
        for name in "01":
            content = (data / f"source_{number}/{name}.{suffix}").read_bytes()
            path = tmp_path / f"{number}/{name}_{number}.{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    (tmp_path / "2/1_2.tif").unlink()
    folders, out = [tmp_path / name for name in "123"], ["--output", tmp_path / "out"]
    said = failed(capsys, 1, "translate", run, *folders, *out)
    assert "has no partner 0_1 in" in said
    patterns = [word for n in (1, 2, 3) for word in ("--source-pattern", f"{{id}}_{n}")]
    said = failed(capsys, 1, "translate", run, *folders, *patterns, *out)
    assert "1 translated into" in said
    assert f"not translated: {tmp_path}/1/1_1.png: has no partner 1 in {tmp_path}/2" in said
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["0_1.png"]


def test_a_card_with_a_gap_in_its_sources_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    _, run = trained
    card = json.loads((run / "model/config.json").read_text(encoding="utf-8")) | {"checksum": None}
    for change, message in (
        ({"1": card["config"]["data"]["sources"]["1"], "3": {}}, "config.data.sources has 1, 3, expected all numbers"),
        (card["config"]["data"]["sources"] | {"2": {"channels": 1, "type": "float32", "range": "measured"}},
         r"config\.data\.sources\.2\.range is measured, expected numbers"),
    ):  # fmt: skip
        card["config"]["data"]["sources"] = change
        (tmp_path / "config.json").write_text(json.dumps(card), encoding="utf-8")
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path)
