"""Weights in a lower type, kept beside their own by whoever changes them, so that not every use casts them anew."""

from typing import NamedTuple

import torch
from torch import Tensor


class _Cast(NamedTuple):
    """A weight in another type, and which of its versions that is."""

    values: Tensor
    version: int


def keep_cast(weight: Tensor) -> None:
    """From now on the weight's cast is kept, and whoever changes the weight unseen changes `kept_cast` as well.

    Fused optimisers change a tensor without counting up its version; any other change is seen by itself.
    """
    weight.kept_cast = None  # type: ignore[attr-defined]


def kept_cast(weight: Tensor) -> Tensor | None:
    """The weight in another type, in the same order of memory, if it has been cast and that is kept."""
    kept: _Cast | None = getattr(weight, "kept_cast", None)
    return None if kept is None else kept.values


def cast(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight in this type: itself, its kept cast, or a new one."""
    if weight.dtype == dtype or not hasattr(weight, "kept_cast"):
        return weight.to(dtype)
    kept: _Cast | None = weight.kept_cast
    if kept is not None and kept.values.dtype == dtype and kept.version == weight._version:
        return kept.values
    values = weight.detach().to(dtype)
    if not torch.is_inference_mode_enabled():  # where a tensor is made that no training may use
        weight.kept_cast = _Cast(values, weight._version)
    return values
