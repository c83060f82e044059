"""Offsets between the edges of two images are found where there is one, and nothing is claimed where there is none."""

import numpy as np
import pytest

from pix2pix.data.checks.alignment import cell_size, edge_map, find_offset
from pix2pix.synthetic.facades import facade


@pytest.mark.parametrize("seed", [2, 3, 11])
def test_labels_shifted_against_their_photo(seed: int) -> None:
    photo, labels = facade(seed, (300, 300))
    target = labels[24:280, 12:268]
    assert find_offset(edge_map(photo[20:276, 20:276]), edge_map(target)) == (-2, 4)
    assert cell_size(256, 256) == 2


def test_unrelated_and_flat_images() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 256, 256, 3), dtype=np.uint8)
    flat = np.full((256, 256, 3), 9, np.uint8)
    for seed, other in enumerate([*noise, flat, flat[:100]]):
        assert find_offset(edge_map(facade(seed, 256)[0]), edge_map(other)) is None
        assert find_offset(edge_map(facade(seed, 256)[1]), edge_map(facade(seed + 50, 256)[0])) is None
        assert find_offset(edge_map(other), edge_map(other)) in (None, (0, 0))
