"""Counts, lists, durations, shares and file names in words."""

import math

import pytest

from pix2pix.text import (
    escape_unprintable,
    format_count,
    format_counts,
    format_decimals,
    format_digits,
    format_duration,
    format_examples,
    format_list,
    format_share,
)


def test_counts() -> None:
    assert [format_count(number, "pair") for number in (0, 1, 2, 1096)] == [
        "0 pairs",
        "1 pair",
        "2 pairs",
        "1,096 pairs",
    ]
    assert [format_digits(value) for value in (14, 14.414, 0.1322, 1234.5)] == ["14.00", "14.41", "0.1322", "1,234"]
    assert format_digits(1.598e29) == "1.598e+29"
    assert [format_decimals(value) for value in (0, 48.5617, -0.5, 1.6e-13, 1.598e29)] == [
        "0.0000",
        "48.5617",
        "-0.5000",
        "1.6e-13",
        "1.598e+29",
    ]
    assert format_counts({"train": 1000, "val": 24}) == "train 1,000, val 24"


def test_lists() -> None:
    assert [format_list(items) for items in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert format_examples("abc") == "a, b, c"
    assert format_examples("abcde", most=2) == "a, b and 3 more"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (45, "45 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (3725, "1 h 02 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_shares() -> None:
    assert [format_share(share) for share in (0.032, 0.47, math.nan)] == ["3.2 %", "47 %", "an undefined share"]


def test_names_stay_on_one_line() -> None:
    assert escape_unprintable("a\nb\x1b[2J") == "a\\nb\\x1b[2J"
    assert escape_unprintable("größe.png") == "größe.png"
    assert escape_unprintable("\udcff.png") == "\\udcff.png"
