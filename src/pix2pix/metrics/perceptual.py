"""Metrics that need a pretrained network (LPIPS, ST-LPIPS, FID, KID), and MS-SSIM.

Nothing is downloaded (`weights.py`, `networks/st_lpips.py`). A metric without weights is listed in `missing`, with the
way to get them.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pix2pix.errors import ConfigError, ModelError
from pix2pix.metrics.bootstrap import Interval, half_sample_interval
from pix2pix.metrics.weights import ALEXNET, identify_files, load_inception, load_lpips
from pix2pix.networks.pretrained import WeightsUnavailableError
from pix2pix.networks.st_lpips import SMALLEST_SIDE, STLPIPS, find_weights, load_st_lpips
from pix2pix.text import format_list

PERCEPTUAL = ("ms_ssim", "lpips", "st_lpips", "fid", "kid", "kid_vgg")
"""The metrics of this module."""
BY_VGG = ("st_lpips", "kid_vgg")
"""Those that need the VGG-16 of ST-LPIPS."""
MS_SSIM_SMALLEST_SIDE = 176  # pixels; in smaller images the 11x11 window does not fit into the coarsest of five scales
ALEXNET_SMALLEST_SIDE = 31
VGG_MOST_PIXELS = 2**20  # their features take about 3 GB
POOLED = slice(2, 5)  # stages of VGG-16 whose features KID compares
KID_BLOCK = 1000  # images that KID compares at a time

FeaturePair = tuple[Tensor, Tensor]
"""Features of outputs and of their targets, (N, d) each."""
Features = dict[str, FeaturePair]
"""Features of a batch: of `inception` or the user's network in its place, and of `vgg`."""


@dataclass
class PerceptualMetrics:
    """Measure MS-SSIM, LPIPS and ST-LPIPS of a batch when called, and collect features for FID and KID of the set."""

    multiscale: bool = False
    lpips: nn.Module | None = None  # (output, target), (N, 3, H, W) each, -> (N, 1, 1, 1)
    vgg: STLPIPS | None = None
    features: nn.Module | None = None  # (N, C, H, W) in [-1, 1] -> (N, d)
    set_metrics: tuple[str, ...] = ()  # fid, kid, kid_vgg, those that are measured
    missing: dict[str, str] = field(default_factory=dict)  # metric -> why it cannot be measured, and what to do
    _collected: list[Features] = field(default_factory=list)

    def __call__(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Measure output against target, (N, C, H, W) in [-1, 1]; return metric -> (N,).

        Where `mask` (N, C, H, W) is false, the output is replaced by the target. An image that is masked everywhere
        gives NaN and is not used for FID and KID.
        """
        known = torch.ones(len(output), dtype=torch.bool, device=output.device)
        if mask is not None:
            output, known = torch.where(mask, output, target), mask.flatten(1).any(dim=1)
        values: dict[str, Tensor] = {}
        features: Features = {}
        if self.multiscale:
            from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

            value = ms_ssim((output + 1) / 2, (target + 1) / 2, data_range=1.0, reduction="none")
            values["ms_ssim"] = torch.as_tensor(value)
        if self.lpips is not None:
            values["lpips"] = self.lpips(output.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1)).flatten()
        if self.vgg is not None:
            pair = self.vgg.features(output), self.vgg.features(target)
            values["st_lpips"] = self.vgg.distance(*pair)
            features["vgg"] = pool_features(pair[0])[known.cpu()], pool_features(pair[1])[known.cpu()]
        if self.features is not None and known.any():
            features["inception"] = (
                _extract_features(self.features, output[known]),
                _extract_features(self.features, target[known]),
            )
        if features and self.set_metrics:
            self._collected.append(features)
        return {name: torch.where(known, value, torch.nan) for name, value in values.items()}

    def take_features(self) -> list[Features]:
        """Return and clear the collected features."""
        collected, self._collected = self._collected, []
        return collected

    def compare_sets(
        self, features: Sequence[Features], *, intervals: bool = False
    ) -> dict[str, tuple[float, Interval | None]]:
        """Return `fid`, `kid` and `kid_vgg` of a set, each with its interval if `intervals` is true."""
        found = {}
        for name in self.set_metrics:
            network, distance = SET_DISTANCES[name]
            if pairs := [batch[network] for batch in features if network in batch]:
                outputs, targets = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
                found[name] = _measure_set(distance, outputs, targets, intervals)
        return found


def pool_features(features: Sequence[Tensor]) -> Tensor:
    """Average the features of some stages of VGG-16 over the pixels -> (N, d), on the CPU.

    A feature vector of C channels and length 1 is multiplied by C^(1/2), so that the kernel of KID, which divides by d,
    sees numbers near 1 from every stage.
    """
    pooled = [stage.mean(dim=(2, 3)) * stage.shape[1] ** 0.5 for stage in features[POOLED]]
    return torch.cat(pooled, dim=1).cpu()


def _measure_set(
    distance: Callable[[Tensor, Tensor], float], outputs: Tensor, targets: Tensor, intervals: bool
) -> tuple[float, Interval | None]:
    def of_some(indices: NDArray[np.int64]) -> float:
        chosen = torch.from_numpy(indices)
        return distance(outputs[chosen], targets[chosen])

    whole = distance(outputs, targets)
    return whole, half_sample_interval(of_some, whole, len(outputs)) if intervals else None


def make_perceptual_metrics(
    names: Iterable[str],
    *,
    image_size: tuple[int, int],
    channels: int,
    device: torch.device,
    weights: Sequence[Path] = (),
    features: nn.Module | None = None,
    largest: tuple[int, int] | None = None,
) -> PerceptualMetrics:
    """Load the networks for those of `names` that are in PERCEPTUAL.

    Images have the size `image_size` or, if `largest` is given, heights and widths from one to the other. `weights` are
    files, or folders with files of the usual names. `features` replaces the Inception network. Raises ModelError for a
    file without known weights.
    """
    names, files = set(names), identify_files(weights)
    metrics = PerceptualMetrics()
    side = min(image_size)
    if "ms_ssim" in names:
        metrics.multiscale = side >= MS_SSIM_SMALLEST_SIDE
        if not metrics.multiscale:
            metrics.missing["ms_ssim"] = (
                f"needs images of {MS_SSIM_SMALLEST_SIDE} pixels a side or more for its five scales, "
                f"but these are {image_size[0]}x{image_size[1]}"
            )
    if "lpips" in names:
        if channels not in (1, 3) or side < ALEXNET_SMALLEST_SIDE:
            metrics.missing["lpips"] = f"AlexNet takes gray or RGB of {ALEXNET_SMALLEST_SIDE} pixels a side or more"
        else:
            try:
                metrics.lpips = load_lpips(ALEXNET.find(files)).to(device)
            except WeightsUnavailableError as error:
                metrics.missing["lpips"] = str(error)
    if by_vgg := [name for name in BY_VGG if name in names]:
        reason = explain_without_vgg(channels, side, largest or image_size)
        if reason is None:
            metrics.vgg = load_st_lpips("vgg").to(device)
        else:
            metrics.missing |= dict.fromkeys(by_vgg, reason)
    if set_metrics := tuple(name for name in ("fid", "kid") if name in names):
        try:
            network = load_inception(files, channels) if features is None else features
            metrics.features, metrics.set_metrics = network.to(device).eval(), set_metrics
        except WeightsUnavailableError as error:
            metrics.missing |= dict.fromkeys(set_metrics, f"{error}, or give your own network with --features")
    if metrics.vgg is not None and "kid_vgg" in names:
        metrics.set_metrics += ("kid_vgg",)
    return metrics


def explain_without_vgg(channels: int, side: int, largest: tuple[int, int]) -> str | None:
    """Return why images of these channels, smallest side and largest size cannot be measured by VGG; else None."""
    least = SMALLEST_SIDE["vgg"]
    if channels not in (1, 3) or side < least:
        return f"VGG takes gray or RGB of {least} pixels a side or more"
    if largest[0] * largest[1] > VGG_MOST_PIXELS:
        return (
            f"VGG needs several GB of memory for images of more than {VGG_MOST_PIXELS:,} pixels, and the largest are "
            f"{largest[0]}x{largest[1]}"
        )
    try:
        find_weights("vgg")
    except WeightsUnavailableError as error:
        return str(error)
    return None


def describe_missing(missing: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each reason in `missing`, metric -> reason: `fid and kid were not measured: ...`."""
    for reason in dict.fromkeys(missing.values()):
        names = [name for name in missing if missing[name] == reason]
        yield f"{format_list(names)} {'was' if len(names) == 1 else 'were'} not measured: {reason}"


# ---- networks of the user -------------------------------------------------------------------------------------


def load_features(name: str) -> nn.Module:
    """Import `package.module:factory`, from the working directory or the installed packages, and call the factory.

    Raises ConfigError.
    """
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise ConfigError(f"--features {name}: expected package.module:factory, such as my_networks:make_features")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(module), factory)()
    except Exception as error:  # the user's own code
        raise ConfigError(f"--features {name}: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(str(Path.cwd()))
    if not isinstance(made, nn.Module):
        raise ConfigError(f"--features {name}: returned a {type(made).__name__}, expected a torch.nn.Module")
    return made


def _extract_features(network: nn.Module, images: Tensor) -> Tensor:
    """Return the features of images, (N, C, H, W) -> (N, d), on the CPU. Raises ModelError for another shape."""
    features = network(images)
    if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(images):
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ModelError(
            f"the feature network returned {got} for images {tuple(images.shape)}, expected a tensor (N, d) with N of "
            f"{len(images)}"
        )
    return features.flatten(1).float().cpu()


# ---- distances between sets ------------------------------------------------------------------------------------


def frechet_distance(outputs: Tensor, targets: Tensor) -> float:
    """Compute FID from features (N, d) and (M, d): |m - n|^2 + tr(S + T - 2 (S T)^(1/2)) (Heusel et al. 2017).

    With S = A'A and T = B'B, the last trace is the sum of the singular values of A B'. So no d x d matrix is needed if
    there are few images.
    """
    x, y = outputs.double(), targets.double()
    if len(x) < 2 or len(y) < 2:
        return float("nan")
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    a, b = (x - mean_x) / (len(x) - 1) ** 0.5, (y - mean_y) / (len(y) - 1) ** 0.5
    traces = a.square().sum() + b.square().sum()
    a, b = (torch.linalg.qr(z, mode="r").R if len(z) > z.shape[1] else z for z in (a, b))
    common = torch.linalg.svdvals(a @ b.T).sum()
    return float((mean_x - mean_y).square().sum() + traces - 2 * common)


def kernel_distance(outputs: Tensor, targets: Tensor) -> float:
    """Compute KID from features (N, d), twice: the unbiased squared maximum mean discrepancy (Binkowski et al. 2018).

    The kernel is (x'y / d + 1)^3. For more than KID_BLOCK images, KID is the mean over blocks.
    """
    count = len(outputs)
    if count < 2:
        return float("nan")
    parts = -(-count // KID_BLOCK)
    blocks = [slice(count * n // parts, count * (n + 1) // parts) for n in range(parts)]
    return sum(_kernel_distance(outputs[block].double(), targets[block].double()) for block in blocks) / parts


def _kernel_distance(x: Tensor, y: Tensor) -> float:
    """Return the distance of two sets of equal size. Not torchmetrics', which would cost each training 270 MB."""
    count, d = x.shape
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (count * (count - 1))
    return float(within - 2 * xy.mean())


SET_DISTANCES = {
    "fid": ("inception", frechet_distance),
    "kid": ("inception", kernel_distance),
    "kid_vgg": ("vgg", kernel_distance),
}
"""Metric of a set -> (the network of its features, the distance between them)."""
