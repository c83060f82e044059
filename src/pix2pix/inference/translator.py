"""Translate images of any kind and size with a trained model; outputs have the type and units of the target.

The command line and Python use the same class, `Translator`.
"""

import logging
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.background import Limits
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.any_size import AnySize, resize_sources
from pix2pix.inference.channels import ChannelRule
from pix2pix.inference.encode_sources import SourceImage, encode_sources, source_holes
from pix2pix.inference.kinds import fits_pil, in_native_order, pil_values, to_pil_image, to_values
from pix2pix.inference.noise import require_dropout, sample_seed, turn_dropout_on
from pix2pix.inference.optimize import Precision, copy_modules, optimize_generator
from pix2pix.model import Model, load_model
from pix2pix.model.model_config import CONFIG, Present
from pix2pix.model.push import Published, push, weights_digest
from pix2pix.system.hardware import choose_device
from pix2pix.text import format_count

AnyImage = TypeVar("AnyImage", Image.Image, NDArray[Any], Tensor)

_log = logging.getLogger(__name__)
_sampling = threading.Lock()  # torch's random numbers belong to all threads


class Translator:
    """Translate images with a trained model; deterministic unless `dropout` is on.

    An image is resized as in training (`ModelConfig.presented_size`), or as `present` says, padded by reflection,
    translated, cropped and resized back. Gray, colour and transparency (over `background`) are brought to the model's
    channels, and a warning is logged once for each such conversion; `strict` refuses them. `dropout=True` turns on the
    method's noise z, as the paper does when testing (3.4): each call gives another output, and `torch.manual_seed`
    repeats one; `sample` gives several outputs of one image. Threads may share a translator.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: str = "cpu",
        dropout: bool = False,
        precision: Precision = "32",
        present: Present = "auto",
        strict: bool = False,
        background: str = "white",
    ) -> None:
        if present not in get_args(Present):
            raise ConfigError(f"--present {present}: expected {', '.join(get_args(Present))}")
        self.model = replace(model, present=present)
        self.model.presented_size(model.config.settings.data.image_size)  # refuses a scale that the model lacks
        self.rule = ChannelRule(strict, background)
        self.device = torch.device(device)
        self.dropout, self.precision = dropout, precision
        self.generator = model.generator.to(self.device).eval()
        self.optimized = self.for_any_size(self.optimize(self.generator))
        self._logged: set[str] = set()
        if dropout:
            turn_dropout_on(self.generator)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = "auto", **choices: Any) -> "Translator":
        """Load a run folder, a model folder or a hub id; `choices` are those of the class. Raises ModelError.

        `precision` bf16 is faster on processors and GPUs that have it; errors are about a thousandth of the range.
        """
        return cls(load_model(name), device=choose_device(device), **choices)

    def push_to_hub(self, hub_id: str, **choices: Any) -> Published:
        """Publish the model on the hub; `choices` are those of `pix2pix.push`. Raises ConfigError or ModelError.

        If the weights are those of the folder from which the model was loaded, its card, picture, evaluations and
        discriminator are published too.
        """
        with tempfile.TemporaryDirectory(prefix="pix2pix-push-") as place:
            saved, loaded = Path(place) / "model", self.model.folder
            self.model.save(saved)
            if loaded is not None and (loaded / CONFIG).exists() and weights_digest(loaded) == weights_digest(saved):
                return push(loaded, hub_id, **choices)
            return push(saved, hub_id, **choices)

    @overload
    def __call__(self, image: AnyImage, *, floats: Limits | None = None) -> AnyImage: ...

    @overload
    def __call__(self, image: Sequence[Any], *, floats: Limits | None = None) -> Any: ...

    def __call__(self, image: Any, *, floats: Limits | None = None) -> Any:
        """Translate one image or several; return the same kind of object, of the same size.

        A model trained with `resize_source` on targets K times larger than their sources returns K times the size.

        An image is a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W). Several are a batch, an array
        (N, H, W, C) or a tensor (N, C, H, W), or a list of images, which gives a list.

        Values are of the source's type, such as uint8, and outputs of the target's. Or they are floating numbers,
        unless the source is float32 itself: `floats=(0, 1)` says that 0 is the lowest value and 1 the highest, and the
        output has the same range. Without it the range is -1 to 1; an image without a negative value is then refused,
        since it may be from 0 to 1. PIL images are gray, RGB, palette or transparent, or I;16 or F for a model of
        uint16 or float32.

        A model of several sources takes a list with one image for each, in the order of its training, each of its
        source's type; a list of such lists gives a list. The output is a PIL image, or a tensor, if all of them are;
        otherwise an array.

            translator = pix2pix.Translator.from_pretrained("runs/facades")
            photo = translator(PIL.Image.open("labels.png"))            # a PIL image
            photos = translator(numpy.stack([labels, labels]))           # uint8, (2, H, W, 3)
            tensor = translator(to_tensor(image), floats=(0, 1))         # (3, H, W) from 0 to 1

        Raises ModelError for channels that the model does not take, ValueError or TypeError for any other image that
        cannot be translated.
        """
        if isinstance(image, list | tuple):
            several = len(self.model.sources) == 1 or any(isinstance(one, list | tuple) for one in image)
            return [self(one, floats=floats) for one in image] if several else self._translate_sources(image)
        if len(self.model.sources) > 1:
            raise ModelError(f"expected a list of images: {self.describe_sources()}")
        if isinstance(image, Image.Image):
            return self._translate_pil(image)
        if isinstance(image, np.ndarray):
            return self._translate_array(image, floats)
        if isinstance(image, Tensor):
            return self._translate_tensor(image, floats)
        opened = ": PIL.Image.open reads a file, pix2pix.translate translates files"
        raise TypeError(
            f"expected a PIL image, an array or a tensor, got {type(image).__name__}"
            f"{opened if isinstance(image, str | Path) else ''}"
        )

    def sample(self, image: Any, count: int, *, seed: int = 0, floats: Limits | None = None) -> list[Any]:
        """Translate one image `count` times with dropout on, each time with other noise; return the outputs.

        Sample n depends on the seed and on n: a larger `count` adds samples, and `pix2pix translate --samples` gives
        the same ones. Raises as a call does, and ModelError for a model without dropout.
        """
        if count < 1:
            raise ValueError(f"count={count}: expected 1 or more")
        require_dropout(self.generator, "sample")
        noisy = self if self.dropout else self._noisy
        outputs = []
        devices = [self.device] if self.device.type == "cuda" else []
        with _sampling, torch.random.fork_rng(devices):
            for number in range(1, count + 1):
                torch.manual_seed(sample_seed(seed, number))
                outputs.append(noisy(image, floats=floats))
        return outputs

    @cached_property
    def _noisy(self) -> "Translator":
        """A copy of this translator with dropout on; weights are shared where possible."""
        model = replace(self.model, generator=copy_modules(self.generator))
        choices: dict[str, Any] = {"strict": self.rule.strict, "background": self.rule.background}
        choices |= {"precision": self.precision, "present": self.model.present}
        return Translator(model, device=str(self.device), dropout=True, **choices)

    def describe_sources(self) -> str:
        """Describe the sources that the model takes, in order."""
        sources = self.model.sources
        each = ", ".join(f"source {number} with {source.describe()}" for number, source in enumerate(sources, start=1))
        return f"the model makes one output of {format_count(len(sources), 'source')}, in this order: {each}"

    # ---- kinds of images -----------------------------------------------------------------------------------------

    def _translate_sources(self, images: Sequence[Any]) -> Any:
        """Translate a list with one image for each source."""
        if len(images) != len(self.model.sources):
            raise ModelError(f"got {format_count(len(images), 'image')}, but {self.describe_sources()}")
        sources = [
            SourceImage(*to_values(image, stored=self._takes_stored), Path(f"image {number}"))
            for number, image in enumerate(images, start=1)
        ]
        encoded = encode_sources(sources, self.model, self.rule)
        self._log_once(encoded.conversions)
        output = self.model.target_values.to_array(self.translate(encoded.tensor[None])[0])
        self.model.prepared.target.put_unknown(output, encoded.holes)
        if all(isinstance(image, Tensor) for image in images):
            return tensors.channels_first(output).contiguous().to(images[0].device)
        if all(isinstance(image, Image.Image) for image in images) and fits_pil(output.dtype.name, output.shape[2]):
            return to_pil_image(output)
        return output[..., 0] if output.shape[2] == 1 else output

    def _translate_pil(self, image: Image.Image) -> Image.Image:
        dtype, channels, _ = self.model.file_type
        if not fits_pil(dtype, channels):
            raise ModelError(
                f"the model returns {format_count(channels, 'channel')} of {dtype}, which no PIL image can hold: "
                "use arrays"
            )
        values, alpha = pil_values(image, stored=self._takes_stored)
        if self.model.source_values.dtype != values.dtype.name and not self._takes_labels:
            raise TypeError(
                f"expected {self.model.source_values.dtype} values, got a PIL image of mode {image.mode} with "
                f"{values.dtype.name}: convert it by the range of its values, or use arrays"
            )
        output = self._translate_batch(tensors.channels_first(values)[None], None, alpha=alpha)
        return to_pil_image(output[0].permute(1, 2, 0).cpu().numpy())

    def _translate_array(self, array: NDArray[Any], floats: Limits | None) -> NDArray[Any]:
        flat = array.ndim == 2
        if array.ndim not in (2, 3, 4):
            raise ValueError(f"expected an array (H, W), (H, W, C) or (N, H, W, C), got shape {array.shape}")
        self._refuse_channels_first(array.shape)
        batch = in_native_order(array[None, ..., None] if flat else array if array.ndim == 4 else array[None])
        output = self._translate_batch(torch.from_numpy(batch).permute(0, 3, 1, 2), floats)
        result: NDArray[Any] = output.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        result = result if array.ndim == 4 else result[0]
        return result[..., 0] if flat and result.shape[2] == 1 else result

    def _translate_tensor(self, tensor: Tensor, floats: Limits | None) -> Tensor:
        if tensor.ndim not in (3, 4):
            raise ValueError(f"expected a tensor (C, H, W) or (N, C, H, W), got shape {tuple(tensor.shape)}")
        output = self._translate_batch(tensor if tensor.ndim == 4 else tensor[None], floats)
        return output if tensor.ndim == 4 else output[0]

    def _refuse_channels_first(self, shape: tuple[int, ...]) -> None:
        """Raise ModelError for an array whose channels stand where tensors have them, not at its end."""
        known = {1, 2, 3, 4, self.model.in_channels, self.model.sources[0].file_channels}
        if len(shape) > 2 and shape[-1] not in known and shape[-3] in known:
            order = (1, 2, 0) if len(shape) == 3 else (0, 2, 3, 1)
            raise ModelError(
                f"got an array of shape {shape}: channels come last in arrays, so use array.transpose{order}, "
                "or give a tensor"
            )

    # ---- values --------------------------------------------------------------------------------------------------

    def _translate_batch(self, batch: Tensor, floats: Limits | None, *, alpha: bool | None = None) -> Tensor:
        """Translate (N, C, H, W), values or floating numbers, to (N, out, H, W) of the target's or the same type.

        `alpha` tells whether the last channel is opacity; None to conclude it from the number of channels.
        """
        if 0 in batch.shape:
            raise ValueError(f"expected an image that is not empty, got shape {tuple(batch.shape)}")
        source, target = self.model.source_values, self.model.target_values
        limits: Limits | None = None
        if batch.is_floating_point() and source.dtype == "float32":
            if floats is not None:
                raise ValueError("floats= is for models of integers: this one takes float32 values in their own units")
            batch = batch.float()
        elif batch.is_floating_point():
            limits = _float_limits(batch, floats)
        elif batch.dtype != getattr(torch, source.dtype) and not (self._takes_labels and batch.dtype != torch.bool):
            others = "" if source.dtype == "float32" else " or floating numbers"
            got = str(batch.dtype).removeprefix("torch.")
            raise TypeError(f"expected {source.dtype}{others}, got {got}: convert it by the range of its values")
        if not (self._takes_labels and limits):  # floating numbers of labels are the channels of the network
            batch = self._fit(batch, limits, alpha)
        if limits is not None:
            low, factor = limits[0], 2 / (limits[1] - limits[0])
            output = self.translate((batch.float() - low) * factor - 1, enlarge=True)
            return ((output + 1) / factor + low).to(batch.device, batch.dtype)
        if source.is_8bit and target.is_8bit:
            return (
                self.translate(tensors.scale(batch), enlarge=True)
                .add(1)
                .mul(127.5)
                .round()
                .to(batch.device, torch.uint8)
            )
        return self._translate_values(batch)

    @property
    def _takes_labels(self) -> bool:
        return isinstance(self.model.source_values, LabelEncoding)

    @property
    def _takes_stored(self) -> bool:
        return self.model.config.settings.data.exif == "ignore"

    def _fit(self, batch: Tensor, limits: Limits | None, alpha: bool | None) -> Tensor:
        """Bring (N, C, H, W) to the channels of the source. Raises ModelError."""
        (source,) = self.model.sources
        count, channels, height, width = batch.shape
        if alpha is None:
            alpha = channels in (2, 4) and (source.reads_alpha or source.file_channels in (1, 3))
        if channels == source.file_channels and alpha == source.reads_alpha:
            return batch
        rows = batch.detach().permute(0, 2, 3, 1).reshape(count * height, width, channels).cpu()
        values = (rows.float() if rows.dtype == torch.bfloat16 else rows).numpy()  # numpy has no bfloat16
        try:
            fitted, conversions = self.rule.fit(values, source, "the image", alpha=alpha, limits=limits)
        except DataError as error:
            raise ModelError(str(error)) from None
        self._log_once(conversions)
        whole = torch.from_numpy(np.ascontiguousarray(fitted)).reshape(count, height, width, -1)
        return whole.permute(0, 3, 1, 2).to(batch.device, batch.dtype)

    def _log_once(self, conversions: Sequence[str]) -> None:
        for text in conversions:
            if text not in self._logged:
                self._logged.add(text)
                _log.warning("%s; strict=True refuses such images", text)

    def _translate_values(self, batch: Tensor) -> Tensor:
        """Translate (N, C, H, W) of the source's type and range to (N, out, H, W) of the target's."""
        source, target = self.model.source_values, self.model.target_values
        expected = source.file_channels if isinstance(source, LabelEncoding) else self.model.in_channels
        if batch.shape[1] != expected:
            raise ModelError(
                f"got {format_count(batch.shape[1], 'channel')}, but the model translates {expected}; convert the image"
            )
        arrays = batch.detach().permute(0, 2, 3, 1).cpu().numpy()
        encoded = torch.stack([source.to_tensor(self.model.sources[0].fill_holes(array)) for array in arrays])
        if not encoded.isfinite().all():
            raise ValueError("expected finite values, got NaN or infinity")
        outputs = [target.to_array(image) for image in self.translate(encoded, enlarge=True)]
        for array, output in zip(arrays, outputs, strict=True):
            self.model.prepared.target.put_unknown(output, source_holes([array], self.model, output.shape[:2]))
        return torch.stack([tensors.channels_first(output) for output in outputs]).to(batch.device)

    def optimize(self, generator: nn.Module) -> nn.Module:
        """Return a faster copy of a generator in eval mode for `device`, with dropout as this translator uses it."""
        size = self.model.config.settings.data.image_size
        optimized = optimize_generator(generator, self.device, size, precision=self.precision)
        if self.dropout:
            turn_dropout_on(optimized)
        return optimized

    @torch.no_grad()  # not inference_mode: its tensors cannot be used in a later backward pass
    def translate(self, source: Tensor, *, enlarge: bool = False) -> Tensor:
        """Translate (N, in, H, W) in [-1, 1], any H and W, to (N, out, H, W) float32 in [-1, 1] on `device`.

        With `enlarge` the source is first resized to the size of its output (`Model.output_size`).
        """
        if source.shape[1] != self.model.in_channels:
            got = format_count(source.shape[1], "channel")
            raise ModelError(f"got {got}, but the model translates {self.model.in_channels}; convert the image")
        size = (source.shape[-2], source.shape[-1])
        if 0 in size:
            raise ValueError(f"expected an image that is not empty, got {size[0]}x{size[1]}")
        source = source.to(self.device, torch.float32)
        if enlarge and (new := self.model.output_size(size)) != size:
            source = resize_sources(source, new, self.optimized.sources)
        output: Tensor = self.optimized(source)
        return output.clamp(-1, 1)

    def for_any_size(self, network: nn.Module) -> AnySize:
        """Wrap the model's generator, or its optimised copy, for images of any size."""
        sources = [(source.channels, isinstance(source.values, LabelEncoding)) for source in self.model.sources]
        return AnySize(network, self.model.size_multiple, self.model.presented_size, sources)


def _float_limits(batch: Tensor, floats: Limits | None) -> Limits:
    """Return the range of floating numbers, as given or -1 to 1. Raises ValueError for values outside or in doubt."""
    least, greatest = (end.item() for end in batch.aminmax())
    low, high = floats or (-1.0, 1.0)
    if not low < high:
        raise ValueError(f"floats=({low:g}, {high:g}): expected the lowest value first, then the highest")
    if not (least >= low and greatest <= high):  # NaN fails too
        hint = "" if floats else "; say what they mean, as by floats=(0, 255)"
        raise ValueError(f"expected floating values in [{low:g}, {high:g}], got [{least:g}, {greatest:g}]{hint}")
    if floats is None and least >= 0:
        raise ValueError(
            f"got floating values in [{least:g}, {greatest:g}], which may be from 0 to 1 or from -1 to 1: "
            "say it by floats=(0, 1) or floats=(-1, 1)"
        )
    return low, high
