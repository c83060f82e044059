"""Sources of another size than their targets: named, or resized to them and trained on, and outputs have that size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import TINY
from PIL import Image

from pix2pix.cli.main import main
from pix2pix.config import Augment, Data
from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.checks.check import check
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import make_dataset
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.data.transforms.augment import resize_values
from pix2pix.inference.huge import Tiling, translate_huge
from pix2pix.inference.jobs import Job
from pix2pix.inference.memory import Budget
from pix2pix.inference.pipeline import translate_files
from pix2pix.inference.translator import Translator
from pix2pix.model import Model
from pix2pix.model.model_config import ModelConfig
from pix2pix.training.train import train_with
from tests.inference.small_models import make_model, noise
from tests.untrained import untrained

Sizes = list[tuple[tuple[int, int], tuple[int, int]]]
"""(source, target) of each pair."""
FOUR: Sizes = [((12, 16), (48, 64)), ((13, 9), (52, 36))]


def write_pairs(folder: Path, sizes: Sizes, dtype: str = "uint8", labels: bool = False) -> Path:
    for number, (source, target) in enumerate(sizes):
        factor = 257 if dtype == "uint16" else 1
        drawn = (noise(*source, 1) // (64 if labels else 1)).astype(dtype) * np.array(1 if labels else factor, dtype)
        images.write(folder / f"A/{number}.png", drawn)
        images.write(folder / f"B/{number}.png", noise(*target, 3))
    return folder


def data_of(folder: Path, **settings: Any) -> Data:
    values = {"path": str(folder), "image_size": 32, "resize_source": True, "val_fraction": 0, "test_fraction": 0}
    return Data.model_validate(values | settings)


# ---- named -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "factor", "words"),
    [
        (FOUR, (4, 4), "every source is 4 times smaller than its target"),
        ([((12, 16), (49, 66)), ((25, 25), (100, 101))], (4, 4), "4 times smaller"),
        ([((24, 32), (12, 16)), ((50, 40), (25, 20))], (0.5, 0.5), "2 times larger"),
        ([((20, 20), (30, 30)), ((40, 20), (60, 30))], (1.5, 1.5), "1.5 times smaller"),
        ([((20, 30), (40, 30))], (2, 1), "as high as its target divided by 2, and as wide as it divided by 1"),
        ([((20, 20), (40, 40)), ((20, 20), (30, 30))], None, ""),
    ],
)
def test_two_sizes_are_named_with_their_factor_and_both_ways(
    tmp_path: Path, sizes: Sizes, factor: Any, words: str
) -> None:
    write_pairs(tmp_path, sizes)
    report = check(data_of(tmp_path, resize_source=False), decode=False)
    assert len(report.problems) == len(sizes)
    for _, reason in report.problems:
        assert ("every source is" in reason) == bool(words)
        assert words in reason
        assert "--resize-source" in reason
        assert "pix2pix data align" in reason
    resized = check(data_of(tmp_path))
    assert resized.ok
    assert resized.factor == factor
    assert resized.sizes == {f"{h}x{w}": [target for _, target in sizes].count((h, w)) for _, (h, w) in sizes}
    assert ("by several factors" if factor is None else words.removeprefix("every source is ")) in resized.to_text()


@pytest.mark.parametrize(
    ("source", "kind"),
    [((12, 20), "doubtful"), ((15, 20), "agreeing"), ((20, 15), "mismatched"), ((20, 20), "doubtful")],
)
def test_of_turned_photos_the_shapes_count(tmp_path: Path, source: tuple[int, int], kind: str) -> None:
    """The photo is stored as 60x45 and upright 45x60 (HxW)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    images.write(tmp_path / "A/1.png", noise(*source, 3))
    (tmp_path / "B").mkdir()
    Image.fromarray(noise(60, 45, 3)).save(tmp_path / "B/1.jpg", exif=exif)
    report, asked = check(data_of(tmp_path)), check(data_of(tmp_path, exif="apply"))
    found = [reason for _, reason in (report.warnings if kind == "agreeing" else report.problems)]
    said = {"doubtful": "--exif apply", "agreeing": "their shapes agree", "mismatched": "--exif ignore"}
    assert len([reason for reason in found if said[kind] in reason]) == 1
    assert asked.ok == (kind != "mismatched")


# ---- loaded ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "labels"), [("uint8", False), ("uint16", False), ("uint8", True)])
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("sizes", [FOUR, [((96, 80), (48, 40))], [((20, 30), (40, 36)), ((50, 50), (40, 36))]])
def test_a_source_is_loaded_as_if_it_had_been_resized_in_the_file(
    tmp_path: Path, sizes: Sizes, native: bool, dtype: str, labels: bool
) -> None:
    write_pairs(tmp_path / "in", sizes, dtype, labels)
    write_pairs(tmp_path / "equal", sizes, dtype, labels)
    for number, (_, target) in enumerate(sizes):
        path = tmp_path / f"equal/A/{number}.png"
        images.write(path, resize_values(images.read(path), target, nearest=labels))
    kind: dict[str, Any] = {"source_kind": "labels"} if labels else {"source_range": "type"}

    def batches(folder: Path, **settings: Any) -> list[torch.Tensor]:
        data = data_of(folder, **kind, **settings)
        pairs = find_pairs(data).splits["train"]
        dataset = make_dataset(pairs, prepare_data(data, pairs), data, Augment(), "native" if native else (36, 36), 5)
        return [part for number in range(len(pairs)) for part in dataset[1, number][:2]]

    for one, other in zip(batches(tmp_path / "in"), batches(tmp_path / "equal", resize_source=False), strict=True):
        assert torch.equal(one, other)


def test_pixels_without_data_are_filled_before_they_could_mix(tmp_path: Path) -> None:
    source = np.full((8, 8), 5, np.float32)
    source[4:] = -9999
    source[0, 0] = 7
    for folder, values in (("A", source), ("B", np.zeros((32, 32), np.float32))):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "1.tif", values)
    data = data_of(tmp_path, nodata=-9999, target_range=((-1, 1),))
    pairs = find_pairs(data).splits["train"]
    dataset = make_dataset(pairs, prepare_data(data, pairs), data)
    loaded, _, _ = dataset[0, 0]
    assert float(loaded.min()) >= -1 - 1e-6


# ---- trained ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources of 16x16, targets of 64x64, trained at 32x32 with jitter; a smooth field and its negative."""
    folder = tmp_path_factory.mktemp("four")
    for split, count in (("train", 4), ("val", 1), ("test", 2)):
        for number in range(count):
            small = noise(16 + number, 16, 1)[:16]
            images.write(folder / f"data/A/{split}/{number}.png", small)
            images.write(folder / f"data/B/{split}/{number}.png", 255 - small.repeat(4, 0).repeat(4, 1))
    train_with(choose_settings(folder / "data", None, None, RESIZED), folder / "run")
    return folder


RESIZED = merge_settings(TINY, {"data": {"direction": "AtoB", "resize_source": True}})


def test_outputs_have_four_times_the_size(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["translate", str(trained / "run"), str(trained / "data/A/test"), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "resized 2 images of 16x16 (HxW) to 64x64, the size of the outputs" in said
    translator = Translator.from_pretrained(trained / "run", device="cpu")
    for name in ("0.png", "1.png"):
        output = images.read(tmp_path / "out" / name)
        assert output.shape == (64, 64, 1)
        one = translator(np.asarray(Image.open(trained / "data/A/test" / name)))
        assert np.array_equal(one, output[..., 0])
    tensor = torch.rand(2, 1, 16, 10) * 2 - 1
    assert translator(tensor).shape == (2, 1, 64, 40)
    main(["evaluate", str(trained / "run"), str(trained / "data"), "--output", str(tmp_path / "e"), "--full-size"])
    assert json.loads((tmp_path / "e/metrics.json").read_text("utf-8"))["images"] == 2
    main(["info", str(trained / "run")])
    assert "4 times its size" in capsys.readouterr().out
    assert "4 times its size" in (trained / "run/model/README.md").read_text("utf-8")


def test_the_same_command_resumes(trained: Path) -> None:
    more = merge_settings(RESIZED, {"training": {"epochs": 3}})
    assert train_with(choose_settings(trained / "data", None, None, more), trained / "run").path == trained / "run"


def enlarging(scale: Any = (0.5, 0.5), factor: tuple[float, float] = (4.0, 4.0)) -> Model:
    small = make_model(1, 1, scale=scale)
    data = small.config.settings.data.model_copy(update={"resize_source": True})
    settings = small.config.settings.model_copy(update={"data": data})
    return Model(small.generator, None, small.config.model_copy(update={"settings": settings, "enlarged": factor}))


@pytest.mark.parametrize(
    ("factor", "scale"),
    [((4.0, 4.0), (1.0, 1.0)), ((4.0, 4.0), (0.5, 0.5)), ((4.0, 4.0), None), ((0.5, 1.5), (2.0, 2.0))],
)
def test_one_tile_is_the_whole_and_pixels_are_as_much_smaller(tmp_path: Path, factor: Any, scale: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(40, 48), imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    translator = Translator(enlarging(scale, factor))
    new = round(40 * factor[0]), round(48 * factor[1])
    done = translate_files(translator, [path], tmp_path / "whole")
    assert done.notes[0] == (
        f"resized 1 image of 40x48 (HxW) to {new[0]}x{new[1]}, the size of the outputs: as the sources of the training"
    )
    whole, voxel = images.read(tmp_path / "whole/a.tif"), images.read_surroundings(tmp_path / "whole/a.tif").voxel
    assert voxel is not None
    assert voxel[1:] == pytest.approx((0.5 / factor[0], 0.5 / factor[1]), rel=1e-3)
    budget = Budget.of(translator.model, translator.device)
    translate_huge(translator, Job((path,), Path("a.tif")), tmp_path / "tiled.tif", Tiling(), budget)
    assert np.abs(images.read(tmp_path / "tiled.tif").astype(int) - whole).max() <= 1
    assert whole.shape == (*new, 1)


def test_what_was_not_translated_is_not_counted(tmp_path: Path) -> None:
    images.write(tmp_path / "in/a.png", noise(10, 10, 1))
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:-30])
    done = translate_files(Translator(enlarging()), [tmp_path / "in"], tmp_path / "out")
    assert len(done.failed) == 1
    assert [note[:15] for note in done.notes] == ["resized 1 image", "resized 1 image"]


def test_a_model_without_the_field_returns_the_size_of_its_input() -> None:
    small = make_model(1, 1)
    values = json.loads(small.config.model_dump_json(by_alias=True))
    del values["enlarged"], values["config"]["data"]["resize_source"]
    assert ModelConfig.model_validate(values) == small.config
    assert Translator(small)(noise(40, 20)).shape == (40, 20)


def test_several_sources_are_resized_to_the_size_of_the_output() -> None:
    each = {"channels": 1, "type": "uint8", "range": [[0, 255]]}
    data = {"sources": {"1": each, "2": each}, "target_channels": 1, "image_size": 32, "resize_source": True}
    translator = Translator(untrained({"data": data}, scale=None, enlarged=(4.0, 4.0)))
    assert translator([noise(16, 16), noise(32, 24)]).shape == (64, 64)
