"""Apply the settings of files that hold more than one picture: chosen channels, planes of stacks, axes of arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import product

from pix2pix.config import Data
from pix2pix.data.io.view import Half, Planes, View, count_planes
from pix2pix.data.pairing.pair import ImageRef, Pair, Unmatched
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_list


def apply_views(pairs: Sequence[Pair], data: Data) -> tuple[list[Pair], list[Unmatched]]:
    """Return the pairs as the settings see their files, one for each plane with `planes: pictures`.

    The second result names files whose planes do not match. Raises ConfigError or DataError.
    """
    chosen = (data.source_from or (), data.target_from or ())
    if not (any(chosen) or data.npy_axes or data.planes != "ask" or data.exif == "ignore"):
        return list(pairs), []
    if data.source_from and any(pair.more for pair in pairs):
        raise ConfigError("data.source_from is for one source, but these pairs have several: leave it out")
    stacked, axes, stored = data.planes == "channels", data.npy_axes or "", data.exif == "ignore"

    @cache
    def make(half: Half | None, channels: tuple[str, ...]) -> View:
        return View(half, stacked=stacked, channels=channels, axes=axes, stored=stored)

    def see(pair: Pair) -> Pair:
        both = holds_both(pair, data)
        refs = [ImageRef(ref.file, make(None if both else ref.half, chosen[ref is pair.target])) for ref in pair.refs]
        return Pair(pair.name, refs[0], refs[-1], tuple(refs[1:-1]))

    seen = [see(pair) for pair in pairs]
    return _split_stacks(seen) if data.planes == "pictures" else (seen, [])


def holds_both(pair: Pair, data: Data) -> bool:
    """Return whether one file holds source and target as channels, and not side by side."""
    return bool(data.source_from and data.target_from) and pair.source.file == pair.target.file


def describe_views(data: Data) -> str:
    """Say which channels of one file are source and target."""
    source, target = (format_list(chosen or ()) for chosen in (data.source_from, data.target_from))
    return f"source (channels {source}) and target (channels {target}) in one file"


def _split_stacks(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Unmatched]]:
    """Make a pair of each plane of stacks. Raises DataError for two pairs of one name."""
    result: list[Pair] = []
    unmatched: list[Unmatched] = []
    for pair in pairs:
        planes = [_planes_of(ref) for ref in pair.refs]
        others = [number for number, of in enumerate(planes) if count_planes(of) != count_planes(planes[-1])]
        if others:
            ref, target = pair.refs[others[0]], pair.target.path
            has, wanted = count_planes(planes[others[0]]), count_planes(planes[-1])
            reason = (
                f"has planes: {has}, but its target {target} has {wanted}: --planes pictures pairs them one by one, so "
                "save both with as many, or move both files out of the data; where every pair is like this, give "
                "--planes channels, which makes the planes of a file its channels"
            )
            unmatched.append(Unmatched(ref.path, reason))
        else:
            result += _pairs_of_planes(pair, planes[-1])
    names = [pair.name for pair in result]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two pairs have the name {twice}, one of them a plane of a stack: rename the files of one")
    return result, unmatched


def _planes_of(ref: ImageRef) -> Planes:
    """Return the planes of a file; none for one that cannot be read, which is reported when it is."""
    from pix2pix.data.io.images import find_planes  # imports numpy, which most data sets do not need here

    try:
        return find_planes(ref.path, ref.view.axes)
    except DataError:
        return ()


@lru_cache(maxsize=10_000)
def _plane_of(view: View, number: int) -> View:
    """Return the view of a plane, one object for all files: there may be millions of pairs."""
    return replace(view, plane=number)


def _pairs_of_planes(pair: Pair, planes: Planes) -> Iterator[Pair]:
    if not planes:
        yield pair
        return
    places = product(*(range(length) for _, length in planes))
    for number, place in enumerate(places):
        at = "".join(
            f"_{axis.lower()}{index:0{len(str(length - 1))}}"
            for (axis, length), index in zip(planes, place, strict=True)
        )
        source, *more, target = (ImageRef(ref.file, _plane_of(ref.view, number)) for ref in pair.refs)
        yield Pair(f"{pair.name}{at}", source, target, tuple(more))
