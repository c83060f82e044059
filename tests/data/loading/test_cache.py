"""Kept pixels are the files' pixels or are not there: after changes, kills, damage, full disks, beside other runs."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pix2pix.config import Augment, Data
from pix2pix.data.encoding import tensors
from pix2pix.data.io import file_facts as findings
from pix2pix.data.io import images
from pix2pix.data.loading import cache
from pix2pix.data.loading.cache import HEADER, DiskCache, Entry, choose_cache, open_cache
from pix2pix.data.loading.dataset import PairDataset, make_dataset
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import find_pairs

SIZE = 16


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files made a moment ago are trusted, small disks are written to."""
    monkeypatch.setattr(findings, "FRESH_SECONDS", 0)
    monkeypatch.setattr(cache, "RESERVE", 0)


def noise(seed: int) -> images.Pixels:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, 2 * SIZE, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        images.write(tmp_path / f"data/train/{number}.png", noise(number))
    return tmp_path / "data"


def found(folder: Path) -> tuple[Pair, ...]:
    return find_pairs(Data(path=str(folder), val_fraction=0, test_fraction=0)).splits["train"]


def settings(tmp_path: Path, **fields: object) -> Data:
    return Data.model_validate({"image_size": SIZE, "cache": "disk", "cache_dir": str(tmp_path / "cache"), **fields})


def dataset(tmp_path: Path, pairs: Sequence[Pair], **fields: object) -> PairDataset:
    return make_dataset(pairs, settings(tmp_path, **fields), None, None, 0)


def content(data: PairDataset) -> list[bytes]:
    """Every pair's source and target as the files have them, in that order."""
    batch = data[0, 0] and [data[0, index] for index in range(len(data))]
    return [np.concatenate([tensors.to_array(side) for side in pair[:2]], axis=1).tobytes() for pair in batch]


def expected(folder: Path) -> list[bytes]:
    return [images.read(pair.source.path).tobytes() for pair in found(folder)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many pairs were decoded since the last call."""
    count = [0]
    original = PairDataset._decoded

    def counted(self: PairDataset, index: int) -> object:
        count[0] += 1
        return original(self, index)

    monkeypatch.setattr(PairDataset, "_decoded", counted)

    def since() -> int:
        number, count[0] = count[0], 0
        return number

    return since


def kept(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache/pairs").glob("*.pixels")
    return path


# ---- between runs --------------------------------------------------------------------------------------------


def test_a_second_run_decodes_nothing(tmp_path: Path, folder: Path, decoded: Callable[[], int]) -> None:
    for times in (5, 0):
        data = dataset(tmp_path, found(folder))
        assert content(data) == expected(folder)
        assert content(data) == expected(folder)
        assert decoded() == times


def test_a_changed_file_is_decoded_again(tmp_path: Path, folder: Path, decoded: Callable[[], int]) -> None:
    content(dataset(tmp_path, found(folder)))
    images.write(folder / "train/3.png", noise(30))
    path = folder / "train/4.png"
    before = path.stat()
    images.write(tmp_path / "other.bmp", noise(40))
    path.write_bytes((tmp_path / "other.bmp").read_bytes())  # in place
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    decoded()
    for times in (2, 0):
        assert content(dataset(tmp_path, found(folder))) == expected(folder)
        assert decoded() == times


def test_other_pairs_sizes_and_channels_are_kept_apart(tmp_path: Path, folder: Path) -> None:
    pairs = found(folder)
    for few, fields in ((pairs, {}), (pairs[:3], {}), (pairs, {"image_size": 32}), (pairs, {"source_channels": 1})):
        data = dataset(tmp_path, few, **fields)
        assert isinstance(data.cache, DiskCache)
        data[0, 0]
    other_way = find_pairs(Data(path=str(folder), direction="BtoA", val_fraction=0, test_fraction=0)).splits["train"]
    source, target, _ = dataset(tmp_path, other_way)[0, 1]
    assert np.array_equal(tensors.to_array(source), images.read(pairs[1].target.path, "right"))
    assert np.array_equal(tensors.to_array(target), images.read(pairs[1].target.path, "left"))
    assert len(list((tmp_path / "cache/pairs").glob("*.pixels"))) == 5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_any_kind_of_numbers(tmp_path: Path, folder: Path, dtype: str) -> None:
    entry = Entry((7, 3, 5), np.dtype(dtype))
    values = np.arange(5 * 7 * 3 * 5).reshape(5, 7, 3, 5).astype(dtype)
    for decode in (lambda index: values[index], None):
        opened = DiskCache(tmp_path / "cache", found(folder), entry)
        for index in (3, 0, 4, 1, 2, 3):
            assert np.array_equal(opened.pixels(index, decode), values[index])  # type: ignore[arg-type]


# ---- damage --------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_found(tmp_path: Path, folder: Path, decoded: Callable[[], int]) -> None:
    content(dataset(tmp_path, found(folder)))
    path = kept(tmp_path)
    whole = path.read_bytes()
    stride = (len(whole) - HEADER) // 5
    decoded()
    rng = np.random.default_rng(0)
    places = [HEADER + stride * 2 + int(place) for place in (0, stride - 1, stride - 9, *rng.integers(0, stride, 20))]
    for place in places:
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ 1]))
        assert content(dataset(tmp_path, found(folder))) == expected(folder)
        assert decoded() == 1, "the damage was found, and only it"
        assert path.read_bytes() == whole, "and made good"


def test_a_file_that_is_cut_or_foreign_is_made_anew(tmp_path: Path, folder: Path, decoded: Callable[[], int]) -> None:
    content(dataset(tmp_path, found(folder)))
    path = kept(tmp_path)
    whole = path.read_bytes()
    for other in (b"", whole[:-1], whole + b"x", b"x" * len(whole)):
        path.write_bytes(other)
        decoded()
        assert content(dataset(tmp_path, found(folder))) == expected(folder)
        assert decoded() == 5
        assert path.read_bytes() == whole


def test_a_file_that_is_cut_in_use_kills_nothing(tmp_path: Path, folder: Path) -> None:
    data = dataset(tmp_path, found(folder))
    content(data)
    os.truncate(kept(tmp_path), HEADER + 100)
    assert content(data) == expected(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_while_another_reads(tmp_path: Path, folder: Path) -> None:
    """A process that writes all the time is killed; what others see is right at each moment, and after it."""
    pairs, entry = found(folder), Entry((3, 200, 300), np.dtype(np.uint8))
    truth = np.random.default_rng(0).integers(0, 256, (len(pairs), *entry.shape), dtype=np.uint8)
    decoded = [0]

    def decode(index: int) -> cache.Array:
        decoded[0] += 1
        return truth[index]

    for moment in range(12):
        writer, reader = (DiskCache(tmp_path / "cache", pairs, entry) for _ in range(2))
        child = os.fork()
        if child == 0:
            while True:
                for index in range(len(pairs)):
                    writer._write(index, writer._key(index), truth[index])
        end = time.monotonic() + 0.05 + 0.003 * moment
        while time.monotonic() < end:
            assert all(np.array_equal(reader.pixels(index, decode), truth[index]) for index in range(len(pairs)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        after = DiskCache(tmp_path / "cache", pairs, entry)
        assert all(np.array_equal(after.pixels(index, decode), truth[index]) for index in range(len(pairs)))
    assert decoded[0] > 12, "the two were at it at the same time"


# ---- where there is no room ----------------------------------------------------------------------------------


def test_memory_then_disk_then_nothing(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 5 * 6 * SIZE * SIZE
    entry = Entry((6, SIZE, SIZE), np.dtype(np.uint8))
    for free, gigabytes, asked, kind, word in (
        (4 * needed, 1.0, "auto", "memory", "memory"),
        (4 * needed - 1, 1.0, "auto", "disk", str(tmp_path / "cache")),
        (4 * needed - 1, needed / 2e9, "auto", "none", "--cache-gigabytes"),
        (4 * needed - 1, 1.0, "memory", "none", "a quarter of the memory"),
        (4 * needed, needed / 2e9, "disk", "none", "--cache-gigabytes"),
        (4 * needed, 1.0, "none", "none", "none"),
    ):
        for workers, name in (("auto", "free_memory"), (2, "_free_shared_memory")):
            data = settings(tmp_path, cache=asked, cache_gigabytes=gigabytes, workers=workers)
            with monkeypatch.context() as patch:
                patch.setattr(cache, name, lambda free=free: free)
                choice = choose_cache(data, 5, entry)
                opened = open_cache(data, found(folder), entry, (None, None))
            assert choice.kind == kind
            assert word in choice.words
            assert {"memory": cache.MemoryCache, "disk": DiskCache, "none": type(None)}[kind] is type(opened)


def test_yes_and_no_of_earlier_files() -> None:
    assert [Data.model_validate({"cache": value}).cache for value in (True, False)] == ["auto", "none"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    choice = choose_cache(settings(tmp_path), 5, Entry((6, SIZE, SIZE), np.dtype(np.uint8)))
    assert choice.kind == "none"
    assert f"{tmp_path / 'cache'} cannot be written to" in choice.words
    (tmp_path / "cache").unlink()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/pairs").write_text("the same, found out later")
    data = dataset(tmp_path, found(folder))
    assert data.cache is None
    assert content(data) == expected(folder)
    (record,) = caplog.records
    assert str(tmp_path / "cache") in record.getMessage()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_fills_up_is_said_once(
    tmp_path: Path, folder: Path, decoded: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    """The third pair does not fit any more, half of it is written."""
    import resource

    data = dataset(tmp_path, found(folder))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEADER + 2 * (6 * SIZE * SIZE + 16) + 700, before[1]))
    try:
        seen = content(data), content(data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert seen == (expected(folder), expected(folder))
    assert [record.getMessage().count("no more decoded pairs can be kept") for record in caplog.records] == [1]
    assert decoded() == 5 + 3
    assert content(dataset(tmp_path, found(folder))) == expected(folder)
    assert decoded() == 3


def test_a_disk_nearly_full_is_left_to_others(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = dataset(tmp_path, found(folder))
    monkeypatch.setattr(cache, "RESERVE", 2**60)
    assert content(data) == expected(folder)
    assert [record.getMessage().count("is left on the disk") for record in caplog.records] == [1]
    assert set(kept(tmp_path).read_bytes()[HEADER:]) == {0}


def test_the_longest_unused_make_room(tmp_path: Path, folder: Path) -> None:
    pairs, entry = found(folder), Entry((6, SIZE, SIZE), np.dtype(np.uint8))
    size = HEADER + 5 * (entry.nbytes + 16)
    others = [pairs, pairs[::-1], pairs[1:] + pairs[:1], pairs[2:] + pairs[:2]]
    opened = [DiskCache(tmp_path / "cache", some, entry, limit=3 * size) for some in others[:3]]
    paths = [one.path for one in opened]
    (tmp_path / "cache/pairs/.x.pixels.1.partial").touch()
    for age, path in zip((30, 20, 10), paths, strict=True):
        os.utime(path, (time.time() - age,) * 2)
    with pytest.raises(OSError, match="beside what other runs use"):
        DiskCache(tmp_path / "cache", others[3], entry, limit=3 * size)
    for one in opened[1:]:
        one._file.close()
    DiskCache(tmp_path / "cache", others[3], entry, limit=3 * size)
    assert [path.exists() for path in paths] == [True, False, True], "the oldest is in use, the next oldest went"
    assert not list((tmp_path / "cache/pairs").glob("*.partial"))


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    assert cache._free_in_container(tmp_path, 7) == 7
    for name, text in [("memory.current", "60\n"), ("memory.stat", "anon 9\ninactive_file 25\nactive_file 5\n")]:
        (tmp_path / name).write_text(text)
    for limit, free in [("max", 7), ("100", 65)]:
        (tmp_path / "memory.max").write_text(limit + "\n")
        assert cache._free_in_container(tmp_path, 7) == free


def test_jitter_is_cut_from_what_is_kept(tmp_path: Path, folder: Path) -> None:
    pairs = found(folder)
    kinds = [
        make_dataset(pairs, settings(tmp_path, cache=kind), Augment(), (20, 19), 5)
        for kind in ("none", "memory", "disk")
    ]
    for key in [(epoch, index) for epoch in (0, 1, 0) for index in (4, 0)]:
        plain, *others = (data[key] for data in kinds)
        assert all(bool((plain[side] == other[side]).all()) for other in others for side in (0, 1))
