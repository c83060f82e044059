"""What a file states beside its pixels: georeference, pixel size, axes, resolution, colour profile.

`tiff_surroundings.py` reads them from a TIFF, `tiff_writer.py` writes them. A translation gives them back where the
format of the output can hold them, and names the others.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pix2pix.data.io.integrity import PNG_START

Tag = tuple[int, int, int, Any]
"""Code, TIFF type, count and value."""

GDAL_METADATA, GDAL_NODATA = 42112, 42113
TIFF_SUFFIXES = (".tif", ".tiff")
SCREEN_DPI = (72, 96)
"""Resolutions that programs write when they know none; losing one is not worth a message."""

Scale = tuple[float, float]
"""Source pixels for each pixel of the output, (vertical, horizontal)."""


@dataclass(frozen=True)
class StoreAxis:
    """An axis of an OME-Zarr image."""

    name: str
    """t, c, z, y or x."""
    kind: str
    """As OME-NGFF calls it: time, channel or space."""
    unit: str = ""
    scale: float = 1.0
    """Size of a pixel in `unit`."""
    translation: float = 0.0
    """Place of the middle of the first pixel in `unit`."""

    def resized(self, factor: float) -> "StoreAxis":
        """Return the axis with pixels that are larger by a factor; the border of the picture stays."""
        return replace(self, scale=self.scale * factor, translation=self.translation + self.scale * (factor - 1) / 2)


@dataclass(frozen=True)
class Surroundings:
    """What a file states beside its pixels; empty fields where it states nothing."""

    geo: tuple[Tag, ...] = ()
    """GeoTIFF tags: pixel scale, tie points, transformation, keys."""
    nodata: str = ""
    """Value of unknown pixels, as GDAL writes it."""
    metadata: str = ""
    """GDAL's XML about the whole image."""
    kind: Literal["", "ome", "imagej"] = ""
    """Which of the metadata of microscopy a TIFF has."""
    planes: tuple[tuple[str, int], ...] = ()
    """Axis (T, Z, ...) and length of each axis of planes, the slowest first; none for a single picture."""
    voxel: tuple[float | None, float, float] | None = None
    """Size of a pixel in `unit`, (z, y, x)."""
    unit: str = ""
    interval: float | None = None
    """Seconds from one frame to the next."""
    channel_names: tuple[str, ...] = ()
    dpi: tuple[float, float] | None = None
    """Pixels per inch, (x, y)."""
    profile: bytes | None = None
    """ICC colour profile."""
    ngff: str = ""
    """Version of the metadata of an OME-Zarr image."""
    axes: tuple[StoreAxis, ...] = ()
    """Those of an OME-Zarr image, y and x last."""

    def of_channels(self, chosen: Sequence[str]) -> "Surroundings":
        """Return what is true of some channels, by number or by name; of all where none are chosen."""
        names = {str(number): name for number, name in enumerate(self.channel_names)}
        if not chosen or not names:
            return self
        return replace(self, channel_names=tuple(names.get(channel, channel) for channel in chosen))

    def resized(self, scale: Scale) -> "Surroundings":
        """Return what is true of the whole picture at another size: larger pixels where `scale` is above 1."""
        down, across = scale
        if scale == (1.0, 1.0):
            return self
        return replace(
            self,
            geo=tuple(_resize_geo(tag, scale) for tag in self.geo),
            voxel=self.voxel and (self.voxel[0], self.voxel[1] * down, self.voxel[2] * across),
            dpi=self.dpi and (self.dpi[0] / across, self.dpi[1] / down),
            axes=tuple(axis.resized({"y": down, "x": across}.get(axis.name, 1.0)) for axis in self.axes),
        )

    def fit(self, suffix: str, dtype: str, channels: int, bounds: tuple[float, float]) -> "tuple[Surroundings, Lost]":
        """Return what a file of this suffix and these values can hold, and what is lost, each with the reason.

        `bounds` are the least and the greatest value of the pixels.
        """
        drop: dict[str, Any] = {}
        lost: list[str] = []

        def leave_out(name: str, reason: str, **empty: Any) -> None:
            drop.update(empty)
            lost.append(f"{name} ({reason})")

        if suffix not in TIFF_SUFFIXES:
            holds_none = f"{suffix} holds none"
            if self.geo:
                leave_out("georeference", holds_none, geo=())
            if self.voxel is not None and suffix != ".zarr":  # which has it in its axes
                leave_out("pixel size", holds_none, voxel=None)
            if self.nodata:
                leave_out("nodata value", holds_none, nodata="")
            drop |= {"metadata": "", "kind": "", "interval": None}
            drop |= {} if suffix == ".zarr" else {"channel_names": ()}
        elif self.nodata and (reason := _why_no_nodata(self.nodata, dtype, bounds)):
            leave_out(f"nodata value {self.nodata}", reason, nodata="")
        if self.profile is not None and (suffix == ".npy" or suffix == ".bmp"):
            leave_out("colour profile", f"{suffix} holds none", profile=None)
        elif self.profile is not None and not _describes(self.profile, channels, dtype):
            leave_out("colour profile", "the outputs are not colours of its kind", profile=None)
        if self.dpi is not None and suffix in (".npy", ".webp"):
            drop["dpi"] = None
            if round(self.dpi[0]) not in SCREEN_DPI:
                leave_out("resolution", f"{suffix} holds none")
        return replace(self, **drop), tuple(lost)

    def pillow_options(self) -> dict[str, Any]:
        """Return options of Pillow's `save`."""
        options: dict[str, Any] = {} if self.profile is None else {"icc_profile": self.profile}
        return options if self.dpi is None else options | {"dpi": self.dpi}


Lost = tuple[str, ...]
"""What an output cannot hold, each in words with the reason."""
NOTHING = Surroundings()


def add_to_png(data: bytes, surroundings: Surroundings) -> bytes:
    """Insert the resolution and the colour profile into an encoded PNG that has none."""
    chunks = b""
    if surroundings.profile is not None:
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(surroundings.profile))
    if surroundings.dpi is not None:
        x, y = (round(value / 0.0254) for value in surroundings.dpi)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    end = len(PNG_START) + 25  # of IHDR
    return data[:end] + chunks + data[end:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _why_no_nodata(nodata: str, dtype: str, bounds: tuple[float, float]) -> str:
    """Return why pixels of a type, within the bounds, cannot have the nodata value as a mark; empty if they can."""
    try:
        value = float(nodata)
    except ValueError:
        return "it is no number"
    if bounds[0] <= value <= bounds[1]:  # never true of NaN
        return "it may be a pixel's value in the outputs"
    if np.dtype(dtype).kind == "f":
        return ""
    limits = np.iinfo(dtype)  # readers such as rasterio refuse a value beyond them
    return "" if value.is_integer() and limits.min <= value <= limits.max else f"{dtype} has no such value"


def _describes(profile: bytes, channels: int, dtype: str) -> bool:
    """Return whether an ICC profile is one of such pixels: colour or gray, of 8 or 16 bits."""
    return profile[16:20] == {1: b"GRAY", 3: b"RGB "}.get(channels) and dtype in ("uint8", "uint16")


def _resize_geo(tag: Tag, scale: Scale) -> Tag:
    """Change a GeoTIFF tag as the whole picture is resized."""
    code, kind, count, value = tag
    down, across = scale
    if code == 33550:  # ModelPixelScale: x, y, z
        value = (value[0] * across, value[1] * down, *value[2:])
    elif code == 33922:  # ModelTiepoint: column, row, level -> x, y, z
        value = tuple(number / (across, down, 1, 1, 1, 1)[at % 6] for at, number in enumerate(value))
    elif code == 34264:  # ModelTransformation, 4x4 by rows
        value = tuple(number * (across, down, 1, 1)[at % 4] for at, number in enumerate(value))
    return code, kind, count, value
