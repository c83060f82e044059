"""A building planned as boxes of classes in; its photo out, (H, W, 3) uint8.

Each class has a painter that draws one box on a canvas of twice the size, back to front; light comes from the
upper left, so whatever stands out of the wall darkens what lies below and to the right of it. Materials and
colours follow from the plan (the kind of building, its floors), hardly from chance: a generator sees no more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

Canvas = npt.NDArray[np.float32]  # (h, w, 3) in [0, 1]; its parts are views: to draw on one is to draw on all
Field = npt.NDArray[np.float32]  # (h, w) or broadcast to it
Colour = tuple[float, float, float]
CREAM: Colour = (0.93, 0.91, 0.85)  # the light stripes of awnings
SCALE = 2  # canvas pixels per photo pixel: edges are smooth where a bar is thinner than a pixel


@dataclass(frozen=True)
class Box:
    """A part of a building: its class and the pixels top <= y < bottom, left <= x < right."""

    name: str
    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def named(self, name: str) -> "Box":
        return replace(self, name=name)

    def with_rows(self, top: int, bottom: int) -> "Box":
        return replace(self, top=top, bottom=bottom)

    def with_sides(self, left: int, right: int) -> "Box":
        return replace(self, left=left, right=right)


@dataclass(frozen=True)
class Building:
    """What stands where in an image of height x width."""

    height: int
    width: int
    style: str  # a key of LOOKS
    floors: int
    front: Box
    eaves: int  # y where the roof ends and the front begins
    ground: int  # y where the ground floor begins
    boxes: tuple[Box, ...]  # back to front

    @property
    def storey(self) -> float:
        """Height of a storey in canvas pixels: the measure of bricks, shadows and bars."""
        return SCALE * (self.front.bottom - self.eaves) / self.floors


@dataclass(frozen=True)
class Look:
    """Materials of one kind of building."""

    walls: tuple[Colour, ...]  # by the number of floors
    ground: Colour | None  # None: the ground floor is like the rest
    trim: Colour
    frame: Colour
    wood: Colour  # doors and shutters
    awning: Colour
    course: float = 0.0  # height of a brick or stone / height of a storey; 0 is plaster
    length: float = 1.0  # of a brick or stone / its height
    joint: float = 1.0  # light of the mortar
    rail: str = "bars"  # or "balusters", "panel"


LOOKS = {
    "tenement": Look(((0.56, 0.27, 0.2), (0.63, 0.36, 0.25), (0.47, 0.25, 0.21)), (0.4, 0.33, 0.29),
                     (0.78, 0.71, 0.6), (0.9, 0.88, 0.82), (0.2, 0.3, 0.24), (0.16, 0.38, 0.3),
                     course=0.075, length=2.6, joint=1.3),
    "palace": Look(((0.88, 0.76, 0.5), (0.85, 0.62, 0.52), (0.68, 0.76, 0.6)), (0.66, 0.6, 0.52),
                   (0.93, 0.9, 0.82), (0.95, 0.94, 0.9), (0.36, 0.22, 0.14), (0.5, 0.12, 0.14),
                   rail="balusters"),
    "bank": Look(((0.62, 0.61, 0.58), (0.66, 0.62, 0.54)), (0.5, 0.49, 0.47),
                 (0.72, 0.71, 0.67), (0.25, 0.24, 0.23), (0.24, 0.2, 0.16), (0.25, 0.27, 0.3),
                 course=0.2, length=2.2, joint=0.72),
    "block": Look(((0.82, 0.82, 0.8), (0.76, 0.73, 0.66), (0.7, 0.75, 0.79), (0.84, 0.79, 0.68)),
                  (0.5, 0.5, 0.5), (0.6, 0.6, 0.6), (0.3, 0.31, 0.33), (0.3, 0.34, 0.38), (0.8, 0.45, 0.12),
                  rail="panel"),
    "villa": Look(((0.92, 0.89, 0.82), (0.93, 0.83, 0.62), (0.85, 0.82, 0.78)), None,
                  (0.8, 0.76, 0.68), (0.94, 0.93, 0.9), (0.18, 0.4, 0.28), (0.7, 0.2, 0.16)),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What a painter works with."""

    canvas: Canvas
    building: Building
    look: Look
    wall: Colour
    rng: np.random.Generator

    def view(self, box: Box) -> Canvas:
        return self.canvas[SCALE * box.top : SCALE * box.bottom, SCALE * box.left : SCALE * box.right]


def render(building: Building, seed: int) -> npt.NDArray[np.uint8]:
    """The photo, (H, W, 3) uint8. The seed decides curtains, clouds, stains and grain, no more."""
    rng = np.random.default_rng([seed, 1])
    look = LOOKS[building.style]
    tint = rng.normal(1, 0.02, 3)
    red, green, blue = (float(c) for c in np.array(look.walls[building.floors % len(look.walls)]) * tint)
    canvas = np.empty((SCALE * building.height, SCALE * building.width, 3), np.float32)
    scene = Scene(canvas, building, look, (red, green, blue), rng)
    paint_surroundings(scene)
    for box in building.boxes:
        cast_shadow(scene, box)
        PAINTERS[box.name](scene, box)
    return expose(canvas, rng)


def expose(canvas: Canvas, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What a camera makes of the canvas: half the size, fall-off to the lower right, a soft lens, grain."""
    height, width = canvas.shape[0] // SCALE, canvas.shape[1] // SCALE
    photo = (canvas[::2, ::2] + canvas[1::2, ::2] + canvas[::2, 1::2] + canvas[1::2, 1::2]) / 4
    photo *= (ramp(height, 1.05, 0.95)[:, None] * ramp(width, 1.03, 0.96))[..., None] * rng.normal(1, 0.02)
    photo[1:-1] = 0.8 * photo[1:-1] + 0.1 * (photo[:-2] + photo[2:])
    photo[:, 1:-1] = 0.8 * photo[:, 1:-1] + 0.1 * (photo[:, :-2] + photo[:, 2:])
    photo += rng.standard_normal((height, width, 1), np.float32) * 0.014
    photo += rng.standard_normal((height, width, 3), np.float32) * 0.006
    return np.asarray(np.clip(photo * 255 + 0.5, 0, 255), np.uint8)


# --- the means of drawing


def rgb(colour: Colour) -> Field:
    """(3,) to mix with a canvas."""
    return np.asarray(colour, np.float32)


def ramp(count: int, start: float, stop: float) -> Field:
    """(count,) evenly from start to stop."""
    return np.linspace(start, stop, count, dtype=np.float32)


def down(canvas: Canvas, start: float, stop: float) -> Field:
    """(h, 1, 1) from start at the top to stop at the bottom."""
    return ramp(canvas.shape[0], start, stop)[:, None, None]


def part(canvas: Canvas, top: float, left: float, bottom: float, right: float) -> Canvas:
    """The view of a part given in shares of height and width; never empty where the canvas is not."""
    height, width = canvas.shape[:2]
    y, x = min(round(top * height), height - 1), min(round(left * width), width - 1)
    return canvas[y : max(y + 1, round(bottom * height)), x : max(x + 1, round(right * width))]


def clouds(rng: np.random.Generator, canvas: Canvas, cells: tuple[int, int]) -> Field:
    """(h, w, 1) smooth noise of mean 0 and about unit variance, as coarse as the (rows, columns) of cells."""
    height, width = canvas.shape[:2]
    coarse = rng.standard_normal(cells, np.float32) * 1.5
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32)[..., None]


def masonry(rng: np.random.Generator, canvas: Canvas, course: float, length: float, joint: float) -> Field:
    """(h, w, 1) light of a bond of bricks or stones, `course` canvas pixels high."""
    height, width = canvas.shape[:2]
    y, x = np.arange(height), np.arange(width)
    rows = (y / course).astype(int)
    stones = (x[None] / (course * length) + 0.5 * (np.arange(rows[-1] + 1) % 2)[:, None]).astype(int)
    tones = rng.normal(1, 0.07, (rows[-1] + 1, int(stones.max()) + 1)).astype(np.float32)
    courses = tones[np.arange(rows[-1] + 1)[:, None], stones]  # (rows, w): one line of pixels per course
    upright = np.diff(stones, axis=1, prepend=stones[:, :1]) > 0
    courses[upright] = joint
    light: Field = courses[rows]
    light[np.diff(rows, prepend=0) > 0] = joint
    return light[..., None]


def cast_shadow(scene: Scene, box: Box) -> None:
    """Darkens what lies below and right of a box that stands out of the wall; the box is drawn after."""
    reach = round(REACH.get(box.name, 0.0) * scene.building.storey)
    if reach == 0:
        return
    whole = scene.building.front
    front = scene.view(whole)  # the sky beside it takes no shadow
    for step, light in ((reach, 0.8), (max(1, round(0.7 * reach)), 0.72)):  # half shadow, then the core
        y, x = SCALE * (box.top - whole.top) + step, max(0, SCALE * (box.left - whole.left) + step // 2)
        front[y : y + SCALE * box.height, x : x + SCALE * box.width] *= light


REACH = {"pillar": 0.05, "molding": 0.09, "cornice": 0.07, "sill": 0.05, "balcony": 0.2, "deco": 0.02,
         "blind": 0.02}  # of a shadow / height of a storey  # fmt: skip


# --- what surrounds the building


def paint_surroundings(scene: Scene) -> None:
    """Sky, the neighbour's wall or a tree in the gaps, and the pavement: all `background` in the labels."""
    building, front = scene.building, scene.building.front
    paint_sky(scene.canvas, scene.rng)
    roofline = front.top + (front.bottom - front.top) // 6
    if front.left * 14 > building.width:
        paint_tree(scene, Box("background", roofline + front.height // 4, 0, front.bottom, front.left))
    elif front.left:
        paint_neighbour(scene, Box("background", roofline, 0, front.bottom, front.left))
    if front.right < building.width:
        paint_neighbour(scene, Box("background", roofline, front.right, front.bottom, building.width))
    if front.bottom < building.height:
        paint_pavement(scene.view(Box("background", front.bottom, 0, building.height, building.width)))


def paint_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Blue above, pale towards the roofs, with soft clouds."""
    depth = np.minimum(down(canvas, 0, 3), 1)
    canvas[:] = rgb((0.5, 0.66, 0.86)) * (1 - depth) + rgb((0.86, 0.9, 0.93)) * depth
    sky = canvas[: canvas.shape[0] // 3]
    cover = np.clip(clouds(rng, sky, (3, 6)) * 0.3, 0, 0.6) * down(sky, 1, 0)
    sky += (np.float32(0.95) - sky) * cover


def paint_neighbour(scene: Scene, box: Box) -> None:
    """The edge of the next house: a duller wall with a roof edge, in the shade of the gap."""
    wall = scene.view(box)
    wall[:] = rgb((0.55, 0.51, 0.46)) * down(wall, 1.0, 0.85)
    wall *= 1 + 0.04 * clouds(scene.rng, wall, (12, 3))
    part(wall, 0, 0, 0.03, 1)[:] = (0.35, 0.24, 0.2)
    part(wall, 0.03, 0, 0.045, 1)[:] *= 0.6
    storey = max(2, round(scene.building.storey))
    for y in range(storey, wall.shape[0] - storey // 2, storey):
        part(wall[y : y + storey // 2], 0, 0.25, 1, 0.7)[:] = (0.24, 0.27, 0.31)


def paint_tree(scene: Scene, box: Box) -> None:
    """A crown of leaves over a hedge, lit from the upper left."""
    paint_neighbour(scene, box.with_rows(box.top + box.height // 3, box.bottom))
    view = scene.view(box)
    height, width = view.shape[:2]
    leaves = clouds(scene.rng, view, (max(2, height // 5), max(2, width // 5)))
    y, x = ramp(height, -1, 1)[:, None, None], ramp(width, -1, 1)[:, None]
    inside = y * y + 0.55 * x * x + 0.12 * leaves < 0.85
    light = np.clip(0.8 + 0.16 * leaves - 0.25 * y - 0.12 * x, 0.35, 1.4)
    np.copyto(view, rgb((0.27, 0.38, 0.17)) * light, where=inside)


def paint_pavement(view: Canvas) -> None:
    """Flags, a kerb and a strip of road."""
    view[:] = rgb((0.52, 0.51, 0.5)) * down(view, 0.85, 1.1)
    part(view, 0.5, 0, 0.62, 1)[:] *= 1.2
    part(view, 0.62, 0, 1, 1)[:] *= 0.6


# --- the painters: one per class


def paint_facade(scene: Scene, box: Box) -> None:
    """The wall, its ground floor of rougher stuff, and the roof above the eaves."""
    building, look, rng = scene.building, scene.look, scene.rng
    wall = scene.view(box)
    wall[:] = scene.wall
    ground = scene.view(box.with_rows(building.ground, box.bottom))
    ground[:] = look.ground or scene.wall
    upper = scene.view(box.with_rows(building.eaves, building.ground))
    if look.course:
        upper *= masonry(rng, upper, max(3.0, look.course * building.storey), look.length, look.joint)
    if building.style in ("palace", "bank", "tenement"):
        ground *= masonry(rng, ground, max(4.0, 0.17 * building.storey), 2.4, 0.68)
    stains = 1 + 0.03 * clouds(rng, wall, (9, 9)) + 0.008 * clouds(rng, wall, (4, 60))
    dirt = 1 - 0.35 * np.clip(down(wall, -6, 1), 0, 1)  # splashes near the ground
    wall *= stains * dirt
    plinth = wall[-max(1, round(0.1 * building.storey)) :]
    plinth[:] = rgb((0.46, 0.44, 0.42)) * down(plinth, 1.1, 0.75)
    if building.eaves > box.top:
        paint_roof(scene, scene.view(box.with_rows(box.top, building.eaves)))


def paint_roof(scene: Scene, roof: Canvas) -> None:
    """Rows of tiles, red on plaster houses and slate on others."""
    tile = (0.55, 0.29, 0.21) if scene.building.style == "villa" else (0.36, 0.37, 0.42)
    roof[:] = rgb(tile) * down(roof, 1.12, 0.82)
    roof *= masonry(scene.rng, roof, max(3.0, 0.07 * scene.building.storey), 1.3, 0.75)
    part(roof, 0, 0, 0.06, 1)[:] *= 0.75


def paint_window(scene: Scene, box: Box) -> None:
    """A frame with its panes, set back in the wall: shadow at the top and left of the reveal."""
    window = scene.view(box)
    window[:] = scene.look.frame
    bar = max(1, round(0.022 * scene.building.storey))
    glass = window[bar:-bar, bar:-bar]
    if glass.size == 0:
        return
    paint_glass(scene, glass)
    lights = max(1, round(1.6 * box.width / box.height)) if scene.building.style == "block" else 2
    for light in range(1, lights):
        part_way = round(light * glass.shape[1] / lights)
        glass[:, part_way - bar // 2 : part_way - bar // 2 + bar] = scene.look.frame
    if scene.building.style != "block":
        transom = round(0.32 * glass.shape[0])
        glass[transom : transom + bar] = scene.look.frame
    deep = max(1, round(0.04 * scene.building.storey))
    window[:deep] *= 0.45
    window[:, : max(1, deep // 2)] *= 0.6
    window[-1:] *= 1.15


def paint_glass(scene: Scene, glass: Canvas) -> None:
    """A dark room behind the sky's reflection, and in some windows curtains."""
    rng = scene.rng
    height, width = glass.shape[:2]
    glass[:] = rgb((0.17, 0.2, 0.23)) * down(glass, 1.2, 0.8)
    drawn = rng.random()
    if drawn < 0.6:
        folds = 0.9 + 0.1 * np.cos(np.arange(width, dtype=np.float32) * 1.3)
        cloth = rgb((0.62, 0.59, 0.52)) * folds[:, None] * down(glass, 0.75, 1.05)
        side = max(1, round(width * (0.14 + 0.2 * drawn)))
        glass[:, :side] = cloth[:, :side]
        glass[:, -side:] = cloth[:, -side:]
    slant = ramp(height, 0, 1)[:, None] + ramp(width, 0, 0.5)  # the sky is mirrored above a slanting roofline
    mirror = np.clip((rng.uniform(0.5, 0.75) - slant) * 3, 0, 1)[..., None] * 0.55
    glass += (rgb((0.66, 0.76, 0.87)) - glass) * mirror


def paint_door(scene: Scene, box: Box) -> None:
    """Two leaves with raised panels below a fanlight, in a stone surround, on a step."""
    door = scene.view(box)
    door[:] = rgb(scene.look.trim) * 0.95
    inner = part(door, 0.06, 0.1, 1, 0.9)
    inner[:] = rgb(scene.look.wood) * down(inner, 0.75, 1.05)
    paint_glass(scene, part(inner, 0.03, 0.05, 0.22, 0.95))
    for left, right in ((0.06, 0.47), (0.53, 0.94)):
        for top, bottom in ((0.28, 0.56), (0.6, 0.92)):
            panel = part(inner, top, left, bottom, right)
            panel *= 1.3
            part(panel, 0.08, 0.12, 1, 1)[:] *= 0.62
            part(panel, 0.16, 0.2, 0.88, 0.85)[:] *= 1.25
    part(inner, 0.22, 0.485, 1, 0.515)[:] *= 0.4
    part(inner, 0, 0, 0.05, 1)[:] *= 0.4
    part(inner, 0, 0, 1, 0.06)[:] *= 0.5
    part(door, 0.965, 0, 1, 1)[:] = (0.58, 0.57, 0.55)


def paint_shop(scene: Scene, box: Box) -> None:
    """A fascia with lettering, an awning's stripes, and lit goods behind plate glass."""
    shop, rng = scene.view(box), scene.rng
    shop[:] = rgb(scene.look.wood) * 0.8
    sign = part(shop, 0, 0, 0.16, 1)
    sign[:] = rgb(scene.look.awning) * 0.75
    letters = part(sign, 0.3, 0.15, 0.75, 0.85)
    ink = np.repeat(rng.random(-(-letters.shape[1] // 3)) < 0.62, 3)[: letters.shape[1]]
    letters[:, ink] = (0.9, 0.86, 0.7)
    display = part(shop, 0.16, 0.05, 0.88, 0.95)
    paint_glass(scene, display)
    goods = part(display, 0.55, 0.04, 0.96, 0.96)
    heap = clouds(rng, goods, (3, 9))
    goods[:] = rgb((0.5, 0.42, 0.3)) * (1 + 0.3 * heap) * down(goods, 0.7, 1.1)
    part(display, 0, 0.48, 1, 0.52)[:] = rgb(scene.look.frame) * 0.8
    awning = part(shop, 0.17, 0, 0.36, 1)
    stripes = np.arange(awning.shape[1]) // max(2, round(0.07 * scene.building.storey)) % 2
    cloth = np.where(stripes[:, None] == 1, rgb(scene.look.awning) * 1.15, rgb(CREAM))
    awning[:] = cloth * down(awning, 1.08, 0.86)
    part(shop, 0.36, 0.05, 0.48, 0.95)[:] *= 0.5  # the awning's shadow on the glass
    part(shop, 0, 0, 0.02, 1)[:] *= 1.3


def paint_blind(scene: Scene, box: Box) -> None:
    """A louvred shutter where it is tall and narrow, else the light slats of a roller."""
    blind = scene.view(box)
    shutter = scene.look.wood if scene.building.style == "villa" else (0.74, 0.72, 0.66)
    pitch = max(3, round(0.04 * scene.building.storey))
    slats = 1.12 - 0.4 * (np.arange(blind.shape[0], dtype=np.float32) % pitch) / pitch
    blind[:] = rgb(shutter) * slats[:, None, None]
    if scene.building.style == "villa":
        for stile in (part(blind, 0, 0, 1, 0.14), part(blind, 0, 0.86, 1, 1), part(blind, 0.47, 0, 0.53, 1)):
            stile[:] = shutter
        part(blind, 0, 0, 1, 0.05)[:] *= 1.3
    else:
        blind[: max(1, pitch)] *= 0.6
        blind[-max(1, pitch // 2) :] *= 0.55


def paint_pillar(scene: Scene, box: Box) -> None:
    """A cylinder with flutes between a base and a capital."""
    pillar = scene.view(box)
    x = ramp(pillar.shape[1], -0.95, 0.95)
    facing = np.clip(0.62 * np.sqrt(1 - x * x) - 0.5 * x, 0, 1)  # Lambert's law, light from the left
    shaft = 0.5 + 0.72 * facing + 0.04 * np.cos(x * 14)
    pillar[:] = rgb(scene.look.trim) * shaft[:, None]
    end = max(1, round(0.14 * scene.building.storey))
    for slab, light in ((pillar[:end], 1.08), (pillar[-end:], 0.95)):
        slab[:] = rgb(scene.look.trim) * down(slab, 1.1, 0.85) * light
        slab[-max(1, end // 4) :] *= 0.65


def paint_molding(scene: Scene, box: Box) -> None:
    """A profile of steps, bright above and dark below; a thick one carries dentils."""
    molding = scene.view(box)
    height, width = molding.shape[:2]
    depths, lights = (0, 0.12, 0.2, 0.45, 0.5, 0.85, 1), (1.15, 1.2, 0.85, 1.0, 1.05, 0.85, 0.6)
    profile = np.interp(ramp(height, 0, 1), depths, lights).astype(np.float32)
    molding[:] = rgb(scene.look.trim) * profile[:, None, None]
    pitch = round(0.11 * scene.building.storey)
    if height > 0.22 * scene.building.storey and pitch > 2:
        gaps = np.arange(width) % pitch < pitch * 0.4
        part(molding, 0.52, 0, 0.8, 1)[:, gaps] *= 0.62


def paint_cornice(scene: Scene, box: Box) -> None:
    """The head of a window: a ledge, or a pediment where it is tall."""
    head = scene.view(box)
    height, width = head.shape[:2]
    head[:] = rgb(scene.look.trim) * down(head, 1.12, 0.8)
    if height > 0.12 * scene.building.storey:
        slope = ramp(height, 1, 0)[:, None] + np.abs(ramp(width, -1, 1))  # below 1 inside the gable
        head[:] = np.where((slope < 1.15)[..., None], head, rgb(scene.wall) * 0.97)
        head[(slope < 0.75) & (ramp(height, 0, 1)[:, None] < 0.75)] *= 0.72
    head[-max(1, height // 5) :] *= 0.68


def paint_sill(scene: Scene, box: Box) -> None:
    """A ledge: a bright top, a darker face."""
    sill = scene.view(box)
    sill[:] = rgb(scene.look.trim) * down(sill, 1.18, 0.72)


def paint_balcony(scene: Scene, box: Box) -> None:
    """A slab under a rail of iron bars, stone balusters or a panel; what lies behind shows between them."""
    balcony, look = scene.view(box), scene.look
    rail = part(balcony, 0, 0, 0.82, 1)
    pitch = max(3, round((0.1 if look.rail == "balusters" else 0.055) * scene.building.storey))
    across = np.arange(rail.shape[1]) % pitch
    rail *= 0.75
    if look.rail == "panel":
        rail[:] = rgb(scene.wall) * rgb((0.8, 0.86, 0.92)) * down(rail, 1.02, 0.88)
    elif look.rail == "balusters":
        rail[:, across < pitch * 0.62] = rgb(look.trim) * 0.92
        rail[:, across == 0] *= 1.08
    else:
        rail[:, across < max(1, pitch // 3)] = (0.13, 0.13, 0.14)
    handrail = part(balcony, 0, 0, 0.1, 1)
    handrail[:] = (0.15, 0.15, 0.16) if look.rail == "bars" else rgb(look.trim) * 1.05
    slab = part(balcony, 0.82, 0, 1, 1)
    slab[:] = rgb(look.trim) * down(slab, 1.1, 0.65)


def paint_deco(scene: Scene, box: Box) -> None:
    """A stucco relief: a frame around a rosette or, if wide, a garland, embossed by the light."""
    deco = scene.view(box)
    height, width = deco.shape[:2]
    y, x = ramp(height, -1, 1)[:, None], ramp(width, -1, 1) * max(1.0, width / height)
    across = x - 2 * np.round(x / 2)  # one rosette per square
    radius = np.hypot(y, across)
    slope = -np.sin(radius * 5.5) * (y + across) / (radius + 0.2) + 0.35 * np.cos(6 * np.arctan2(y, across))
    deco[:] = rgb(scene.look.trim) * (0.88 + 0.2 * slope)[..., None]
    deco[: max(1, height // 12)] *= 1.15
    deco[-max(1, height // 12) :] *= 0.6
    deco[:, -max(1, height // 12) :] *= 0.75


PAINTERS: dict[str, Callable[[Scene, Box], None]] = {
    "facade": paint_facade,
    "window": paint_window,
    "door": paint_door,
    "cornice": paint_cornice,
    "sill": paint_sill,
    "balcony": paint_balcony,
    "blind": paint_blind,
    "deco": paint_deco,
    "molding": paint_molding,
    "pillar": paint_pillar,
    "shop": paint_shop,
}
