"""Translate images of any kind and size with a trained model; outputs have the type and units of the target.

The command line and Python use the same class, `Translator`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.io.arrays import Array, to_pil, with_channels
from pix2pix.data.io.eight_bit import from_pil
from pix2pix.errors import ModelError
from pix2pix.inference.any_size import AnySize
from pix2pix.inference.encode_sources import encode_sources
from pix2pix.inference.optimize import Precision, optimize_generator
from pix2pix.model import Model, load_model
from pix2pix.system.hardware import choose_device
from pix2pix.text import format_count

AnyImage = TypeVar("AnyImage", Image.Image, NDArray[Any], Tensor)


class Translator:
    """Translate images with a trained model; deterministic unless `dropout` is on.

    An image is resized as in training (`ModelConfig.presented_size`), padded by reflection, translated, cropped and
    resized back. `dropout=True` turns on the method's noise z, as the paper does when testing (3.4): each call gives
    another output, and `torch.manual_seed` repeats one.
    """

    def __init__(
        self, model: Model, *, device: str = "cpu", dropout: bool = False, precision: Precision = "32"
    ) -> None:
        self.model = model
        self.device = torch.device(device)
        self.dropout, self.precision = dropout, precision
        self.generator = model.generator.to(self.device).eval()
        self.optimized = self.for_any_size(self.optimize(self.generator))
        if dropout:
            _turn_dropout_on(self.generator)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str = "auto", dropout: bool = False, precision: Precision = "32"
    ) -> "Translator":
        """Load a run folder, a model folder or a hub id. Raises ModelError.

        `precision` bf16 is faster on processors and GPUs that have it; errors are about a thousandth of the range.
        """
        return cls(load_model(name), device=choose_device(device), dropout=dropout, precision=precision)

    @overload
    def __call__(self, image: AnyImage) -> AnyImage: ...

    @overload
    def __call__(self, image: Sequence[Any]) -> Any: ...

    def __call__(self, image: Any) -> Any:
        """Translate one image, or a batch as a tensor; return the same kind of object.

        The image is a PIL image (gray or RGB), an array (H, W) or (H, W, C), or a tensor (C, H, W) or (N, C, H, W).
        Arrays and tensors hold values of the source's type; the output holds values of the target's type. Or they hold
        floating numbers in [-1, 1], unless the source is float32 itself; the output is then in [-1, 1] too.

        A model of several sources takes a list, in the order of its training: PIL images, arrays or tensors (C, H, W)
        of each source's type. The output is a PIL image, or a tensor, if all of them are; otherwise an array.

        Raises ModelError for a wrong number of channels, ValueError or TypeError for any other invalid image.
        """
        if isinstance(image, list | tuple):
            return self._translate_sources(image)
        if len(self.model.sources) > 1:
            raise ModelError(f"expected a list of images: {self.describe_sources()}")
        if isinstance(image, Image.Image):
            return self._translate_pil(image)
        if isinstance(image, np.ndarray):
            return self._translate_array(image)
        if isinstance(image, Tensor):
            return self._translate_tensor(image)
        raise TypeError(f"expected a PIL image, an array or a tensor, got {type(image).__name__}")

    def describe_sources(self) -> str:
        """Describe the sources that the model takes, in order."""
        sources = self.model.sources
        each = ", ".join(f"source {number} with {source.describe()}" for number, source in enumerate(sources, start=1))
        return f"the model makes one output of {format_count(len(sources), 'source')}, in this order: {each}"

    def _translate_sources(self, images: Sequence[Any]) -> Any:
        """Translate a list with one image for each source."""
        if len(images) != len(self.model.sources):
            raise ModelError(f"got {format_count(len(images), 'image')}, but {self.describe_sources()}")
        target = self.model.target_values
        arrays = [_to_array(image) for image in images]
        names = [Path(f"image {number}") for number in range(1, len(images) + 1)]
        output = target.to_array(self.translate(encode_sources(arrays, names, self.model)[None])[0])
        if all(isinstance(image, Tensor) for image in images):
            return tensors.channels_first(output).contiguous().to(images[0].device)
        if all(isinstance(image, Image.Image) for image in images) and _fits_pil(output.dtype.name, output.shape[2]):
            return to_pil(output)
        return output[..., 0] if output.shape[2] == 1 else output

    def _translate_pil(self, image: Image.Image) -> Image.Image:
        source, target = self.model.source_values, self.model.target_values
        taken = 3 if isinstance(source, LabelEncoding) else self.model.in_channels
        returned = self.model.file_type
        for side, dtype, channels in (
            ("takes", source.dtype, taken),
            ("returns", returned.dtype, returned.channels),
        ):
            if not _fits_pil(dtype, channels):
                raise ModelError(
                    f"the model {side} {channels} channels of {dtype}, which no PIL image can hold: use arrays"
                )
        pixels = from_pil(image)
        if self.model.config.converts:
            pixels = with_channels(pixels, self.model.in_channels)
        return to_pil(target.to_array(self.translate(source.to_tensor(pixels)[None])[0]))

    def _translate_array(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        flat = array.ndim == 2
        if array.ndim not in (2, 3):
            raise ValueError(f"expected an array (H, W) or (H, W, C), got shape {array.shape}")
        # Copied, since torch accepts no read-only array, such as numpy makes from a PIL image.
        own = np.array(array[..., None] if flat else array, order="C")
        tensor = torch.from_numpy(own).permute(2, 0, 1)
        result = self._translate_tensor(tensor).permute(1, 2, 0).contiguous().cpu().numpy()
        return result[..., 0] if flat and result.shape[2] == 1 else result

    def _translate_tensor(self, tensor: Tensor) -> Tensor:
        if tensor.ndim not in (3, 4) or 0 in tensor.shape:
            raise ValueError(
                f"expected a tensor (C, H, W) or (N, C, H, W) that is not empty, got {tuple(tensor.shape)}"
            )
        batch = tensor if tensor.ndim == 4 else tensor[None]
        source, target = self.model.source_values, self.model.target_values
        if tensor.dtype == getattr(torch, source.dtype) and not (source.is_8bit and target.is_8bit):
            output = self._translate_values(batch)
        elif tensor.dtype == torch.uint8 and source.is_8bit:
            output = self.translate(tensors.scale(batch)).add(1).mul(127.5).round().to(tensor.device, torch.uint8)
        elif tensor.is_floating_point() and source.dtype != "float32":
            low, high = batch.aminmax()
            if not (low >= -1 and high <= 1):  # NaN fails too
                raise ValueError(f"expected floating values in [-1, 1], got [{low.item():g}, {high.item():g}]")
            output = self.translate(batch.float()).to(tensor.device, tensor.dtype)
        else:
            others = "" if source.dtype == "float32" else " or floating values in [-1, 1]"
            raise TypeError(f"expected {source.dtype}{others}, got {tensor.dtype}")
        return output if tensor.ndim == 4 else output[0]

    def _translate_values(self, batch: Tensor) -> Tensor:
        """Translate (N, C, H, W) of the source's type and range to (N, out, H, W) of the target's."""
        source, target = self.model.source_values, self.model.target_values
        expected = source.file_channels if isinstance(source, LabelEncoding) else self.model.in_channels
        if batch.shape[1] != expected:
            raise ModelError(
                f"got {format_count(batch.shape[1], 'channel')}, but the model translates {expected}; convert the image"
            )
        arrays = batch.detach().permute(0, 2, 3, 1).cpu().numpy()
        encoded = torch.stack([source.to_tensor(array) for array in arrays])
        if not encoded.isfinite().all():
            raise ValueError("expected finite values, got NaN or infinity")
        outputs = [target.to_array(image) for image in self.translate(encoded)]
        return torch.stack([tensors.channels_first(output) for output in outputs]).to(batch.device)

    def optimize(self, generator: nn.Module) -> nn.Module:
        """Return a faster copy of a generator in eval mode for `device`, with dropout as this translator uses it."""
        size = self.model.config.settings.data.image_size
        optimized = optimize_generator(generator, self.device, size, precision=self.precision)
        if self.dropout:
            _turn_dropout_on(optimized)
        return optimized

    @torch.no_grad()  # not inference_mode: its tensors cannot be used in a later backward pass
    def translate(self, source: Tensor) -> Tensor:
        """Translate (N, in, H, W) in [-1, 1], any H and W, to (N, out, H, W) float32 in [-1, 1] on `device`."""
        if source.shape[1] != self.model.in_channels:
            got = format_count(source.shape[1], "channel")
            raise ModelError(f"got {got}, but the model translates {self.model.in_channels}; convert the image")
        size = (source.shape[-2], source.shape[-1])
        if 0 in size:
            raise ValueError(f"expected an image that is not empty, got {size[0]}x{size[1]}")
        output: Tensor = self.optimized(source.to(self.device, torch.float32))
        return output.clamp(-1, 1)

    def for_any_size(self, network: nn.Module) -> AnySize:
        """Wrap the model's generator, or its optimised copy, for images of any size."""
        sources = [(source.channels, isinstance(source.values, LabelEncoding)) for source in self.model.sources]
        return AnySize(network, self.model.size_multiple, self.model.config.presented_size, sources)


def _turn_dropout_on(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()


def _fits_pil(dtype: str, channels: int) -> bool:
    return dtype == "uint8" and channels in (1, 3)


def _to_array(image: Any) -> Array:
    """Return a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W) as an array (H, W, C)."""
    if isinstance(image, Image.Image):
        return from_pil(image)
    if isinstance(image, Tensor) and image.ndim == 3:
        return image.detach().permute(1, 2, 0).contiguous().cpu().numpy()
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        return np.array(image[..., None] if image.ndim == 2 else image, order="C")
    shape = f" of shape {tuple(image.shape)}" if isinstance(image, np.ndarray | Tensor) else ""
    raise TypeError(
        f"expected a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W) of each source, "
        f"got {type(image).__name__}{shape}"
    )
