"""Write TIFF files of any type and number of channels, with what surrounds the pixels: GeoTIFF, OME, ImageJ."""

import io
import re
from typing import Any

import numpy as np

from pix2pix.data.io.arrays import Array
from pix2pix.data.io.surroundings import GDAL_METADATA, GDAL_NODATA, NOTHING, Surroundings

IMAGEJ_TYPES = ("uint8", "uint16", "int16", "float32")
IMAGEJ_BYTES = 2**31
"""An ImageJ file holds less than 4 GB."""


def encode_tiff(values: Array, surroundings: Surroundings = NOTHING) -> bytes:
    """Encode (H, W, C), or (planes, H, W, C) where the surroundings have planes, of any type as a TIFF file."""
    from tifffile import TiffWriter

    file = io.BytesIO()
    kind = written_kind(surroundings, values.dtype.name, values.nbytes)
    arranged, axes = arrange(values, surroundings, kind)
    options = write_options(values.shape[-1], values.dtype, axes, surroundings, kind)
    with TiffWriter(file, bigtiff=values.nbytes > 2**31, **container_options(kind)) as writer:
        writer.write(arranged, **options)
    return file.getvalue()


def write_options(
    channels: int, dtype: np.dtype[Any], axes: str, surroundings: Surroundings, kind: str
) -> dict[str, Any]:
    """Return options of `TiffWriter.write` for values with these axes, such as YXS."""
    colour = axes.endswith("S") and channels in (3, 4) and dtype in (np.uint8, np.uint16)
    options = {
        "photometric": "rgb" if colour else "minisblack",
        "planarconfig": "contig" if axes.endswith("S") else None,
        "extrasamples": ["unassalpha"] if colour and channels == 4 else None,
        "compression": "zlib",
        "metadata": None,
    }
    return options | _surrounding_options(surroundings, axes, kind, channels)


def container_options(kind: str) -> dict[str, Any]:
    """Return options of `TiffWriter` for a kind of metadata."""
    return {kind: True} if kind else {}


def written_kind(surroundings: Surroundings, dtype: str, size: int, *, by_rows: bool = False) -> str:
    """Return the kind of metadata of an output: OME where ImageJ's format cannot hold it, or for planes of none."""
    if surroundings.kind == "imagej" and dtype in IMAGEJ_TYPES and size < IMAGEJ_BYTES and not by_rows:
        return "imagej"
    return "ome" if surroundings.kind or surroundings.planes else ""


def _surrounding_options(surroundings: Surroundings, axes: str, kind: str, channels: int) -> dict[str, Any]:
    ascii_tags = ((GDAL_METADATA, surroundings.metadata), (GDAL_NODATA, surroundings.nodata))
    extra = [(*tag, True) for tag in surroundings.geo]
    extra += [(code, 2, len(text.encode()) + 1, text, True) for code, text in ascii_tags if text]
    options: dict[str, Any] = {"extratags": extra, "iccprofile": surroundings.profile}
    if surroundings.dpi is not None:
        options |= {"resolution": surroundings.dpi, "resolutionunit": "INCH"}
    if kind == "imagej":
        return options | _imagej_options(surroundings, axes)
    return options | ({"metadata": {"axes": axes} | _ome_metadata(surroundings, axes, channels)} if kind else {})


def _imagej_options(surroundings: Surroundings, axes: str) -> dict[str, Any]:
    """Return the options of ImageJ, which states pixels per unit in the resolution tags and cannot compress."""
    unit = "".join(letter if letter.isascii() else f"\\u{ord(letter):04X}" for letter in surroundings.unit)
    metadata: dict[str, Any] = {"axes": axes, "unit": unit, "finterval": surroundings.interval}
    options: dict[str, Any] = {"compression": None, "planarconfig": None}
    if surroundings.voxel is not None:
        z, y, x = surroundings.voxel
        metadata["spacing"] = z
        options |= {"resolution": (1 / x, 1 / y), "resolutionunit": "NONE"}
    return options | {"metadata": {name: value for name, value in metadata.items() if value not in (None, "")}}


def _ome_metadata(surroundings: Surroundings, axes: str, channels: int) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if surroundings.voxel is not None:
        unit = _ome_unit(surroundings.unit)
        for axis, size in zip("ZYX", surroundings.voxel, strict=True):
            if size is not None:
                known |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
    if surroundings.interval is not None:
        known |= {"TimeIncrement": surroundings.interval, "TimeIncrementUnit": "s"}
    names = surroundings.channel_names
    counted = channels if "C" in axes else 1  # samples of one pixel are one channel
    return known | ({"Channel": {"Name": list(names)}} if names and len(names) == counted else {})


def _ome_unit(unit: str) -> str:
    """Return the unit as OME names it; ImageJ writes micrometres in several ways."""
    return "µm" if re.fullmatch(r"um|µm|microns?", unit) else unit or "pixel"


def arrange(values: Array, surroundings: Surroundings, kind: str) -> tuple[Array, str]:
    """Arrange (H, W, C) or (planes, H, W, C) as tifffile writes them; return them and their axes."""
    channels = values.shape[-1]
    colour = channels in (3, 4) and values.dtype in (np.uint8, np.uint16)
    if kind == "imagej":
        colour = channels == 3 and values.dtype == np.uint8
    if channels == 1:
        values, axes = values[..., 0], "YX"
    elif colour or not kind:
        axes = "YXS"
    else:
        values, axes = np.moveaxis(values, -1, -3), "CYX"
    if surroundings.planes:
        values = values.reshape(*(length for _, length in surroundings.planes), *values.shape[1:])
        axes = "".join(axis for axis, _ in surroundings.planes) + axes
    return np.ascontiguousarray(values), axes
