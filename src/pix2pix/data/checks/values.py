"""Say what the values of a side look like: pixels without data, few values, unused bits; and what to type."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pix2pix.config import Data, SourceSettings, source_prefix
from pix2pix.config.fields import MaskValue
from pix2pix.data.encoding.ranges import type_bounds

NARROW = 32
"""Values of an integer type that lie within this many levels are far narrower than the type."""
FAR = 3.0
"""A value is far outside if its distance from all others is more than this many times their span."""
LEAST_SHARE = 1e-3
"""Share of the values from which one far outside may mark pixels without data; hot pixels are fewer."""
BITS = (10, 12, 14)
"""Of cameras and detectors, stored in 16 bits."""


class End(NamedTuple):
    """The least or the greatest value, how many values are equal to it, and the value next to it, if there is one."""

    value: float
    times: int
    next: float | None

    def join(self, other: "End", sign: int) -> "End":
        """Return the end of both together; `sign` is 1 for the least value and -1 for the greatest."""
        first, last = (self, other) if sign * self.value <= sign * other.value else (other, self)
        same = first.value == last.value
        inside = [value for value in (first.next, last.next if same else last.value) if value is not None]
        nearest = min(inside, key=lambda value: sign * value) if inside else None
        return End(first.value, first.times + (last.times if same else 0), nearest)


class SideValues(NamedTuple):
    """The values of one side."""

    name: str  # `source`, `source 2` or `target`
    prefix: str  # of the names of its settings
    dtype: str
    settings: SourceSettings
    nodata: MaskValue | None  # that marks pixels without data, from the settings or a tag
    tagged: bool  # whether it is from a tag
    lowest: End  # of the finite values
    highest: End
    size: int  # number of values
    not_finite: int
    transparent: int  # images

    @property
    def flag(self) -> str:
        """The beginning of its flags."""
        return "--" + self.prefix.replace("_", "-")

    @property
    def nodata_flag(self) -> str:
        """The flag for the value of pixels without data."""
        return {"target_": "--mask-value", "source_": "--nodata"}.get(self.prefix, f"{self.flag}nodata")

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value, without pixels that have no data."""
        low = self.lowest.next if self.lowest.value == self.nodata else self.lowest.value
        high = self.highest.next if self.highest.value == self.nodata else self.highest.value
        low, high = (self.lowest.value if low is None else low), (self.highest.value if high is None else high)
        return low, high

    @property
    def without_data(self) -> int:
        """How many values mark pixels without data, where these are the least or the greatest."""
        times = sum({end: end.times for end in (self.lowest, self.highest) if end.value == self.nodata}.values())
        return times + (self.not_finite if self.nodata == "nan" or self.prefix != "target_" else 0)

    @property
    def narrow(self) -> bool:
        """Whether integers, not known to be classes, lie within far fewer levels than their type has."""
        return self.settings.kind == "image" and self.dtype != "float32" and _is_narrow(*self.bounds)

    @property
    def aside(self) -> End | None:
        """The least or greatest value, far outside all others, which alone are narrow: 255 beside classes 0 to 5."""
        for end, other in ((self.lowest, self.highest), (self.highest, self.lowest)):
            if end.next is None or self.nodata in (end.value, other.value):
                continue
            low, high = sorted((end.next, other.value))
            if _is_narrow(low, high) and abs(end.next - end.value) > max(NARROW, FAR * (high - low)):
                return end
        return None

    @property
    def question(self) -> str | None:
        """What to ask about a target of few values, which may be classes or a quantity; None if it is clear."""
        if self.settings.kind != "image" or self.dtype == "float32" or self.settings.range is not None:
            return None
        if self.narrow:
            return _ask_for_kind(self.dtype, *self.bounds)
        if self.aside is None or self.aside.next is None:
            return None
        value, (low, high) = self.aside.value, self.bounds
        bounds = (low, self.aside.next) if value == high else (self.aside.next, high)
        return _ask_for_kind(self.dtype, *bounds, f" and {value:g}") + (
            f"; in both cases also {self.nodata_flag}={value:g} if that marks pixels without data"
        )


def _is_narrow(low: float, high: float) -> bool:
    return 0 < high - low < NARROW


def describe_values(side: SideValues) -> Iterator[str]:
    """Yield notes on the values of one side."""
    if side.transparent and side.settings.kind == "labels":
        yield f"{side.name}: transparency is ignored ({side.transparent:,} files); the colours of label maps are enough"
    if side.nodata is not None:
        if side.without_data or not side.tagged:
            yield _describe_nodata(side)
    elif (suspect := find_suspect(side)) is not None:
        yield (
            f"{side.name}: {suspect.value:.9g} stands in {suspect.times:,} of {side.size:,} values, far outside the "
            f"others: if it marks pixels without data, give {side.nodata_flag}={suspect.value:.9g}"
        )
    if side.settings.range is None and side.settings.kind == "image":
        yield from _describe_span(side)


def _describe_nodata(side: SideValues) -> str:
    fill = side.settings.fill
    value = side.nodata if isinstance(side.nodata, str) else f"{side.nodata:.9g}"
    origin = "by the tag GDAL_NODATA" if side.tagged else "as set"
    then = f"filled with {fill if isinstance(fill, str) else f'{fill[0]:g}'} ({side.flag}fill)"
    then = "left out of losses, metrics and ranges" if side.prefix == "target_" else then
    count = f"{side.without_data:,} of {side.size:,} values"
    return f"{side.name}: {value} marks pixels without data, {origin}; {count}, {then}"


def find_suspect(side: SideValues) -> End | None:
    """Return an extreme value that repeats exactly, far outside all others: it may mark pixels without data."""
    for end, other in ((side.lowest, side.highest), (side.highest, side.lowest)):
        if end.next is None or end.times < max(2, LEAST_SHARE * side.size):
            continue
        gap, span = abs(end.next - end.value), abs(other.value - end.next)
        is_class = side.dtype == "uint8" or side.settings.kind == "labels"
        if is_class and not (end.value == 255 and 0 < span < NARROW):
            continue
        if span > 0 and gap > FAR * span:
            return end
    return None


def _describe_span(side: SideValues) -> Iterator[str]:
    """Yield notes on values that are narrower than their type."""
    low, high = side.bounds
    bits = int(high).bit_length()
    if side.narrow and side.prefix != "target_":
        yield (
            f"{side.name}: {side.dtype} values from {low:g} to {high:g} only, which are taken as the range; if they "
            f"are classes, give {side.flag}kind labels"
        )
    elif side.dtype == "uint16" and bits in BITS and low >= 0:
        yield (
            f"{side.name}: values fit in {bits} of 16 bits; the measured range is taken, "
            f"{side.flag}range=0,{2**bits - 1} takes all {bits} bits"
        )
    elif side.dtype == "float32" and 0 <= low < high <= 1 and high - low > 0.5 and (low, high) != (0, 1):
        yield (
            f"{side.name}: values lie between 0 and 1; the measured range, {low:g} to {high:g}, is taken, "
            f"{side.flag}range=0,1 takes all of it"
        )


def _ask_for_kind(dtype: str, low: float, high: float, aside: str = "") -> str:
    limits = type_bounds(dtype)
    whole = "" if limits is None else f" of {limits[0]:g} to {limits[1]:g}"
    return (
        f"the targets are {dtype} but hold only values from {low:g} to {high:g}{aside}{whole}: give "
        "--target-kind labels if these are classes, or --target-range measured if they are a quantity"
    )


def side_settings(data: Data, sources: int) -> Sequence[tuple[str, SourceSettings, MaskValue | None]]:
    """Return (prefix, settings, value of pixels without data) of each source and of the target."""
    settings = data.source_settings(sources)
    of_sources = [(source_prefix(n, sources), part, part.nodata) for n, part in enumerate(settings, start=1)]
    return [*of_sources, ("target_", data.target_settings, data.mask_value)]
