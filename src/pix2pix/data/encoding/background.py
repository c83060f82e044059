"""Transparent pixels over a colour: arrays (H, W, C) and opacity in, opaque arrays out."""

import numpy as np
from PIL import ImageColor

from pix2pix.data.io.arrays import Array
from pix2pix.errors import ConfigError

Colour = tuple[int, int, int]
"""Red, green, blue from 0 to 255."""
Limits = tuple[float, float]
"""Values of black and white; as opacity, of transparent and opaque."""
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue (ITU-R 601)."""


def parse_colour(text: str) -> Colour:
    """Read a name such as `white`, or `#rrggbb`. Raises ConfigError."""
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except (ValueError, AttributeError):  # of what is no text
        raise ConfigError(f"--background {text}: expected a colour, such as white or #20a040") from None
    return red, green, blue


def type_limits(values: Array) -> Limits:
    """Return the least and the greatest value of an integer type; 0 and 1 for floating numbers."""
    if values.dtype.kind == "f":
        return 0.0, 1.0
    limits = np.iinfo(values.dtype)
    return float(limits.min), float(limits.max)


def opacity_of(values: Array, limits: Limits) -> Array:
    """Return the last channel of (H, W, C) as (H, W, 1) from 0, transparent, to 1."""
    low, high = limits
    opacity: Array = (values[..., -1:].astype(np.float32) - low) / (high - low)
    return opacity


def lay_over(values: Array, opacity: Array, colour: Colour, limits: Limits) -> Array:
    """Blend (H, W, 1 or 3) with a colour where the opacity (H, W, 1), from 0 to 1, is less than 1."""
    shares = np.array(colour, np.float32) / 255
    behind = limits[0] + (limits[1] - limits[0]) * (shares if values.shape[2] == 3 else shares @ LUMINANCE)
    blended = values * opacity + behind.astype(np.float32) * (1 - opacity)
    return (blended if values.dtype.kind == "f" else np.rint(blended)).astype(values.dtype)
