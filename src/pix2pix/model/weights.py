"""Save and load the weights of a network as a safetensors file; each tensor is checked."""

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pix2pix.errors import ModelError
from pix2pix.system.files import sha256
from pix2pix.system.reading import open_regular
from pix2pix.text import escape_unprintable

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
MAX_HEADER_BYTES = 2**20  # of the largest network here, it takes 30 kB
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
"""Types of tensors in safetensors files; networks use the second and the last."""


def save_weights(network: nn.Module, path: Path) -> str:
    """Write all tensors of a network to a new file, and wait for the disk; return the SHA-256 of what reads back.

    Raises OSError naming the file.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    path.touch()
    permissions = path.stat().st_mode  # of new files; the library would make it readable for its owner only
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # also for a full disk
        found = re.search(r"\(os error (\d+)\)", str(error))
        code, reason = (int(found[1]), os.strerror(int(found[1]))) if found else (errno.EIO, str(error))
        raise OSError(code, f"cannot be written ({reason})", str(path)) from None
    path.chmod(permissions)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return sha256(path)


def check_header(network: nn.Module, path: Path) -> None:
    """Compare the name, shape and type of every tensor of a file with a network, which may be on the meta device.

    Reads the header of the file only. Raises ModelError.
    """
    found, expected = _read_header(path), network.state_dict()
    if odd := sorted(set(expected) ^ set(found)):
        name = escape_unprintable(odd[0][:100])
        raise ModelError(f"{path}: does not fit its config.json: tensor {name} is in only one of the two")
    for name, tensor in expected.items():
        if found[name] != (wanted := _describe(tensor.dtype, tensor.shape)):
            raise ModelError(f"{path}: does not fit its config.json: {name} is {found[name]}, expected {wanted}")


def load_weights(network: nn.Module, path: Path, digest: str | None = None) -> None:
    """Fill a network after comparing the name, shape, type and values of every tensor. Raises ModelError.

    `digest` is the SHA-256 of the file; None, as in version 0.1, if it is not known. A network on the meta device gets
    memory on the CPU once the header of the file fits.
    """
    check_header(network, path)
    is_meta = any(weights.is_meta for weights in network.parameters())
    try:
        if digest is not None and sha256(path) != digest:
            raise ModelError(f"{path}: damaged, its SHA-256 is not the one in config.json; copy the model folder again")
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _broken(path, error) from None
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} holds numbers that are not finite; the file is broken, copy it again")
    if is_meta:  # `to_empty` would import for half a second
        weights = {name: tensor.clone() for name, tensor in weights.items()}  # the file may change
    network.load_state_dict(weights, assign=is_meta)


def _read_header(path: Path) -> dict[str, str]:
    """Return name -> type and shape of the tensors of a file; the library checks that they fill it. Raises ModelError.

    The length of the header is limited first, since the library reads headers of up to 100 MB.
    """
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ModelError(f"{path}: its header claims {length:,} bytes, expected at most {MAX_HEADER_BYTES:,}")
        with safe_open(path, "pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return {name: _describe(TYPES.get(one.get_dtype()), one.get_shape()) for name, one in slices.items()}
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; copy the whole model folder again") from None
    except (OSError, SafetensorError) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> ModelError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ModelError(f"{path}: broken or not a safetensors file ({escape_unprintable(reason[:200])}); copy it again")


def _describe(dtype: torch.dtype | None, shape: Sequence[int]) -> str:
    return f"{'of another type' if dtype is None else str(dtype).removeprefix('torch.')} {tuple(shape)}"
