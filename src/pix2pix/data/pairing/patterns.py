"""Name pairs by patterns of file names, such as `{id}_training.tif`, and suggest patterns for given names."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

ID = "{id}"
MAX_NAMES = 5000
"""A suggestion is derived from this many names of each side at most."""
MIN_MATCHED = 0.9
"""Share of the shorter side that must have a partner for a pattern to be suggested."""

_LAST_WORD, _FIRST_WORD = re.compile(r"(.+?)([_\-. ]+[^_\-. ]+\.[^.]+)"), re.compile(r"([^_\-. ]+[_\-. ]+)(.+)")

Naming = Callable[[str], str | None]
"""Path of an image below its folder -> name of its pair, or None where the pattern does not fit."""


def plain_name(relative: str) -> str:
    """Name a pair by its path below the folder, without suffix, in Unicode form NFC (systems store either form)."""
    return unicodedata.normalize("NFC", os.path.splitext(relative)[0].replace(os.sep, "/"))


def compile_pattern(pattern: str | None, suffixes: Iterable[str]) -> Naming:
    """Make the function that names pairs by a pattern, in which `{id}` stands for at least one character.

    A pattern that contains a folder is compared with the whole path below the split's folder. Any other pattern is
    compared with the file name only, and the folder becomes part of the pair's name. A pattern without an image suffix
    fits all of them.
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


def suggest_patterns(source_files: Sequence[str], target_files: Sequence[str]) -> tuple[str, str] | None:
    """Find patterns that would match most of two lists of files; None if there are none."""
    a, b = _file_names(source_files), _file_names(target_files)
    least = max(2, MIN_MATCHED * min(len(a), len(b)))
    for around_a in _common_affixes(a):
        for around_b in _common_affixes(b):
            ids_a, ids_b = Counter(_strip_affixes(a, around_a)), Counter(_strip_affixes(b, around_b))
            if {*ids_a.values(), *ids_b.values()} == {1} and len(ids_a.keys() & ids_b.keys()) >= least:
                return ID.join(around_a), ID.join(around_b)
    return None


def suggest_patterns_within(files: Sequence[str]) -> tuple[str, str] | None:
    """Find patterns for the files of one folder: two endings, or two beginnings, of three names or more."""
    names = _file_names(files)
    for pattern, word, template in ((_LAST_WORD, 2, "{id}%s"), (_FIRST_WORD, 1, "%s{id}")):
        matches = [pattern.fullmatch(name) for name in names]
        words: dict[str, set[str]] = {}
        for match in filter(None, matches):
            words.setdefault(match[word], set()).add(match[3 - word])
        if len(words) != 2 or None in matches or len(matches) < 6:
            continue
        (one, ids), (other, others) = sorted(words.items())
        if len(ids & others) >= MIN_MATCHED * max(len(ids), len(others)):
            return template.replace("%s", one), template.replace("%s", other)
    return None


def pattern_flags(patterns: tuple[str, str]) -> str:
    """Write patterns as flags of the command line."""
    return f'--source-pattern "{patterns[0]}" --target-pattern "{patterns[1]}"'


def _file_names(files: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFC", os.path.basename(file)) for file in files[:MAX_NAMES]]


def _common_affixes(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what all names begin and end with, cut back to whole words or to where digits begin, longest first."""
    if len(names) < 2:
        return
    prefix, suffix = _common_prefix(names), _common_prefix([name[::-1] for name in names])[::-1]
    prefixes = [re.sub(r"[^\W_]*$", "", prefix), re.sub(r"\d+$", "", prefix), ""]
    suffixes = [re.sub(r"^[^\W_]*", "", suffix), re.sub(r"^\d+", "", suffix)]
    for before in dict.fromkeys(prefixes):
        for after in dict.fromkeys(suffixes):
            yield before, after


def _common_prefix(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]


def _strip_affixes(names: Iterable[str], affixes: tuple[str, str]) -> list[str]:
    before, after = affixes
    return [name[len(before) : len(name) - len(after)] for name in names if len(name) > len(before) + len(after)]
