"""The sources of a pair, one or several: settings and files in, how the values of each become channels out.

Several are stacked by channel in their order, each with a type, a range and a kind of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from pix2pix.config import Data, SourceSettings, source_prefix
from pix2pix.data.encoding.labels import Labels, part_labels
from pix2pix.data.encoding.ranges import Values, part_values
from pix2pix.data.io.file_facts import cache_folder
from pix2pix.data.pairing.pair import Pair
from pix2pix.errors import DataError
from pix2pix.text import format_count


class Source(NamedTuple):
    """One source of a pair, or the only one."""

    values: Values | Labels
    channels: int
    """Of its files."""

    @property
    def width(self) -> int:
        """Channels that networks see: those of the files, or one for each class."""
        return len(self.values.classes) if isinstance(self.values, Labels) else self.channels

    def describe(self) -> str:
        """`3 channels of uint8 from 0 to 255`."""
        if isinstance(self.values, Labels):
            return self.values.describe()
        return f"{self.channels} channel{'s' if self.channels > 1 else ''} of {self.values.describe()}"


def known_sources(data: Data) -> tuple[Source, ...]:
    """As settled by a training; models of before these were settings translate 8-bit pictures."""
    return tuple(_known(part) for part in data.source_settings(max(1, len(data.sources))))


def _known(part: SourceSettings) -> Source:
    assert part.channels is not None
    assert not isinstance(part.range, str), "a card is checked when it is read"
    if part.kind == "labels":
        return Source(Labels(part.labels or (), part.label_tolerance), part.channels)
    if part.type is None or part.range is None:
        return Source(Values.of_type("uint8"), part.channels)
    return Source(Values(part.type, part.range), part.channels)


def values_of_sources(
    data: Data, pairs: Sequence[Pair], progress: Callable[[int, int], None] | None = None
) -> tuple[Values | Labels, ...]:
    """Of each source, with ranges and classes measured on `pairs` where the settings leave them open.

    Raises DataError or ConfigError.
    """
    count = len(pairs[0].sources)
    found: list[Values | Labels] = []
    for place, part in enumerate(data.source_settings(count)):
        refs = [pair.sources[place] for pair in pairs]
        if part.kind == "labels":
            found.append(part_labels(part, refs, source_prefix(place + 1, count), progress))
        else:
            prefix, folder = source_prefix(place + 1, count), cache_folder(data)
            found.append(part_values(part, refs, prefix, memory=folder, progress=progress))
    return tuple(found)


def settled(data: Data, values: Iterable[Values | Labels]) -> Data:
    """The settings with the types, ranges and classes that were found of each source."""
    found = list(values)
    update: list[dict[str, Any]] = [
        {"labels": one.classes} if isinstance(one, Labels) else {"range": one.bounds, "type": one.dtype}
        for one in found
    ]
    if len(found) == 1:
        return data.model_copy(update={f"source_{name}": value for name, value in update[0].items()})
    parts = zip(data.source_settings(len(found)), update, strict=True)
    return data.model_copy(
        update={"sources": {str(n): part.model_copy(update=new) for n, (part, new) in enumerate(parts, start=1)}}
    )


def refuse_other_count(pairs: Sequence[Pair], wanted: int) -> None:
    """Raises DataError where pairs have other than `wanted` sources."""
    has = len(pairs[0].sources)
    if has != wanted:
        raise DataError(
            f"{pairs[0].source.path}: the pairs have {format_count(has, 'source')} each, "
            f"but the model was trained on {wanted}"
        )
