"""Pixels without data: the value that marks them, from settings or from the GDAL_NODATA tag of the files."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.config import Data
from pix2pix.config.fields import LARGEST_FLOAT, MaskValue
from pix2pix.data.encoding.ranges import type_bounds
from pix2pix.data.io import images
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.errors import DataError

Array = NDArray[Any]


def find_holes(values: Array, nodata: MaskValue | None) -> NDArray[np.bool_] | None:
    """Return where a source has no data: the value `nodata`, NaN and infinity; None without `nodata`."""
    if nodata is None:
        return None
    holes = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)
    return holes if isinstance(nodata, str) else holes | (values == nodata)


def with_tags(data: Data, pair: Pair) -> Data:
    """Take `nodata` and `mask_value` that are not set from the tags of the files of a pair.

    Of 8-bit images the tag is not taken: it often names black or white, which photos have too.
    """
    update: dict[str, Any] = {}
    settings = data.source_settings(len(pair.sources))
    for number, (part, ref) in enumerate(zip(settings, pair.sources, strict=True), start=1):
        if part.nodata is None and part.kind == "image" and (value := read_tag(ref)) is not None:
            if len(settings) == 1:
                update["nodata"] = value
            else:
                others = update.get("sources", data.sources)
                update["sources"] = {**others, str(number): part.model_copy(update={"nodata": value})}
    labels = data.target_kind == "labels"
    if data.mask_value is None and (value := read_tag(pair.target, labels=labels)) is not None:
        update["mask_value"] = value
    return data.model_copy(update=update) if update else data


def read_tag(ref: ImageRef, *, labels: bool = False) -> MaskValue | None:
    """Return the value in the GDAL_NODATA tag of a file; None without one, for 8 bits, and if no pixel can have it."""
    if not ref.file.lower().endswith((".tif", ".tiff")):
        return None
    try:
        value = float(images.read_surroundings(ref.path).nodata)
        facts = images.probe(ref.path, ref.view)
    except (ValueError, DataError):
        return None
    bounds = type_bounds(facts.dtype)
    if facts.dtype == "uint8" and not (labels and facts.channels == 1):
        return None
    if math.isnan(value):
        return "nan" if bounds is None else None
    low, high = bounds or (-LARGEST_FLOAT, LARGEST_FLOAT)
    return value if low <= value <= high and (bounds is None or value.is_integer()) else None
