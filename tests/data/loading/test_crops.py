"""Several crops of each large picture: an order that is random and cheap, and crops that hold foreground."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pix2pix.config import Augment, Data
from pix2pix.config.io import make_config
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import CROPPED_TOGETHER, PairDataset, make_dataset
from pix2pix.data.loading.loader import make_loader
from pix2pix.data.loading.sampler import EpochSampler
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError
from tests.reliability.runs import differences

SIDE, COUNT = 16, 11


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven pairs of two sources, one of 16 bits and one a label map; the target is a mask with one small object."""
    folder, rng = tmp_path_factory.mktemp("stacks"), np.random.default_rng(0)
    for number in range(COUNT):
        height, width = 60 + number, 80 - number
        images.write(folder / f"deep/{number}.tif", rng.integers(0, 4096, (height, width, 1), dtype=np.uint16))
        labels = np.zeros((height, width, 1), np.uint8)
        labels[3:7, 50:54] = 7  # elsewhere than the object of the mask
        images.write(folder / f"labels/{number}.png", labels)
        mask = np.zeros((height, width, 1), np.uint8)
        mask[40:44, 9 : 9 + number] = 255  # none in the first
        images.write(folder / f"mask/{number}.png", mask)
    return folder


def dataset(
    folder: Path, augment: Augment, load_size: Any = "native", *, labels: bool = False, **data: Any
) -> PairDataset:
    sources = {"source": [str(folder / "deep"), str(folder / "labels")], "sources": {"2": {"kind": "labels"}}}
    given = {"target": str(folder / "mask"), "image_size": SIDE, "val_fraction": 0, "test_fraction": 0, **data}
    chosen = Data.model_validate(given | (sources if labels else {"source": [str(folder / "deep")]}))
    pairs = find_pairs(chosen).splits["train"]
    return make_dataset(pairs, prepare_data(chosen, pairs), chosen, augment, load_size, 5)


@pytest.mark.parametrize(("crops", "count"), [(1, 11), (4, 11), (3, 30)])
def test_order(crops: int, count: int) -> None:
    """Every crop once an epoch; a picture's crops lie near each other, and those of several are mixed."""
    sampler = EpochSampler(count * crops, batch_size=2, seed=1, crops=crops)
    order = [index for batch in sampler for _, index in batch]
    assert sorted(order) == list(range(count * crops))
    for start in range(0, count, CROPPED_TOGETHER):
        group = [index % count for index in order[start * crops : (start + CROPPED_TOGETHER) * crops]]
        assert set(Counter(group).values()) == {crops}
    if crops == 1:  # as before there were crops
        assert order == np.random.default_rng([1, 0, count]).permutation(count).tolist()
    else:
        assert max(Counter(index % count for index in order[:8]).values()) < min(crops, 4) + 1
    sampler.start = 4
    assert [index for batch in sampler for _, index in batch] == order[4:]


@pytest.mark.parametrize("load_size", ["native", (20, 20)])
def test_crops_do_not_depend_on_cache_or_processes(stacks: Path, load_size: Any) -> None:
    def batches(cache: str, workers: int) -> list[Any]:
        data = dataset(stacks, Augment(crops_per_image=3), load_size, labels=True, cache=cache, workers=workers)
        loader = make_loader(data, batch_size=2, shuffle=True, workers=workers)
        assert len(data) == 3 * COUNT
        parts = [part for epoch in (0, 1) for batch in loader.epoch(epoch) for part in (batch.source, batch.target)]
        loader.close()
        return parts

    plain = batches("none", 0)
    assert len({part.numpy().tobytes() for part in plain[::2]}) == len(plain[::2])
    for cache, workers in (("memory", 0), ("none", 1)):
        assert not differences(batches(cache, workers), plain)


def test_files_are_decoded_once_an_epoch(stacks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(stacks, Augment(crops_per_image=6), cache="none")
    decoded: list[int] = []
    plain = data._decode
    monkeypatch.setattr(data, "_decode", lambda number: decoded.append(number) or plain(number))
    list(make_loader(data, batch_size=1, shuffle=True, workers=0).epoch(0))
    assert sorted(decoded) == list(range(COUNT))


@pytest.mark.parametrize("flip", [True, False])
def test_crops_hold_foreground(stacks: Path, flip: bool) -> None:
    """All that must; a half of those of which half must, or more; and without the setting no other crop than before."""
    shares = []
    for share in (0.0, 0.5, 1.0):
        augment = Augment(crop_foreground=share, crops_per_image=9, vertical_flip=0.5, flip=flip)
        data = dataset(stacks, augment, cache="memory")
        examples = [data[0, index] for index in range(len(data)) if index % COUNT]  # the first has no object
        shares.append(np.mean([float(target.max()) == 1 for _, target, _ in examples]))
        assert data[0, 0][0].shape == (1, SIDE, SIDE)
    assert shares[0] < 0.35
    assert 0.45 < shares[1] < 0.85
    assert shares[2] == 1


def test_a_label_map_comes_before_the_target(stacks: Path) -> None:
    data = dataset(stacks, Augment(crop_foreground=1), labels=True)
    data.refuse_no_foreground()
    assert all(float(data[0, index][0][2].max()) == 1 for index in range(COUNT))  # the channel of class 7


def test_a_wrong_background_is_named(stacks: Path) -> None:
    for background, expected in (
        (("9",), "nothing of the background, 9"),
        (("0", "255"), "nothing but the background"),
    ):
        data = dataset(stacks, Augment(crop_foreground=0.5, crop_background=background))
        with pytest.raises(ConfigError, match=f"first 11 pairs show {expected}.*--crop-background"):
            data.refuse_no_foreground()


def test_crops_need_jitter() -> None:
    for name in ("crops_per_image", "crop_foreground"):
        with pytest.raises(ConfigError, match=f"{name}.*--no-jitter turns off"):
            make_config({"augment": {"jitter": False, name: 2 if name == "crops_per_image" else 1}})
