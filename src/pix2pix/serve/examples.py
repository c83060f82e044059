"""Example pictures of a model: from the sheets of samples of its run, or from a folder of the user."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pix2pix.data.checks.contact_sheet import GAP, MIN_SIDE, title_height
from pix2pix.data.encoding.background import lay_over, opacity_of, type_limits
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.image_files import is_image_name
from pix2pix.errors import ConfigError, DataError
from pix2pix.model.model_config import Size
from pix2pix.serve.engine import Facts
from pix2pix.text import format_count

MOST = 8
_SHEET = re.compile(r"epoch_(\d+)\.png")


@dataclass(frozen=True)
class Example:
    """The sources of one picture as files hold them, and the target as a screen shows it."""

    sources: tuple[Pixels, ...]
    target: Pixels | None = None

    def files(self) -> dict[str, bytes]:
        """Return the PNG files: source.png, or source_1.png and so on, and target.png."""
        names = ["source"] if len(self.sources) == 1 else [f"source_{n + 1}" for n in range(len(self.sources))]
        named = dict(zip(names, self.sources, strict=True))
        if self.target is not None:
            named["target"] = self.target
        return {f"{name}.png": images.encode(".png", pixels) for name, pixels in named.items()}


def find_examples(model: Path, facts: Facts, given: Path | None) -> list[Example]:
    """Return a few examples: of the folder `given`, or of the run in which the model folder lies.

    Raises ConfigError for a folder without pictures, or with one that is not read.
    """
    if given is not None:
        return _read_folder(given, facts)
    eight_bit = all(
        source.dtype == "uint8" and source.channels in (1, 3) and (source.whole_type or source.classes)
        for source in facts.sources
    )
    sheets = {
        int(match[1]): path for path in _files(model.parent / "samples") if (match := _SHEET.fullmatch(path.name))
    }
    if not eight_bit or not sheets or any(source.classes and source.channels == 1 for source in facts.sources):
        return []
    path = sheets.get(facts.epoch or -1, sheets[max(sheets)])
    try:
        sheet = images.read(path)
    except DataError:
        return []
    return cut_sheet(sheet, facts)[:MOST]


def cut_sheet(sheet: Pixels, facts: Facts) -> list[Example]:
    """Cut a sheet of samples, source | output | target, back into its pictures; none if these have other sizes."""
    height, width = facts.image_size
    factor = max(1, -(-MIN_SIDE // max(height, width)))
    columns, tall, wide = len(facts.sources) + 2, height * factor, width * factor
    top = title_height(wide)
    rows, rest = divmod(sheet.shape[0] - top, tall + GAP)
    if rest or sheet.shape[1] != GAP + columns * (wide + GAP):
        return []

    def cut(row: int, column: int, channels: int) -> Pixels:
        y, x = top + row * (tall + GAP), GAP + column * (wide + GAP)
        return sheet[y : y + tall : factor, x : x + wide : factor, :channels].copy()

    return [
        Example(
            tuple(cut(row, at, source.channels) for at, source in enumerate(facts.sources)), cut(row, columns - 1, 3)
        )
        for row in range(rows)
    ]


def _read_folder(folder: Path, facts: Facts) -> list[Example]:
    """Read the first pictures of a model of one source: sources, or side-by-side pictures as in the training."""
    if len(facts.sources) > 1:
        raise ConfigError("--examples: needs a model of one source")
    paths = [path for path in _files(folder) if is_image_name(path.name)][:MOST]
    if not paths:
        raise ConfigError(f"--examples {folder}: holds no pictures; expected a folder of PNG or other image files")
    return [_split(_read_picture(path), facts) for path in paths]


def _read_picture(path: Path) -> Pixels:
    """Read gray or RGB of 8 or 16 bits; transparent pixels are laid over white, as `translate` does."""
    try:
        picture = images.read(path, alpha=True)
    except DataError as error:
        raise ConfigError(f"--examples: {error}") from None
    if picture.dtype.name not in ("uint8", "uint16") or picture.shape[2] > 4:
        found = f"{format_count(picture.shape[2], 'channel')} of {picture.dtype}"
        raise ConfigError(f"--examples: {path}: expected gray or RGB of 8 or 16 bits, found {found}; take it away")
    if picture.shape[2] in (2, 4):
        limits = type_limits(picture)
        return lay_over(picture[..., :-1], opacity_of(picture, limits), (255, 255, 255), limits)
    return picture


def _split(picture: Pixels, facts: Facts) -> Example:
    """Take a picture as source, or apart if it has the shape of two side by side."""
    height, width, _ = picture.shape
    if facts.half is None or width % 2 or not _same_shape((height, width // 2), facts.image_size):
        return Example((picture,))
    left, right = picture[:, : width // 2], picture[:, width // 2 :]
    source, target = (left, right) if facts.half == "left" else (right, left)
    return Example((source[..., : facts.sources[0].channels],), target)


def _same_shape(size: Size, other: Size) -> bool:
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) < 0.01


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder in order, and those of its subfolders."""
    entries: Sequence[Path] = sorted(folder.rglob("*")) if folder.is_dir() else ()
    yield from (path for path in entries if path.is_file())
