"""Load the networks of LPIPS and FID from files of pretrained weights on this machine.

The files are in torch's cache (TORCH_HOME) or named by the user. Nothing is downloaded, and no code in a file is run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pix2pix.errors import ModelError
from pix2pix.networks.pretrained import WeightsUnavailableError, load_tensors

Files = dict[str, Path]
"""File name in the cache -> path given by the user with the same weights."""


class PretrainedWeights(NamedTuple):
    """One known file of weights."""

    file: str  # name in the cache
    key: str  # a tensor that no other known file has
    command: str  # downloads it into the cache

    def find(self, files: Files) -> Path:
        """Return the path given by the user, or that in the cache. Raises WeightsUnavailableError."""
        cached = Path(torch.hub.get_dir()) / "checkpoints" / self.file
        path = files.get(self.file) or (cached if cached.is_file() else None)
        if path is None:
            raise WeightsUnavailableError(
                f"the weights {self.file} are not in {cached.parent}: run `{self.command}` on a machine with network "
                "access, or give the file with --weights"
            )
        return path


ALEXNET = PretrainedWeights(
    "alexnet-owt-7be5be79.pth",
    "features.0.weight",
    "python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\"",
)
INCEPTION = PretrainedWeights(
    "weights-inception-2015-12-05-6726825d.pth",
    "Conv2d_1a_3x3.conv.weight",
    "python -c \"from torch_fidelity import utils; utils.create_feature_extractor('inception-v3-compat', ['2048'])\"",
)


def identify_files(paths: Sequence[Path]) -> Files:
    """Find the known weights in files, or in folders, that the user gave. Raises ModelError."""
    found: Files = {}
    for path in paths:
        if path.is_dir():
            known = {one.file: path / one.file for one in (ALEXNET, INCEPTION) if (path / one.file).is_file()}
            if not known:
                raise ModelError(f"--weights {path}: the folder has neither {ALEXNET.file} nor {INCEPTION.file}")
        else:
            tensors = _load_tensors(path)
            known = {one.file: path for one in (ALEXNET, INCEPTION) if one.key in tensors}
            if not known:
                raise ModelError(
                    f"--weights {path}: holds neither AlexNet ({ALEXNET.file}) nor Inception ({INCEPTION.file})"
                )
        found |= known
    return found


def load_lpips(path: Path) -> nn.Module:
    """Build LPIPS (Zhang et al. 2018) on AlexNet's weights; the weights of its linear layers come with torchmetrics.

    Raises ModelError.
    """
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    network, tensors = _NoTrainLpips(net="alex", pnet_rand=True), _load_tensors(path)
    expected = network.net.state_dict()
    weights = {name: tensors.get(f"features.{name.partition('.')[2]}") for name in expected}  # slice2.3.weight
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor) or tensor.shape != expected[name].shape or not tensor.isfinite().all():
            raise ModelError(f"{path}: does not fit the network at {name}; download it again")
    network.net.load_state_dict(weights)
    return network


def load_inception(files: Files, channels: int) -> nn.Module:
    """Build the Inception network of FID: (N, 1 or 3, H, W) in [-1, 1] -> (N, 2048).

    Raises WeightsUnavailableError, or ModelError for a broken file.
    """
    if channels not in (1, 3):
        raise WeightsUnavailableError(f"Inception takes gray or RGB, but these images have {channels} channels")
    path = INCEPTION.find(files)
    _load_tensors(path)
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        return _OnBytes(NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path)))
    except ModuleNotFoundError:
        raise WeightsUnavailableError("needs torch-fidelity: `pip install 'pix2pix[metrics]'`") from None
    except Exception as error:  # of a file that does not fit
        raise ModelError(
            f"{path}: does not fit the Inception network ({type(error).__name__}); download it again"
        ) from None


class _OnBytes(nn.Module):
    """Convert images in [-1, 1] to RGB bytes for a network that takes bytes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images.expand(-1, 3, -1, -1).add(1).mul(127.5).round().to(torch.uint8))
        return features


def _load_tensors(path: Path) -> dict[str, Any]:
    """Read a file of weights that the user gave. Raises ModelError."""
    try:
        return load_tensors(path)
    except FileNotFoundError:
        raise ModelError(f"--weights {path}: no such file or folder") from None
