"""Painters, one for each class, that draw one box of a scene. Light comes from the upper left."""

from collections.abc import Callable

import numpy as np

from pix2pix.synthetic.building import Box
from pix2pix.synthetic.canvas import CREAM, Canvas, Scene, clouds, down, masonry, part, ramp, rgb


def paint_facade(scene: Scene, box: Box) -> None:
    """Paint the wall, the ground floor of rougher material, and the roof above the eaves."""
    building, materials, rng = scene.building, scene.materials, scene.rng
    wall = scene.view(box)
    wall[:] = scene.wall
    ground = scene.view(box.with_rows(building.ground, box.bottom))
    ground[:] = materials.ground or scene.wall
    upper = scene.view(box.with_rows(building.eaves, building.ground))
    if materials.course:
        upper *= masonry(rng, upper, max(3.0, materials.course * scene.storey), materials.length, materials.joint)
    if building.style in ("palace", "bank", "tenement"):
        ground *= masonry(rng, ground, max(4.0, 0.17 * scene.storey), 2.4, 0.68)
    stains = 1 + 0.03 * clouds(rng, wall, (9, 9)) + 0.008 * clouds(rng, wall, (4, 60))
    dirt = 1 - 0.35 * np.clip(down(wall, -6, 1), 0, 1)  # splashes near the ground
    wall *= stains * dirt
    plinth = wall[-max(1, round(0.1 * scene.storey)) :]
    plinth[:] = rgb((0.46, 0.44, 0.42)) * down(plinth, 1.1, 0.75)
    if building.eaves > box.top:
        paint_roof(scene, scene.view(box.with_rows(box.top, building.eaves)))


def paint_roof(scene: Scene, roof: Canvas) -> None:
    """Paint rows of tiles: red on villas, slate on others."""
    tile = (0.55, 0.29, 0.21) if scene.building.style == "villa" else (0.36, 0.37, 0.42)
    roof[:] = rgb(tile) * down(roof, 1.12, 0.82)
    roof *= masonry(scene.rng, roof, max(3.0, 0.07 * scene.storey), 1.3, 0.75)
    part(roof, 0, 0, 0.06, 1)[:] *= 0.75


def paint_window(scene: Scene, box: Box) -> None:
    """Paint a frame with panes, set back in the wall: shadow at the top and left."""
    window = scene.view(box)
    window[:] = scene.materials.frame
    bar = max(1, round(0.022 * scene.storey))
    glass = window[bar:-bar, bar:-bar]
    if glass.size == 0:
        return
    paint_glass(scene, glass)
    lights = max(1, round(1.6 * box.width / box.height)) if scene.building.style == "block" else 2
    for light in range(1, lights):
        part_way = round(light * glass.shape[1] / lights)
        glass[:, part_way - bar // 2 : part_way - bar // 2 + bar] = scene.materials.frame
    if scene.building.style != "block":
        transom = round(0.32 * glass.shape[0])
        glass[transom : transom + bar] = scene.materials.frame
    deep = max(1, round(0.04 * scene.storey))
    window[:deep] *= 0.45
    window[:, : max(1, deep // 2)] *= 0.6
    window[-1:] *= 1.15


def paint_glass(scene: Scene, glass: Canvas) -> None:
    """Paint a dark interior behind the reflected sky, and in some windows curtains."""
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
    """Paint two leaves with raised panels below a glass pane, in a stone frame, on a step."""
    door = scene.view(box)
    door[:] = rgb(scene.materials.trim) * 0.95
    inner = part(door, 0.06, 0.1, 1, 0.9)
    inner[:] = rgb(scene.materials.wood) * down(inner, 0.75, 1.05)
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
    """Paint a sign with letters, a striped awning, and lit goods behind glass."""
    shop, rng = scene.view(box), scene.rng
    shop[:] = rgb(scene.materials.wood) * 0.8
    sign = part(shop, 0, 0, 0.16, 1)
    sign[:] = rgb(scene.materials.awning) * 0.75
    letters = part(sign, 0.3, 0.15, 0.75, 0.85)
    ink = np.repeat(rng.random(-(-letters.shape[1] // 3)) < 0.62, 3)[: letters.shape[1]]
    letters[:, ink] = (0.9, 0.86, 0.7)
    display = part(shop, 0.16, 0.05, 0.88, 0.95)
    paint_glass(scene, display)
    goods = part(display, 0.55, 0.04, 0.96, 0.96)
    heap = clouds(rng, goods, (3, 9))
    goods[:] = rgb((0.5, 0.42, 0.3)) * (1 + 0.3 * heap) * down(goods, 0.7, 1.1)
    part(display, 0, 0.48, 1, 0.52)[:] = rgb(scene.materials.frame) * 0.8
    awning = part(shop, 0.17, 0, 0.36, 1)
    stripes = np.arange(awning.shape[1]) // max(2, round(0.07 * scene.storey)) % 2
    cloth = np.where(stripes[:, None] == 1, rgb(scene.materials.awning) * 1.15, rgb(CREAM))
    awning[:] = cloth * down(awning, 1.08, 0.86)
    part(shop, 0.36, 0.05, 0.48, 0.95)[:] *= 0.5  # the awning's shadow on the glass
    part(shop, 0, 0, 0.02, 1)[:] *= 1.3


def paint_blind(scene: Scene, box: Box) -> None:
    """Paint a louvred shutter on villas, otherwise the light slats of a roller."""
    blind = scene.view(box)
    shutter = scene.materials.wood if scene.building.style == "villa" else (0.74, 0.72, 0.66)
    pitch = max(3, round(0.04 * scene.storey))
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
    """Paint a fluted cylinder between a base and a capital."""
    pillar = scene.view(box)
    x = ramp(pillar.shape[1], -0.95, 0.95)
    facing = np.clip(0.62 * np.sqrt(1 - x * x) - 0.5 * x, 0, 1)  # Lambert's law, light from the left
    shaft = 0.5 + 0.72 * facing + 0.04 * np.cos(x * 14)
    pillar[:] = rgb(scene.materials.trim) * shaft[:, None]
    end = max(1, round(0.14 * scene.storey))
    for slab, light in ((pillar[:end], 1.08), (pillar[-end:], 0.95)):
        slab[:] = rgb(scene.materials.trim) * down(slab, 1.1, 0.85) * light
        slab[-max(1, end // 4) :] *= 0.65


def paint_molding(scene: Scene, box: Box) -> None:
    """Paint a stepped profile, bright above and dark below; a thick one has dentils."""
    molding = scene.view(box)
    height, width = molding.shape[:2]
    depths, lights = (0, 0.12, 0.2, 0.45, 0.5, 0.85, 1), (1.15, 1.2, 0.85, 1.0, 1.05, 0.85, 0.6)
    profile = np.interp(ramp(height, 0, 1), depths, lights).astype(np.float32)
    molding[:] = rgb(scene.materials.trim) * profile[:, None, None]
    pitch = round(0.11 * scene.storey)
    if height > 0.22 * scene.storey and pitch > 2:
        gaps = np.arange(width) % pitch < pitch * 0.4
        part(molding, 0.52, 0, 0.8, 1)[:, gaps] *= 0.62


def paint_cornice(scene: Scene, box: Box) -> None:
    """Paint the top of a window: a ledge, or a pediment where it is tall."""
    head = scene.view(box)
    height, width = head.shape[:2]
    head[:] = rgb(scene.materials.trim) * down(head, 1.12, 0.8)
    if height > 0.12 * scene.storey:
        slope = ramp(height, 1, 0)[:, None] + np.abs(ramp(width, -1, 1))  # below 1 inside the gable
        head[:] = np.where((slope < 1.15)[..., None], head, rgb(scene.wall) * 0.97)
        head[(slope < 0.75) & (ramp(height, 0, 1)[:, None] < 0.75)] *= 0.72
    head[-max(1, height // 5) :] *= 0.68


def paint_sill(scene: Scene, box: Box) -> None:
    """Paint a ledge: a bright top, a darker face."""
    sill = scene.view(box)
    sill[:] = rgb(scene.materials.trim) * down(sill, 1.18, 0.72)


def paint_balcony(scene: Scene, box: Box) -> None:
    """Paint a slab under a rail of iron bars, stone balusters or a panel; the wall shows between them."""
    balcony, materials = scene.view(box), scene.materials
    rail = part(balcony, 0, 0, 0.82, 1)
    pitch = max(3, round((0.1 if materials.rail == "balusters" else 0.055) * scene.storey))
    across = np.arange(rail.shape[1]) % pitch
    rail *= 0.75
    if materials.rail == "panel":
        rail[:] = rgb(scene.wall) * rgb((0.8, 0.86, 0.92)) * down(rail, 1.02, 0.88)
    elif materials.rail == "balusters":
        rail[:, across < pitch * 0.62] = rgb(materials.trim) * 0.92
        rail[:, across == 0] *= 1.08
    else:
        rail[:, across < max(1, pitch // 3)] = (0.13, 0.13, 0.14)
    handrail = part(balcony, 0, 0, 0.1, 1)
    handrail[:] = (0.15, 0.15, 0.16) if materials.rail == "bars" else rgb(materials.trim) * 1.05
    slab = part(balcony, 0.82, 0, 1, 1)
    slab[:] = rgb(materials.trim) * down(slab, 1.1, 0.65)


def paint_deco(scene: Scene, box: Box) -> None:
    """Paint a stucco relief: a frame around a rosette or, if wide, several, shaded by the light."""
    deco = scene.view(box)
    height, width = deco.shape[:2]
    y, x = ramp(height, -1, 1)[:, None], ramp(width, -1, 1) * max(1.0, width / height)
    across = x - 2 * np.round(x / 2)  # one rosette per square
    radius = np.hypot(y, across)
    slope = -np.sin(radius * 5.5) * (y + across) / (radius + 0.2) + 0.35 * np.cos(6 * np.arctan2(y, across))
    deco[:] = rgb(scene.materials.trim) * (0.88 + 0.2 * slope)[..., None]
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
