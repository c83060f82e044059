"""The kinds of single settings: how each is written as a flag's word or in a file, and what it may be."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer


def _size(value: Any) -> Any:
    """`256`, `"256"`, `"256x512"` (H x W) or a pair of numbers -> (H, W)."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]  # a flag's one word
    if isinstance(value, str):
        sides = value.lower().split("x")
        if not all(side.isdecimal() for side in sides) or len(sides) > 2:
            raise ValueError(f"{value!r} is no size; write it 256, or 256x512 for height x width")
        value = [int(side) for side in sides]
        value = value * 2 if len(value) == 1 else value
    return (value, value) if isinstance(value, int) else value


def _size_text(size: tuple[int, int] | str) -> int | str:
    if isinstance(size, str):
        return size
    return size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"


Size = Annotated[
    tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
    BeforeValidator(_size),
    PlainSerializer(_size_text),
]
"""(height, width) in pixels, written `256` or `256x512`."""


Native = Literal["native"]
"""Of each picture its own size."""


def _load_size(value: Any) -> Any:
    """A size, or the word `native`."""
    word = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    return word if word == "native" else _size(value)


def _number(value: Any) -> Any:
    """A flag's word where numbers are to choose from."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


LoadSize = Annotated[
    Native | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
    BeforeValidator(_load_size),
    PlainSerializer(_size_text),
]
"""The same, or `native`."""


def _range(value: Any) -> Any:
    """`type`, `measured`, `percentile`, or bounds: `-1000,3000`, two numbers, or two for each channel."""
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]  # a flag's one word
    if isinstance(value, str) and value not in ("type", "measured", "percentile"):
        try:
            value = [float(word) for word in value.split(",")]
        except ValueError:
            value = []
        if len(value) != 2:
            raise ValueError("expected type, measured, percentile or LOW,HIGH, such as =-1000,3000")
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and not any(isinstance(part, list | tuple) for part in value)
    ):
        value = (tuple(value),)
    if not isinstance(value, str | None):
        for low, high in value:
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"{low:g},{high:g} is no range: expected two finite numbers, the lower one first")
    return value


def _words(value: Any) -> Any:
    """One word, or one for each source of a pair."""
    return (value,) if isinstance(value, str) else value


def _word_or_words(words: tuple[str, ...] | None) -> Any:
    return words[0] if words is not None and len(words) == 1 else words


def _pattern(value: Any) -> Any:
    """A pattern of file names has one place for the pair's name."""
    for pattern in (value,) if isinstance(value, str) else value or ():
        if isinstance(pattern, str) and pattern.count("{id}") != 1:
            raise ValueError(
                f"{pattern!r} is no pattern; write {{id}} once where the pair's name stands, as in {{id}}_mask.png"
            )
    return value


def _numbered(value: Any) -> Any:
    """Settings by the number of a source, which YAML reads as a number and a flag as text."""
    if not isinstance(value, Mapping):
        return value
    for number in value:
        if not re.fullmatch("[1-9][0-9]*", str(number)):
            raise ValueError(f"{number!r} is no number of a source: they are counted from 1")
    return {str(number): settings for number, settings in sorted(value.items(), key=lambda item: int(item[0]))}


def _labels(value: Any) -> Any:
    """`#0000aa,#ff0000` or `0,1,7`, or a list of such names -> classes of a label map."""
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]  # a flag's one word
    if isinstance(value, str | int):
        value = str(value).split(",")
    if not isinstance(value, list | tuple):
        return value
    names = tuple(str(name).strip().lower() for name in value)
    colours = [re.fullmatch("#[0-9a-f]{6}", name) is not None for name in names]
    if not (all(colours) or (not any(colours) and all(re.fullmatch("-?[0-9]{1,5}", name) for name in names))):
        raise ValueError("expected colours such as #0000aa,#ff0000, or gray values such as 0,1,7")
    if not 2 <= len(set(names)) == len(names) <= 256:
        raise ValueError("expected 2 to 256 different classes")
    return names


def _mask(value: Any) -> Any:
    """A flag's one word, or a number; not a number by its name, so that it is equal to itself."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return "nan" if math.isnan(number) else number


Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Norm = Literal["batch", "instance", "group", "none"]
Direction = Literal["AtoB", "BtoA"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Channels = Annotated[Literal[1, 3], BeforeValidator(_number)]
Bounds = tuple[tuple[float, float], ...]
"""What becomes -1 and 1: of each channel, or once for all."""
ValueRange = Annotated[
    Literal["type", "measured", "percentile"] | Bounds,
    BeforeValidator(_range),
]
MaskValue = Annotated[
    Literal["nan"] | Annotated[float, Field(allow_inf_nan=False)],
    BeforeValidator(_mask),
]
LabelNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_labels),
]
Words = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_words),
    PlainSerializer(_word_or_words),
]
"""One word, or as many as a pair has sources; a flag is repeated."""
ValueType = Literal["uint8", "int8", "uint16", "int16", "float32"]
PatchSize = Annotated[Literal[1, 16, 34, 70, 142, 286], BeforeValidator(_number)]
UpdateOrder = Literal["one-pass", "two-pass"]
BestBy = Literal["l1", "l2", "psnr", "ssim", "ms_ssim", "lpips", "fid", "kid", "label_accuracy", "last"]
Cache = Literal["auto", "memory", "none"]
IsPattern = BeforeValidator(_pattern)
"""For names of files with one place, `{id}`, for the pair's."""
ByNumber = BeforeValidator(_numbered)
"""For settings of each of several sources."""
