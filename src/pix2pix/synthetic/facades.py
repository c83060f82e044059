"""Draw procedural facades: a photo and its label map in the twelve CMP classes; and data sets of them.

A seed gives a random, plausible building, planned as boxes of classes. The boxes are the label map, and `render` draws
the photo. The photo contains little randomness, so that it can be learned from the labels.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pix2pix.synthetic.building import Building
from pix2pix.synthetic.plan import plan
from pix2pix.synthetic.render import render
from pix2pix.system.folders import write_folder_atomically

CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    # The CMP Facade Database's class order, in the colours of its label maps (steps of the jet colour map).
    ("background", (0, 0, 223)),
    ("facade", (0, 48, 255)),
    ("window", (0, 128, 255)),
    ("door", (0, 207, 255)),
    ("cornice", (32, 255, 223)),  # the head above a window
    ("sill", (112, 255, 143)),
    ("balcony", (191, 255, 64)),
    ("blind", (255, 239, 0)),
    ("deco", (255, 159, 0)),
    ("molding", (255, 80, 0)),  # a horizontal band across the front
    ("pillar", (255, 0, 0)),
    ("shop", (175, 0, 0)),
)
MIN_SIZE = 32  # pixels; in a smaller image a window has no room for a pane
Image8 = npt.NDArray[np.uint8]  # (H, W, 3)
PAIRS_PER_SEED = 1_000_000  # sets made with different seeds share no building


def facade(seed: int, size: int | tuple[int, int] = 256) -> tuple[Image8, Image8]:
    """Return a photo and its label map, both (H, W, 3) uint8; `size` is the side or (H, W).

    The labels contain only the colours of CLASSES. The same seed and size give the same bytes. The same seed at another
    size of that shape gives nearly the same building. Raises ValueError below MIN_SIZE.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < MIN_SIZE:
        raise ValueError(
            f"a facade of {height} x {width} pixels has no room for windows: use {MIN_SIZE} pixels a side or more"
        )
    building = plan(seed, height, width)
    return render(building, seed), paint(building)


def paint(building: Building) -> Image8:
    """Draw the label map, (H, W, 3) uint8: every box in its class's colour, later boxes over earlier ones."""
    index = {name: number for number, (name, _) in enumerate(CLASSES)}
    labels = np.zeros((building.height, building.width), np.uint8)  # background
    for box in building.boxes:
        labels[box.top : box.bottom, box.left : box.right] = index[box.name]
    colours = np.array([colour for _, colour in CLASSES], np.uint8)
    return colours[labels]


def make_facades(
    folder: Path,
    *,
    train: int,
    val: int,
    test: int,
    size: int | tuple[int, int] = 256,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write folder/{train,val,test}/0001.png ...: the photo on the left (A), its labels on the right (B).

    The folder appears complete or not at all. `progress` receives the number of pairs written so far. Raises
    FileExistsError for a folder that holds something.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty: name a new or empty folder")
    written = 0
    with write_folder_atomically(folder) as new:
        for split, count in (("train", train), ("val", val), ("test", test)):
            (new / split).mkdir()
            for number in range(1, count + 1):
                pair = np.hstack(facade(seed * PAIRS_PER_SEED + written, size))
                Image.fromarray(pair).save(new / split / f"{number:04d}.png")
                written += 1
                if progress is not None:
                    progress(written)
