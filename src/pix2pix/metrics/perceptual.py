"""Names of metrics that other networks measure, and where their weights may be, in; perceptual of pictures out.

Nothing is downloaded: weights are taken from the usual cache (TORCH_HOME) or from the paths that are given, and a
metric whose weights are not at hand says in one line how to get them.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pix2pix.errors import ConfigError, ModelError
from pix2pix.metrics.bootstrap import Interval, half_sample_interval

BEYOND = ("ms_ssim", "lpips", "fid", "kid")
"""The metrics of this module."""
SMALLEST_MULTISCALE = 176  # pixels; below, the window of 11 does not fit into the coarsest of five scales
SMALLEST_ALEXNET = 31
BLOCK = 1000  # pictures that KID compares at a time


class Weights(NamedTuple):
    """A file of weights: its name in the cache, how to know it, and how to get it."""

    file: str
    key: str  # a tensor that no other such file has
    get: str  # a command that puts it into the cache


ALEXNET = Weights(
    "alexnet-owt-7be5be79.pth",
    "features.0.weight",
    "python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\"",
)
INCEPTION = Weights(
    "weights-inception-2015-12-05-6726825d.pth",
    "Conv2d_1a_3x3.conv.weight",
    "python -c \"from torch_fidelity import utils; utils.create_feature_extractor('inception-v3-compat', ['2048'])\"",
)


@dataclass
class PerceptualMetrics:
    """Measures what was asked for and can be: single pictures when called, the whole set in `of_the_set`."""

    multiscale: bool = False
    lpips: nn.Module | None = None  # (output, target), (N, 3, H, W) each, -> (N, 1, 1, 1)
    features: nn.Module | None = None  # (N, C, H, W) in [-1, 1] -> (N, d)
    of_features: tuple[str, ...] = ()  # fid and kid, if asked for
    missing: dict[str, str] = field(default_factory=dict)  # metric -> why, and how to get it
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # features of outputs and targets, (N, d)

    def __call__(self, output: Tensor, target: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Output and target (N, C, H, W) in [-1, 1] -> name -> (N,). Masked pixels show the target in both; pictures
        without any other have NaN, and no part in distances of sets.
        """
        known = torch.ones(len(output), dtype=torch.bool, device=output.device)
        if mask is not None:
            output, known = torch.where(mask, output, target), mask.flatten(1).any(dim=1)
        terms: dict[str, Tensor] = {}
        if self.multiscale:
            from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as multiscale

            terms["ms_ssim"] = torch.as_tensor(
                multiscale((output + 1) / 2, (target + 1) / 2, data_range=1.0, reduction="none")
            )
        if self.lpips is not None:
            terms["lpips"] = self.lpips(_coloured(output), _coloured(target)).flatten()
        if self.features is not None and self.of_features and known.any():
            self.seen.append((_features_of(self.features, output[known]), _features_of(self.features, target[known])))
        return {name: torch.where(known, term, torch.nan) for name, term in terms.items()}

    def taken(self) -> list[tuple[Tensor, Tensor]]:
        """The features seen since the last time, which are forgotten."""
        seen, self.seen = self.seen, []
        return seen

    def of_the_set(
        self, seen: Sequence[tuple[Tensor, Tensor]], *, intervals: bool = False
    ) -> dict[str, tuple[float, Interval | None]]:
        """Features of outputs and targets -> `fid` and `kid`, with intervals if asked for."""
        if not seen or not self.of_features:
            return {}
        outputs, targets = (torch.cat([pair[side] for pair in seen]) for side in (0, 1))
        found: dict[str, tuple[float, Interval | None]] = {}
        for name in self.of_features:
            distance = {"fid": frechet_distance, "kid": kernel_distance}[name]

            def of(part: NDArray[np.int64], distance: Callable[[Tensor, Tensor], float] = distance) -> float:
                chosen = torch.from_numpy(part)
                return distance(outputs[chosen], targets[chosen])

            whole = distance(outputs, targets)
            found[name] = whole, half_sample_interval(of, whole, len(outputs)) if intervals else None
        return found


def make_perceptual_metrics(
    names: Iterable[str],
    *,
    image_size: tuple[int, int],
    channels: int,
    device: torch.device,
    weights: Sequence[Path] = (),
    features: nn.Module | None = None,
) -> PerceptualMetrics:
    """The metrics of BEYOND that are asked for; what cannot be measured is in `missing`, with the reason.

    `weights` are files, or folders with files under their usual names; `features` takes the place of the Inception
    network. Raises ModelError for a file that is none of the known weights.
    """
    names, perceptual, given = set(names), PerceptualMetrics(), _given(weights)
    height, width = image_size
    colours = {1: "gray", 3: "RGB"}
    if "ms_ssim" in names:
        perceptual.multiscale = min(height, width) >= SMALLEST_MULTISCALE
        if not perceptual.multiscale:
            perceptual.missing["ms_ssim"] = (
                f"needs pictures of {SMALLEST_MULTISCALE} pixels a side or more for its five scales, "
                f"and these are {height}x{width}"
            )
    if "lpips" in names:
        path = _at_hand(ALEXNET, given)
        if channels not in colours or min(height, width) < SMALLEST_ALEXNET:
            perceptual.missing["lpips"] = f"AlexNet takes gray or RGB of {SMALLEST_ALEXNET} pixels a side or more"
        elif path is None:
            perceptual.missing["lpips"] = _how_to_get(ALEXNET)
        else:
            perceptual.lpips = _lpips(path).to(device)
    if of_features := [name for name in ("fid", "kid") if name in names]:
        reason = None
        if features is None:
            features, reason = _inception(given, channels)
        if features is None:
            perceptual.missing |= dict.fromkeys(of_features, reason or "")
        else:
            perceptual.features, perceptual.of_features = features.to(device).eval(), tuple(of_features)
    return perceptual


def load_features(name: str) -> nn.Module:
    """`package.module:factory`, found from here or the installed packages -> what `factory()` returns.

    Raises ConfigError with one sentence.
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
        raise ConfigError(f"--features {name}: gave a {type(made).__name__}, expected a torch.nn.Module")
    return made


# ---- distances of sets -----------------------------------------------------------------------------------------


def frechet_distance(outputs: Tensor, targets: Tensor) -> float:
    """Features (N, d) and (M, d) -> FID, |m - n|^2 + tr(S + T - 2 (S T)^(1/2)) (Heusel et al. 2017).

    With S = A'A and T = B'B the last trace is the sum of the singular values of A B', so that a few pictures need no
    matrix of d x d.
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
    """Features (N, d), twice -> KID: the unbiased squared maximum mean discrepancy (Binkowski et al. 2018).

    Its kernel is (x'y / d + 1)^3; of more than BLOCK pictures it is the mean over blocks.
    """
    from torchmetrics.image.kid import poly_mmd

    count = len(outputs)
    if count < 2:
        return float("nan")
    parts = -(-count // BLOCK)
    blocks = [slice(count * n // parts, count * (n + 1) // parts) for n in range(parts)]
    return sum(float(poly_mmd(targets[block].double(), outputs[block].double())) for block in blocks) / parts


def _features_of(network: nn.Module, images: Tensor) -> Tensor:
    features = network(images)
    if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(images):
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ModelError(
            f"the feature network gave {got} for images {tuple(images.shape)}, expected a tensor (N, d) with N of "
            f"{len(images)}"
        )
    return features.flatten(1).float().cpu()


# ---- weights on disk -------------------------------------------------------------------------------------------


def _given(weights: Sequence[Path]) -> dict[str, Path]:
    """File in the cache -> a given path that holds the same. Raises ModelError for any other file."""
    found: dict[str, Path] = {}
    for path in weights:
        known = [one for one in (ALEXNET, INCEPTION) if path.is_dir() and (path / one.file).is_file()]
        found |= {one.file: path / one.file for one in known}
        if known:
            continue
        if path.is_dir():
            raise ModelError(f"--weights {path}: the folder has neither {ALEXNET.file} nor {INCEPTION.file}")
        tensors = _tensors(path)
        for one in (ALEXNET, INCEPTION):
            if one.key in tensors:
                found[one.file] = path
                break
        else:
            raise ModelError(
                f"--weights {path}: holds neither AlexNet ({ALEXNET.file}) nor Inception ({INCEPTION.file})"
            )
    return found


def _at_hand(weights: Weights, given: dict[str, Path]) -> Path | None:
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.file
    return given.get(weights.file) or (cached if cached.is_file() else None)


def _how_to_get(weights: Weights) -> str:
    return (
        f"the weights {weights.file} are not in {Path(torch.hub.get_dir()) / 'checkpoints'}: run `{weights.get}` where "
        "there is a network, or name the file with --weights"
    )


def _tensors(path: Path) -> dict[str, Any]:
    """A file of weights -> name -> tensor, on the CPU; nothing in it is run. Raises ModelError."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"--weights {path}: no such file or folder") from None
    except Exception as error:  # whatever a damaged archive makes torch raise
        raise ModelError(f"{path}: broken or not a file of weights ({type(error).__name__}); get it again") from None
    return tensors if isinstance(tensors, dict) else {}


def _lpips(path: Path) -> nn.Module:
    """AlexNet's weights -> LPIPS (Zhang et al. 2018); the weights of its layers come with torchmetrics."""
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    network, weights = _NoTrainLpips(net="alex", pnet_rand=True), _tensors(path)
    names = network.net.state_dict()  # slice2.3.weight is features.3.weight
    _fill(network.net, {name: weights.get(f"features.{name.partition('.')[2]}") for name in names}, path)
    return network


def _inception(given: dict[str, Path], channels: int) -> tuple[nn.Module | None, str | None]:
    """The Inception network of FID, or the reason why there is none."""
    path = _at_hand(INCEPTION, given)
    if channels not in (1, 3):
        return (
            None,
            f"Inception takes gray or RGB and these have {channels} channels: give your own network with --features",
        )
    if path is None:
        return None, _how_to_get(INCEPTION) + ", or give your own network with --features"
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))
    except ModuleNotFoundError:
        return None, "needs torch-fidelity: `pip install 'pix2pix[metrics]'`"
    except Exception as error:  # of a file that does not fit
        raise ModelError(f"{path}: does not fit the Inception network ({type(error).__name__}); get it again") from None
    return _Bytes(network), None


class _Bytes(nn.Module):
    """A network of bytes that takes pictures in [-1, 1]: (N, 1 or 3, H, W) -> (N, d)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(_coloured(images).add(1).mul(127.5).round().to(torch.uint8))
        return features


def _coloured(images: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) -> (N, 3, H, W)."""
    return images.expand(-1, 3, -1, -1)


def _fill(network: nn.Module, weights: dict[str, Any], path: Path) -> None:
    for name, expected in network.state_dict().items():
        found = weights[name]
        if not isinstance(found, Tensor) or found.shape != expected.shape or not found.isfinite().all():
            raise ModelError(f"{path}: does not fit the network at {name}; get it again")
    network.load_state_dict(weights)
