"""Winograd's convolution: fewer products by Toom-Cook interpolation (Winograd 1980; Lavin and Gray 2016).

Along an axis, `tile` outputs of a filter with r taps are a short polynomial product. It needs tile + r - 1
multiplications; the plain sum needs tile·r. Along both axes these are 2.6 times fewer for 2x2 outputs of 4x4 taps, and
2.25 times fewer for 3x3 outputs of 2x2 taps. With tiles d of the input, the taps w and three small matrices,

    outputs = A' [(G w) * (B d)],

where each matrix is applied along both axes. Products of the input channels are summed before A', so that `*` is one
matrix product for each interpolation point.
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

from pix2pix.networks.cpu.gradients import needs_weight_grad
from pix2pix.networks.cpu.im2col import empty_nhwc, nhwc

Kind = Literal["stride1", "transposed"]
"""A 4x4 convolution with padding 1: of stride 1, or the transpose of that of stride 2."""

# kind -> (taps, output phases) of an axis. A transposed convolution writes two phases, even and odd outputs, and each
# is a convolution with two of the four taps.
_FILTERS: dict[Kind, tuple[int, int]] = {"stride1": (4, 1), "transposed": (2, 2)}
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)
"""The polynomials are evaluated at these points and at infinity; small numbers keep rounding errors small."""


def convolve(x: Tensor, weight: Tensor, kind: Kind, tile: int) -> Tensor:
    """Convolve (N, C, H, W): the output is (N, O, H-1, W-1) for "stride1", (N, O, 2H, 2W) for "transposed".

    weight is (O, C, 4, 4), or (C, O, 4, 4) for "transposed"; `tile` is the number of outputs of a tile along an
    axis, in each output phase. The results are those of `conv2d` and `conv_transpose2d` with padding 1, up to rounding.
    """
    y: Tensor = _Winograd.apply(x, weight, kind, tile)
    return y


def transform_weight(weight: Tensor, kind: Kind, tile: int) -> Tensor:
    """Compute G w: (points, output phases x O, C), points / taps² times as large as the weights."""
    _, g, _ = _matrices(tile, _FILTERS[kind][0], weight.dtype)
    rows = weight.shape[1] * 4 if kind == "transposed" else weight.shape[0]  # output phases x O
    return (g @ _to_taps(weight, kind)).view(len(g), rows, -1)


def convolve_transformed(x: Tensor, transformed: Tensor, kind: Kind, tile: int) -> Tensor:
    """Compute `convolve` with the result of `transform_weight`, without gradients."""
    y, _ = _convolve(_Tiling.of(x, kind, tile), x, transformed)
    return y


class _Winograd(torch.autograd.Function):
    """Winograd's convolution. Every step is linear, so the gradients are the adjoint steps in reverse order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kind: Kind, tile: int) -> Tensor:
        ctx.tiling = _Tiling.of(x, kind, tile)
        y, x_points = _convolve(ctx.tiling, x, _transform_once(weight, kind, tile))
        ctx.save_for_backward(x_points, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        tiling: _Tiling = ctx.tiling
        x_points, weight = ctx.saved_tensors
        a, g, b = _matrices(tiling.tile, tiling.taps, gradient.dtype)
        products = (a @ tiling.scatter_adjoint(gradient)).view(tiling.points, tiling.total, -1)
        x_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            transformed = _transform_once(weight, tiling.kind, tiling.tile)
            x_grad = tiling.gather_adjoint(b.t() @ (products @ transformed).flatten(1))
        if needs_weight_grad(ctx):
            weight_points = products.transpose(1, 2) @ x_points  # (points, output phases x O, C)
            weight_grad = _from_taps(g.t() @ weight_points.flatten(1), tiling.kind, gradient.shape[1])
        return x_grad, weight_grad, None, None


def _convolve(tiling: "_Tiling", x: Tensor, transformed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output map and the transformed input B d, (points, tiles, C)."""
    a, _, b = _matrices(tiling.tile, tiling.taps, x.dtype)
    x_points = (b @ tiling.gather(x).flatten(1)).view(tiling.points, tiling.total, -1)
    products = x_points @ transformed.transpose(1, 2)  # (points, tiles, output phases x O)
    return tiling.scatter(a.t() @ products.flatten(1)), x_points


# ---- transformed weights that are used more than once ----------------------------------------------------------------


class _LastTransform(threading.local):
    """The newest transformed weight, and the weight, kind and tile from which it was computed."""

    reused = False
    key: tuple[Tensor, Kind, int] | None = None
    transformed: Tensor


_last = _LastTransform()


@contextmanager
def reuse_transforms() -> Iterator[None]:
    """Within the block, transform weights only once if they are used several times in a row, as D's in a training step.

    After a change of weights call `forget_transforms`; our optimisers do. (The version counter of a tensor does not
    help: torch's fused optimisers do not increase it.) Only the newest transform is kept, 4 times as large as its
    weights.
    """
    _last.reused = True
    try:
        yield
    finally:
        _last.reused = False
        forget_transforms()


def forget_transforms(*_: object) -> None:
    """Drop the kept transform, because weights have changed. Accepts any arguments, as a hook of an optimiser."""
    _last.key = None
    _last.__dict__.pop("transformed", None)


def _transform_once(weight: Tensor, kind: Kind, tile: int) -> Tensor:
    """Return `transform_weight`, or its kept result."""
    key = _last.key
    if key is not None and key[0] is weight and key[1:] == (kind, tile):
        return _last.transformed
    transformed = transform_weight(weight, kind, tile)
    if _last.reused:
        _last.key, _last.transformed = (weight, kind, tile), transformed
    return transformed


# ---- the three matrices, and taps --------------------------------------------------------------------------------


@functools.cache
def _matrices(tile: int, taps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (points, tile²), G (points, taps²) and B (points, points), each for both axes at once.

    The values of a polynomial at the points determine it: B is the transposed inverse of the matrix of their powers.
    """
    points = _POINTS[: tile + taps - 2]

    def powers(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([[point**power for power in range(count)] for point in points] + [[0.0] * (count - 1) + [1.0]])

    a, g, b = powers(tile), powers(taps), np.linalg.inv(powers(tile + taps - 1)).T
    scale = 2.0 ** np.round(np.log2(np.abs(b).max(axis=1, keepdims=True)))
    both = (np.kron(matrix, matrix) for matrix in (a, g * scale, b / scale))
    return tuple(torch.from_numpy(matrix).to(dtype) for matrix in both)  # type: ignore[return-value]


def _to_taps(weight: Tensor, kind: Kind) -> Tensor:
    """Reorder weights to (taps², output phases x O x C), the filters of stride 1."""
    if kind == "stride1":
        return weight.permute(2, 3, 0, 1).reshape(16, -1)
    # Outputs 2j - 1 and 2j are x[j-1] w[2] + x[j] w[0] and x[j-1] w[3] + x[j] w[1].
    c, o = weight.shape[:2]
    taps = weight.permute(2, 3, 1, 0).reshape(2, 2, 2, 2, o, c).flip(0, 2)
    return taps.permute(0, 2, 1, 3, 4, 5).reshape(4, -1)


def _from_taps(taps: Tensor, kind: Kind, o: int) -> Tensor:
    """Invert `_to_taps`. It only reorders numbers, so the inverse is also its adjoint."""
    if kind == "stride1":
        return taps.view(4, 4, o, -1).permute(2, 3, 0, 1)
    return taps.view(2, 2, 2, 2, o, -1).flip(0, 1).permute(5, 4, 0, 2, 1, 3).reshape(-1, o, 4, 4)


# ---- tiles -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tiling:
    """How a map is divided into tiles: `tile` outputs wide in each output phase, from tile + taps - 1 inputs."""

    kind: Kind
    tile: int
    n: int
    size: tuple[int, int]
    """(H, W) of the input."""
    count: tuple[int, int]
    """Tiles (down, across)."""

    @classmethod
    def of(cls, x: Tensor, kind: Kind, tile: int) -> "_Tiling":
        size = (x.shape[2], x.shape[3])
        down, across = (side - 1 if kind == "stride1" else side + 1 for side in size)  # outputs of a phase
        return cls(kind, tile, x.shape[0], size, (-(-down // tile), -(-across // tile)))

    @property
    def taps(self) -> int:
        """Taps along an axis, in each output phase."""
        return _FILTERS[self.kind][0]

    @property
    def phases(self) -> int:
        """Output phases along an axis."""
        return _FILTERS[self.kind][1]

    @property
    def width(self) -> int:
        """Inputs of a tile along an axis."""
        return self.tile + self.taps - 1

    @property
    def points(self) -> int:
        """Products in a tile, for each pair of channels."""
        return self.width**2

    @property
    def total(self) -> int:
        """Tiles in the batch."""
        return self.n * self.count[0] * self.count[1]

    def gather(self, x: Tensor) -> Tensor:
        """Return the inputs of the tiles, which overlap by taps - 1: (N, C, H, W) -> (points, tiles, C)."""
        (top, bottom), (left, right) = self._margins()
        padded = F.pad(nhwc(x), (0, 0, left, right, top, bottom))
        return self._overlapping(padded).reshape(self.points, self.total, -1)

    def gather_adjoint(self, tiles: Tensor) -> Tensor:
        """Add the tiles where they overlap: (points, tiles x C) -> (N, C, H, W)."""
        height, width = self.size
        c = tiles.numel() // (self.points * self.total)
        vertical, horizontal = self._margins()
        padded = tiles.new_zeros(self.n, height + sum(vertical), width + sum(horizontal), c)
        target = self._overlapping(padded)
        parts = tiles.view(target.shape)
        starts = range(0, self.width, self.tile)
        for i in starts:
            for j in starts:  # these parts of the tiles do not overlap
                rows, columns = slice(i, i + self.tile), slice(j, j + self.tile)
                target[rows, columns] += parts[rows, columns]
        x = empty_nhwc(tiles, (self.n, c, height, width))
        nhwc(x).copy_(padded[:, 1 : 1 + height, 1 : 1 + width])
        return x

    def scatter(self, outputs: Tensor) -> Tensor:
        """Join the tiles to a map: (tile², tiles x output phases x O) -> (N, O, H', W')."""
        (down, across), phases, tile = self.count, self.phases, self.tile
        parts = outputs.view(tile, tile, self.n, down, across, phases, phases, -1)
        whole = parts.permute(2, 3, 0, 5, 4, 1, 6, 7).reshape(self.n, down * tile * phases, across * tile * phases, -1)
        first, (height, width) = self._outputs()
        y = empty_nhwc(outputs, (self.n, whole.shape[3], height, width))
        nhwc(y).copy_(whole[:, first : first + height, first : first + width])
        return y

    def scatter_adjoint(self, gradient: Tensor) -> Tensor:
        """Divide a map into tiles: (N, O, H', W') -> (tile², tiles x output phases x O)."""
        (down, across), phases, tile = self.count, self.phases, self.tile
        first, (height, width) = self._outputs()
        right, bottom = across * tile * phases - width - first, down * tile * phases - height - first
        whole = F.pad(nhwc(gradient), (0, 0, first, right, first, bottom))
        parts = whole.view(self.n, down, tile, phases, across, tile, phases, -1)
        return parts.permute(2, 5, 0, 1, 4, 3, 6, 7).reshape(tile * tile, -1)

    def _outputs(self) -> tuple[int, tuple[int, int]]:
        """Return the first valid output (those of "transposed" begin at -1) and (H', W')."""
        height, width = self.size
        return (0, (height - 1, width - 1)) if self.kind == "stride1" else (1, (2 * height, 2 * width))

    def _margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the zeros around the input: (top, bottom), (left, right)."""
        down, across = (count * self.tile + self.taps - 1 for count in self.count)
        return (1, down - self.size[0] - 1), (1, across - self.size[1] - 1)

    def _overlapping(self, padded: Tensor) -> Tensor:
        """View (N, H + margins, W + margins, C) as (width, width, N, down, across, C)."""
        image, row, pixel, channel = padded.stride()
        return padded.as_strided(
            (self.width, self.width, self.n, *self.count, padded.shape[3]),
            (row, pixel, image, self.tile * row, self.tile * pixel, channel),
        )
