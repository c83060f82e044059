"""Resume a run with what it recorded about its data where the settings leave it open, whatever the defaults are now."""

from typing import Any

from pix2pix.config import Data, SourceSettings
from pix2pix.data.encoding.ranges import type_bounds


def keep_recorded(data: Data, recorded: Data) -> Data:
    """Return settings whose open ones become what a run recorded: planes, axes, and ranges of a whole integer type."""
    update: dict[str, Any] = {}
    if data.planes == "ask":
        update["planes"] = recorded.planes
    if data.npy_axes is None:
        update["npy_axes"] = recorded.npy_axes
    for side in ("source", "target"):
        bounds, dtype = getattr(recorded, f"{side}_range"), getattr(recorded, f"{side}_type")
        if getattr(data, f"{side}_range") is None and _is_whole_type(bounds, dtype):
            update[f"{side}_range"] = "type"
    wide = {number for number, part in recorded.sources.items() if _is_whole_type(part.range, part.type)}
    given = {number: data.sources.get(number, SourceSettings()) for number in recorded.sources}
    if open_ones := {number for number in wide if given[number].range is None}:
        changed = {number: given[number].model_copy(update={"range": "type"}) for number in open_ones}
        update["sources"] = {**data.sources, **changed}
    return data.model_copy(update=update)


def _is_whole_type(bounds: Any, dtype: str | None) -> bool:
    """Return whether a recorded range is that of its integer type."""
    return dtype is not None and isinstance(bounds, tuple) and set(bounds) == {type_bounds(dtype)}
