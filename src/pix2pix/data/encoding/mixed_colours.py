"""Find the classes of label maps whose colours compression has mixed, for the advice what to type."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.encoding.labels import class_name, unique_colours, without_alpha
from pix2pix.data.io import images
from pix2pix.data.pairing.pair import ImageRef

Array = NDArray[Any]
RADIUS = 30.0
"""Gray levels. Compression may have made colours that are nearer to each other of one."""
MOST_MAPS = 30
MIDDLE = 512
"""Of a larger map, the pixels in the middle are examined, this many a side."""
MOST_CLASSES = 16
RAREST_CLASS = 5e-4
"""Share of the pixels in flat areas."""
FLAT_LEVELS = 12
"""A larger difference of neighbours is an edge, where compression mixes colours."""
TOLERANCE = 60
ANY_COLOUR = 442
"""Tolerance that takes any colour of 8 bits as its nearest class."""


def looks_mixed(colours: Iterable[tuple[int, ...]]) -> bool:
    """Return whether some colours, all gray or all RGB, are so near each other that compression may have made them."""
    levels = np.array(list(colours), np.float64)
    near = np.linalg.norm(levels[:, None] - levels[None], axis=2) <= RADIUS
    return bool((near.sum(axis=1) > 1).any())


def suggest_classes(refs: Sequence[ImageRef]) -> tuple[tuple[str, ...], int]:
    """Return the most frequent colours of the flat areas of label maps, and a tolerance that reaches all pixels.

    There are none if these are not 2 to MOST_CLASSES. The tolerance is TOLERANCE if all pixels were seen to be within.
    """
    chosen = refs[:: -(-len(refs) // MOST_MAPS)]
    maps, whole = [], len(chosen) == len(refs)
    for ref in chosen:
        values = without_alpha(images.read(ref.path, ref.view, alpha=True))
        top, left = (max(0, side - MIDDLE) // 2 for side in values.shape[:2])
        maps.append(values[top : top + MIDDLE, left : left + MIDDLE].copy())
        whole &= maps[-1].shape == values.shape
    if len({values.shape[2] for values in maps}) > 1:
        return (), TOLERANCE
    classes = _cluster(np.concatenate([values[_find_flat(values)] for values in maps]))
    if not 2 <= len(classes) <= MOST_CLASSES:
        return (), TOLERANCE
    colours, _, _ = unique_colours(np.concatenate([values.reshape(1, -1, values.shape[2]) for values in maps], axis=1))
    distance = np.min([np.linalg.norm(colours - one, axis=1) for one in classes], axis=0).max()
    names = tuple(class_name(levels) for levels in sorted(one.tolist() for one in classes))
    return names, TOLERANCE if whole and distance <= TOLERANCE else ANY_COLOUR


def _find_flat(values: Array) -> NDArray[np.bool_]:
    """Return where neighbours have nearly the same colour: (H, W, C) -> (H, W)."""
    flat = np.ones(values.shape[:2], np.bool_)
    levels = values.astype(np.int32)
    down, right = ((np.abs(np.diff(levels, axis=axis)) <= FLAT_LEVELS).all(axis=2) for axis in (0, 1))
    flat[:-1] &= down
    flat[1:] &= down
    flat[:, :-1] &= right
    flat[:, 1:] &= right
    return flat


def _cluster(pixels: Array) -> list[NDArray[np.float64]]:
    """Return the colours of (n, C) that are frequent: each takes in all within RADIUS, until rare ones are left."""
    if not len(pixels):
        return []
    colours, _, inverse = unique_colours(pixels[None])
    counts = np.bincount(inverse).astype(np.float64)
    found: list[NDArray[np.float64]] = []
    while len(found) <= MOST_CLASSES and counts.any():
        head = colours[counts.argmax()]
        near = np.linalg.norm(colours - head, axis=1) <= RADIUS
        if counts[near].sum() < RAREST_CLASS * len(pixels):
            break
        counts[near] = 0
        found.append(head)
    return found
