"""Diagnostics for failures that pixel metrics miss.

They answer five questions with numbers and a sentence each: Does the output vary with dropout? Does it depend on the
source? Is it as sharp as the target? Has it a grid? Does it copy a training image?
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.data.encoding.tensors import to_viewable
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.loading.dataset import Batch
from pix2pix.metrics.bootstrap import FEWEST_JUDGED, describe_too_few
from pix2pix.metrics.sharpness import gradient_energy, grid_energy, radial_spectrum
from pix2pix.text import format_share

IMAGES = 64  # examined at most, evenly spread over the split
DROPOUT_IMAGES = 16  # of these, translated with dropout
DROPOUT_DRAWS = 4  # translations of each
THUMBNAIL_SIDE = 16  # pixels; so coarse that blur does not bring an output nearer to all images
NEIGHBOURS = 4  # nearest training targets on the page
GRID, STRONG_GRID = 1.3, 5.0  # least `grid_energy` of a faint grid, and of a strong one
FOLLOWING, FITTING = 0.3, 1.1  # least `source_dependence`, and `shuffled_l1` / `matched_l1`, of outputs that follow

Spectrum = tuple[list[float], list[float], list[float]]
"""Cycles per pixel, power of the outputs, power of the targets."""


@dataclass(frozen=True)
class Neighbour:
    """An output, its own target, and the training target that is nearest to the output."""

    name: str
    nearest: str
    output: Pixels
    target: Pixels
    training: Pixels
    distance: float  # between thumbnails, root mean square in [0, 1]
    distance_to_own: float


@dataclass
class Diagnostics:
    """Numbers for metrics.json, sentences for people, and images for the page."""

    numbers: dict[str, float | None]
    sentences: dict[str, str]  # question -> what the numbers mean
    spectrum: Spectrum | None = None
    neighbours: list[Neighbour] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingTargets:
    """The targets that the model was trained on."""

    thumbnails: Tensor  # of all of them, see `make_thumbnails`
    read: Callable[[int], tuple[str, Tensor]]  # index -> name and image (C, H, W)


@dataclass(frozen=True)
class _Images:
    """The images to examine, on the CPU. Where `known` is false, `output` holds the target."""

    source: Tensor  # (N, in, H, W)
    output: Tensor  # (N, C, H, W), as are the others
    target: Tensor
    known: Tensor


def choose_evenly(count: int, most: int = IMAGES) -> list[int]:
    """Return at most `most` indices below `count`, evenly spread."""
    return sorted({round(float(place)) for place in np.linspace(0, count - 1, min(count, most))})


def make_thumbnails(images: Tensor) -> Tensor:
    """Shrink (N, C, H, W) in [-1, 1] to (N, C * T * T) uint8: means over a grid of T x T, T = THUMBNAIL_SIDE."""
    small = F.interpolate(images.float(), (THUMBNAIL_SIDE, THUMBNAIL_SIDE), mode="area")
    return small.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).flatten(1)


def diagnose(
    generator: nn.Module,
    batch: Batch,
    device: torch.device,
    *,
    names: Sequence[str] = (),
    training: TrainingTargets | None = None,
    classes: bool = False,
    seed: int = 0,
) -> Diagnostics:
    """Examine a generator in eval mode on a batch of pairs, whose names are `names`.

    `training` are the training targets; without them, copies of training images are not searched. With `classes`
    outputs are label maps, for which sharpness, grids and copies mean little: they are not examined.
    """
    known = torch.ones_like(batch.target, dtype=torch.bool) if batch.mask is None else batch.mask
    output = torch.where(known, _translate(generator, batch.source, device), batch.target)
    images = _Images(batch.source, output, batch.target, known)
    found = Diagnostics({}, {})
    _examine_dropout(found, generator, images, device, seed)
    _examine_source_dependence(found, images)
    if classes:
        return found
    _examine_sharpness(found, images)
    _examine_grid(found, images)
    if training is not None:
        _examine_memory(found, images, training, names)
    return found


def _translate(generator: nn.Module, source: Tensor, device: torch.device) -> Tensor:
    """Translate images one by one, so that an output does not depend on the others. Returns outputs on the CPU."""
    with torch.inference_mode():
        return torch.cat([generator(one[None].to(device)).float().cpu() for one in source])


def _unless_few(conclusion: str, images: _Images) -> str:
    """Return the conclusion, or that these are too few images for one."""
    count = len(images.output)
    return conclusion if count >= FEWEST_JUDGED else f"{describe_too_few(count)}."


def _difference(images: Tensor, others: Tensor, known: Tensor) -> float:
    """Return the mean absolute difference of (N, C, H, W), twice, over known pixels, as a share of the full range."""
    return float((images - others).abs()[known].mean() / 2)


# ---- does the output vary with dropout? ------------------------------------------------------------------------


def _examine_dropout(
    found: Diagnostics, generator: nn.Module, images: _Images, device: torch.device, seed: int
) -> None:
    """Measure `dropout_movement`: the mean difference of two outputs of one source, as a share of the full range."""
    layers = [module for module in generator.modules() if isinstance(module, nn.Dropout) and module.p]
    if not layers:
        found.numbers["dropout_movement"] = None
        found.sentences["dropout"] = "The generator has no dropout, so one source always gives the same output."
        return
    chosen = choose_evenly(len(images.source), DROPOUT_IMAGES)
    torch.manual_seed(seed)
    with _training_mode(layers):
        draws = [_translate(generator, images.source[chosen], device) for _ in range(DROPOUT_DRAWS)]
    pairs = [(draws[i], draws[j]) for i in range(DROPOUT_DRAWS) for j in range(i)]
    movement = sum(_difference(one, other, images.known[chosen]) for one, other in pairs) / len(pairs)
    error = _difference(images.output, images.target, images.known)
    share = movement / error if error else math.inf
    found.numbers["dropout_movement"] = movement
    found.sentences["dropout"] = (
        f"With dropout on, two outputs of one source differ by {format_share(movement)} of the full range; "
        f"that is {format_share(share)} of their difference from the target. "
    ) + (
        "This is almost nothing, as in the paper (section 3.1): the model gives one answer for each source."
        if share < 0.1
        else "Dropout changes the output: `translate --dropout` gives several answers for one source."
    )


@contextmanager
def _training_mode(layers: Sequence[nn.Module]) -> Iterator[None]:
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.train(mode)


# ---- does the output depend on the source? ---------------------------------------------------------------------


def is_constant(dependence: float) -> bool:
    """Return whether `source_dependence` is that of almost the same output for every source."""
    return dependence < 0.05


def is_ignored(matched: float, shuffled: float) -> bool:
    """Return whether outputs fit their own targets (l1 `matched`) no better than other targets (l1 `shuffled`)."""
    return shuffled <= 1.02 * matched


def measure_source_dependence(output: Tensor, target: Tensor, known: Tensor) -> dict[str, float]:
    """Return `matched_l1`, `shuffled_l1` and `source_dependence` of two or more images (N, C, H, W)."""
    both = known & known.roll(1, 0)  # known in an image and in the next one
    between_outputs, between_targets = (_difference(one.roll(1, 0), one, both) for one in (output, target))
    return {
        "matched_l1": _difference(output, target, known),
        "shuffled_l1": _difference(output.roll(1, 0), target, both),
        "source_dependence": between_outputs / between_targets if between_targets else math.nan,
    }


def _examine_source_dependence(found: Diagnostics, images: _Images) -> None:
    """Measure `matched_l1` against the own target, `shuffled_l1` against the next target, and `source_dependence`.

    The last is the mean difference between outputs of different sources, divided by that between their targets.
    """
    if len(images.output) < 2:
        found.sentences["source"] = "One image does not show whether the output depends on the source."
        return
    numbers = measure_source_dependence(images.output, images.target, images.known)
    found.numbers |= numbers
    matched, shuffled, dependence = numbers.values()
    if math.isnan(dependence):
        conclusion = "All targets are the same, so this does not show whether the output depends on the source."
    elif is_constant(dependence):
        conclusion = "The output is constant: almost the same image comes out for every source."
    elif is_ignored(matched, shuffled):
        conclusion = "The source is ignored: the outputs fit their own targets no better than those of other sources."
    elif dependence < FOLLOWING or shuffled < FITTING * matched:
        conclusion = "The output depends on its source, but less than the targets do."
    else:
        conclusion = "The output follows its source."
    found.sentences["source"] = (
        f"Outputs of different sources differ by {format_share(dependence)} of what their targets do. "
        f"The l1 is {matched:.4f} with the right source and {shuffled:.4f} with that of another image. "
        f"{_unless_few(conclusion, images)}"
    )


# ---- is the output sharp? --------------------------------------------------------------------------------------


def _examine_sharpness(found: Diagnostics, images: _Images) -> None:
    """Measure `gradient_ratio`: the energy of differences of neighbouring pixels, outputs divided by targets.

    Measure `fine_detail_ratio`: the same for the power above half of the highest frequency.
    """
    energy = [float(gradient_energy(one, images.known).nansum()) for one in (images.output, images.target)]
    gradient = energy[0] / energy[1] if energy[1] else math.nan
    frequencies, of_outputs = radial_spectrum(images.output)
    _, of_targets = radial_spectrum(images.target)
    fine = [float(power[frequencies > 0.25].sum()) for power in (of_outputs, of_targets)]
    detail = fine[0] / fine[1] if fine[1] else math.nan
    found.numbers |= {"gradient_ratio": gradient, "fine_detail_ratio": detail}
    found.spectrum = frequencies.tolist(), of_outputs.tolist(), of_targets.tolist()
    if math.isnan(gradient) or math.isnan(detail):
        conclusion = "The targets have no edges to compare with."
    elif gradient < 0.5:
        conclusion = "The outputs are blurred, as the average of several possible targets is."
    elif detail > 2:
        conclusion = "There is more fine detail than in the targets, often a grid or noise: look at plain areas."
    elif gradient > 1.4:
        conclusion = (
            "Edges are stronger, or more, than in the targets: look for outlines and patterns that do not exist."
        )
    elif gradient < 0.7 or detail < 0.5:
        conclusion = "The outputs are softer than the targets."
    else:
        conclusion = "The outputs are about as sharp as the targets."
    found.sentences["sharpness"] = (
        f"Edges in the outputs have {format_share(gradient)} of the energy of those in the targets, and the finest "
        f"detail has {format_share(detail)}. {_unless_few(conclusion, images)}"
    )


# ---- is there a grid? ------------------------------------------------------------------------------------------


def _examine_grid(found: Diagnostics, images: _Images) -> None:
    """Measure `grid_energy` of the outputs, and `target_grid_energy`."""
    energy, of_targets = (grid_energy(one) for one in (images.output, images.target))
    found.numbers |= {"grid_energy": energy, "target_grid_energy": of_targets}
    if energy < GRID * max(1, of_targets):
        conclusion = "The outputs have no grid that the targets do not have."
    elif energy < STRONG_GRID:
        conclusion = "The outputs have a faint grid: enlarge plain areas to see it."
    else:
        conclusion = "The outputs have a grid on plain areas; a generator with another `upsampling` may have less."
    found.sentences["grid"] = (
        f"At the frequencies of a grid of 2 or 4 pixels, the outputs have {energy:.2f} times the power beside them, "
        f"the targets {of_targets:.2f} times. {_unless_few(conclusion, images)}"
    )


# ---- does the output copy a training image? --------------------------------------------------------------------


def _examine_memory(found: Diagnostics, images: _Images, training: TrainingTargets, names: Sequence[str]) -> None:
    """Measure `nearest_ratio`: median distance to the nearest training target, of outputs divided by real targets.

    Measure `remembered`: the share of outputs that are nearer to a training target than to their own target.
    """
    outputs, targets = make_thumbnails(images.output), make_thumbnails(images.target)
    nearest, indices = _find_nearest(outputs, training.thumbnails)
    of_targets, _ = _find_nearest(targets, training.thumbnails)
    own = (outputs.float() - targets.float()).square().mean(dim=1).sqrt() / 255
    typical = float(of_targets.median())
    ratio = float(nearest.median()) / typical if typical else math.nan
    remembered = float((nearest < own).double().mean())
    found.numbers |= {"nearest_ratio": ratio, "remembered": remembered}
    found.sentences["memory"] = (
        f"On thumbnails, the distance from an output to the nearest training target is {format_share(ratio)} of the "
        f"distance from a real target to its nearest. {format_share(remembered)} of the outputs are nearer to a "
        "training target than to their own target. "
    ) + _unless_few(conclude_memory(ratio, remembered), images)
    for index in torch.argsort(nearest)[:NEIGHBOURS].tolist():
        name, image = training.read(int(indices[index]))
        found.neighbours.append(
            Neighbour(
                name=names[index],
                nearest=name,
                output=to_viewable(images.output[index]),
                target=to_viewable(images.target[index]),
                training=to_viewable(image),
                distance=float(nearest[index]),
                distance_to_own=float(own[index]),
            )
        )


def conclude_memory(ratio: float, remembered: float) -> str:
    """Say whether the model may copy training images, from `nearest_ratio` and `remembered`."""
    if math.isnan(ratio):
        return "Real targets repeat training targets, so copies are not told from outputs that are right."
    if ratio < 0.5:
        return "The model may copy training images: look at the pairs below."
    if remembered >= 0.5:
        return "Either the outputs are inaccurate, or the model copies training images: look at the pairs below."
    if ratio < 0.8:
        return "The outputs are nearer to training targets than real targets are: look at the pairs below."
    return "There is no sign that the model copies training images."


def _find_nearest(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the RMS distance of each thumbnail (N, d) to the nearest of `others` (M, d), and its index; (N,) each."""
    best = torch.full((len(images),), math.inf)
    indices = torch.zeros(len(images), dtype=torch.long)
    for start in range(0, len(others), 4096):
        distances = torch.cdist(images.float(), others[start : start + 4096].float()) / (255 * images.shape[1] ** 0.5)
        values, found = distances.min(dim=1)
        nearer = values < best
        best, indices = torch.where(nearer, values, best), torch.where(nearer, found + start, indices)
    return best, indices
