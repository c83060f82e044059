"""A folder or manifest in any known layout in, named pairs of image files by split out; opens no image."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pix2pix.config import Data
from pix2pix.data.pairing.layouts import found_in
from pix2pix.data.pairing.pair import SPLITS, Pair, Stray
from pix2pix.errors import DataError
from pix2pix.text import format_examples


@dataclass(frozen=True)
class PairSet:
    """All pairs of a data set by split, each split in natural order of names (2 before 10)."""

    splits: dict[str, tuple[Pair, ...]]
    """`train`, `val`, `test`: those that exist or were carved, never an empty one."""
    carved: tuple[str, ...]
    """Splits that were taken out of `train`, as there was no folder of theirs."""
    layout: str
    """How the files lie, for humans."""
    strays: tuple[Stray, ...] = ()
    """Images that belong to no pair, and rows of a manifest that make none."""
    passed_over: tuple[Path, ...] = ()
    """Files among the images that are none by their names, and linked folders: never read."""
    hint: str = ""
    """What else the names suggest; it changes nothing."""

    @property
    def unmatched(self) -> tuple[Path, ...]:
        """The paths of the strays."""
        return tuple(path for path, _ in self.strays)

    @property
    def sources(self) -> int:
        """How many each pair has."""
        return next((len(pair.sources) for pairs in self.splits.values() for pair in pairs), 1)

    def fingerprint(self) -> str:
        """SHA-256 over splits, names, file names and byte sizes: it changes when the data set does."""
        digest = hashlib.sha256()
        for split, pairs in sorted(self.splits.items()):
            for pair in sorted(pairs, key=lambda pair: pair.name):
                sizes = {file: _size(file) for file in dict.fromkeys(ref.file for ref in pair.refs)}
                sides = [f"{sizes[ref.file]}:{ref.half}:{os.path.basename(ref.file)}" for ref in pair.refs]
                digest.update(_bytes("\0".join([split, pair.name, *sides]) + "\n"))
        return digest.hexdigest()


def find_pairs(data: Data) -> PairSet:
    """The pairs that `data` names, missing splits carved from `train`. Raises DataError or ConfigError."""
    try:
        found = found_in(data)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check the permissions") from None
    splits, carved = _carved({split: pairs for split, pairs in found.splits.items() if pairs}, data)
    ordered = {split: tuple(sorted(splits[split], key=_natural)) for split in SPLITS if split in splits}
    if not any(found.splits.values()) and found.strays:
        path, reason = sorted(found.strays)[0]
        raise DataError(f"{path}: {reason}; it leaves no pair at all")
    return PairSet(
        ordered, carved, found.layout, tuple(sorted(found.strays)), tuple(sorted(found.passed_over)), found.hint
    )


def describe_unmatched(pairs: PairSet) -> str:
    """One sentence on what belongs to no pair, with the first reason; empty if there is nothing."""
    count = len(pairs.strays)
    if not count:
        return ""
    subject = "1 image belongs" if count == 1 else f"{count} images belong"
    return f"{subject} to no pair: {format_examples(pairs.unmatched)} (the first {pairs.strays[0].reason})"


# ---- splits ------------------------------------------------------------------------------------------------


def _carved(splits: dict[str, list[Pair]], data: Data) -> tuple[dict[str, list[Pair]], tuple[str, ...]]:
    """`test`, then `val`, out of `train` where missing; name and seed decide a pair's turn."""
    splits = dict(splits)
    count = len(splits.get("train", []))
    carved = []
    for split, fraction in (("test", data.test_fraction), ("val", data.val_fraction)):
        taken = share(fraction, count)
        if split in splits or not taken:
            continue
        if taken >= len(splits["train"]):
            raise DataError(f"{count} pairs of train are too few to carve {split} from: lower data.{split}_fraction")
        turns = sorted(splits["train"], key=lambda pair: turn(pair.name, data.split_seed))
        splits[split], splits["train"] = turns[:taken], turns[taken:]
        carved.append(split)
    return splits, tuple(split for split in SPLITS if split in carved)


def share(fraction: float, count: int) -> int:
    """How many of `count` pairs a carved split takes: at least one where there are three."""
    return max(round(fraction * count), 1 if fraction > 0 and count >= 3 else 0)


def turn(name: str, seed: int) -> bytes:
    """Pairs are carved in the order of this key."""
    return hashlib.sha256(_bytes(f"{seed}:{name}")).digest()


_NUMBERS = re.compile(r"([0-9]+)")


def _natural(pair: Pair) -> tuple[list[str | int], str]:
    """Text and numbers alternate, so that equal places compare alike: 2 before 10."""
    parts = _NUMBERS.split(pair.name)
    return [int(part) if odd % 2 else part for odd, part in enumerate(parts)], pair.name


def _size(file: str) -> int:
    """Bytes; -1 for what cannot be looked at, which whoever reads it will report."""
    try:
        return os.stat(file).st_size
    except OSError:
        return -1


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # file names need not be Unicode
