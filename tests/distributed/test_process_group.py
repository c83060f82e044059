"""Collectives and the synchronised norm, in three processes that the launcher starts."""

import functools
import itertools
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from pix2pix.distributed.environment import find_rank_info
from pix2pix.distributed.launcher import launch
from pix2pix.distributed.process_group import SINGLE_PROCESS, process_group
from pix2pix.errors import DataError
from pix2pix.networks import blocks

RANKS = 3
SIZES = [sizes for sizes in itertools.product(range(4), repeat=RANKS) if sum(sizes) > 1]
"""Of the parts that each rank has of one batch."""


class Passed(NamedTuple):
    """What came of passes through a norm."""

    output: Tensor
    d_input: Tensor
    d_weight: Tensor
    d_bias: Tensor
    state: dict[str, Tensor]


class Collected(NamedTuple):
    """What the ranks told each other."""

    ranks: list[int]
    decided: str
    largest: tuple[int, ...]
    sums: dict[str, float]
    mean: list[float]
    norms: dict[tuple[int, ...], list[Passed]]


@pytest.fixture(scope="module")
def collected() -> Collected:
    with pytest.MonkeyPatch.context() as patch:
        path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))  # where the ranks find this module
        patch.setenv("OMP_NUM_THREADS", "1")
        return launch(collect, RANKS, timeout=60, environment={})


def collect() -> Collected:
    """Call every collective in this rank."""
    info = find_rank_info(os.environ)
    assert info is not None
    with process_group(info, "cpu", 60) as group:
        rank = group.rank
        with pytest.raises(DataError if group.is_first else SystemExit):
            group.broadcast(functools.partial(fail, "no pairs"))
        mean = torch.tensor([float(rank), 1.0])
        group.all_reduce_mean_([mean])
        return Collected(
            group.all_gather(rank),
            group.broadcast(lambda: f"rank {rank}"),
            group.all_reduce_max(rank, -rank),
            group.all_reduce_sum({"g_l1": torch.tensor(rank / 2)}),
            mean.tolist(),
            {sizes: group.all_gather(pass_part(sizes, rank)) for sizes in SIZES},
        )


def fail(message: str) -> None:
    raise DataError(message)


def test_collectives(collected: Collected) -> None:
    assert collected[:5] == ([0, 1, 2], "rank 0", (2, 0), {"g_l1": 1.5}, [1.0, 1.0])


def test_a_single_process_keeps_what_it_has() -> None:
    assert SINGLE_PROCESS.is_first
    assert SINGLE_PROCESS.broadcast(lambda: 3) == 3
    assert SINGLE_PROCESS.all_reduce_max(1, 2) == (1, 2)
    assert SINGLE_PROCESS.all_gather("one") == ["one"]


# ---- batch norm over all processes -----------------------------------------------------------------------------


def batch(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """An input (N, 5, 3, 4) and the gradient of an output."""
    generator = torch.Generator().manual_seed(sum(sizes))
    x = torch.randn(sum(sizes), 5, 3, 4, generator=generator) * 2 + 3
    return x, torch.randn(x.shape, generator=generator)


def norm(kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    made = kind(5)
    with torch.no_grad():
        made.weight.copy_(torch.linspace(0.5, 2, 5))
        made.bias.copy_(torch.linspace(-1, 1, 5))
    return made


def through(layer: nn.BatchNorm2d, x: Tensor, dy: Tensor) -> Passed:
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    gradients: list[Any] = [x.grad, layer.weight.grad, layer.bias.grad]
    return Passed(y.detach(), *gradients, state=layer.state_dict())


def pass_part(sizes: tuple[int, ...], rank: int) -> Passed:
    """Pass this rank's part of a batch, forward and backward."""
    layer, (x, dy) = norm(blocks.BatchNorm), batch(sizes)
    blocks.synchronise_norm(layer)
    return through(layer, x.split(sizes)[rank], dy.split(sizes)[rank])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_synchronised_norm_is_the_norm_of_the_whole_batch(collected: Collected, sizes: tuple[int, ...]) -> None:
    expected, parts = through(norm(nn.BatchNorm2d), *batch(sizes)), collected.norms[sizes]
    found = [torch.cat([part[n] for part in parts]) for n in (0, 1)] + [sum(part[n] for part in parts) for n in (2, 3)]
    for ours, theirs in zip(found, expected[:4], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for part in parts:
        for name, value in expected.state.items():
            torch.testing.assert_close(part.state[name], value, rtol=1e-5, atol=1e-5)
