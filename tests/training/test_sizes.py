"""Pairs of mixed, odd, oblong sizes: crops are windows of the files' pixels, whole pictures are measured whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from numpy.typing import NDArray
from test_training import NO_STOP, rows, stop_after, trainer

from pix2pix.config import Augment, Data
from pix2pix.config.io import make_config, merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import PairDataset, make_dataset
from pix2pix.data.loading.loader import make_loader
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError, DataError, Interrupted
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.inference.pipeline import translate_files
from pix2pix.inference.translator import Translator
from pix2pix.training import plan as plan_module
from pix2pix.training.train import train_with
from tests.reliability.runs import differences, saved_state

SIZES = [(41, 57), (32, 32), (70, 33), (33, 90), (64, 47), (19, 80), (75, 24), (17, 21)]
"""The last three do not hold a crop of 32x32."""
SIDE = 32


def source_of(height: int, width: int, number: int) -> NDArray[np.uint16]:
    """No two pixels are alike, so that a crop tells where it is from."""
    return (np.arange(height * width, dtype=np.uint16) + 9000 * number % 50000).reshape(height, width, 1)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for number, size in enumerate(SIZES):
        source = source_of(*size, number)
        images.write(tmp_path / f"data/A/{number}.png", source)
        images.write(tmp_path / f"data/B/{number}.tif", np.concatenate([65535 - source, source], axis=2))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks of colour and their negatives."""
    folder, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        for number in range(count):
            height, width = SIZES[number]
            picture = rng.integers(0, 256, (18, 18, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)[:height, :width]
            images.write(folder / f"A/{split}/{number}.png", picture)
            images.write(folder / f"B/{split}/{number}.png", 255 - picture // 2)
    return folder


@pytest.fixture(scope="module")
def native_run(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_with(choose_settings(mixed, None, None, NATIVE), tmp_path_factory.mktemp("runs") / "native").path


NATIVE = merge_settings(TINY, {"data": {"direction": "AtoB"}, "augment": {"load_size": "native"}})


# ---- crops -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_crops_are_windows_of_the_files(places: Path, tmp_path: Path, cache: str) -> None:
    """To the bit in source and target, at one place in both, and everywhere in a picture."""
    values = {"source_range": "type", "target_range": "type", "cache_dir": str(tmp_path / "cache")}
    data = Data.model_validate(
        {"path": str(places), "image_size": SIDE, "val_fraction": 0, "test_fraction": 0, "cache": cache, **values}
    )
    pairs = find_pairs(data).splits["train"]
    prepared = prepare_data(data, pairs)
    dataset = make_dataset(pairs, prepared, data, Augment(flip=False), "native", 5)
    seen: dict[int, set[tuple[int, int]]] = {}
    for epoch in range(40):
        for batch in make_loader(dataset, batch_size=3, shuffle=True, workers=0).epoch(epoch):
            for source, target, index in zip(batch.source, batch.target, batch.index.tolist(), strict=True):
                height, width = SIZES[int(pairs[index].name)]
                whole = source_of(height, width, int(pairs[index].name))
                whole = np.pad(whole, ((0, max(0, SIDE - height)), (0, max(0, SIDE - width)), (0, 0)), mode="reflect")
                crop = prepared.sources[0].values.to_array(source)  # type: ignore[union-attr]
                (top, *_), (left, *_), _ = np.nonzero(whole == crop[0, 0, 0])
                assert np.array_equal(crop, whole[top : top + SIDE, left : left + SIDE])
                assert np.array_equal(
                    prepared.target_values.to_array(target), np.concatenate([65535 - crop, crop], axis=2)
                )
                seen.setdefault(int(pairs[index].name), set()).add((int(top), int(left)))
    for number, (height, width) in enumerate(SIZES):
        tops, lefts = ({place[axis] for place in seen[number]} for axis in (0, 1))
        assert max(tops) <= max(0, height - SIDE)
        assert max(lefts) <= max(0, width - SIDE)
        assert len(tops) > min(8, height - SIDE) * (height > SIDE)
        assert len(lefts) > min(8, width - SIDE) * (width > SIDE)


def test_loader_processes_and_caches_change_nothing(places: Path, tmp_path: Path) -> None:
    def batches(cache: str, workers: int) -> list[torch.Tensor]:
        data = Data.model_validate(
            {"path": str(places), "image_size": SIDE, "cache": cache, "cache_dir": str(tmp_path), "workers": workers}
        )
        pairs = find_pairs(data).splits["train"]
        dataset = make_dataset(pairs, prepare_data(data, pairs), data, Augment(), "native", 5)
        loader = make_loader(dataset, batch_size=2, shuffle=True, workers=workers)
        return [part for epoch in (0, 1) for batch in loader.epoch(epoch) for part in (batch.source, batch.target)]

    plain = batches("none", 0)
    for cache, workers in (("memory", 0), ("memory", 1), ("memory", 2)):
        assert not differences(batches(cache, workers), plain)


def test_whole_pictures_come_one_by_one(places: Path) -> None:
    pairs = find_pairs(Data(path=str(places), val_fraction=0, test_fraction=0)).splits["train"]
    dataset = PairDataset(pairs, prepare_data(Data(image_size=(SIDE, SIDE)), pairs), full_size=True)
    assert dataset.smallest == (17, 21)
    shapes = [tuple(batch.source.shape) for batch in make_loader(dataset, batch_size=4, shuffle=False).epoch(0)]
    assert shapes == [(1, 1, *size) for size in SIZES]


def test_a_picture_that_changes_its_size_in_use_is_named(places: Path) -> None:
    pairs = find_pairs(Data(path=str(places), val_fraction=0, test_fraction=0)).splits["train"]
    dataset = PairDataset(pairs, prepare_data(Data(image_size=(SIDE, SIDE)), pairs), full_size=True)
    for side in ("A/2.png", "B/2.tif"):
        images.write(places / side, images.read(places / side)[:40])
    with pytest.raises(DataError, match=r"B/2\.tif: has changed its size since this command started"):
        dataset[0, 2]


# ---- from training to translation ------------------------------------------------------------------------------


def test_a_training_is_resumed_to_the_bit(mixed: Path, tmp_path: Path) -> None:
    crops = merge_settings(NATIVE, {"augment": {"crops_per_image": 3}})  # 9 steps an epoch
    trainer(mixed, tmp_path / "whole", **crops).fit(NO_STOP)
    for number, updates in enumerate((4, 13)):
        folder = tmp_path / f"cut-{number}"
        with pytest.raises(Interrupted):
            trainer(mixed, folder, **crops).fit(stop_after(updates))
        trainer(mixed, folder, **crops).fit(NO_STOP)
        assert not differences(saved_state(folder), saved_state(tmp_path / "whole"))
        assert rows(folder) == rows(tmp_path / "whole")


def test_a_validation_measures_whole_pictures(mixed: Path, native_run: Path) -> None:
    measured = evaluate(native_run, mixed, split="val").metrics
    newest = [row for row in rows(native_run) if row["split"] == "val"][-1]
    for name in ("l1", "psnr", "ssim", "g_adversarial", "d_real", "d_fake"):
        assert measured[name] == pytest.approx(float(newest[name]), rel=1e-4)
    assert len(list((native_run / "samples").glob("*.png"))) == 2


def test_large_pictures_are_validated_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A validation takes no more pixels than an epoch; a run that began with whole images goes on with them."""
    for split, size in (("train", (48, 48)), ("val", (100, 120))):
        for number in range(2):
            picture = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
            for side in "AB":
                images.write(tmp_path / f"data/{side}/{split}/{number}.png", picture)
    settings = merge_settings(NATIVE, {"augment": {"crops_per_image": 8}, "training": {"batch_size": 8}})
    begun = trainer(tmp_path / "data", tmp_path / "old", **settings)
    assert begun.validation.loader.dataset.smallest == (100, 120)
    with pytest.raises(Interrupted):
        begun.fit(stop_after(3))
    monkeypatch.setattr(plan_module, "QUICK_VALIDATION", 0)
    for name, expected in (("old", (100, 120)), ("new", (64, 64))):
        later = trainer(tmp_path / "data", tmp_path / name, **settings)
        assert later.validation.loader.dataset.smallest == expected
        assert ("of whole images, as this run began" in capsys.readouterr().err) == (name == "old")
    (batch, *_) = later.validation.loader.epoch(0)
    middle = images.read(tmp_path / "data/A/val/0.png")[18:82, 28:92]
    assert np.array_equal(tensors.to_viewable(batch.source[0]), middle)
    later.fit(NO_STOP)
    assert {row["split"] for row in rows(tmp_path / "new")} == {"train", "val"}
    whole = merge_settings(settings, {"training": {"validation_images": "whole"}})
    assert trainer(tmp_path / "data", tmp_path / "whole", **whole).validation.loader.dataset.smallest == (100, 120)


def test_metrics_are_of_what_translate_gives(mixed: Path, native_run: Path, tmp_path: Path) -> None:
    found = evaluate(native_run, mixed)
    translator = Translator.from_pretrained(native_run)
    inputs = [mixed / f"A/test/{number}.png" for number in range(3)]
    translate_files(translator, inputs, tmp_path / "out")
    errors = []
    for path, size in zip(inputs, SIZES, strict=False):
        written = images.read(tmp_path / "out" / path.name)
        assert written.shape == (*size, 3)
        kept = images.read(found.path / "outputs" / path.name)
        assert np.abs(kept.astype(int) - written).max() <= 1  # the network is prepared for translation
        target = images.read(mixed / "B/test" / path.name)
        errors.append(np.abs(written / 255 - target / 255).mean())
    assert found.metrics["l1"] == pytest.approx(np.mean(errors), abs=1 / 255)
    assert found.metrics["full_size"]
    assert found.metrics["d_real"] is not None
    assert set(found.metrics["baselines"]) == {"mean_colour", "source"}
    assert all(found.metrics["baselines"]["mean_colour"][name] is not None for name in ("l1", "psnr", "ssim"))


def test_a_model_of_one_size_is_measured_at_full_size_if_asked(run: Path, facades: Path) -> None:
    """Facades of 64 pixels were presented at 32: at their own size the error is that of what `translate` writes."""
    fixed, whole = evaluate(run, facades), evaluate(run, facades, full_size=True)
    assert whole.path.name == "test-full-size"
    assert fixed.metrics["d_real"] is not None
    assert whole.metrics["d_real"] is None
    translator = Translator.from_pretrained(run)
    errors = []
    for pair in find_pairs(Data(path=str(facades), direction="BtoA")).splits["test"]:
        source, target = (images.read(ref.path, ref.half) for ref in (pair.source, pair.target))
        assert images.read(whole.path / "outputs" / f"{pair.name}.png").shape == target.shape
        errors.append(
            float((translator.translate(tensors.to_tensor(source)[None]) - tensors.to_tensor(target)).abs().mean())
        )
    assert whole.metrics["g_l1"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert abs(whole.metrics["g_l1"] - fixed.metrics["g_l1"]) > 1e-4


# ---- what cannot be --------------------------------------------------------------------------------------------


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises((ConfigError, DataError)) as error:
        train_with(choose_settings(folder, None, None, merge_settings(NATIVE, settings)), folder.parent / "run")
    return str(error.value)


def test_what_cannot_be_is_said_before_training(mixed: Path, places: Path, native_run: Path) -> None:
    images.write(places / "A/9.png", np.zeros((15, 40, 1), np.uint16))
    images.write(places / "B/9.tif", np.zeros((15, 40, 2), np.uint16))
    assert "B/9.tif: is 15x40 (HxW), but --load-size native validates whole images" in refused(places)
    assert "need 24 pixels a side" in refused(places, discriminator={"patch_size": 70})
    with pytest.raises(ConfigError, match="--no-jitter turns off"):
        make_config(merge_settings(NATIVE, {"augment": {"jitter": False}}))
    with pytest.raises(ConfigError, match="--segmenter needs images of one size"):
        evaluate(native_run, mixed, segmenter=True)
