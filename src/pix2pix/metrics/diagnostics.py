"""Outputs beside their sources, targets and the training set in; whether the model is alive, sharp and its own out.

Four questions that no distance to the target answers, each with numbers and the sentence that tells what they mean:
does the output move under dropout, does it depend on the source, is it as sharp as the target, is it a training image.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pix2pix.data.encoding.tensors import to_viewable
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.loading.dataset import Batch
from pix2pix.text import format_share

LOOKED_AT = 64  # images of the split, evenly spread
NOISY = 16  # of them are translated with dropout
DRAWS = 4  # times each
THUMBNAIL = 16  # pixels a side; coarse enough that a blur is no nearer to everything
SHOWN = 4  # nearest neighbours on the page
BANDS = 24  # of the spectrum


@dataclass
class Health:
    """What `examine` found: numbers for metrics.json, sentences for people, pictures for the page."""

    numbers: dict[str, float | None]
    sentences: dict[str, str]  # question -> what the numbers mean
    spectrum: tuple[list[float], list[float], list[float]] | None = None  # cycles a pixel, power of outputs, of targets
    neighbours: list["Neighbour"] = field(default_factory=list)


@dataclass(frozen=True)
class Neighbour:
    """An output, its own target, and the training target that is nearest to it."""

    name: str
    nearest: str
    output: Pixels
    target: Pixels
    training: Pixels
    distance: float  # of the thumbnails, root mean square in [0, 1]
    to_own: float


def chosen(count: int, most: int = LOOKED_AT) -> list[int]:
    """Which of `count` images are looked at: all, or `most` evenly spread ones."""
    return sorted({round(float(place)) for place in np.linspace(0, count - 1, min(count, most))})


def thumbnails(images: Tensor) -> Tensor:
    """(N, C, H, W) in [-1, 1] -> (N, C * T * T) uint8: means over a grid of THUMBNAIL, for finding neighbours."""
    small = F.interpolate(images.float(), (THUMBNAIL, THUMBNAIL), mode="area")
    return small.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).flatten(1)


def examine(
    generator: nn.Module,
    batches: Callable[[Sequence[int]], Iterator[Batch]],
    count: int,
    device: torch.device,
    *,
    train: Tensor | None = None,
    training_image: Callable[[int], tuple[str, Tensor]] | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
) -> Health:
    """Look at a generator in eval mode on `count` pairs, of which `batches(indices)` gives some.

    `train` are the thumbnails of the training targets, of which `training_image` gives one's name and picture.
    """
    indices = chosen(count)
    parts = list(batches(indices))
    source = torch.cat([batch.source for batch in parts])
    target = torch.cat([batch.target for batch in parts])
    # What is known of the targets; in their holes the outputs show the target, so that nothing is said of them.
    known = torch.cat(
        [torch.ones_like(one.target, dtype=torch.bool) if one.mask is None else one.mask for one in parts]
    )
    output = torch.where(known, _translated(generator, source, device), target)
    health = Health({}, {})
    _under_dropout(health, generator, source, output, target, known, device, seed)
    _on_the_source(health, output, target, known)
    _sharpness(health, output, target, known)
    if train is not None and training_image is not None:
        _neighbours(health, output, target, train, training_image, [names[index] for index in indices])
    return health


def _translated(generator: nn.Module, source: Tensor, device: torch.device) -> Tensor:
    """(N, in, H, W) -> (N, out, H, W) on the CPU, one by one, so that it does not matter which are looked at."""
    with torch.inference_mode():
        return torch.cat([generator(one[None].to(device)).float().cpu() for one in source])


# ---- does it move under dropout? -------------------------------------------------------------------------------


def _under_dropout(
    health: Health,
    generator: nn.Module,
    source: Tensor,
    output: Tensor,
    target: Tensor,
    known: Tensor,
    device: torch.device,
    seed: int,
) -> None:
    """`dropout_movement`: how far two outputs for one source are apart, on average, as a share of the full range."""
    noise = [module for module in generator.modules() if isinstance(module, nn.Dropout) and module.p]
    if not noise:
        health.numbers["dropout_movement"] = None
        health.sentences["dropout"] = "The generator has no dropout, so one source gives one output."
        return
    were_on = [module.training for module in noise]
    torch.manual_seed(seed)
    for module in noise:
        module.train()
    some = chosen(len(source), NOISY)
    draws = torch.stack([_translated(generator, source[some], device) for _ in range(DRAWS)])
    for module, was_on in zip(noise, were_on, strict=True):
        module.train(was_on)
    apart = [_apart(draws[i], draws[j], known[some]) for i in range(DRAWS) for j in range(i)]
    movement = sum(apart) / len(apart)
    error = _apart(output, target, known)
    health.numbers["dropout_movement"] = movement
    share = movement / error if error else math.inf
    health.sentences["dropout"] = (
        f"With dropout on, two outputs for one source differ by {format_share(movement)} of the full range, "
        f"{format_share(share)} of their distance from the target. "
        + (
            "That is next to nothing, as the paper found too (section 3.1): the method gives one answer, not a choice."
            if share < 0.1
            else "The noise is used: `translate --dropout` gives a choice of answers."
        )
    )


# ---- does it depend on the source? -----------------------------------------------------------------------------


def _on_the_source(health: Health, output: Tensor, target: Tensor, known: Tensor) -> None:
    """Every output against its own target (`matched_l1`) and the next one's (`shuffled_l1`), and `source_dependence`:
    how much the outputs of different sources differ, over how much their targets do."""
    count = len(output)
    if count < 2:
        health.sentences["source"] = "One image does not tell whether the output depends on the source."
        return
    both = known & known.roll(1, 0)  # of an image and the next one
    matched, shuffled = _apart(output, target, known), _apart(output.roll(1, 0), target, both)
    apart, wanted = (_apart(images.roll(1, 0), images, both) for images in (output, target))
    dependence = apart / wanted if wanted else math.nan
    health.numbers |= {"matched_l1": matched, "shuffled_l1": shuffled, "source_dependence": dependence}
    said = (
        f"Outputs of different sources differ by {format_share(dependence)} of what their targets do; the l1 is "
        f"{matched:.4f} with the right source and {shuffled:.4f} with another's. "
    )
    if not dependence >= 0.05:
        said += "The source is ignored: nearly the same picture comes out whatever goes in."
    elif shuffled <= 1.02 * matched:
        said += "The outputs vary, but the right source helps them no more than a wrong one."
    else:
        said += "The output follows its source."
    health.sentences["source"] = said


# ---- is it sharp? ----------------------------------------------------------------------------------------------


def _sharpness(health: Health, output: Tensor, target: Tensor, known: Tensor) -> None:
    """`gradient_ratio`: energy of the differences of neighbouring pixels, outputs over targets; `fine_detail_ratio`:
    the same of the power above half of the highest frequency."""
    energy = [float(gradient_energy(images, known).nansum()) for images in (output, target)]
    gradient = energy[0] / energy[1] if energy[1] else math.nan
    frequencies, *powers = _spectra(output, target)
    fine = [sum(power for at, power in zip(frequencies, band, strict=True) if at > 0.25) for band in powers]
    detail = fine[0] / fine[1] if fine[1] else math.nan
    health.numbers |= {"gradient_ratio": gradient, "fine_detail_ratio": detail}
    health.spectrum = (frequencies, powers[0], powers[1])
    said = (
        f"Edges carry {format_share(gradient)} of the targets' energy, and the finest detail {format_share(detail)}. "
    )
    if gradient < 0.5:
        said += "The outputs are blurred, as an average over what the source does not tell is."
    elif detail > 2:
        said += "There is more fine detail than in the targets, which often is a grid or noise: look at plain areas."
    elif gradient > 1.4:
        said += "Edges are harsher, or more, than the targets' are: look for outlines and patterns that are not there."
    elif gradient < 0.7 or detail < 0.5:
        said += "The outputs are softer than the targets."
    else:
        said += "The outputs are about as sharp as the targets."
    health.sentences["sharpness"] = said


def gradient_energy(images: Tensor, known: Tensor | None = None) -> Tensor:
    """(N, C, H, W) -> (N,): the mean square of the differences of neighbours, down and across, where both are known."""
    known = torch.ones_like(images, dtype=torch.bool) if known is None else known
    total = torch.zeros(len(images))
    for side in (-2, -1):
        ends = (known.narrow(side, start, known.shape[side] - 1) for start in (0, 1))
        inside = torch.logical_and(*ends)
        total += (images.diff(dim=side).square() * inside).sum(dim=(1, 2, 3)) / inside.sum(dim=(1, 2, 3))
    return total


def radial_spectrum(images: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, C, H, W) -> cycles a pixel of BANDS rings up to 1/2, and the mean power in each.

    The mean is taken out and the borders are faded (Hann), or their jumps would count as detail.
    """
    height, width = images.shape[-2:]
    window = torch.hann_window(height, periodic=False)[:, None] * torch.hann_window(width, periodic=False)
    flat = (images - images.mean(dim=(-2, -1), keepdim=True)) * window
    power = torch.fft.fft2(flat.double()).abs().square().mean(dim=(0, 1)) / (height * width)
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))
    ring = (radius * 2 * BANDS).long().flatten()
    inside = ring < BANDS
    total = torch.zeros(BANDS, dtype=torch.double).index_add_(0, ring[inside], power.flatten()[inside])
    members = torch.bincount(ring[inside], minlength=BANDS)
    return (np.arange(BANDS) + 0.5) / (2 * BANDS), (total / members.clamp(min=1)).numpy()


def _spectra(output: Tensor, target: Tensor) -> tuple[list[float], list[float], list[float]]:
    frequencies, of_output = radial_spectrum(output)
    _, of_target = radial_spectrum(target)
    return frequencies.tolist(), of_output.tolist(), of_target.tolist()


# ---- is it a training image? -----------------------------------------------------------------------------------


def _neighbours(
    health: Health,
    output: Tensor,
    target: Tensor,
    train: Tensor,
    training_image: Callable[[int], tuple[str, Tensor]],
    names: Sequence[str],
) -> None:
    """`nearest_ratio`: how near outputs come to a training target, over how near real targets do; `remembered`: the
    share of outputs that are nearer to a training target than to their own."""
    nearest, place = _nearest(thumbnails(output), train)
    of_targets, _ = _nearest(thumbnails(target), train)
    own = _distance(thumbnails(output), thumbnails(target))
    typical = float(of_targets.median())
    ratio = float(nearest.median()) / typical if typical else math.nan
    remembered = float((nearest < own).double().mean())
    health.numbers |= {"nearest_ratio": ratio, "remembered": remembered}
    said = (
        f"Seen coarsely, the training target nearest to an output is at {format_share(ratio)} of the distance that "
        f"real targets have from theirs; {format_share(remembered)} of the outputs are nearer to it than to their own "
        "target. "
    )
    said += (
        "Look at the pairs below: the model may be giving back what it has seen."
        if ratio < 0.5
        else "The model does not give back training images."
    )
    health.sentences["memory"] = said
    for index in torch.argsort(nearest)[:SHOWN].tolist():
        name, image = training_image(int(place[index]))
        health.neighbours.append(
            Neighbour(
                name=names[index],
                nearest=name,
                output=to_viewable(output[index]),
                target=to_viewable(target[index]),
                training=to_viewable(image),
                distance=float(nearest[index]),
                to_own=float(own[index]),
            )
        )


def _nearest(some: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Thumbnails (N, d) and (M, d) -> distance to the nearest of the second, and which it is, (N,) each."""
    best = torch.full((len(some),), math.inf)
    place = torch.zeros(len(some), dtype=torch.long)
    for start in range(0, len(train), 4096):
        apart = torch.cdist(some.float(), train[start : start + 4096].float()) / (255 * some.shape[1] ** 0.5)
        values, found = apart.min(dim=1)
        nearer = values < best
        best, place = torch.where(nearer, values, best), torch.where(nearer, found + start, place)
    return best, place


def _distance(some: Tensor, others: Tensor) -> Tensor:
    """Thumbnails (N, d), twice -> (N,): root mean square in [0, 1]."""
    return (some.float() - others.float()).square().mean(dim=1).sqrt() / 255


def _apart(some: Tensor, others: Tensor, known: Tensor) -> float:
    """(N, C, H, W), twice -> the mean difference as a share of the full range, over what is known."""
    return float((some - others).abs()[known].mean() / 2)
