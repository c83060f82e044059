"""Batches depend on (seed, epoch) alone: not on workers, cache or resuming; source and target stay in step."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from pix2pix.config import Augment, Data
from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import images
from pix2pix.data.io.arrays import with_channels
from pix2pix.data.loading import dataset as dataset_module
from pix2pix.data.loading import loader as loading
from pix2pix.data.loading.dataset import Batch, PairDataset, make_dataset
from pix2pix.data.loading.loader import PairLoader, make_loader
from pix2pix.data.loading.sampler import EpochSampler
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.data.transforms.augment import apply_augmentation, draw_augmentation, resize
from pix2pix.errors import DataError, RunError

SIZE, LOAD_SIZE = (16, 12), (20, 15)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Pair, ...]:
    """Seven pairs, each target the negative of its source, so that a step out of line shows."""
    rng = np.random.default_rng(0)
    for number in range(7):
        source = rng.integers(0, 256, (18, 14, 3), dtype=np.uint8)
        images.write(tmp_path / f"train/{number}.png", np.concatenate([source, 255 - source], axis=1))
    return find_pairs(Data(path=str(tmp_path), val_fraction=0, test_fraction=0)).splits["train"]


def dataset(pairs: Sequence[Pair], *, augment: Augment | None = None, **settings: object) -> PairDataset:
    data = Data.model_validate({"image_size": SIZE, "cache": "none", **settings})
    return make_dataset(pairs, prepare_data(data, pairs), data, augment, LOAD_SIZE, seed=3)


def loader(data: PairDataset, workers: int = 0, batch_size: int = 3, shuffle: bool = True) -> PairLoader:
    return make_loader(data, batch_size=batch_size, seed=3, workers=workers, shuffle=shuffle)


def same(some: Iterable[Batch], others: Iterable[Batch]) -> bool:
    def tensors(batches: Iterable[Batch]) -> Iterator[Tensor]:
        return (tensor for batch in batches for tensor in (batch.source, batch.target, batch.index))

    return all(torch.equal(a, b) for a, b in zip(tensors(some), tensors(others), strict=True))


# ---- order ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 99), st.data())
def test_every_pair_once_an_epoch(count: int, batch_size: int, epoch: int, data: st.DataObject) -> None:
    sampler = EpochSampler(count, batch_size=batch_size, seed=1)
    sampler.epoch = epoch
    whole = list(sampler)
    assert len(whole) == len(sampler)
    assert sorted(index for batch in whole for _, index in batch) == list(range(count))
    assert {part for batch in whole for part, _ in batch} == {epoch}
    assert all(len(batch) == batch_size for batch in whole[:-1])
    done = data.draw(st.integers(0, len(whole)))
    sampler.start = done * batch_size
    assert list(sampler) == whole[done:]
    assert len(sampler) == len(whole) - done


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 5), st.data())
def test_ranks_share_an_epoch(count: int, batch_size: int, ranks: int, data: st.DataObject) -> None:
    """Together they take the batches that one process would take, and go on alike after another number of ranks."""
    whole = list(EpochSampler(count, batch_size=batch_size * ranks, seed=1))
    samplers = [EpochSampler(count, batch_size=batch_size, seed=1, rank=rank, ranks=ranks) for rank in range(ranks)]
    parts = [[*sampler, *([[]] if sampler.last_part_is_empty else [])] for sampler in samplers]
    assert [[key for part in step for key in part] for step in zip(*parts, strict=True)] == whole
    assert all(len(part) - len(one) <= 1 for step in zip(*parts, strict=True) for part in step for one in step)
    assert [len(sampler) for sampler in samplers] == [sum(map(bool, part)) for part in parts]

    done = data.draw(st.integers(0, len(whole))) * batch_size * ranks
    alone = EpochSampler(count, batch_size=batch_size, seed=1)
    alone.start = done
    order = [key for batch in whole for key in batch]
    assert [key for batch in alone for key in batch] == order[done:]


def test_order_changes_with_epoch_and_seed() -> None:
    orders = set()
    for seed, epoch in [(0, 0), (0, 1), (1, 0)]:
        sampler = EpochSampler(50, batch_size=50, seed=seed)
        sampler.epoch = epoch
        orders.add(tuple(index for _, index in next(iter(sampler))))
    assert len(orders) == 3


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_workers_and_cache_change_nothing(pairs: tuple[Pair, ...], cache: str) -> None:
    alone = loader(dataset(pairs, augment=Augment()))
    expected = [list(alone.epoch(epoch)) for epoch in (0, 1)]
    assert not same(*expected)
    for workers in (0, 1, 2):
        data = dataset(pairs, augment=Augment(), cache=cache, workers=workers)
        assert ("none" if data.cache is None else "memory") == cache
        batches = loader(data, workers)
        for epoch in (0, 1, 0):
            assert same(batches.epoch(epoch), expected[epoch])
            assert same(batches.epoch(epoch, start=6), expected[epoch][2:])


def test_an_example_is_a_function_of_seed_epoch_and_index(pairs: tuple[Pair, ...]) -> None:
    twins = [pairs[0]] * 20  # so that only the draws differ
    data = dataset(twins, augment=Augment())

    def sources(epoch: int) -> Tensor:
        return torch.stack([data[epoch, index][0] for index in range(20)])

    assert torch.equal(sources(0), sources(0))
    assert not torch.equal(sources(0), sources(1))
    assert len({tuple(source.flatten().tolist()) for source in sources(0)}) > 10
    before = sources(0)
    data.seed += 1
    assert not torch.equal(sources(0), before)


def test_an_epoch_left_early_does_not_touch_the_next(pairs: tuple[Pair, ...]) -> None:
    for workers in (0, 1):
        batches = loader(dataset(pairs, augment=Augment()), workers)
        whole = list(batches.epoch(1))
        next(batches.epoch(0))
        assert same(batches.epoch(1), whole)


def test_loading_draws_nothing_from_the_global_generators(pairs: tuple[Pair, ...]) -> None:
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    for workers in (0, 1):
        list(loader(dataset(pairs, augment=Augment()), workers).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == before_numpy


# ---- what an example goes through ----------------------------------------------------------------------------

sides = st.integers(1, 400)


@given(sides, sides, st.integers(0, 50), st.integers(0, 50), st.integers(0, 2**32))
def test_draws_stay_inside(height: int, width: int, more_h: int, more_w: int, seed: int) -> None:
    load_size = (height + more_h, width + more_w)
    drawn = draw_augmentation(np.random.default_rng(seed), load_size, (height, width), Augment(flip=False))
    assert 0 <= drawn.top <= more_h
    assert 0 <= drawn.left <= more_w
    assert not drawn.flip


def test_draws_reach_every_place_and_both_sides() -> None:
    draws = {
        draw_augmentation(np.random.default_rng([seed]), (4, 5), (3, 3), Augment(flip=True)) for seed in range(300)
    }
    assert {(d.top, d.left, d.flip) for d in draws} == {
        (top, left, flip) for top in (0, 1) for left in (0, 1, 2) for flip in (False, True)
    }


def test_crop_and_mirror_by_hand() -> None:
    pixels = torch.arange(2 * 4 * 5, dtype=torch.uint8).reshape(2, 4, 5)
    for seed in range(20):
        drawn = draw_augmentation(np.random.default_rng(seed), (4, 5), (3, 2), Augment(flip=True))
        expected = pixels.numpy()[:, drawn.top : drawn.top + 3, drawn.left : drawn.left + 2]
        expected = expected[..., ::-1] if drawn.flip else expected
        assert np.array_equal(apply_augmentation(pixels.numpy(), drawn, (3, 2)), expected)


def test_resizing_agrees_with_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    tensor = tensors.channels_first(pixels).contiguous()
    assert resize(tensor, (40, 30)) is tensor
    for height, width in [(20, 15), (57, 43), (10, 60)]:
        expected = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        result = resize(tensor, (height, width)).permute(1, 2, 0).numpy()
        assert np.abs(result.astype(int) - expected).max() <= 1


def test_a_batch_is_what_it_is_made_of(pairs: tuple[Pair, ...]) -> None:
    """To the bit, the plain way: six channels at once, one pair after the other."""
    for batch in loader(dataset(pairs, augment=Augment())).epoch(2):
        for source, target, index in zip(batch.source, batch.target, batch.index.tolist(), strict=True):
            stacked = torch.cat([tensors.channels_first(side) for side in dataset_module.read_pair(pairs[index])])
            stacked = functional.resize(stacked, list(LOAD_SIZE), antialias=True)
            drawn = draw_augmentation(np.random.default_rng([3, 2, index]), LOAD_SIZE, SIZE, Augment(flip=True))
            crop = stacked[:, drawn.top : drawn.top + SIZE[0], drawn.left : drawn.left + SIZE[1]]
            expected = tensors.scale(crop.flip(-1) if drawn.flip else crop)
            assert torch.equal(torch.cat([source, target]), expected)


def test_bytes_become_the_same_numbers_by_both_ways() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    image = np.empty(every.shape, np.float32)
    tensors.scale_into(image, every)
    assert np.array_equal(image, tensors.scale(torch.from_numpy(every)).numpy())


def test_many_channels_are_resized_like_few() -> None:
    pixels = torch.randint(0, 256, (7, 30, 23), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for size in ((15, 40), (61, 9)):
        assert torch.equal(resize(pixels, size), torch.cat([resize(one[None], size) for one in pixels]))
        assert torch.equal(resize(pixels, size), functional.resize(pixels, list(size), antialias=True))


@pytest.mark.parametrize("augment", [None, Augment(), Augment(jitter=False), Augment(flip=False)])
def test_source_and_target_stay_in_step(pairs: tuple[Pair, ...], augment: Augment | None) -> None:
    for batch in loader(dataset(pairs, augment=augment)).epoch(0):
        assert batch.source.shape == batch.target.shape == (len(batch.index), 3, *SIZE)
        assert batch.source.dtype == torch.float32
        assert (batch.source + batch.target).abs().max() <= 2.1 / 127.5  # each rounded once by the resize


def test_validation_is_the_files_in_order(pairs: tuple[Pair, ...]) -> None:
    batches = list(loader(dataset(pairs, image_size=(18, 14)), shuffle=False).epoch(5))
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(7))
    for number, target in enumerate(torch.cat([batch.target for batch in batches])):
        pair = pairs[number]
        assert np.array_equal(tensors.to_array(target), images.read(pair.target.path, pair.target.half))


# ---- the cache -----------------------------------------------------------------------------------------------


def test_the_cache_decodes_once(pairs: tuple[Pair, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = dataset_module.read_pair

    def counted(pair: Pair, **alpha: object) -> object:
        read.append(pair.name)
        return original(pair, **alpha)

    monkeypatch.setattr(dataset_module, "read_pair", counted)
    batches = loader(dataset(pairs, augment=Augment(), cache="memory"))
    for epoch in range(3):
        list(batches.epoch(epoch))
    assert sorted(read) == [pair.name for pair in pairs]


def test_a_cache_goes_to_a_process_that_is_not_forked(pairs: tuple[Pair, ...]) -> None:
    whole = dataset(pairs, augment=Augment(), cache="memory")
    list(loader(whole).epoch(0))
    twin = pickle.loads(pickle.dumps(whole))
    assert same(loader(twin).epoch(1), loader(whole).epoch(1))


def test_workers_by_themselves() -> None:
    for cores, expected in [(1, 0), (2, 0), (3, 2), (64, 4)]:
        assert loading.choose_workers("auto", False, cores) == expected
        assert loading.choose_workers("auto", True, cores) == 0
        assert loading.choose_workers(3, True, cores) == 3


def test_loader_processes_that_are_not_forked(pairs: tuple[Pair, ...]) -> None:
    """They are spawned on Windows and macOS, and by a server on Linux from Python 3.14 on."""
    before, data = multiprocessing.get_start_method(), dataset(pairs, augment=Augment())
    multiprocessing.set_start_method("spawn", force=True)
    try:
        with closing(loader(data, workers=1)) as spawned:
            assert same(spawned.epoch(1), loader(data).epoch(1))
    finally:
        multiprocessing.set_start_method(before, force=True)


# ---- signals -------------------------------------------------------------------------------------------------

SIGNALLED = """
import signal, sys, time
from pix2pix.config import Augment, Data
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.loading.dataset import make_dataset
from pix2pix.data.loading.loader import make_loader
from pix2pix.data.pairing.pairs import find_pairs

seen = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: seen.append(number))
data = Data(path=sys.argv[1], image_size=16, cache="none", val_fraction=0, test_fraction=0)
pairs = find_pairs(data).splits["train"]
dataset = make_dataset(pairs, prepare_data(data, pairs), data, Augment(), (18, 18))
batches = make_loader(dataset, batch_size=1, workers=2, shuffle=True)
started = iter(batches.epoch(0))
next(started)
print("started", flush=True)
while len(seen) < 2:
    time.sleep(0.01)
print(1 + len(list(started)), len(list(batches.epoch(1))), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_signals_to_the_group_leave_the_loader_running(pairs: tuple[Pair, ...]) -> None:
    command = [sys.executable, "-W", "error", "-c", SIGNALLED, str(pairs[0].source.path.parents[1])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        for number in (signal.SIGINT, signal.SIGTERM):
            os.killpg(process.pid, number)
            time.sleep(0.2)
        output, errors = process.communicate(timeout=60)
    assert (output, errors, process.returncode) == ("7 7\n", "", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_killed_loader_process_is_replaced_once_an_epoch(pairs: tuple[Pair, ...]) -> None:
    data, said = dataset(pairs, augment=Augment()), list[str]()
    batches = loader(data, workers=1, batch_size=1)
    batches.say = said.append
    before = set(multiprocessing.active_children())
    seen: list[Batch] = []
    for epoch in range(2):
        for number, batch in enumerate(batches.epoch(epoch)):
            seen.append(batch)
            if number == 1:
                (worker,) = set(multiprocessing.active_children()) - before
                worker.kill()
                worker.join()
    calm = loader(data, batch_size=1)
    assert same(seen, [*calm.epoch(0), *calm.epoch(1)])
    assert [line.partition("(")[0] for line in said] == ["loader       a loader process was ended by SIGKILL "] * 2

    def kill_all() -> None:
        for _ in batches.epoch(2):
            for worker in set(multiprocessing.active_children()) - before:
                worker.kill()
                worker.join()

    with pytest.raises(RunError, match=r"SIGKILL again .* give fewer --workers"):
        kill_all()
    batches.close()
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), EOFError()])
def test_a_loader_process_that_dies_in_a_transfer_is_replaced(
    pairs: tuple[Pair, ...], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    data, said = dataset(pairs), list[str]()
    batches = loader(data, batch_size=1, workers=1)
    batches.say = said.append
    start = batches._start

    def broken() -> Iterator[Batch | DataError]:
        found = start()
        yield next(found)
        batches._processes[0].kill()
        monkeypatch.setattr(batches, "_start", start)
        raise error

    monkeypatch.setattr(batches, "_start", broken)
    assert same(list(batches.epoch(0)), [*loader(data, batch_size=1).epoch(0)])
    assert said == [
        "loader       a loader process was ended by SIGKILL (is the machine out of memory?); 1 started anew"
    ]
    batches.close()


# ---- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanishes_is_named(pairs: tuple[Pair, ...], workers: int) -> None:
    def message() -> str:  # an exception kept by the test would keep the loader until a garbage collection
        try:
            list(loader(dataset(pairs), workers).epoch(0))
        except DataError as error:
            return str(error)
        return ""

    path = pairs[4].source.path
    path.unlink()
    assert message() == f"{path}: cannot be read as an image (No such file or directory): remove or replace it"


def test_other_channels_are_converted_on_request_only(pairs: tuple[Pair, ...]) -> None:
    path = pairs[4].source.path
    colour = images.read(path)
    images.write(path, with_channels(colour, 1))
    with pytest.raises(DataError) as error:
        list(loader(dataset(pairs)).epoch(0))
    assert str(error.value) == (f"{path}: has 1 channel, expected 3; set --source-channels 1 or 3 to convert")
    for asked in (1, 3):
        converted = dataset(pairs, source_channels=asked, target_channels=4 - asked)
        assert (converted.source_channels, converted.target_channels) == (asked, 4 - asked)
        for batch in loader(converted).epoch(0):
            assert (batch.source.shape[1], batch.target.shape[1]) == (asked, 4 - asked)


def test_the_two_of_a_pair_have_one_size(tmp_path: Path) -> None:
    for side, width in (("A", 8), ("B", 9)):
        images.write(tmp_path / f"{side}/1.png", np.zeros((6, width, 1), np.uint8))
    found = find_pairs(Data(path=str(tmp_path), val_fraction=0, test_fraction=0)).splits["train"]
    with pytest.raises(DataError, match=r"A/1\.png: is 6x8 \(HxW\), but its target .*B/1\.png is 6x9"):
        dataset(found)[0, 0]
