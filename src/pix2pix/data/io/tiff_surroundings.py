"""Read what a TIFF states beside its pixels: GeoTIFF, OME, ImageJ, resolution, colour profile."""

import re
from pathlib import Path
from typing import Any

from pix2pix.data.io import metadata_xml
from pix2pix.data.io.ome import read_ome
from pix2pix.data.io.surroundings import GDAL_METADATA, GDAL_NODATA, NOTHING, Surroundings, Tag
from pix2pix.data.io.tiff import full_size_series, open_alone

GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)
ICC_PROFILE = 34675
MAX_TEXT = 2**20
"""Longer texts are no metadata of one picture."""
_INCHES = {2: 1.0, 3: 1 / 2.54}
"""Unit of the resolution tags -> its inches."""


def read(path: Path) -> Surroundings:
    """Read the surroundings of a TIFF. May raise any exception for a damaged one."""
    with open_alone(path) as tiff:
        series = full_size_series(tiff)[0]
        tags = series.keyframe.tags
        if tags.valueof(274, 1) not in (0, 1):  # turned: it is read upright, so its grid is not the output's
            return NOTHING
        found: dict[str, Any] = {
            "geo": tuple(_geo_tag(tags[code]) for code in GEO_TAGS if code in tags),
            "nodata": _text(tags.valueof(GDAL_NODATA, "")),
            "metadata": _of_whole_image(_text(tags.valueof(GDAL_METADATA, ""))),
            "profile": tags.valueof(ICC_PROFILE) or None,
        }
        resolution = _resolution(tags)
        if tiff.is_ome:
            found |= {"kind": "ome"} | read_ome(tiff.ome_metadata)
        elif tiff.is_imagej:
            found |= {"kind": "imagej"} | _read_imagej(tiff.imagej_metadata or {}, resolution)
        unit = int(tags.valueof(296, 2) or 2)
        known = resolution is not None and min(resolution) > 1  # 1 stands where programs know none
        if resolution is not None and known and unit in _INCHES and not tiff.is_imagej:
            found["dpi"] = (resolution[0] / _INCHES[unit], resolution[1] / _INCHES[unit])
        return Surroundings(**found)


def _geo_tag(tag: Any) -> Tag:
    return int(tag.code), int(tag.dtype), int(tag.count), tag.value


def _text(value: Any) -> str:
    return value.strip("\0 \n") if isinstance(value, str) and len(value) <= MAX_TEXT else ""


def _of_whole_image(xml: str) -> str:
    """Leave out what GDAL's metadata state of single bands: statistics, names and scales of the source's values."""
    if not xml:
        return ""
    root = metadata_xml.parse(xml)
    for item in list(root):
        if "sample" in item.attrib or item.get("name", "").startswith("STATISTICS_"):
            root.remove(item)
    return metadata_xml.write(root) if len(root) else ""


def _resolution(tags: Any) -> tuple[float, float] | None:
    """Return the pixels per unit, (x, y)."""
    pair = [tags.valueof(code) for code in (282, 283)]
    if not all(isinstance(value, tuple) and len(value) == 2 and min(value) > 0 for value in pair):
        return None
    (x, x_unit), (y, y_unit) = pair
    return x / x_unit, y / y_unit


def _read_imagej(metadata: dict[str, Any], resolution: tuple[float, float] | None) -> dict[str, Any]:
    spacing, interval = metadata.get("spacing"), metadata.get("finterval")
    unit = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda code: chr(int(code[1], 16)), str(metadata.get("unit") or ""))
    known: dict[str, Any] = {"unit": unit, "interval": interval}
    if resolution is None or (not unit and resolution == (1.0, 1.0)):
        return known
    return known | {"voxel": (None if spacing is None else float(spacing), 1 / resolution[1], 1 / resolution[0])}
