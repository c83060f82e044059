"""Tools to draw on a float canvas of twice the image size: views of boxes, gradients, noise, masonry, materials."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pix2pix.synthetic.building import Box, Building

Canvas = npt.NDArray[np.float32]  # (h, w, 3) in [0, 1]; parts are views: drawing on a part changes the canvas
Field = npt.NDArray[np.float32]  # (h, w) or broadcast to it
Colour = tuple[float, float, float]
CREAM: Colour = (0.93, 0.91, 0.85)  # the light stripes of awnings
SCALE = 2  # canvas pixels per photo pixel: edges are smooth where a bar is thinner than a pixel


@dataclass(frozen=True)
class Materials:
    """Materials of one kind of building."""

    walls: tuple[Colour, ...]  # by the number of floors
    ground: Colour | None  # None: the ground floor is like the rest
    trim: Colour
    frame: Colour
    wood: Colour  # doors and shutters
    awning: Colour
    course: float = 0.0  # height of a brick or stone / height of a storey; 0 is plaster
    length: float = 1.0  # of a brick or stone / its height
    joint: float = 1.0  # brightness of the mortar
    rail: str = "bars"  # or "balusters", "panel"


MATERIALS = {
    "tenement": Materials(((0.56, 0.27, 0.2), (0.63, 0.36, 0.25), (0.47, 0.25, 0.21)), (0.4, 0.33, 0.29),
                     (0.78, 0.71, 0.6), (0.9, 0.88, 0.82), (0.2, 0.3, 0.24), (0.16, 0.38, 0.3),
                     course=0.075, length=2.6, joint=1.3),
    "palace": Materials(((0.88, 0.76, 0.5), (0.85, 0.62, 0.52), (0.68, 0.76, 0.6)), (0.66, 0.6, 0.52),
                   (0.93, 0.9, 0.82), (0.95, 0.94, 0.9), (0.36, 0.22, 0.14), (0.5, 0.12, 0.14),
                   rail="balusters"),
    "bank": Materials(((0.62, 0.61, 0.58), (0.66, 0.62, 0.54)), (0.5, 0.49, 0.47),
                 (0.72, 0.71, 0.67), (0.25, 0.24, 0.23), (0.24, 0.2, 0.16), (0.25, 0.27, 0.3),
                 course=0.2, length=2.2, joint=0.72),
    "block": Materials(((0.82, 0.82, 0.8), (0.76, 0.73, 0.66), (0.7, 0.75, 0.79), (0.84, 0.79, 0.68)),
                  (0.5, 0.5, 0.5), (0.6, 0.6, 0.6), (0.3, 0.31, 0.33), (0.3, 0.34, 0.38), (0.8, 0.45, 0.12),
                  rail="panel"),
    "villa": Materials(((0.92, 0.89, 0.82), (0.93, 0.83, 0.62), (0.85, 0.82, 0.78)), None,
                  (0.8, 0.76, 0.68), (0.94, 0.93, 0.9), (0.18, 0.4, 0.28), (0.7, 0.2, 0.16)),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Canvas, building and materials that a painter works with."""

    canvas: Canvas
    building: Building
    materials: Materials
    wall: Colour
    rng: np.random.Generator

    @property
    def storey(self) -> float:
        """Height of a storey in canvas pixels: the measure of bricks, shadows and bars."""
        return SCALE * self.building.storey

    def view(self, box: Box) -> Canvas:
        """Return the part of the canvas that a box covers."""
        return self.canvas[SCALE * box.top : SCALE * box.bottom, SCALE * box.left : SCALE * box.right]


def rgb(colour: Colour) -> Field:
    """Return a colour as an array (3,), to mix with a canvas."""
    return np.asarray(colour, np.float32)


def ramp(count: int, start: float, stop: float) -> Field:
    """Return (count,) numbers, evenly spaced from start to stop."""
    return np.linspace(start, stop, count, dtype=np.float32)


def down(canvas: Canvas, start: float, stop: float) -> Field:
    """Return (h, 1, 1) numbers from start at the top to stop at the bottom."""
    return ramp(canvas.shape[0], start, stop)[:, None, None]


def part(canvas: Canvas, top: float, left: float, bottom: float, right: float) -> Canvas:
    """Return a view of a part, given in shares of height and width; at least one pixel."""
    height, width = canvas.shape[:2]
    y, x = min(round(top * height), height - 1), min(round(left * width), width - 1)
    return canvas[y : max(y + 1, round(bottom * height)), x : max(x + 1, round(right * width))]


def clouds(rng: np.random.Generator, canvas: Canvas, cells: tuple[int, int]) -> Field:
    """Draw smooth noise (h, w, 1) of mean 0 and about unit variance, with one bump per cell of (rows, columns)."""
    height, width = canvas.shape[:2]
    coarse = rng.standard_normal(cells, np.float32) * 1.5
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32)[..., None]


def masonry(rng: np.random.Generator, canvas: Canvas, course: float, length: float, joint: float) -> Field:
    """Return the brightness (h, w, 1) of rows of bricks or stones, `course` canvas pixels high."""
    height, width = canvas.shape[:2]
    y, x = np.arange(height), np.arange(width)
    rows = (y / course).astype(int)
    stones = (x[None] / (course * length) + 0.5 * (np.arange(rows[-1] + 1) % 2)[:, None]).astype(int)
    tones = rng.normal(1, 0.07, (rows[-1] + 1, int(stones.max()) + 1)).astype(np.float32)
    courses = tones[np.arange(rows[-1] + 1)[:, None], stones]  # (rows, w): one line of pixels per course
    upright = np.diff(stones, axis=1, prepend=stones[:, :1]) > 0
    courses[upright] = joint
    light: Field = courses[rows]
    light[np.diff(rows, prepend=0) > 0] = joint
    return light[..., None]
