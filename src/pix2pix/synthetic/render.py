"""Render the photo of a planned building, (H, W, 3) uint8.

Painters draw the boxes on a canvas of twice the size, back to front. Light comes from the upper left: a part that
stands out of the wall casts a shadow below and to the right. Materials and colours follow from the plan (style, number
of floors) and hardly from chance, since a generator sees only the labels.
"""

import numpy as np
import numpy.typing as npt

from pix2pix.synthetic.building import Box, Building
from pix2pix.synthetic.canvas import MATERIALS, SCALE, Canvas, Scene, clouds, down, part, ramp, rgb
from pix2pix.synthetic.painters import PAINTERS


def render(building: Building, seed: int) -> npt.NDArray[np.uint8]:
    """Draw the photo, (H, W, 3) uint8. The seed decides curtains, clouds, stains and grain only."""
    rng = np.random.default_rng([seed, 1])
    materials = MATERIALS[building.style]
    tint = rng.normal(1, 0.02, 3)
    red, green, blue = (float(c) for c in np.array(materials.walls[building.floors % len(materials.walls)]) * tint)
    canvas = np.empty((SCALE * building.height, SCALE * building.width, 3), np.float32)
    scene = Scene(canvas, building, materials, (red, green, blue), rng)
    paint_surroundings(scene)
    for box in building.boxes:
        cast_shadow(scene, box)
        PAINTERS[box.name](scene, box)
    return expose(canvas, rng)


def expose(canvas: Canvas, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Expose the canvas as a camera does: half the size, darker to the lower right, slightly blurred, with grain."""
    height, width = canvas.shape[0] // SCALE, canvas.shape[1] // SCALE
    photo = (canvas[::2, ::2] + canvas[1::2, ::2] + canvas[::2, 1::2] + canvas[1::2, 1::2]) / 4
    photo *= (ramp(height, 1.05, 0.95)[:, None] * ramp(width, 1.03, 0.96))[..., None] * rng.normal(1, 0.02)
    photo[1:-1] = 0.8 * photo[1:-1] + 0.1 * (photo[:-2] + photo[2:])
    photo[:, 1:-1] = 0.8 * photo[:, 1:-1] + 0.1 * (photo[:, :-2] + photo[:, 2:])
    photo += rng.standard_normal((height, width, 1), np.float32) * 0.014
    photo += rng.standard_normal((height, width, 3), np.float32) * 0.006
    return np.asarray(np.clip(photo * 255 + 0.5, 0, 255), np.uint8)


def paint_surroundings(scene: Scene) -> None:
    """Paint sky, a neighbour's wall or a tree in the gaps, and the pavement: `background` in the labels."""
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
    """Paint the sky: blue above, pale towards the roofs, with soft clouds."""
    depth = np.minimum(down(canvas, 0, 3), 1)
    canvas[:] = rgb((0.5, 0.66, 0.86)) * (1 - depth) + rgb((0.86, 0.9, 0.93)) * depth
    sky = canvas[: canvas.shape[0] // 3]
    cover = np.clip(clouds(rng, sky, (3, 6)) * 0.3, 0, 0.6) * down(sky, 1, 0)
    sky += (np.float32(0.95) - sky) * cover


def paint_neighbour(scene: Scene, box: Box) -> None:
    """Paint the edge of the next building: a duller wall with a roof edge, in shade."""
    wall = scene.view(box)
    wall[:] = rgb((0.55, 0.51, 0.46)) * down(wall, 1.0, 0.85)
    wall *= 1 + 0.04 * clouds(scene.rng, wall, (12, 3))
    part(wall, 0, 0, 0.03, 1)[:] = (0.35, 0.24, 0.2)
    part(wall, 0.03, 0, 0.045, 1)[:] *= 0.6
    storey = max(2, round(scene.storey))
    for y in range(storey, wall.shape[0] - storey // 2, storey):
        part(wall[y : y + storey // 2], 0, 0.25, 1, 0.7)[:] = (0.24, 0.27, 0.31)


def paint_tree(scene: Scene, box: Box) -> None:
    """Paint a tree, lit from the upper left."""
    paint_neighbour(scene, box.with_rows(box.top + box.height // 3, box.bottom))
    view = scene.view(box)
    height, width = view.shape[:2]
    leaves = clouds(scene.rng, view, (max(2, height // 5), max(2, width // 5)))
    y, x = ramp(height, -1, 1)[:, None, None], ramp(width, -1, 1)[:, None]
    inside = y * y + 0.55 * x * x + 0.12 * leaves < 0.85
    light = np.clip(0.8 + 0.16 * leaves - 0.25 * y - 0.12 * x, 0.35, 1.4)
    np.copyto(view, rgb((0.27, 0.38, 0.17)) * light, where=inside)


def paint_pavement(view: Canvas) -> None:
    """Paint flagstones, a kerb and a strip of road."""
    view[:] = rgb((0.52, 0.51, 0.5)) * down(view, 0.85, 1.1)
    part(view, 0.5, 0, 0.62, 1)[:] *= 1.2
    part(view, 0.62, 0, 1, 1)[:] *= 0.6


def cast_shadow(scene: Scene, box: Box) -> None:
    """Darken the wall below and to the right of a box that stands out of it; the box is painted later."""
    reach = round(REACH.get(box.name, 0.0) * scene.storey)
    if reach == 0:
        return
    whole = scene.building.front
    front = scene.view(whole)  # the sky beside it takes no shadow
    for step, light in ((reach, 0.8), (max(1, round(0.7 * reach)), 0.72)):  # half shadow, then the core
        y, x = SCALE * (box.top - whole.top) + step, max(0, SCALE * (box.left - whole.left) + step // 2)
        front[y : y + SCALE * box.height, x : x + SCALE * box.width] *= light


REACH = {"pillar": 0.05, "molding": 0.09, "cornice": 0.07, "sill": 0.05, "balcony": 0.2, "deco": 0.02,
         "blind": 0.02}  # of a shadow / height of a storey  # fmt: skip
