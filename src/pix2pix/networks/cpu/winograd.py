"""Convolutions with fewer products: Toom-Cook's algorithm along both axes of a map (Winograd 1980; Lavin, Gray 2016).

m outputs of a filter of r taps are a short polynomial product, which m + r - 1 multiplications determine where the sum
as it is written takes m·r: 2.6 times fewer for 2x2 outputs of 4x4 taps, 2.25 times for 3x3 outputs of 2x2 taps. For
tiles d of the input, the taps w and three small matrices: outputs = A'[(G w) * (B d)], each matrix applied along both
axes; products of different channels are summed before A, so that `*` is one matrix product for each point.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pix2pix.networks.cpu.gradients import weight_learns
from pix2pix.networks.cpu.im2col import new_map, nhwc

Kind = Literal["same", "down", "up"]
"""4x4, padding 1: stride 1, stride 2, or its transpose."""

# kind -> (taps, input phases, output phases) of an axis. Stride 2 reads every second pixel apart, as two phases with
# two taps each; its transpose writes two phases, each with two taps.
_FILTERS: dict[Kind, tuple[int, int, int]] = {"same": (4, 1, 1), "down": (2, 2, 1), "up": (2, 1, 2)}
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)
"""Where the polynomials are evaluated, besides at infinity; small numbers keep rounding small."""


def convolved(x: Tensor, weight: Tensor, kind: Kind, m: int) -> Tensor:
    """(N, C, H, W) float -> (N, O, H-1, W-1) for "same", (N, O, H/2, W/2) for "down", (N, O, 2H, 2W) for "up".

    weight is (O, C, 4, 4), or (C, O, 4, 4) for "up"; m is the width of a tile's outputs, for each output phase. Sides
    are even for "down". The same numbers as `conv2d` and `conv_transpose2d` with padding 1, up to rounding.
    """
    y: Tensor = _Toom.apply(x, weight, kind, m)
    return y


def transform(weight: Tensor, kind: Kind, m: int) -> Tensor:
    """Weights, as `convolved` takes them -> what `apply` takes: (m + taps - 1)² numbers for each taps² of them."""
    _, g, _ = _matrices(m, _FILTERS[kind][0], weight.dtype)
    return _points_of(weight, kind, g)


def apply(x: Tensor, points_w: Tensor, kind: Kind, m: int) -> Tensor:
    """`convolved` with weights that are transformed already, and without a gradient."""
    y, _ = _applied(_Tiles.of(x, kind, m), x, points_w)
    return y


class _Toom(torch.autograd.Function):
    """All linear, so that each step's adjoint, in reverse order, is the gradient, with as few products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kind: Kind, m: int) -> Tensor:
        tiles = _Tiles.of(x, kind, m)
        _, g, _ = _matrices(m, tiles.taps, x.dtype)
        y, points_x = _applied(tiles, x, _points_for(weight, kind, g))
        ctx.tiles, ctx.kind = tiles, kind
        ctx.save_for_backward(points_x, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        tiles: _Tiles = ctx.tiles
        points_x, weight = ctx.saved_tensors
        a, g, b = _matrices(tiles.m, tiles.taps, gradient.dtype)
        products = (a @ tiles.of_written(gradient)).view(tiles.points, tiles.total, -1)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = tiles.of_read(b.t() @ (products @ _points_for(weight, ctx.kind, g)).flatten(1))
        if weight_learns(ctx):
            of_points_w = products.transpose(1, 2) @ points_x  # (points, output phases x O, input phases x C)
            of_weight = _of_taps(g.t() @ of_points_w.flatten(1), ctx.kind, gradient.shape[1])
        return of_x, of_weight, None, None


def _applied(tiles: "_Tiles", x: Tensor, points_w: Tensor) -> tuple[Tensor, Tensor]:
    """The map, and the transformed input, (points, tiles, input phases x C)."""
    a, _, b = _matrices(tiles.m, tiles.taps, x.dtype)
    points_x = (b @ tiles.read(x).flatten(1)).view(tiles.points, tiles.total, -1)
    products = points_x @ points_w.transpose(1, 2)  # (points, tiles, output phases x O)
    return tiles.written(a.t() @ products.flatten(1)), points_x


class _Kept(threading.local):
    """The transform made last, and of which weights; nothing outside `keep_transform`."""

    keeps = False
    last: tuple[Tensor, tuple[Kind, int], Tensor] | None = None


_kept = _Kept()


@contextmanager
def keep_transform() -> Iterator[None]:
    """Within the block, what uses the same weights several times in a row transforms them once.

    D sees two pictures and learns from both. Whoever changes weights that are used again within the block calls
    `forget_transform`: a tensor does not tell, since fused optimisers count up no version. Only the last transform is
    kept, which is 4 times its weights; an earlier layer's is computed anew in the backward pass.
    """
    _kept.keeps = True
    try:
        yield
    finally:
        _kept.keeps = False
        forget_transform()


def forget_transform() -> None:
    """The weights have changed, or may have."""
    _kept.last = None


def _points_for(weight: Tensor, kind: Kind, g: Tensor) -> Tensor:
    """`_points_of`, or the one made last where it is of the same weights."""
    form, last = (kind, len(g)), _kept.last
    if last is not None and last[0] is weight and last[1] == form:
        return last[2]
    points = _points_of(weight, kind, g)
    if _kept.keeps:
        _kept.last = weight, form, points
    return points


def _points_of(weight: Tensor, kind: Kind, g: Tensor) -> Tensor:
    """(points, output phases x O, input phases x C)."""
    taps = _taps(weight, kind)
    rows = weight.shape[1] * 4 if kind == "up" else weight.shape[0]  # output phases x O
    return (g @ taps).view(len(g), rows, -1)


@functools.cache
def _matrices(m: int, taps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A (points, m x m), G (points, taps x taps), B (points, points), each for both axes at once.

    A polynomial's values at the points determine it; B is the transposed inverse of the matrix of powers.
    """
    points = _POINTS[: m + taps - 2]

    def powers(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([[point**power for power in range(count)] for point in points] + [[0.0] * (count - 1) + [1.0]])

    a, g, b = powers(m), powers(taps), np.linalg.inv(powers(m + taps - 1)).T
    scale = 2.0 ** np.round(np.log2(np.abs(b).max(axis=1, keepdims=True)))
    both = (np.kron(matrix, matrix) for matrix in (a, g * scale, b / scale))
    return tuple(torch.from_numpy(matrix).to(dtype) for matrix in both)  # type: ignore[return-value]


def _taps(weight: Tensor, kind: Kind) -> Tensor:
    """Weights -> (taps x taps, output phases x O x input phases x C), the filters of stride 1."""
    if kind == "up":  # outputs 2j - 1 and 2j are x[j-1] w[2] + x[j] w[0] and x[j-1] w[3] + x[j] w[1]
        c, o = weight.shape[:2]
        taps = weight.permute(2, 3, 1, 0).reshape(2, 2, 2, 2, o, c).flip(0, 2)
        return taps.permute(0, 2, 1, 3, 4, 5).reshape(4, -1)
    o, c = weight.shape[:2]
    if kind == "down":  # tap 2u + p of phase p is tap u
        return weight.permute(0, 2, 3, 1).reshape(o, 2, 2, 2, 2, c).permute(1, 3, 0, 2, 4, 5).reshape(4, -1)
    return weight.permute(2, 3, 0, 1).reshape(16, -1)


def _of_taps(taps: Tensor, kind: Kind, o: int) -> Tensor:
    """The adjoint of `_taps`, which only moves numbers: its inverse."""
    if kind == "up":
        return taps.view(2, 2, 2, 2, o, -1).flip(0, 1).permute(5, 4, 0, 2, 1, 3).reshape(-1, o, 4, 4)
    if kind == "down":
        return taps.view(2, 2, o, 2, 2, -1).permute(2, 5, 0, 3, 1, 4).reshape(o, -1, 4, 4)
    return taps.view(4, 4, o, -1).permute(2, 3, 0, 1)


@dataclass(frozen=True)
class _Tiles:
    """Where the tiles of a map lie: m outputs wide in each output phase, m + taps - 1 inputs in each input phase."""

    m: int
    taps: int
    inputs: int  # phases read
    outputs: int  # phases written
    n: int
    size: tuple[int, int]  # (H, W) of the input
    count: tuple[int, int]  # tiles (down, across)

    @classmethod
    def of(cls, x: Tensor, kind: Kind, m: int) -> "_Tiles":
        taps, inputs, outputs = _FILTERS[kind]
        size = (x.shape[2], x.shape[3])
        places = {"same": [s - 1 for s in size], "down": [s // 2 for s in size], "up": [s + 1 for s in size]}[kind]
        return cls(m, taps, inputs, outputs, x.shape[0], size, (-(-places[0] // m), -(-places[1] // m)))

    @property
    def width(self) -> int:
        """Inputs of a tile, in each phase."""
        return self.m + self.taps - 1

    @property
    def points(self) -> int:
        """Products of a tile, for each pair of channels."""
        return self.width**2

    @property
    def total(self) -> int:
        """Tiles of the batch."""
        return self.n * self.count[0] * self.count[1]

    def read(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (points, tiles, input phases x C): the tiles, which overlap by taps - 1."""
        padded = F.pad(nhwc(x), (0, 0, *self._margins()))
        return self._overlapping(padded).reshape(self.points, self.total, -1)

    def of_read(self, tiles: Tensor) -> Tensor:
        """The adjoint of `read`: where tiles overlap they are added."""
        height, width = self.size
        c = tiles.numel() // (self.points * self.total * self.inputs**2)
        top, bottom = (self._margins()[i : i + 2] for i in (2, 0))
        padded = tiles.new_zeros(self.n, height + sum(top), width + sum(bottom), c)
        target = self._overlapping(padded)
        parts = tiles.view(target.shape)
        starts = range(0, self.width, self.m)  # within these, tiles do not overlap
        for i in starts:
            for j in starts:
                target[i : i + self.m, j : j + self.m] += parts[i : i + self.m, j : j + self.m]
        x = new_map(tiles, (self.n, c, height, width))
        nhwc(x).copy_(padded[:, 1 : 1 + height, 1 : 1 + width])
        return x

    def written(self, outputs: Tensor) -> Tensor:
        """(m x m, tiles x output phases x O) -> the map, (N, O, H', W')."""
        down, across = self.count
        phases, m = self.outputs, self.m
        parts = outputs.view(m, m, self.n, down, across, phases, phases, -1)
        whole = parts.permute(2, 3, 0, 5, 4, 1, 6, 7).reshape(self.n, down * m * phases, across * m * phases, -1)
        first, (height, width) = self._outputs()
        y = new_map(outputs, (self.n, whole.shape[3], height, width))
        nhwc(y).copy_(whole[:, first : first + height, first : first + width])
        return y

    def of_written(self, gradient: Tensor) -> Tensor:
        """The adjoint of `written`."""
        down, across = self.count
        phases, m = self.outputs, self.m
        first, (height, width) = self._outputs()
        after = (across * m * phases - width - first, down * m * phases - height - first)
        whole = F.pad(nhwc(gradient), (0, 0, first, after[0], first, after[1]))
        parts = whole.view(self.n, down, m, phases, across, m, phases, -1)
        return parts.permute(2, 5, 0, 1, 4, 3, 6, 7).reshape(m * m, -1)

    def _outputs(self) -> tuple[int, tuple[int, int]]:
        """The first output that counts, since those of "up" begin at -1, and (H', W')."""
        height, width = self.size
        if self.outputs == 2:
            return 1, (2 * height, 2 * width)
        return (0, (height // 2, width // 2)) if self.inputs == 2 else (0, (height - 1, width - 1))

    def _margins(self) -> tuple[int, int, int, int]:
        """Zeros around the input as `F.pad` counts them: left, right, top, bottom."""
        across, down = ((count * self.m + self.taps - 1) * self.inputs for count in reversed(self.count))
        return 1, across - self.size[1] - 1, 1, down - self.size[0] - 1

    def _overlapping(self, padded: Tensor) -> Tensor:
        """A view of (N, H + margins, W + margins, C), (width, width, N, down, across, phases, phases, C)."""
        image, row, pixel, channel = padded.stride()
        width, step, phases = self.width, self.inputs, self.inputs
        return padded.as_strided(
            (width, width, self.n, *self.count, phases, phases, padded.shape[3]),
            (step * row, step * pixel, image, self.m * step * row, self.m * step * pixel, row, pixel, channel),
        )
