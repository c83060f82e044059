"""Read the sizes of pixels and the names of channels from OME-XML."""

from typing import Any

from pix2pix.data.io import metadata_xml

MICROMETRES = {"nm": 1e-3, "µm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


def read_channel_names(xml: str) -> tuple[str, ...]:
    """Read the names of the channels of the first image; none unless all have one. May raise any exception."""
    names = tuple(item.get("Name") or "" for item in _find_pixels(xml) if item.tag.endswith("Channel"))
    return names if all(names) else ()


def _find_pixels(xml: str) -> metadata_xml.Element:
    return next(item for item in metadata_xml.parse(xml).iter() if item.tag.endswith("Pixels"))


def read_ome(xml: str) -> dict[str, Any]:
    """Read the fields of `Surroundings` that the first image has. May raise any exception."""
    pixels = _find_pixels(xml)
    known: dict[str, Any] = {"channel_names": read_channel_names(xml)}
    sizes = {axis: pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"}
    units = {axis: pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"}
    if (interval := pixels.get("TimeIncrement")) and pixels.get("TimeIncrementUnit", "s") == "s":
        known["interval"] = float(interval)
    if sizes["X"] is None or sizes["Y"] is None:
        return known
    unit = units["X"]
    voxel = [None if sizes[axis] is None else float(sizes[axis] or 0) for axis in "ZYX"]
    for at, axis in enumerate("ZYX"):
        if (size := voxel[at]) is not None and units[axis] != unit:
            voxel[at] = size * MICROMETRES[units[axis]] / MICROMETRES[unit]
    return known | {"voxel": tuple(voxel), "unit": unit}
