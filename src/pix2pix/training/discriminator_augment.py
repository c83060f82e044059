"""Augment what the discriminator sees, in training only: differentiable, one draw for all images of a step.

So few pairs last longer before D knows them by heart, and G does not learn the augmentation (Zhao et al. 2020,
DiffAugment). The probability can follow D's overfitting (Karras et al. 2020, ADA).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.config import Discriminator

TARGET = 0.6
"""Mean sign of D's logits on targets to which the probability is adapted (Karras et al. 2020, 3.1)."""
IMAGES_TO_ONE = 10_000
"""Images in which the probability goes from 0 to 1 at most; ADA's 500,000 are more than a small training has."""
IMAGES_OF_SIGN = 100
"""Images over which the sign is averaged."""
BRIGHTNESS, CONTRAST, SATURATION = 0.5, 0.5, 1.0
"""Largest shift in [-1, 1], and largest changes of the factors 1."""
SHIFT, HOLE = 1 / 8, 1 / 2
"""Largest translation and side of the hole, as shares of a side."""
FILL = -1.0
"""Where an image was moved away or cut out: black, and in a label map no class."""

Box = tuple[slice, slice]
"""Rows and columns."""


class Draw(NamedTuple):
    """What happens to one pair; None if it does not."""

    brightness: float | None = None
    saturation: float | None = None
    contrast: float | None = None
    shift: tuple[float, float] | None = None
    """Down and right, as shares of the sides."""
    hole: tuple[float, float] | None = None
    """Centre, as shares of the sides."""


class DiscriminatorAugment(nn.Module):
    """Draw an augmentation for each step; its state, on the CPU, is part of a checkpoint."""

    probability: Tensor
    sign: Tensor

    def __init__(self, settings: Discriminator, *, colours: bool) -> None:
        """Change brightness, saturation and contrast of images only with `colours`: label maps have none."""
        super().__init__()
        self.adaptive, self.colours = settings.augment == "adaptive", colours
        start = 0.0 if self.adaptive else settings.augment_probability
        self.register_buffer("probability", torch.tensor(start, dtype=torch.float64))
        self.register_buffer("sign", torch.tensor(0.0, dtype=torch.float64))

    def draw(self, pairs: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Draw from torch's CPU generator what happens to each pair of a batch.

        Return a function that does it to any source (N, in, H, W) and image (N, out, H, W) of the batch. Both are moved
        and cut alike; only the image changes its colours, and may leave [-1, 1]. What is not drawn stays bit by bit.
        """
        draws = [_draw(self.probability.item(), colours=self.colours) for _ in range(pairs)]

        def augment(source: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
            if not any(any(part is not None for part in one) for one in draws):
                return source, image
            moved, changed = [], []
            for one, x, y in zip(draws, torch.split(source, 1), torch.split(image, 1), strict=True):
                moved.append(_move(x, one))
                changed.append(_move(_recolour(y, one), one))
            return torch.cat(moved), torch.cat(changed)

        return augment

    def adapt(self, real_accuracy: float, images: int) -> None:
        """Raise the probability while D classifies too many patches of targets correctly, else lower it.

        `real_accuracy` is that of a step over all processes, of `images` images; the mean sign is 2 x accuracy - 1.
        """
        if not self.adaptive:
            return
        self.sign.lerp_(torch.tensor(2 * real_accuracy - 1, dtype=torch.float64), min(1.0, images / IMAGES_OF_SIGN))
        change = images / IMAGES_TO_ONE if self.sign.item() > TARGET else -images / IMAGES_TO_ONE
        self.probability.add_(change).clamp_(0, 1)


def _draw(probability: float, *, colours: bool) -> Draw:
    """Draw one pair's augmentation; the same count of numbers whatever the probability is."""
    happens = (torch.rand(5, dtype=torch.float64) < probability).tolist()
    numbers = (torch.rand(7, dtype=torch.float64) * 2 - 1).tolist()  # in [-1, 1)
    return Draw(
        BRIGHTNESS * numbers[0] if happens[0] and colours else None,
        1 + SATURATION * numbers[1] if happens[1] and colours else None,
        1 + CONTRAST * numbers[2] if happens[2] and colours else None,
        (SHIFT * numbers[3], SHIFT * numbers[4]) if happens[3] else None,
        ((1 + numbers[5]) / 2, (1 + numbers[6]) / 2) if happens[4] else None,
    )


def _recolour(image: Tensor, draw: Draw) -> Tensor:
    """Change brightness, saturation (of three channels) and contrast of (1, C, H, W)."""
    if draw.brightness is not None:
        image = image + draw.brightness
    if draw.saturation is not None and image.shape[1] == 3:
        gray = image.mean(dim=1, keepdim=True)
        image = gray + draw.saturation * (image - gray)
    if draw.contrast is not None:
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        image = mean + draw.contrast * (image - mean)
    return image


def _move(image: Tensor, draw: Draw) -> Tensor:
    """Translate (1, C, H, W) and cut a hole into it."""
    height, width = image.shape[2:]
    if draw.shift is not None:
        down, right = round(draw.shift[0] * height), round(draw.shift[1] * width)
        image = F.pad(image, (right, -right, down, -down), value=FILL)  # a negative number cuts off
    if draw.hole is not None:
        rows, columns = (_span(centre, side) for centre, side in zip(draw.hole, (height, width), strict=True))
        inside = torch.zeros(1, 1, height, width, dtype=torch.bool, device=image.device)
        inside[:, :, rows, columns] = True
        image = image.masked_fill(inside, FILL)
    return image


def _span(centre: float, side: int) -> slice:
    """Return the part of a side that a hole covers; at the borders it is smaller."""
    first = round(centre * side - HOLE * side / 2)
    return slice(max(0, first), max(0, first + round(HOLE * side)))
