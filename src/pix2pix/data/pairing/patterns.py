"""`{id}_training.tif` and the names of files in, the names of pairs out; and the patterns that names suggest."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

ID = "{id}"
SUGGEST_FROM = 5000
"""Names of each side that a suggestion is drawn from, at most."""
EVIDENT = 0.9
"""Share of the shorter side that must find its partner before a pattern is suggested."""

_LAST_WORD, _FIRST_WORD = re.compile(r"(.+?)([_\-. ]+[^_\-. ]+\.[^.]+)"), re.compile(r"([^_\-. ]+[_\-. ]+)(.+)")

Naming = Callable[[str], str | None]
"""Path of an image below its folder -> name of its pair; None where the pattern does not fit."""


def plain_name(relative: str) -> str:
    """The path below a folder without suffix, in NFC as systems differ."""
    return unicodedata.normalize("NFC", os.path.splitext(relative)[0].replace(os.sep, "/"))


def naming(pattern: str | None, suffixes: Iterable[str]) -> Naming:
    """What a pattern makes of names. `{id}` stands for any text, but never for none.

    A pattern with a folder in it is compared with the whole path below the split's folder, any other with the file's
    name alone, its folder being a part of the pair's name. One that ends in no image's suffix leaves the suffix open.
    """
    if pattern is None:
        return plain_name
    text = unicodedata.normalize("NFC", pattern.replace(os.sep, "/"))
    ending = os.path.splitext(text)[1]
    before, after = text.split(ID)
    closed = ending.lower() in set(suffixes)
    after = after.removesuffix(ending) if closed else after
    last = f"(?i:{re.escape(ending)})" if closed else "(?i:" + "|".join(map(re.escape, sorted(suffixes))) + ")"
    anywhere, any_id = ("", ".+") if "/" in text else ("(?:.*/)?", "[^/]+")
    fits = re.compile(
        f"(?P<folder>{anywhere}){re.escape(before)}(?P<id>{any_id}){re.escape(after)}{last}", re.DOTALL
    ).fullmatch

    def name(relative: str) -> str | None:
        match = fits(unicodedata.normalize("NFC", relative.replace(os.sep, "/")))
        return match and match["folder"] + match["id"]

    return name


# ---- suggestions -----------------------------------------------------------------------------------------------


def suggested(source_files: Sequence[str], target_files: Sequence[str]) -> tuple[str, str] | None:
    """The patterns under which most of two lists of files would be pairs; None if none is evident."""
    a, b = _without_folders(source_files), _without_folders(target_files)
    least = max(2, EVIDENT * min(len(a), len(b)))
    for around_a in _surroundings(a):
        for around_b in _surroundings(b):
            ids_a, ids_b = Counter(_cut(a, around_a)), Counter(_cut(b, around_b))
            if {*ids_a.values(), *ids_b.values()} == {1} and len(ids_a.keys() & ids_b.keys()) >= least:
                return ID.join(around_a), ID.join(around_b)
    return None


def suggested_within(files: Sequence[str]) -> tuple[str, str] | None:
    """The same for the files of one folder: two endings, or two beginnings, that share out three names or more."""
    names = _without_folders(files)
    for pattern, word, place in ((_LAST_WORD, 2, "{id}%s"), (_FIRST_WORD, 1, "%s{id}")):
        matches = [pattern.fullmatch(name) for name in names]
        words: dict[str, set[str]] = {}
        for match in filter(None, matches):
            words.setdefault(match[word], set()).add(match[3 - word])
        if len(words) != 2 or None in matches or len(matches) < 6:
            continue
        (one, ids), (other, others) = sorted(words.items())
        if len(ids & others) >= EVIDENT * max(len(ids), len(others)):
            return place.replace("%s", one), place.replace("%s", other)
    return None


def flags(patterns: tuple[str, str]) -> str:
    return f'--source-pattern "{patterns[0]}" --target-pattern "{patterns[1]}"'


def _without_folders(files: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFC", os.path.basename(file)) for file in files[:SUGGEST_FROM]]


def _surroundings(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What all names begin and end with, cut back to whole words, or to where digits begin; the longest first."""
    if len(names) < 2:
        return
    prefix, suffix = _beginning(names), _beginning([name[::-1] for name in names])[::-1]
    prefixes = [re.sub(r"[^\W_]*$", "", prefix), re.sub(r"\d+$", "", prefix), ""]
    suffixes = [re.sub(r"^[^\W_]*", "", suffix), re.sub(r"^\d+", "", suffix)]
    for before in dict.fromkeys(prefixes):
        for after in dict.fromkeys(suffixes):
            yield before, after


def _beginning(names: Sequence[str]) -> str:
    """What all names begin with."""
    first, last = min(names), max(names)
    length = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]


def _cut(names: Iterable[str], around: tuple[str, str]) -> list[str]:
    before, after = around
    return [name[len(before) : len(name) - len(after)] for name in names if len(name) > len(before) + len(after)]
