"""Give the channels of a map one spread before a norm that measures its input, so that 8 bits fit all of them.

Such a norm divides each channel by its own spread, so a factor on a channel changes nothing; but int8 has one step for
all channels of a map, and after the norm the error of a channel of small values is as large as that of the others.
"""

import copy
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pix2pix.inference.translator import Translator
from pix2pix.networks.blocks import BatchNorm


@torch.no_grad()
def equalise(translator: Translator, sources: Iterable[Tensor]) -> nn.Module:
    """Return a copy of the generator whose maps before such norms have variance 1 on the sources (in, H, W)."""
    network = copy.deepcopy(translator.generator)
    layers = list(_before_norms(network))
    found: dict[nn.Module, list[Tensor]] = {layer: [] for layer, _ in layers}
    hooks = [
        layer.register_forward_hook(lambda layer, _, y: found[layer].append(y.var(dim=(0, 2, 3), correction=0)))
        for layer, _ in layers
    ]
    whole = translator.for_any_size(network)
    for source in sources:
        whole(source[None])
    for hook in hooks:
        hook.remove()
    for layer, eps in layers:
        spread = (torch.stack(found[layer]).mean(dim=0) + eps).sqrt()  # the norm adds eps too
        shape = [1, -1, 1, 1] if isinstance(layer, nn.ConvTranspose2d) else [-1, 1, 1, 1]
        layer.weight.div_(spread.view(shape))
        if layer.bias is not None:
            layer.bias.div_(spread)
    return network


def _before_norms(network: nn.Module) -> Iterator[tuple[Any, float]]:
    """Yield each convolution before a norm that measures each channel of an image, and the eps of that norm."""
    for parent in network.modules():
        for layer, norm in pairwise(parent if isinstance(parent, nn.Sequential) else ()):
            of_image = isinstance(norm, BatchNorm) and norm.statistics == "image"
            if (of_image or isinstance(norm, nn.InstanceNorm2d)) and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                yield layer, float(norm.eps)  # type: ignore[arg-type]  # torch's types allow a tensor
