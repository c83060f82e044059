"""The switch of the CPU kernels: they are used only if all private interfaces of torch work, which is tested once.

Otherwise everything takes the plain path: the convolutions of `torch.nn`, `torch.optim.Adam`, and translation without
packed weights. The results are the same up to rounding.
"""

import functools
import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pix2pix.networks.cpu.torch_private import convolve_packed, fused_adam_, pack_weight


def available() -> bool:
    """Return whether the CPU kernels may be used; log one warning if this torch does not support them."""
    return not unusable_interfaces()


@functools.cache
def unusable_interfaces() -> tuple[str, ...]:
    """Test each private interface on a few numbers, once in a process; return the names of those that fail."""
    unusable = tuple(name for name, is_right in INTERFACES.items() if not _holds(is_right))
    if unusable:
        logging.getLogger(__name__).warning(
            "torch %s: %s missing or changed; training and translation on the CPU take the plain path, which is slower",
            torch.__version__,
            " and ".join(unusable) + (" is" if len(unusable) == 1 else " are"),
        )
    return unusable


def has_onednn() -> bool:
    """Return whether this build of torch has oneDNN, whose convolutions take packed weights."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _holds(is_right: Callable[[], bool]) -> bool:
    try:
        return is_right()
    except Exception:  # a missing name or another signature may raise anything
        return False


def _numbers(*shape: int) -> Tensor:
    """Return different numbers from -1 to 1, without using torch's random generator."""
    return torch.linspace(0, 50, torch.Size(shape).numel()).sin().view(shape)


def _fused_adam_is_right() -> bool:
    """Check that the first update of Adam moves each value by the learning rate, against the sign of its gradient."""
    values, gradients = _numbers(20), _numbers(20).flip(0)
    expected = values - 0.1 * gradients / (gradients.abs() + 1e-8)
    moments = torch.zeros(2, 20)
    fused_adam_(
        [values], [gradients], [moments[0]], [moments[1]], [torch.ones(())],
        learning_rate=0.1, betas=(0.5, 0.999), eps=1e-8,
    )  # fmt: skip
    means_are_right = torch.allclose(moments[0], 0.5 * gradients)
    return means_are_right and torch.allclose(values, expected, atol=1e-5)


@torch.no_grad()
def _packed_convolution_is_right(*, transposed: bool) -> bool:
    if not has_onednn():
        return True  # nothing will be packed
    x, weight, bias = _numbers(1, 8, 4, 4), _numbers(8, 8, 4, 4), _numbers(8)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    packed = pack_weight(weight, [2, 2], list(x.shape), transposed=transposed)
    found = convolve_packed(x, packed, bias, [2, 2], transposed=transposed)
    return torch.allclose(found, convolve(x, weight, bias, stride=2, padding=1), atol=1e-4)


INTERFACES: dict[str, Callable[[], bool]] = {
    "torch._fused_adam_": _fused_adam_is_right,
    "torch.ops.mkldnn._convolution_pointwise": functools.partial(_packed_convolution_is_right, transposed=False),
    "torch.ops.mkldnn._convolution_transpose_pointwise": functools.partial(
        _packed_convolution_is_right, transposed=True
    ),
}
