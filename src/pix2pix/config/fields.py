"""Types of settings: their allowed values, and how to read them from flags and files and write them to files."""

import math
import os
import re
import reprlib
from collections.abc import Mapping
from numbers import Integral
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

# ---- numbers and choices ---------------------------------------------------------------------------------------


def _parse_number(value: Any) -> Any:
    """Convert the word of a flag to a number, for choices of numbers."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


MAX_SIDE = 16_384
"""Pixels of a side of the images in training."""
MAX_SOURCES = 64
LARGEST_VALUE = 1e38
"""Of a pixel; the difference of two such values is still finite in float32."""
LARGEST_FLOAT = 3.4028235677973366e38
"""A little more than the largest float32, which often marks pixels without data."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Width = Annotated[int, Field(ge=1, le=1024)]
"""Channels of the first layer of a network."""
ChannelCount = Annotated[int, Field(ge=1, le=65_536)]
"""Channels of a file."""
Layer = Annotated[int, Field(ge=1, le=64)]
Machines = Annotated[int, Field(ge=1, le=4096)]
"""Machines, or devices of a machine."""
ThreadCount = Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e9)]
Levels = Annotated[float, Field(ge=0, le=65_535)]
"""A distance of colours, in gray levels."""


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


Text = Annotated[str, Field(max_length=4096), BeforeValidator(_as_text)]
"""A path, a pattern or a version."""


def _check_license(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", value.lower()):
        raise ValueError(f"{value!r}: expected one word such as mit, apache-2.0, cc-by-4.0 or other")
    return value.lower()


License = Annotated[str, Field(max_length=64), AfterValidator(_check_license)]
"""Identifier of a licence, as the Hugging Face hub writes it."""
BestBy = Literal[
    "auto", "l1", "l2", "psnr", "ssim", "ms_ssim", "lpips", "st_lpips", "fid", "kid", "kid_vgg",
    "label_accuracy", "mean_iou", "pixel_accuracy", "last",
]  # fmt: skip
Cache = Literal["auto", "memory", "none"]
Channels = Annotated[Literal[1, 3], BeforeValidator(_parse_number)]
Device = Literal["auto", "cpu", "cuda", "mps"]
Direction = Literal["AtoB", "BtoA"]
Native = Literal["native"]
"""Each image keeps its own size."""
Exif = Literal["auto", "apply", "ignore"]
Layout = Literal["auto", "side-by-side"]
Norm = Literal["batch", "instance", "group", "none"]
Biases = Literal["auto", "all", "none"]
"""Which convolutions beside a norm have a bias; `auto` follows from the norm."""
PatchSize = Annotated[Literal[1, 16, 34, 70, 142, 286], BeforeValidator(_parse_number)]
Scales = Annotated[Literal[1, 2], BeforeValidator(_parse_number)]
Statistics = Literal["image", "running"]
"""What batch norm uses when translating: those of each image, or the running averages of the training."""
Upsampling = Literal["transposed", "resize", "shuffle"]
UpdateOrder = Literal["one-pass", "two-pass"]
ValueType = Literal["uint8", "int8", "uint16", "int16", "float32"]


# ---- sizes -----------------------------------------------------------------------------------------------------


def _parse_size(value: Any) -> Any:
    """Read `256`, `"256"`, `"256x512"` (height x width) or two numbers as (height, width)."""
    value = _single(value)
    if isinstance(value, str):
        sides = value.lower().split("x")
        if not all(re.fullmatch("[0-9]{1,9}", side) for side in sides) or len(sides) > 2:
            raise ValueError(f"{reprlib.repr(value)} is not a size; expected 256, or 256x512 for height x width")
        value = [int(side) for side in sides]
        value = value * 2 if len(value) == 1 else value
    return (int(value), int(value)) if isinstance(value, Integral) else value


def _parse_load_size(value: Any) -> Any:
    word = _single(value)
    return word if word == "native" else _parse_size(value)


def _write_size(size: tuple[int, int] | str) -> int | str:
    if isinstance(size, str):
        return size
    return size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _single(value: Any) -> Any:
    """Unpack a list of one value: the command line passes the word of a flag in a list."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


_Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
_Sides = tuple[_Side, _Side]
Size = Annotated[_Sides, BeforeValidator(_parse_size), PlainSerializer(_write_size)]
"""(height, width) in pixels, written `256` or `256x512`."""
LoadSize = Annotated[Native | _Sides, BeforeValidator(_parse_load_size), PlainSerializer(_write_size)]
"""The same, or `native`."""


# ---- values of images ------------------------------------------------------------------------------------------


def _parse_range(value: Any) -> Any:
    """Read `type`, `measured`, `percentile`, or bounds: `-1000,3000`, two numbers, or two for each channel."""
    if isinstance(_single(value), str):
        value = _single(value)
    if isinstance(value, str) and value not in ("type", "measured", "percentile"):
        value = _parse_bounds(value)
    if isinstance(value, list | tuple) and len(value) == 2 and not any(isinstance(end, list | tuple) for end in value):
        value = (tuple(value),)
    return value


def _check_range(value: Any) -> Any:
    """Raise ValueError for bounds that are not finite, too large or in the wrong order."""
    for low, high in () if isinstance(value, str) else value:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"{low:g},{high:g} is not a range: expected two finite numbers, the lower one first")
        if max(-low, high) > LARGEST_VALUE:
            raise ValueError(f"{low:g},{high:g}: expected numbers from -{LARGEST_VALUE:g} to {LARGEST_VALUE:g}")
    return value


def _parse_bounds(text: str) -> list[float]:
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        raise ValueError("expected type, measured, percentile or LOW,HIGH, such as =-1000,3000") from None
    return [low, high]


def _parse_labels(value: Any) -> Any:
    """Read the classes of a label map, two or more."""
    names = _parse_classes(value)
    if isinstance(names, tuple) and len(names) < 2:
        raise ValueError("expected 2 to 256 different classes")
    return names


def _parse_classes(value: Any) -> Any:
    """Read `#0000aa,#ff0000` or `0,1,7`, or a list of such names."""
    if isinstance(_single(value), str):
        value = _single(value)
    if isinstance(value, str | int):
        value = str(value).split(",")
    if not isinstance(value, list | tuple):
        return value
    names = tuple(str(name).strip().lower() for name in value)
    colours = [re.fullmatch("#[0-9a-f]{6}", name) is not None for name in names]
    if not (all(colours) or (not any(colours) and all(re.fullmatch("-?[0-9]{1,5}", name) for name in names))):
        raise ValueError("expected colours such as #0000aa,#ff0000, or gray values such as 0,1,7")
    if not 1 <= len(set(names)) == len(names) <= 256:
        raise ValueError("expected 2 to 256 different classes")
    return names


def _parse_mask_value(value: Any) -> Any:
    """Read a number or a colour; nan stays the word `nan`, so that it equals itself."""
    word = _single(value)
    if isinstance(word, str) and word.startswith("#"):
        return word.lower()
    try:
        number = float(word)
    except (TypeError, ValueError, OverflowError):
        return word
    return "nan" if math.isnan(number) else number


def _parse_channels(value: Any) -> Any:
    """Read `0,1` or `nuclei`, or a list, as channels of a file."""
    if isinstance(_single(value), str | int) and not isinstance(_single(value), bool):
        value = str(_single(value)).split(",")
    if not isinstance(value, list | tuple):
        return value
    names = tuple(str(name).strip() for name in value)
    if not all(names) or len(set(names)) < len(names):
        raise ValueError("expected different channels, such as 0,1 or a name")
    return names


def _check_axes(value: Any) -> Any:
    """Return the axes of an array in capitals. Raises ValueError unless each letter is known and stands once."""
    axes = _single(value)
    if not isinstance(axes, str):
        return axes
    axes = axes.upper()
    if not (set("YX") < set(axes) <= set("TZCYX") and len(set(axes)) == len(axes)):
        raise ValueError("expected Y, X and at least one of C, Z and T, each once, such as CYX or ZYX")
    return axes


Planes = Literal["ask", "pictures", "channels"]
ChannelChoice = Annotated[tuple[Text, ...], Field(max_length=65_536), BeforeValidator(_parse_channels)]
"""Channels of a file by number, from 0, or by name."""
Axes = Annotated[str, Field(max_length=5), BeforeValidator(_check_axes)]
"""Order of the axes of an array."""


def _parse_fill(value: Any) -> Any:
    """Read `mean`, `minimum`, a number, or a number for each channel."""
    word = _single(value)
    if word in ("mean", "minimum"):
        return word
    try:
        return tuple(float(number) for number in (word if isinstance(word, list | tuple) else [word]))
    except (TypeError, ValueError, OverflowError):
        raise ValueError("expected mean, minimum or a number, such as 0") from None


Bounds = Annotated[tuple[tuple[float, float], ...], Field(max_length=65_536)]
"""Values that become -1 and 1: of each channel, or one pair for all channels."""
ValueRange = Annotated[
    Literal["type", "measured", "percentile"] | Bounds, BeforeValidator(_parse_range), AfterValidator(_check_range)
]
LabelNames = Annotated[tuple[str, ...], BeforeValidator(_parse_labels)]
ClassNames = Annotated[tuple[str, ...], BeforeValidator(_parse_classes)]
_Masked = Annotated[float, Field(ge=-LARGEST_FLOAT, le=LARGEST_FLOAT)]
_Colour = Annotated[str, Field(pattern="^#[0-9a-f]{6}$", max_length=7)]
MaskValue = Annotated[Literal["nan"] | _Masked | _Colour, BeforeValidator(_parse_mask_value)]
"""Value of pixels without data: a number, `nan`, or a colour of a label map."""


_Fill = Annotated[float, Field(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]
Fill = Annotated[
    Literal["mean", "minimum"] | Annotated[tuple[_Fill, ...], Field(min_length=1, max_length=65_536)],
    BeforeValidator(_parse_fill),
]
"""What pixels without data are filled with: a statistic, a number for all channels, or one for each."""


# ---- names of files, and several sources -----------------------------------------------------------------------


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | os.PathLike) else value


def _write_words(words: tuple[str, ...] | None) -> Any:
    return words[0] if words is not None and len(words) == 1 else words


def _check_pattern(value: Any) -> Any:
    """Raise ValueError for a pattern of file names without exactly one {id}."""
    patterns = _as_tuple(value)
    for pattern in patterns if isinstance(patterns, list | tuple) else ():
        if isinstance(pattern, str) and pattern.count("{id}") != 1:
            raise ValueError(
                f"{reprlib.repr(pattern)} is not a pattern; write {{id}} once in place of the pair's name, "
                "as in {id}_mask.png"
            )
    return value


def _check_numbers(value: Any) -> Any:
    """Return settings by the number of a source as text, in order; YAML reads the number as an integer."""
    if not isinstance(value, Mapping):
        return value
    for number in value:
        if not (re.fullmatch("[1-9][0-9]?", text := str(number)[:100]) and int(text) <= MAX_SOURCES):
            raise ValueError(f"{reprlib.repr(text)} is not the number of a source: expected 1 to {MAX_SOURCES}")
    return {str(number): settings for number, settings in sorted(value.items(), key=lambda item: int(item[0]))}


Words = Annotated[
    tuple[Text, ...],
    Field(min_length=1, max_length=MAX_SOURCES),
    BeforeValidator(_as_tuple),
    PlainSerializer(_write_words),
]
"""One word, or one for each of several sources."""
IsPattern = BeforeValidator(_check_pattern)
"""Names of files with {id} where the name of the pair stands."""
ByNumber = BeforeValidator(_check_numbers)
"""Settings by the number of a source."""
