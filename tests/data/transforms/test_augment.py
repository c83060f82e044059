"""What is done to a pair is done to both of its pictures, and classes stay classes."""

import numpy as np
import pytest
import torch
from PIL import Image

from pix2pix.config import Augment
from pix2pix.data.transforms.augment import Augmentation, apply_augmentation, draw_augmentation, interpolate

IMAGE = np.random.default_rng(0).integers(0, 256, (3, 24, 24), dtype=np.uint8)


def drawn(size: tuple[int, int] = (16, 16), **settings: float) -> list[Augmentation]:
    return [draw_augmentation(np.random.default_rng([1, n]), (24, 24), size, Augment(**settings)) for n in range(300)]


def test_what_is_off_is_never_drawn_and_moves_no_other_draw() -> None:
    plain, rich = drawn(), drawn(vertical_flip=0.5, rotate90=0.5, affine=0.5, photometric=0.5)
    assert all(
        (one.vertical_flip, one.quarter_turns, one.affine, one.photometric) == (False, 0, None, None) for one in plain
    )
    assert [(one.top, one.left, one.flip) for one in plain] == [(one.top, one.left, one.flip) for one in rich]


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("vertical_flip", "vertical_flip"),
        ("rotate90", "quarter_turns"),
        ("affine", "affine"),
        ("photometric", "photometric"),
    ],
)
def test_probabilities_are_kept(setting: str, field: str) -> None:
    share = np.mean([bool(getattr(one, field)) for one in drawn(**{setting: 0.25})])
    assert 0.15 < share < 0.35
    assert all(getattr(one, field) for one in drawn(**{setting: 1.0}))


def test_a_picture_that_is_not_square_is_only_turned_about() -> None:
    assert {one.quarter_turns for one in drawn(rotate90=1)} == {1, 2, 3}
    assert {one.quarter_turns for one in drawn((16, 12), rotate90=1)} == {2}


def test_turns_move_pixels() -> None:
    crop = IMAGE[:, 2:18, 3:19]
    assert np.array_equal(apply_augmentation(IMAGE, Augmentation(2, 3, vertical_flip=True), (16, 16)), crop[:, ::-1])
    turned = apply_augmentation(IMAGE, Augmentation(2, 3, True, quarter_turns=1), (16, 16))
    assert np.array_equal(turned, np.rot90(crop[..., ::-1], 1, (1, 2)))


def test_a_quarter_turn_as_a_rotation_is_the_quarter_turn() -> None:
    """The grid's direction and middle: exact where pixels meet pixels."""
    turned = apply_augmentation(IMAGE, Augmentation(0, 0, False, affine=(90, 1)), (24, 24))
    assert any(np.allclose(turned, np.rot90(IMAGE, k, (1, 2)), atol=0.1) for k in (1, 3))
    halved = apply_augmentation(IMAGE[:, :, :18], Augmentation(0, 0, False, affine=(180, 1)), (24, 18))
    assert np.allclose(halved, IMAGE[:, ::-1, :18][:, :, ::-1], atol=0.1)


def test_classes_are_never_mixed_and_pairs_stay_pairs() -> None:
    classes = np.where(IMAGE[:1] > 128, 200, 7).astype(np.uint8)
    one = Augmentation(1, 2, True, affine=(17, 1.1))
    moved = apply_augmentation(classes, one, (20, 20), nearest=True)
    assert moved.dtype == np.uint8
    assert set(np.unique(moved)) == {7, 200}
    both = apply_augmentation(np.concatenate([IMAGE, IMAGE]), one, (20, 20))
    assert np.array_equal(both[:3], both[3:])
    assert not np.array_equal(both[:3], IMAGE[:, 1:21, 2:22][..., ::-1])


@pytest.mark.parametrize("size", [(40, 1), (3, 1), (1, 40), (1, 1), (20, 2), (9, 30)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_that_of_pillow_also_to_one_row_or_column(size: tuple[int, int], channels: int) -> None:
    x = torch.rand(2, channels, 24, 10, generator=torch.Generator().manual_seed(0))
    for old in (x, x[..., :1].contiguous(), x[:, :, :1].contiguous()):
        found = interpolate(old, size)
        for plane, other in zip(old.flatten(0, 1), found.flatten(0, 1), strict=True):
            expected = np.asarray(Image.fromarray(plane.numpy()).resize(size[::-1], Image.Resampling.BILINEAR))
            np.testing.assert_allclose(other.numpy(), expected, atol=1e-5)
