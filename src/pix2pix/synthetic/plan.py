"""Plan a random, plausible building from a seed, as boxes of classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pix2pix.synthetic.building import Box, Building


@dataclass(frozen=True, kw_only=True)
class Style:
    """Style of a building: ranges of its measures, and the probability of each part."""

    floors: tuple[int, int]
    bay: tuple[float, float]  # width of a bay / height of a storey
    window: tuple[float, float]  # of a bay's width, of a storey's height
    attic: float = 1.0  # height of the top storey / height of a storey
    crown: float = 0.3  # height of the top band / height of a storey
    roof: float = 0.0
    bands: float = 0.0
    heads: float = 0.0
    sills: float = 0.0
    pillars: float = 0.0
    deco: float = 0.0
    balconies: float = 0.0
    shutters: float = 0.0
    rollers: float = 0.0
    shops: float = 0.0


STYLES: dict[str, Style] = {
    "tenement": Style(floors=(4, 6), bay=(0.75, 0.95), window=(0.42, 0.56), crown=0.34,
                      heads=1.0, sills=1.0, balconies=0.6, shops=0.85, bands=0.25),
    "palace": Style(floors=(3, 5), bay=(0.8, 1.05), window=(0.4, 0.58), attic=0.8, crown=0.3, roof=0.6,
                    bands=1.0, heads=0.9, sills=0.7, pillars=0.5, deco=0.8, balconies=0.6, shops=0.35),
    "bank": Style(floors=(3, 4), bay=(0.72, 0.9), window=(0.46, 0.66), attic=0.7, crown=0.42,
                  bands=1.0, heads=0.4, sills=0.5, pillars=1.0, deco=0.7),
    "block": Style(floors=(4, 7), bay=(1.2, 1.6), window=(0.62, 0.5), crown=0.14,
                   balconies=0.75, rollers=1.0, shops=0.4, bands=0.3),
    "villa": Style(floors=(2, 4), bay=(1.05, 1.3), window=(0.34, 0.5), crown=0.16,
                   roof=1.0, sills=0.8, shutters=1.0, balconies=0.35),
}  # fmt: skip


@dataclass(frozen=True)
class Design:
    """Decisions about one building. Rows count storeys from the top, columns count bays from the left."""

    style: Style
    rows: tuple[int, ...]  # y of the storeys' edges, top to bottom; the last storey is the ground floor
    columns: tuple[int, ...]  # x of the bays' edges
    heads: bool
    sills: bool
    shutters: bool
    panels: bool  # deco below the windows
    paired: bool  # two windows in a bay
    balconies: frozenset[tuple[int, int]]  # (row, column)
    closed: frozenset[tuple[int, int]]  # rollers down
    shops: bool
    door: int  # column

    @property
    def ground(self) -> int:
        return len(self.rows) - 2

    @property
    def bays(self) -> int:
        return len(self.columns) - 1


def plan(seed: int, height: int, width: int) -> Building:
    """Plan a random, plausible building as boxes of classes, back to front, in pixels of height x width."""
    rng = np.random.default_rng([seed, 0])
    name = list(STYLES)[rng.integers(len(STYLES))]
    style = STYLES[name]
    floors = int(rng.integers(style.floors[0], style.floors[1] + 1))
    front = place_front(rng, height, width)
    roof = float(rng.uniform(0.45, 0.7)) if rng.random() < style.roof else 0.0
    storeys = [style.attic, *[1.0] * (floors - 2), 1.2]
    eaves, crown, *rows = edges(front.top, front.bottom, [roof, style.crown, *storeys, 0.1])[1:]
    rows = [crown, *rows[:-1]]
    columns = bay_edges(rng, front, style, (rows[-1] - rows[0]) / sum(storeys))
    design = decide(rng, style, rows, columns)
    boxes = [
        front,
        *dormers(design, front.top, eaves),
        *(box for row in range(floors) for box in storey(design, row)),
        *columns_between_bays(rng, design),
        *bands(rng, design, front, eaves),
        *ornaments(rng, design, eaves),
        *(balcony(design, row, column) for row, column in sorted(design.balconies)),
    ]
    order = {part: depth for depth, part in enumerate(BACK_TO_FRONT)}
    visible = sorted((box for box in boxes if min(box.height, box.width) > 0), key=lambda box: order[box.name])
    return Building(height, width, name, floors, front, eaves, rows[-2], tuple(visible))


BACK_TO_FRONT = (
    "facade", "window", "blind", "door", "shop", "deco", "pillar", "molding", "cornice", "sill", "balcony"
)  # fmt: skip


def place_front(rng: np.random.Generator, height: int, width: int) -> Box:
    """Place the front: sky above it, and perhaps a gap at either side and a pavement."""
    left, right = rng.uniform(0.03, 0.13, 2) * (rng.random(2) < 0.7)
    top = rng.uniform(0.05, 0.15)
    pavement = rng.uniform(0.02, 0.05) * (rng.random() < 0.7)
    return Box("facade", round(top * height), round(left * width), round((1 - pavement) * height),
               round((1 - right) * width))  # fmt: skip


def edges(start: int, stop: int, weights: list[float]) -> tuple[int, ...]:
    """Divide start..stop in proportion to the weights; return the pixel edges, one more than there are weights."""
    shares = np.cumsum([0.0, *weights]) / sum(weights)
    return tuple(int(edge) for edge in np.rint(start + shares * (stop - start)))


def bay_edges(rng: np.random.Generator, front: Box, style: Style, storey_height: float) -> tuple[int, ...]:
    """Place as many bays as fit the style's proportions, equally wide, between margins of blank wall."""
    bays = max(2, round(front.width * 0.94 / (rng.uniform(*style.bay) * storey_height)))
    margin = rng.uniform(0.15, 0.35)
    return edges(front.left, front.right, [margin, *[1.0] * bays, margin])[1:-1]


def decide(rng: np.random.Generator, style: Style, rows: list[int], columns: tuple[int, ...]) -> Design:
    """Draw at random which parts a building has."""
    ground, bays = len(rows) - 2, len(columns) - 1
    heads, sills, shutters, panels, paired, shops = (
        bool(roll < chance)
        for roll, chance in zip(
            rng.random(6),
            (style.heads, style.sills, style.shutters, 0.5 * style.deco, style.rollers / 2, style.shops),
            strict=True,
        )
    )
    cells = [(row, column) for row in range(1, ground) for column in range(bays)]
    lit = rng.random(len(cells)) < 0.35 * style.rollers
    door = bays // 2 if rng.random() < 0.6 else int(rng.integers(bays))
    top = 1 if style.attic < 1 and ground > 1 else int(rng.integers(min(2, ground)))
    with_balcony = balcony_cells(rng, top, ground, bays) if rng.random() < style.balconies else frozenset()
    return Design(
        style, tuple(rows), columns, heads, sills, shutters, panels, paired, with_balcony,
        frozenset(cell for cell, down in zip(cells, lit, strict=True) if down), shops, door,
    )  # fmt: skip


def balcony_cells(rng: np.random.Generator, top: int, ground: int, bays: int) -> frozenset[tuple[int, int]]:
    """Choose cells for balconies symmetrically: the middle, the outer or every other bay, from row `top` on."""
    middle = {bays // 2, (bays - 1) // 2}
    outer = {0, bays - 1}
    every_other = {column for column in range(bays) if min(column, bays - 1 - column) % 2}
    chosen = (middle, outer, every_other or middle)[rng.integers(3)]
    return frozenset((row, column) for row in range(top, ground) for column in chosen)


def opening(design: Design, row: int, column: int) -> Box:
    """Place the window of one cell. Windows of a row have one top, those of a building one width."""
    top, bottom = design.rows[row], design.rows[row + 1]
    left, right = design.columns[column], design.columns[column + 1]
    wide, high = design.style.window
    bay = (design.columns[-1] - design.columns[0]) / design.bays
    width = max(2, round(bay * wide))
    height = max(3, round((bottom - top) * (high + 0.12 * ((row, column) in design.balconies))))
    start_x = (left + right - width) // 2
    start_y = top + round((bottom - top) * 0.24)
    return Box("window", start_y, start_x, start_y + height, start_x + width)


def storey(design: Design, row: int) -> Iterator[Box]:
    """Fill one row of cells; the ground floor has a door and perhaps shops."""
    for column in range(design.bays):
        if row == design.ground and (column == design.door or design.shops):
            yield from entrance(design, column)
        else:
            yield from window_with_trim(design, row, column)


def window_with_trim(design: Design, row: int, column: int) -> Iterator[Box]:
    """Fill a cell without door or shop: window, blinds and trim."""
    window = opening(design, row, column)
    panes = list(split(window)) if design.paired else [window]
    yield from panes
    if (row, column) in design.closed:
        drop = round(window.height * (0.4 if column % 2 else 0.95))
        yield panes[0].named("blind").with_rows(window.top, window.top + drop)
    if design.shutters:
        leaf = max(2, round(window.width * 0.42))
        yield window.named("blind").with_sides(window.left - leaf, window.left)
        yield window.named("blind").with_sides(window.right, window.right + leaf)
    yield from trim(design, row, column, window)


def split(window: Box) -> Iterator[Box]:
    """Split a window into two equal ones with a post between them."""
    gap = max(1, round(window.width * 0.06))
    half = max(1, (window.width - gap) // 2)
    yield window.with_sides(window.left, window.left + half)
    yield window.with_sides(window.right - half, window.right)


def trim(design: Design, row: int, column: int, window: Box) -> Iterator[Box]:
    """Place the cornice above a window, the sill and perhaps a panel below it."""
    floor = design.rows[row + 1]
    storey_height = floor - design.rows[row]
    thick = max(1, round(storey_height * 0.07))
    overhang = max(1, round(window.width * 0.14))
    wide = window.with_sides(window.left - overhang, window.right + overhang)
    upper = row < design.ground
    if design.heads and upper:
        tall = thick * 2 if row == 1 and design.style.deco else thick  # the main storey has pediments
        yield wide.named("cornice").with_rows(window.top - tall, window.top)
    if design.sills and (row, column) not in design.balconies:
        yield wide.named("sill").with_rows(window.bottom, window.bottom + thick)
    if design.panels and upper and not design.balconies:
        low = window.bottom + thick + max(1, thick // 2)
        high = round(storey_height * 0.11)
        yield window.named("deco").with_rows(low, min(low + high, floor))


def entrance(design: Design, column: int) -> Iterator[Box]:
    """Fill a cell of the ground floor: the door, or a shop that fills its bay."""
    top, bottom = design.rows[-2], design.rows[-1]
    left, right = design.columns[column], design.columns[column + 1]
    height, bay = bottom - top, right - left
    if column == design.door:
        half = max(1, round(min(0.27 * bay, 0.24 * height)))
        middle = (left + right) // 2
        lintel, step = top + round(0.26 * height), bottom + round(0.06 * height)
        yield Box("door", lintel, middle - half, step, middle + half)
    else:
        inset = max(1, round(0.05 * bay))
        yield Box("shop", top + round(0.14 * height), left + inset, bottom, right - inset)


def dormers(design: Design, ridge: int, eaves: int) -> Iterator[Box]:
    """Place windows in the roof: over every other bay, or between two bays where their number is even."""
    height = eaves - ridge
    if height < 4:
        return
    half = max(1, round(opening(design, 0, 0).width * 0.4))
    for column in range(1, design.bays, 2):
        left, right = design.columns[column], design.columns[column + design.bays % 2]
        middle = (left + right) // 2
        top, bottom = ridge + round(height * 0.38), eaves - round(height * 0.14)
        yield Box("window", top, middle - half, bottom, middle + half)


def columns_between_bays(rng: np.random.Generator, design: Design) -> Iterator[Box]:
    """Place pillars through the upper storeys: between all bays, or at the two ends only."""
    if rng.random() >= design.style.pillars:
        return
    bay = (design.columns[-1] - design.columns[0]) / design.bays
    half = max(1, round(bay * 0.085))
    between_all = not design.style.roof or rng.random() < 0.3
    last = design.bays
    for place, x in enumerate(design.columns):
        if between_all or place in (0, last):
            first_row = 1 if design.style.attic < 1 else 0
            yield Box("pillar", design.rows[first_row], x - half, design.rows[-2], x + half)


def bands(rng: np.random.Generator, design: Design, front: Box, eaves: int) -> Iterator[Box]:
    """Place the top band under the roof and, in some styles, bands at the ground floor, the attic or every floor."""
    yield Box("molding", eaves, front.left, design.rows[0], front.right)
    if rng.random() >= design.style.bands:
        return
    thick = max(1, round((design.rows[-1] - design.rows[-2]) * 0.1))
    every = bool(rng.random() < 0.4) and not design.panels
    last = design.ground
    for row in range(1, last + 1):
        if every or row == last or (row == 1 and design.style.attic < 1):
            y = design.rows[row]
            yield Box("molding", y - thick // 2, front.left, y - thick // 2 + thick, front.right)


def ornaments(rng: np.random.Generator, design: Design, eaves: int) -> Iterator[Box]:
    """Place ornaments on the top band over each bay, or above the door."""
    if rng.random() >= design.style.deco:
        return
    crown = design.rows[0] - eaves
    bay = design.columns[1] - design.columns[0]
    if rng.random() < 0.5:
        for left, right in pairwise(design.columns):
            middle, half = (left + right) // 2, max(1, round(bay * 0.22))
            yield Box("deco", design.rows[0] + max(1, crown // 8), middle - half,
                      design.rows[0] + max(3, crown // 2), middle + half)  # fmt: skip
    if not design.shops:
        for door in entrance(design, design.door):
            rise = max(2, round(door.height * 0.22))
            yield Box("deco", door.top - rise, door.left - 1, door.top, door.right + 1)


def balcony(design: Design, row: int, column: int) -> Box:
    """Place the rail and slab in front of the lower part of a window, wider than it."""
    window = opening(design, row, column)
    side = max(1, round(window.width * 0.3))
    rise = max(3, round((design.rows[row + 1] - design.rows[row]) * 0.3))
    bottom = window.bottom + max(1, rise // 5)
    return Box("balcony", bottom - rise, window.left - side, bottom, window.right + side)
