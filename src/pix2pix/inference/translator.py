"""Translate images of any kind and size with a trained model; outputs have the type and units of the target.

The command line and Python use the same class, `Translator`. It computes with torch, which is imported when a model
folder is loaded; an exported file needs none.
"""

import math
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.background import Limits
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.io.arrays import Array
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.calls import ImageTranslator, has_opacity, refuse_empty
from pix2pix.inference.channels import ChannelRule
from pix2pix.inference.fit_sources import SourceImage, source_holes
from pix2pix.inference.noise import require_dropout, sample_seed, turn_dropout_on
from pix2pix.model.model_config import CONFIG, Present
from pix2pix.model.onnx_model import is_onnx_name, require_torch
from pix2pix.system.hardware import choose_device
from pix2pix.text import format_count

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pix2pix.inference.any_size import AnySize
    from pix2pix.inference.encode_sources import Encoded
    from pix2pix.inference.optimize import Precision
    from pix2pix.model import Model
    from pix2pix.model.push import Published

_sampling = threading.Lock()  # torch's random numbers belong to all threads


class Translator(ImageTranslator):
    """Translate images with a trained model; deterministic unless `dropout` is on.

    An image is resized as in training (`ModelConfig.presented_size`), or as `present` says, padded by reflection,
    translated, cropped and resized back. Gray, colour and transparency (over `background`) are brought to the model's
    channels, and a warning is logged once for each such conversion; `strict` refuses them. `dropout=True` turns on the
    method's noise z, as the paper does when testing (3.4): each call gives another output, and `torch.manual_seed`
    repeats one; `sample` gives several outputs of one image. Threads may share a translator.
    """

    model: "Model"
    device: "torch.device"
    precision: "Precision"

    def __init__(
        self,
        model: "Model",
        *,
        device: str = "cpu",
        dropout: bool = False,
        precision: "Precision" = "32",
        present: Present = "auto",
        strict: bool = False,
        background: str = "white",
    ) -> None:
        import torch

        if present not in get_args(Present):
            raise ConfigError(f"--present {present}: expected {', '.join(get_args(Present))}")
        if precision not in ("32", "bf16"):
            raise ConfigError(f"--precision {precision}: expected 32 or bf16")
        self.model = replace(model, present=present)
        self.model.presented_size(model.config.settings.data.image_size)  # refuses a scale that the model lacks
        self.rule = ChannelRule(strict, background)
        self.device = torch.device(device)
        self.dropout, self.precision = dropout, precision
        self.generator = model.generator.to(self.device).eval()
        self.optimized = self.for_any_size(self.optimize(self.generator))
        self._logged: set[str] = set()
        if dropout:
            require_dropout(self.generator, "--dropout")
            turn_dropout_on(self.generator)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = "auto", **choices: Any) -> ImageTranslator:
        """Load a run folder, a model folder or a hub id; `choices` are those of the class. Raises ModelError.

        `precision` bf16 is faster on processors and GPUs that have it; errors are about a thousandth of the range.

        An exported file, such as "model.onnx", is run by onnxruntime or OpenVINO, without torch; `choices` are those of
        `OnnxTranslator`.
        """
        if is_onnx_name(name):
            from pix2pix.inference.onnx_translator import OnnxTranslator

            return OnnxTranslator.load(name, device=device, **choices)
        require_torch(name)
        from pix2pix.model import load_model

        return cls(load_model(name), device=choose_device(device), **choices)

    def push_to_hub(self, hub_id: str, **choices: Any) -> "Published":
        """Publish the model on the hub; `choices` are those of `pix2pix.push`. Raises ConfigError or ModelError.

        If the weights are those of the folder from which the model was loaded, its card, picture, evaluations and
        discriminator are published too.
        """
        from pix2pix.model.push import push, weights_digest

        with tempfile.TemporaryDirectory(prefix="pix2pix-push-") as place:
            saved, loaded = Path(place) / "model", self.model.folder
            self.model.save(saved)
            if loaded is not None and (loaded / CONFIG).exists() and weights_digest(loaded) == weights_digest(saved):
                return push(loaded, hub_id, **choices)
            return push(saved, hub_id, **choices)

    def sample(self, image: Any, count: int, *, seed: int = 0, floats: Limits | None = None) -> list[Any]:
        """Translate one image `count` times with dropout on, each time with other noise; return the outputs.

        Sample n depends on the seed and on n: a larger `count` adds samples, and `pix2pix translate --samples` gives
        the same ones. Raises as a call does, and ModelError for a model without dropout.
        """
        import torch

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
        from pix2pix.inference.optimize import copy_modules

        model = replace(self.model, generator=copy_modules(self.generator))
        choices: dict[str, Any] = {"strict": self.rule.strict, "background": self.rule.background}
        choices |= {"precision": self.precision, "present": self.model.present}
        return Translator(model, device=str(self.device), dropout=True, **choices)

    # ---- prepared images -----------------------------------------------------------------------------------------

    def encode(self, sources: Sequence[SourceImage]) -> "Encoded":
        from pix2pix.inference.encode_sources import encode_sources

        return encode_sources(sources, self.model, self.rule)

    def translate_encoded(self, images: "Sequence[Encoded]") -> "Tensor":
        import torch

        return self.translate(
            torch.stack([one.tensor for one in images]) if len(images) > 1 else images[0].tensor[None]
        )

    def to_array(self, output: "Tensor", holes: NDArray[np.bool_] | None = None) -> Array:
        array = self.model.target_values.to_array(output)
        self.model.prepared.target.put_unknown(array, holes)
        return array

    # ---- values --------------------------------------------------------------------------------------------------

    def _translate_arrays(
        self, batch: NDArray[Any], floats: Limits | None, *, alpha: bool | None = None
    ) -> NDArray[Any]:
        output = self._translate_tensors(tensors.from_numpy(batch).permute(0, 3, 1, 2), floats, alpha=alpha)
        result: NDArray[Any] = output.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return result

    def _translate_tensors(self, batch: "Tensor", floats: Limits | None, *, alpha: bool | None = None) -> "Tensor":
        refuse_empty(batch.shape)
        source, target = self.model.source_values, self.model.target_values
        limits: Limits | None = None
        if not self._check_values(str(batch.dtype).removeprefix("torch."), floats):
            limits = _float_limits(batch, floats)
        elif batch.is_floating_point():
            batch = batch.float()
        if not (self._takes_labels and limits):  # floating numbers of labels are the channels of the network
            batch = self._fit(batch, limits, alpha)
        if limits is not None:
            low, factor = limits[0], 2 / (limits[1] - limits[0])
            output = self.translate((batch.float() - low) * factor - 1, enlarge=True)
            return ((output + 1) / factor + low).to(batch.device, batch.dtype)
        if source.is_8bit and target.is_8bit:
            return self.translate(tensors.scale(batch), enlarge=True).add(1).mul(127.5).round().byte().to(batch.device)
        return self._translate_values(batch)

    def _fit(self, batch: "Tensor", limits: Limits | None, alpha: bool | None) -> "Tensor":
        """Bring (N, C, H, W) to the channels of the source. Raises ModelError."""
        (source,) = self.model.sources
        count, channels, height, width = batch.shape
        if alpha is None:
            alpha = has_opacity(channels, source)
        if channels == source.file_channels and alpha == source.reads_alpha:
            return batch
        rows = batch.detach().permute(0, 2, 3, 1).reshape(count * height, width, channels).cpu()
        values = (rows.float() if str(rows.dtype) == "torch.bfloat16" else rows).numpy()  # numpy has no bfloat16
        try:
            fitted, conversions = self.rule.fit(values, source, "the image", alpha=alpha, limits=limits)
        except DataError as error:
            raise ModelError(str(error)) from None
        self._log_once(conversions)
        whole = tensors.from_numpy(np.ascontiguousarray(fitted)).reshape(count, height, width, -1)
        return whole.permute(0, 3, 1, 2).to(batch.device, batch.dtype)

    def _translate_values(self, batch: "Tensor") -> "Tensor":
        """Translate (N, C, H, W) of the source's type and range to (N, out, H, W) of the target's."""
        import torch

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

    def optimize(self, generator: "nn.Module") -> "nn.Module":
        """Return a faster copy of a generator in eval mode for `device`, with dropout as this translator uses it."""
        from pix2pix.inference.optimize import optimize_generator

        size = self.model.config.settings.data.image_size
        optimized = optimize_generator(generator, self.device, size, precision=self.precision)
        if self.dropout:
            turn_dropout_on(optimized)
        return optimized

    def translate(self, source: "Tensor", *, enlarge: bool = False) -> "Tensor":
        """Translate (N, in, H, W) in [-1, 1], any H and W, to (N, out, H, W) float32 in [-1, 1] on `device`.

        With `enlarge` the source is first resized to the size of its output (`Model.output_size`).
        """
        import torch

        from pix2pix.inference.any_size import resize_sources

        if source.shape[1] != self.model.in_channels:
            got = format_count(source.shape[1], "channel")
            raise ModelError(f"got {got}, but the model translates {self.model.in_channels}; convert the image")
        size = (source.shape[-2], source.shape[-1])
        if 0 in size:
            raise ValueError(f"expected an image that is not empty, got {size[0]}x{size[1]}")
        source = source.to(self.device, torch.float32)
        with torch.no_grad():  # not inference_mode: its tensors cannot be used in a later backward pass
            if enlarge and (new := self.model.output_size(size)) != size:
                source = resize_sources(source, new, self.optimized.sources)
            output: Tensor = self.optimized(source)
            return output.clamp(-1, 1)

    def for_any_size(self, network: "nn.Module") -> "AnySize":
        """Wrap the model's generator, or its optimised copy, for images of any size."""
        from pix2pix.inference.any_size import AnySize

        return AnySize(network, self.model.size_multiple, self.model.presented_size, self.model.source_kinds)


def _float_limits(batch: "Tensor", floats: Limits | None) -> Limits:
    """Return the range of floating numbers, as given or -1 to 1. Raises ValueError for values outside or in doubt."""
    least, greatest = (end.item() for end in batch.aminmax())
    low, high = floats or (-1.0, 1.0)
    if not low < high:
        raise ValueError(f"floats=({low:g}, {high:g}): expected the lowest value first, then the highest")
    if not (least >= low and greatest <= high):  # NaN fails too
        hint = "" if floats or math.isnan(least) else "; say what they mean, as by floats=(0, 255)"
        raise ValueError(f"expected floating values in [{low:g}, {high:g}], got [{least:g}, {greatest:g}]{hint}")
    if floats is None and least >= 0:
        raise ValueError(
            f"got floating values in [{least:g}, {greatest:g}], which may be from 0 to 1 or from -1 to 1: "
            "say it by floats=(0, 1) or floats=(-1, 1)"
        )
    return low, high
