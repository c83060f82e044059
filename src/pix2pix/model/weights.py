"""Save and load the weights of a network as a safetensors file; each tensor is checked."""

import errno
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pix2pix.errors import ModelError

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"


def save_weights(network: nn.Module, path: Path) -> None:
    """Write all tensors of a network to a new file, and wait for the disk. Raises OSError naming the file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    path.touch()
    permissions = path.stat().st_mode  # of new files; the library would make it readable for its owner only
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # also for a full disk
        raise OSError(errno.EIO, f"cannot be written ({error})", str(path)) from None
    path.chmod(permissions)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network after comparing the name, shape, type and values of every tensor. Raises ModelError."""
    if not path.exists():
        raise ModelError(f"{path}: missing; copy the whole model folder again")
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: broken or not a safetensors file ({error}); copy it again") from None
    expected = network.state_dict()
    if odd := sorted(set(expected) ^ set(weights)):
        raise ModelError(f"{path}: does not fit its config.json: tensor {odd[0]} is in only one of the two")
    for name, tensor in weights.items():
        if (found := _describe(tensor)) != (wanted := _describe(expected[name])):
            raise ModelError(f"{path}: does not fit its config.json: {name} is {found}, expected {wanted}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} holds numbers that are not finite; the file is broken, copy it again")
    network.load_state_dict(weights)


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
