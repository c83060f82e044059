"""Names of the colours of label maps: from a file, or those of published sets."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pix2pix.data.checks.main_colours import Colour
from pix2pix.errors import ConfigError
from pix2pix.synthetic.facades import CLASSES as FACADES
from pix2pix.system.reading import parse_json, read_text

NEAR = 60.0
"""Levels (Euclidean) within which a colour is that of a published set; other copies of the set differ by so much."""
SAME = 5.0
"""Levels within which a colour is that of a set, but for the rounding of JPEG."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class NamedColour:
    """A class: its name, and its colour `#rrggbb` as files hold it."""

    name: str
    color: str


def name_colours(colours: Sequence[Colour], *, complete: bool) -> tuple[NamedColour, ...]:
    """Name colours as the set does whose colours they are; by their number otherwise.

    Unless they are `complete`, the other classes of that set are added, and mixtures of its colours are left out.
    """
    full = [colour * 3 if len(colour) == 1 else colour for colour in colours]
    if not complete:
        full = _without_mixtures(full)
    nearest = [_nearest(colour) for colour in full]
    known = all(math.dist(one[1], colour) <= NEAR for one, colour in zip(nearest, full, strict=True))
    if len(full) < 4 or not known or len({name for name, _ in nearest}) < len(full):
        full = [colour * 3 if len(colour) == 1 else colour for colour in colours]
        return tuple(NamedColour(f"class {n}", to_hex(colour)) for n, colour in enumerate(full, start=1))
    found = {name: colour for (name, _), colour in zip(nearest, full, strict=True)}
    exact = all(math.dist(found[name], colour) <= SAME for name, colour in FACADES if name in found)
    listed = [(name, found.get(name, colour)) for name, colour in FACADES if name in found or (exact and not complete)]
    return tuple(NamedColour(name, to_hex(colour)) for name, colour in listed)


def _without_mixtures(colours: Sequence[Colour]) -> list[Colour]:
    """Leave out colours whose class has a colour of its own among the others: lossy files mix colours at edges."""
    own = {name for name, place in map(_nearest, colours) if any(math.dist(place, one) <= SAME for one in colours)}
    return [one for one in colours if _nearest(one)[0] not in own or math.dist(_nearest(one)[1], one) <= SAME]


def _nearest(colour: Colour) -> tuple[str, Colour]:
    return min(FACADES, key=lambda one: math.dist(one[1], colour))


def to_hex(colour: Colour) -> str:
    """Return `#rrggbb`."""
    return "#" + bytes(colour).hex()


def read_palette(path: Path) -> tuple[NamedColour, ...]:
    """Read JSON `[{"name": ..., "color": "#rrggbb"}, ...]` or `{name: color}`, or CSV with lines `name,#rrggbb`.

    Raises ConfigError.
    """
    expected = 'expected JSON such as {"window": "#0055ff"} or CSV lines such as window,#0055ff'
    try:
        text = read_text(path)
        pairs = _from_json(parse_json(text)) if path.suffix.lower() == ".json" else _from_csv(text)
    except OSError as error:
        raise ConfigError(f"--palette {path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"--palette {path}: {expected}") from None
    if wrong := next((color for _, color in pairs if not _COLOUR.fullmatch(color)), None):
        raise ConfigError(f"--palette {path}: {wrong!r} is no colour; {expected}")
    if len(pairs) < 2 or len({color.lower() for _, color in pairs}) < len(pairs):
        raise ConfigError(f"--palette {path}: expected two or more different colours")
    return tuple(NamedColour(name, color.lower()) for name, color in pairs)


def _from_json(values: object) -> list[tuple[str, str]]:
    if isinstance(values, dict):
        return [(str(name), str(color)) for name, color in values.items()]
    if isinstance(values, list):
        return [(str(one["name"]), str(one["color"])) for one in values]
    raise ValueError


def _from_csv(text: str) -> list[tuple[str, str]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if any(row)]
    if rows and len(rows[0]) == 2 and not rows[0][1].startswith("#"):
        rows = rows[1:]  # titles
    return [(name, color) for name, color in rows]
