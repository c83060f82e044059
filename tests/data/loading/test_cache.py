"""Decoded pairs are kept in memory where there is room, and change nothing."""

from pathlib import Path

import numpy as np
import pytest

from pix2pix.config import Augment, Data
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import images
from pix2pix.data.loading import cache
from pix2pix.data.loading.cache import DecodedFormat, MemoryCache, choose_cache, open_cache
from pix2pix.data.loading.dataset import make_dataset
from pix2pix.data.pairing.pairs import find_pairs

SIZE = 16


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shared", [False, True])
def test_any_type_of_values(dtype: str, shared: bool) -> None:
    values = np.arange(5 * 7 * 3 * 5).reshape(5, 7, 3, 5).astype(dtype)
    kept = MemoryCache(5, DecodedFormat((7, 3, 5), np.dtype(dtype)), shared=shared)
    for decode in (lambda index: values[index], None):
        for index in (3, 0, 4, 1, 2, 3):
            assert np.array_equal(kept.pixels(index, decode), values[index])  # type: ignore[arg-type]


def test_pairs_of_several_sizes() -> None:
    sizes = np.array([[3, 5], [2, 9], [4, 1]])
    values = [np.random.default_rng(n).integers(0, 256, (2, *size), dtype=np.uint8) for n, size in enumerate(sizes)]
    decoded = DecodedFormat((2, 2, 9), np.dtype(np.uint8), sizes)
    assert decoded.offsets(3).tolist() == [0, 30, 66, 74]
    kept = MemoryCache(3, decoded, shared=False)
    for index in (2, 0, 1, 1, 0, 2):
        assert np.array_equal(kept.pixels(index, values.__getitem__), values[index])


def test_memory_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 5 * 6 * SIZE * SIZE
    decoded = DecodedFormat((6, SIZE, SIZE), np.dtype(np.uint8))
    for free, asked, in_memory, word in (
        (4 * needed, "auto", True, "memory"),
        (4 * needed - 1, "auto", False, "a quarter of the free memory"),
        (4 * needed, "memory", True, "memory"),
        (4 * needed - 1, "memory", False, "a quarter of the free memory"),
        (4 * needed, "none", False, "none"),
    ):
        for workers, name in (("auto", "free_memory"), (2, "free_shared_memory")):
            data = Data.model_validate({"image_size": SIZE, "cache": asked, "workers": workers})
            with monkeypatch.context() as patch:
                patch.setattr(cache, name, lambda free=free: free)
                choice = choose_cache(data, 5, decoded)
                opened = open_cache(data, 5, decoded)
            assert choice.in_memory is in_memory
            assert word in choice.description
            assert (opened is not None) is in_memory


def test_jitter_is_cut_from_what_is_kept(tmp_path: Path) -> None:
    for number in range(5):
        noise = np.random.default_rng(number).integers(0, 256, (SIZE, 2 * SIZE, 3), dtype=np.uint8)
        images.write(tmp_path / f"train/{number}.png", noise)
    pairs = find_pairs(Data(path=str(tmp_path), val_fraction=0, test_fraction=0)).splits["train"]
    settings = [Data.model_validate({"image_size": SIZE, "cache": kind}) for kind in ("none", "memory")]
    plain, kept = (make_dataset(pairs, prepare_data(data, pairs), data, Augment(), (20, 19), 5) for data in settings)
    for key in [(epoch, index) for epoch in (0, 1, 0) for index in (4, 0)]:
        assert all(bool((plain[key][side] == kept[key][side]).all()) for side in (0, 1))
