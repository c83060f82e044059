"""Find the pairs of a folder or manifest in any known layout, by split; files are opened only to count planes."""

import errno
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pix2pix.config import Data
from pix2pix.data.pairing.layouts import find_layout
from pix2pix.data.pairing.matching import match_layout
from pix2pix.data.pairing.pair import SPLITS, Ignored, Pair, Unmatched
from pix2pix.data.pairing.views import apply_views, describe_views, holds_both
from pix2pix.errors import DataError
from pix2pix.text import escape_unprintable, format_count, format_examples

_CONTENTS = "contents-"
"""Start of a fingerprint that covers contents: contents-HASH-SIZES, where SIZES is a fingerprint as of version 0.1."""


@dataclass(frozen=True)
class PairSet:
    """All pairs of a data set by split, each split in natural order of names (2 before 10)."""

    splits: dict[str, tuple[Pair, ...]]
    """`train`, `val`, `test`: those that exist or were carved, never an empty one."""
    carved: tuple[str, ...]
    """Splits that were taken out of `train`, because the data have no folder for them."""
    layout: str
    """The layout in words."""
    unmatched: tuple[Unmatched, ...] = ()
    """Images and rows of a manifest that belong to no pair, each with the reason."""
    ignored: tuple[Ignored, ...] = ()
    """Files that are not images by their names, hidden ones, and folders that are not searched: never read."""
    hint: str = ""
    """Another layout that the names suggest, for the user; the pairs do not depend on it."""

    @property
    def sources(self) -> int:
        """Number of sources of each pair."""
        return next((len(pair.sources) for pairs in self.splits.values() for pair in pairs), 1)

    def fingerprint(self, contents: Mapping[str, str] | None = None) -> str:
        """Hash splits, names, file names and sizes in bytes (SHA-256); with `contents`, also what the files hold.

        `contents` maps each file to a hash of its bytes. `same_data` compares two fingerprints.
        """
        sizes = self._hash(lambda file: str(_size(file)))
        return sizes if contents is None else f"{_CONTENTS}{self._hash(lambda file: contents[file])}-{sizes}"

    def carved_anew(self, data: Data) -> "PairSet":
        """Put the carved splits back into `train`, and carve again. Raises DataError."""
        given = {split: list(pairs) for split, pairs in self.splits.items() if split not in self.carved}
        back = [pair for split in self.carved for pair in self.splits.get(split, ())]
        given["train"] = [*given.get("train", ()), *back]
        splits, carved = carve_splits({split: pairs for split, pairs in given.items() if pairs}, data)
        return replace(self, splits=_in_order(splits), carved=carved)

    def files(self) -> list[str]:
        """Return every file of the pairs once."""
        return list(dict.fromkeys(ref.file for pairs in self.splits.values() for pair in pairs for ref in pair.refs))

    def _hash(self, describe: Callable[[str], str]) -> str:
        digest = hashlib.sha256()
        for split, pairs in sorted(self.splits.items()):
            for pair in sorted(pairs, key=lambda pair: pair.name):
                facts = {file: describe(file) for file in dict.fromkeys(ref.file for ref in pair.refs)}
                sides = [f"{facts[ref.file]}:{ref.view.part}:{os.path.basename(ref.file)}" for ref in pair.refs]
                digest.update(_bytes("\0".join([split, pair.name, *sides]) + "\n"))
        return digest.hexdigest()


def same_data(one: str | None, other: str | None) -> bool:
    """Compare two fingerprints: by the contents of files where both cover them, otherwise by sizes."""
    if one is None or other is None:
        return one is other
    (contents, sizes), (other_contents, other_sizes) = _parts(one), _parts(other)
    return contents == other_contents if contents and other_contents else sizes == other_sizes


def fingerprint_of_sizes(fingerprint: str) -> str:
    """Return the part of a fingerprint that covers names and sizes, which is found without reading the files."""
    return _parts(fingerprint)[1]


def _parts(fingerprint: str) -> tuple[str, str]:
    """Return what a fingerprint says of contents, empty if nothing, and of sizes."""
    if not fingerprint.startswith(_CONTENTS):
        return "", fingerprint
    contents, _, sizes = fingerprint.removeprefix(_CONTENTS).partition("-")
    return contents, sizes


def find_pairs(data: Data) -> PairSet:
    """Find the pairs that `data` names, carving missing splits from `train`. Raises DataError or ConfigError.

    The headers of files are read only to find the planes of stacks, with `planes: pictures`.
    """
    try:
        layout = find_layout(data)
        found = match_layout(layout)
    except OSError as error:
        advice = "expected a folder of image pairs, or a pairs.csv"
        if error.errno != errno.ENOTDIR:
            advice = "check the permissions"
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); {advice}") from None
    splits, carved = carve_splits({split: pairs for split, pairs in found.splits.items() if pairs}, data)
    unmatched = list(found.unmatched)
    in_one_file = any(holds_both(pair, data) for pairs in splits.values() for pair in pairs[:1])
    for split, pairs in splits.items():  # after carving, so that the planes of a stack stay together
        splits[split], others = apply_views(pairs, data)
        unmatched += others
    splits = {split: pairs for split, pairs in splits.items() if pairs}
    if not splits and unmatched:
        path, reason = min(unmatched)
        raise DataError(f"{path}: {reason}; so no pair is left")
    return PairSet(
        _in_order(splits),
        carved,
        describe_views(data) if in_one_file else layout.description,
        tuple(sorted(unmatched)),
        tuple(sorted(found.ignored)),
        found.hint,
    )


def _in_order(splits: Mapping[str, list[Pair]]) -> dict[str, tuple[Pair, ...]]:
    return {split: tuple(sorted(splits[split], key=natural_order)) for split in SPLITS if split in splits}


def describe_unmatched(pairs: PairSet) -> str:
    """Say in one sentence what belongs to no pair, with the first reason; empty if there is nothing."""
    count = len(pairs.unmatched)
    if not count:
        return ""
    (first, reason), *_ = pairs.unmatched
    if count == 1:
        return f"1 image belongs to no pair: {escape_unprintable(first)}: {reason}"
    paths = format_examples(path for path, _ in pairs.unmatched)
    return f"{count} images belong to no pair: {paths} (the first: {reason})"


# ---- splits ------------------------------------------------------------------------------------------------


def carve_splits(splits: dict[str, list[Pair]], data: Data) -> tuple[dict[str, list[Pair]], tuple[str, ...]]:
    """Take missing splits out of `train`, `test` first. Returns all splits, and the names of those that were carved.

    Only names and the seed decide which pairs are taken.
    """
    splits = dict(splits)
    count = len(splits.get("train", []))
    carved = []
    for split, fraction in (("test", data.test_fraction), ("val", data.val_fraction)):
        taken = carved_count(fraction, count)
        if split in splits or not taken:
            continue
        if taken >= len(splits["train"]):
            raise DataError(
                f"{format_count(count, 'pair')} in train: too few to take {split} from, lower data.{split}_fraction"
            )
        ordered = sorted(splits["train"], key=lambda pair: carving_key(pair.name, data.split_seed))
        splits[split], splits["train"] = ordered[:taken], ordered[taken:]
        carved.append(split)
    return splits, tuple(split for split in SPLITS if split in carved)


def carved_count(fraction: float, count: int) -> int:
    """Return how many of `count` pairs a carved split takes: at least one where there are three."""
    return max(round(fraction * count), 1 if fraction > 0 and count >= 3 else 0)


def carving_key(name: str, seed: int) -> bytes:
    """Return the key by which pairs are ordered before they are carved."""
    return hashlib.sha256(_bytes(f"{seed}:{name}")).digest()


_NUMBERS = re.compile(r"([0-9]+)")


def natural_order(pair: Pair) -> tuple[list[str | int], str]:
    """Return the sort key by which 2 comes before 10: text and numbers alternate."""
    pieces = _NUMBERS.split(pair.name)
    return [int(piece) if at % 2 else piece for at, piece in enumerate(pieces)], pair.name


def _size(file: str) -> int:
    """Return the size in bytes; -1 for what cannot be accessed, which is reported when it is read."""
    try:
        return os.stat(file).st_size
    except OSError:
        return -1


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # file names need not be Unicode
