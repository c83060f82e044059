"""A model and a picture of any kind and size in; its translation out, in the target's type and units.

`Translator` is the one class behind the shell, Python, the service and the page.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.encoding.ranges import RangeEncoding, refuse_non_finite
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array, ImageFacts, to_pil, with_channels
from pix2pix.data.io.eight_bit import from_pil
from pix2pix.errors import DataError, ModelError
from pix2pix.inference.any_size import AnySize, Size
from pix2pix.inference.optimize import Precision, prepare
from pix2pix.model import Model, load_model
from pix2pix.system.hardware import GIGABYTE, choose_device, free_memory
from pix2pix.text import format_count

LITTLE = 2**28
"""Bytes that are free without asking."""
FLOATS = {"unet": 1.6, "encoder_decoder": 1.6, "resnet": 4.0}
"""Numbers that a generator holds at once for each pixel and base channel; 1.5 were measured of a U-Net."""

Picture = TypeVar("Picture", Image.Image, NDArray[np.uint8], NDArray[np.floating], Tensor)


class Translator:
    """Translates pictures with a trained model; deterministic unless `dropout` is on.

    A picture is presented at the scale that training used, padded by reflection to the sides that the generator
    takes, translated, cut back and brought to the input's size. With `dropout=True` the method's noise z is on, as
    in the paper's test mode (section 3.4), and each call gives another picture; `torch.manual_seed` repeats one.
    """

    def __init__(
        self, model: Model, *, device: str = "cpu", dropout: bool = False, precision: Precision = "32"
    ) -> None:
        self.model = model
        self.device = torch.device(device)
        self.generator = model.generator.to(self.device).eval()
        self.prepared = self.of_any_size(prepare(self.generator, self.device, precision=precision))
        if dropout:
            for module in [*self.generator.modules(), *self.prepared.modules()]:
                if isinstance(module, nn.Dropout):
                    module.train()

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str = "auto", dropout: bool = False, precision: Precision = "32"
    ) -> "Translator":
        """A run folder, model folder or hub id -> Translator. Raises ModelError with one sentence.

        `precision` bf16 is faster on processors and GPUs that have it, and errs by about a thousandth of the range.
        """
        return cls(load_model(name), device=choose_device(device), dropout=dropout, precision=precision)

    @overload
    def __call__(self, picture: Picture) -> Picture: ...

    @overload
    def __call__(self, picture: Sequence[Any]) -> Any: ...

    def __call__(self, picture: Any) -> Any:
        """Translate one picture, or a batch as a tensor; the same kind comes back.

        A model of several sources takes a list of them, in the order of its training: PIL images, arrays and tensors
        (C, H, W) of each source's type. A PIL image or a tensor comes back where all of them are such, else an array.

        PIL image (gray or RGB); array (H, W) or (H, W, C); tensor (C, H, W) or (N, C, H, W). Arrays and tensors hold
        values of the source's type, and values of the target's come back; or, where the source is not float32 itself,
        floating numbers in [-1, 1], and such come back. Raises ModelError for a wrong number of channels, ValueError
        or TypeError for anything else that is not such a picture.
        """
        if isinstance(picture, list | tuple):
            return self._several(picture)
        if len(self.model.sources) > 1:
            raise ModelError(f"expected a list of pictures: {self.needs()}")
        if isinstance(picture, Image.Image):
            return self._pil(picture)
        if isinstance(picture, np.ndarray):
            return self._array(picture)
        if isinstance(picture, Tensor):
            return self._tensor(picture)
        raise TypeError(f"expected a PIL image, an array or a tensor, got {type(picture).__name__}")

    def read(self, *paths: Path) -> Tensor:
        """The file of each source -> (in, H, W), as training presented it. Raises DataError for what does not fit."""
        sources = zip(paths, self.model.sources, strict=True)
        return self._stacked([images.read(path, alpha=source.reads_alpha) for path, source in sources], paths)

    def refuse_too_large(self, path: Path, facts: ImageFacts) -> None:
        """Raises DataError for a picture that would take more than the memory that is free."""
        needed = self.needed_memory((facts.height, facts.width))
        if self.device.type == "cpu" and needed > LITTLE and needed > (free := free_memory()) > 0:
            raise DataError(
                f"{path}: is {facts.height}x{facts.width} (HxW), and translating it whole takes about "
                f"{needed / GIGABYTE:.1f} GB of memory, of which {free / GIGABYTE:.1f} GB are free: cut it into parts"
            )

    def needs(self) -> str:
        """What a model of several sources takes, in words."""
        sources = self.model.sources
        each = ", ".join(f"source {number} with {source.describe()}" for number, source in enumerate(sources, start=1))
        return f"the model makes one output of {format_count(len(sources), 'source')}, in this order: {each}"

    def _stacked(self, pictures: Iterable[Array], names: Iterable[Path]) -> Tensor:
        """(H, W, C) of each source -> (in, H, W), stacked. Raises DataError for what does not fit the model."""
        parts: list[Tensor] = []
        first = None
        for values, name, source in zip(pictures, names, self.model.sources, strict=True):
            parts.append(self._presented(values, name, source))
            first = first or name
            if parts[-1].shape[1:] != parts[0].shape[1:]:
                sizes = ["{}x{}".format(*part.shape[1:]) for part in (parts[-1], parts[0])]
                raise DataError(
                    f"{name}: is {sizes[0]} (HxW), but {first} is {sizes[1]}; the sources of one picture need one size"
                )
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _presented(self, pixels: Array, path: Path, source: ImageEncoding) -> Tensor:
        """(H, W, C) of one source -> (channels, H, W). Raises DataError."""
        values, channels = source.values, source.file_channels
        if isinstance(values, LabelEncoding):
            return values.to_tensor(pixels, path)
        if pixels.dtype.name != values.dtype:
            raise DataError(
                f"{path}: holds {pixels.dtype.name} values, but the model translates {values.dtype}: convert it"
            )
        refuse_non_finite(pixels, path)
        if source.converts:
            pixels = with_channels(pixels, channels, str(path))
        if pixels.shape[2] != channels:
            raise DataError(
                f"{path}: has {pixels.shape[2]} channels, but the model translates {channels}; convert it first"
            )
        return values.to_tensor(pixels)

    def _several(self, pictures: Sequence[Any]) -> Any:
        """One picture for each source -> their one output."""
        if len(pictures) != len(self.model.sources):
            raise ModelError(f"got {len(pictures)} pictures, but {self.needs()}")
        target = self.model.target_values
        arrays = [_values_of(picture) for picture in pictures]
        names = [Path(f"picture {number}") for number in range(1, len(pictures) + 1)]
        output = target.to_array(self.translate(self._stacked(arrays, names)[None])[0])
        if all(isinstance(picture, Tensor) for picture in pictures):
            return tensors.channels_first(output).contiguous().to(pictures[0].device)
        if all(isinstance(picture, Image.Image) for picture in pictures) and _fits_pil(target, output.shape[2]):
            return to_pil(output)
        return output[..., 0] if output.shape[2] == 1 else output

    def _pil(self, picture: Image.Image) -> Image.Image:
        source, target = self.model.source_values, self.model.target_values
        for side, values, channels in (
            ("takes", source, 3 if isinstance(source, LabelEncoding) else self.model.in_channels),
            ("gives", target, self.model.out_channels),
        ):
            if not _fits_pil(values, channels):
                raise ModelError(
                    f"the model {side} {channels} channels of {values.dtype}, which no PIL image holds: use arrays"
                )
        pixels = from_pil(picture)
        if self.model.config.converts:
            pixels = with_channels(pixels, self.model.in_channels)
        return to_pil(target.to_array(self.translate(source.to_tensor(pixels)[None])[0]))

    def _array(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        flat = array.ndim == 2
        if array.ndim not in (2, 3):
            raise ValueError(f"expected an array (H, W) or (H, W, C), got shape {array.shape}")
        # Copied, since torch takes no read-only array, such as numpy makes of a PIL image.
        own = np.array(array[..., None] if flat else array, order="C")
        tensor = torch.from_numpy(own).permute(2, 0, 1)
        result = self._tensor(tensor).permute(1, 2, 0).contiguous().cpu().numpy()
        return result[..., 0] if flat and result.shape[2] == 1 else result

    def _tensor(self, tensor: Tensor) -> Tensor:
        if tensor.ndim not in (3, 4) or 0 in tensor.shape:
            raise ValueError(f"expected a tensor (C, H, W) or (N, C, H, W), none of them 0, got {tuple(tensor.shape)}")
        batch = tensor if tensor.ndim == 4 else tensor[None]
        source, target = self.model.source_values, self.model.target_values
        if tensor.dtype == getattr(torch, source.dtype) and not (source.is_8bit and target.is_8bit):
            values = batch.detach().cpu().numpy()
            expected = source.file_channels if isinstance(source, LabelEncoding) else self.model.in_channels
            if values.shape[1] != expected:
                raise ModelError(f"expected {expected} channels, which the model translates, and got {values.shape[1]}")
            numbers = torch.stack([source.to_tensor(one.transpose(1, 2, 0)) for one in values])
            if not numbers.isfinite().all():
                raise ValueError("expected finite values, got NaN or infinity")
            outputs = [target.to_array(image) for image in self.translate(numbers)]
            found = torch.stack([tensors.channels_first(image) for image in outputs]).to(tensor.device)
            return found if tensor.ndim == 4 else found[0]
        if tensor.dtype == torch.uint8 and source.is_8bit:
            output = self.translate(tensors.scale(batch)).add(1).mul(127.5).round().to(torch.uint8)
        elif tensor.is_floating_point() and source.dtype != "float32":
            low, high = batch.aminmax()
            if not (low >= -1 and high <= 1):  # NaN fails too
                raise ValueError(f"expected floating values in [-1, 1], got [{low.item():g}, {high.item():g}]")
            output = self.translate(batch.float())
        else:
            others = "" if source.dtype == "float32" else " or floating values in [-1, 1]"
            raise TypeError(f"expected {source.dtype}{others}, got {tensor.dtype}")
        output = output.to(tensor.device, tensor.dtype)
        return output if tensor.ndim == 4 else output[0]

    @torch.no_grad()  # not inference_mode, whose tensors can be neither changed nor learnt from
    def translate(self, source: Tensor) -> Tensor:
        """(N, in, H, W) in [-1, 1], any H and W -> (N, out, H, W) float32 in [-1, 1], on this translator's device."""
        if source.shape[1] != self.model.in_channels:
            raise ModelError(
                f"expected {self.model.in_channels} channels, which the model translates, and the picture has "
                f"{source.shape[1]}; convert it first"
            )
        size = (source.shape[-2], source.shape[-1])
        if 0 in size:
            raise ValueError(f"expected a picture with pixels in it, got one of {size[0]}x{size[1]}")
        output: Tensor = self.prepared(source.to(self.device, torch.float32))
        return output.clamp(-1, 1)

    def of_any_size(self, network: nn.Module) -> AnySize:
        """The model's generator, as it is or prepared, for pictures of any size."""
        sources = [(source.channels, isinstance(source.values, LabelEncoding)) for source in self.model.sources]
        return AnySize(network, self.model.size_multiple, self.model.config.presented_size, sources)

    def needed_memory(self, size: Size) -> int:
        """Bytes, roughly, that translating a picture (H, W) takes at its peak."""
        generator, channels = self.model.config.settings.generator, self.model.in_channels + self.model.out_channels
        inside = FLOATS[generator.kind] * generator.base_channels + 2 * channels
        floats = math.prod(self.model.config.presented_size(size)) * inside + math.prod(size) * 3 * channels
        return round(4 * floats)


def _fits_pil(values: RangeEncoding | LabelEncoding, channels: int) -> bool:
    return values.dtype == "uint8" and channels in (1, 3)


def _values_of(picture: Any) -> Array:
    """A PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W) -> (H, W, C)."""
    if isinstance(picture, Image.Image):
        return from_pil(picture)
    if isinstance(picture, Tensor) and picture.ndim == 3:
        return picture.detach().permute(1, 2, 0).contiguous().cpu().numpy()
    if isinstance(picture, np.ndarray) and picture.ndim in (2, 3):
        return np.array(picture[..., None] if picture.ndim == 2 else picture, order="C")
    shape = f" of shape {tuple(picture.shape)}" if isinstance(picture, np.ndarray | Tensor) else ""
    raise TypeError(
        f"expected a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W) of each source, "
        f"got {type(picture).__name__}{shape}"
    )
