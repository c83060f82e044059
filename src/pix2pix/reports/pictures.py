"""Prepare pictures for pages: at most so many pixels, and difference maps on one colour scale."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pix2pix.data.io.arrays import Pixels
from pix2pix.metrics.error_map import Errors, Window
from pix2pix.text import LONG

LARGEST_SIDE = 512  # pixels of a picture on a page
COLOURS = "inferno"  # of differences: perceptually uniform, from black to pale yellow
UNKNOWN_COLOUR = np.full(3, 128, np.uint8)
LIMITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # shares of the full range at which a scale may end
COVERED = 0.99  # share of the pixels that are below the end of the scale


@dataclass(frozen=True)
class View:
    """An image on a page, (H, W, 1 or 3): the whole of it and its enlarged window, each shrunk if it is large."""

    whole: Pixels
    zoom: Pixels


@dataclass(frozen=True)
class ErrorView:
    """A difference map and its enlarged window."""

    whole: Errors
    zoom: Errors

    def draw(self, limit: float) -> View:
        """Colour both on a scale from 0 to `limit`."""
        return View(colour(self.whole, limit), colour(self.zoom, limit))


def view(image: Pixels, window: Window, *, labels: bool = False) -> View:
    """Prepare an image (H, W, 1 or 3); of label maps, pixels are dropped and not mixed."""
    return View(shrink(image, labels=labels), shrink(window.crop(image), labels=labels))


def error_view(errors: Errors, window: Window) -> ErrorView:
    """Prepare a difference map."""
    return ErrorView(shrink_errors(errors), shrink_errors(window.crop(errors)))


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Return the size at which an image is shown, with sides of at most LARGEST_SIDE."""
    factor = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def shrink(image: Pixels, *, labels: bool = False) -> Pixels:
    """Resize (H, W, 1 or 3) to the size at which it is shown."""
    size = shown_size(*image.shape[:2])
    if size == image.shape[:2]:
        return image
    drawn = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    filter_ = Image.Resampling.NEAREST if labels else Image.Resampling.LANCZOS
    return np.asarray(drawn.resize(size[::-1], filter_)).reshape(*size, image.shape[2])


def shrink_errors(errors: Errors) -> Errors:
    """Average (H, W) to the size at which it is shown; NaN where at least half of the pixels are unknown."""
    size = shown_size(*errors.shape)
    if size == errors.shape:
        return errors
    known = np.isfinite(errors)
    share, total = (
        np.asarray(Image.fromarray(part.astype(np.float32)).resize(size[::-1], Image.Resampling.BOX))
        for part in (known, np.where(known, errors, 0))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share > 0.5, total / share, np.float32(np.nan))


# ---- the colour scale of differences ---------------------------------------------------------------------------


def choose_limit(maps: Iterable[Errors]) -> float:
    """Return the first of LIMITS that is not exceeded by 99 % of the pixels of some difference maps together."""
    values = np.concatenate([np.zeros(1), *(errors[np.isfinite(errors)] for errors in maps)])
    reached = float(np.quantile(values, COVERED))
    return next(limit for limit in LIMITS if limit >= min(reached, LIMITS[-1]))


def colour(errors: Errors, limit: float) -> Pixels:
    """Draw differences (H, W) as (H, W, 3): black for 0, pale yellow from `limit` on, gray for unknown."""
    levels = np.rint(np.clip(np.nan_to_num(errors) / limit, 0, 1) * 255).astype(np.uint8)
    return np.where(np.isfinite(errors)[..., None], _colour_table()[levels], UNKNOWN_COLOUR)


def _colour_table() -> Pixels:
    """Return the colours of the scale, (256, 3)."""
    from matplotlib import colormaps  # it takes 26 MB

    return np.rint(colormaps[COLOURS](np.arange(256))[:, :3] * 255).astype(np.uint8)


@dataclass(frozen=True)
class Scale:
    """The legend of difference maps."""

    limit: float
    span: float | None  # width of the full range in the target's own units
    classes: bool  # whether a difference is another class
    unknown: bool  # whether some pixels are unknown

    @classmethod
    def of(cls, views: Sequence[ErrorView], *, classes: bool, span: float | None) -> "Scale":
        """Make one scale for some difference maps. Zooms do not count, since they are of the largest errors."""
        maps = [one.whole for one in views]
        unknown = any(bool(np.isnan(errors).any()) for errors in maps)
        return cls(1.0 if classes else choose_limit(maps), span, classes, unknown)

    @property
    def strip(self) -> Pixels:
        """The colours from 0 to the limit, (1, 256, 3)."""
        return _colour_table()[None]

    @property
    def ticks(self) -> list[str]:
        """The words below the strip, from left to right."""
        if self.classes:
            return ["right class", "wrong class"]
        return [self._tick(share) for share in (0, 0.5, 1)]

    def _tick(self, share: float) -> str:
        value = share * self.limit
        own = "" if self.span is None or not value else f" ({_format_own(value * self.span)})"
        return f"{value:g}{own}{' or more' if share == 1 and self.limit < 1 else ''}"


def _format_own(value: float) -> str:
    """Return `127.5`, `0.001234` or `32,768`."""
    return f"{value:,.0f}" if 1000 <= value < LONG else f"{value:.4g}"
