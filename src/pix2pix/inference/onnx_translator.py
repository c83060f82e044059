"""Translate with an exported file, without torch: the file is the whole translator, pixels in and pixels out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.background import Limits
from pix2pix.data.encoding.labels import LabelEncoding, class_levels
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.io.arrays import Array
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.calls import ImageTranslator, has_opacity, refuse_empty
from pix2pix.inference.channels import ChannelRule
from pix2pix.inference.fit_sources import SourceImage, fit_source, refuse_other_sizes, source_holes
from pix2pix.inference.onnx_engines import Engine, Session, first_line, open_session
from pix2pix.model.model_config import Size
from pix2pix.model.onnx_model import OnnxModel, load_onnx
from pix2pix.system.threads import choose_threads
from pix2pix.text import escape_unprintable

if TYPE_CHECKING:
    from torch import Tensor


class Pixels(NamedTuple):
    """The sources of one image as an exported file takes them."""

    arrays: tuple[Array, ...]
    """(H, W, C) of each."""
    conversions: tuple[str, ...]
    """What was done to their channels, in words."""
    size: Size
    """Of the output."""
    holes: NDArray[np.bool_] | None = None
    """Where the output gets the target's mask value (H, W), see `source_holes`."""

    @property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """Images of one shape can be a batch."""
        return tuple(array.shape for array in self.arrays)


class Device(NamedTuple):
    """Where a file is run, and by what."""

    type: str
    engine: str

    def __str__(self) -> str:
        return f"{self.type}, {self.engine}"


class OnnxTranslator(ImageTranslator):
    """Translate images with an exported file, as `Translator` does with a model folder."""

    model: OnnxModel
    device: Device

    def __init__(self, model: OnnxModel, session: Session, rule: ChannelRule) -> None:
        self.model, self.rule, self.precision = model, rule, model.precision
        self.device = Device(session.device, session.engine)
        self._session, self._logged = session, set()

    @classmethod
    def load(  # the choices of a translator
        cls,
        name: str | Path,
        *,
        device: str = "auto",
        engine: Engine = "auto",
        threads: Literal["auto"] | int = "auto",
        strict: bool = False,
        background: str = "white",
        dropout: bool = False,
        precision: str = "32",
        present: str = "auto",
    ) -> "OnnxTranslator":
        """Read and check a file, and make it ready to run. Raises ModelError or ConfigError.

        `threads` compute on the CPU. The last three cannot be chosen: the file is as it was exported.
        """
        fixed = {"dropout": (dropout, False), "precision": (precision, "32"), "present": (present, "auto")}
        for flag, (chosen, usual) in fixed.items():
            if chosen != usual:
                given = f"--{flag}" if chosen is True else f"--{flag} {chosen}"
                raise ConfigError(f"{given}: an exported file is as it was exported; give the model folder instead")
        rule, model = ChannelRule(strict, background), load_onnx(name)
        try:
            session = open_session(model.content, engine, device, choose_threads(threads))
        except ModelError as error:
            raise ModelError(f"{escape_unprintable(name)}: {escape_unprintable(str(error))}") from None
        expected = {port: one.file_type for port, one in zip(model.source_names, model.sources, strict=True)}
        if session.inputs != expected:
            raise ModelError(f"{escape_unprintable(name)}: its inputs do not fit its configuration; export it again")
        return cls(model, session, rule)

    # ---- prepared images -----------------------------------------------------------------------------------------

    def encode(self, sources: Sequence[SourceImage]) -> Pixels:
        model = self.model
        fitted = [fit_source(image, one, self.rule) for image, one in zip(sources, model.sources, strict=True)]
        sizes = [(one.values.shape[0], one.values.shape[1]) for one in sources]
        if not model.prepared.resize_source:
            refuse_other_sizes([(image.name, size) for image, size in zip(sources, sizes, strict=True)])
        arrays = [
            _as_in_files(array, source, image.name)
            for (array, _), source, image in zip(fitted, model.sources, sources, strict=True)
        ]
        conversions = dict.fromkeys(text for _, done in fitted for text in done)
        size = model.output_size(sizes[0])
        holes = source_holes([image.values for image in sources], model, size)
        return Pixels(tuple(arrays), tuple(conversions), size, holes)

    def translate_encoded(self, images: Sequence[Pixels]) -> Array:
        stacked = [np.stack(arrays) for arrays in zip(*(one.arrays for one in images), strict=True)]
        try:
            output = self._session.run(dict(zip(self.model.source_names, stacked, strict=True)))
        except Exception as error:  # the runtimes raise many kinds
            raise DataError(f"{self.device.engine} cannot translate it ({first_line(error)})") from None
        dtype, channels, _ = self.model.file_type
        if output.shape != (len(images), *images[0].size, channels) or output.dtype.name != dtype:
            raise ModelError(f"{self.model.path}: its output is not that of its configuration; export it again")
        return output

    def to_array(self, output: Array, holes: NDArray[np.bool_] | None = None) -> Array:
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise ValueError("expected finite values, got NaN or infinity")
        self.model.prepared.target.put_unknown(output, holes)
        return output

    # ---- values --------------------------------------------------------------------------------------------------

    def _translate_tensors(self, batch: "Tensor", floats: Limits | None) -> "Tensor":
        values = batch.detach().permute(0, 2, 3, 1).contiguous().cpu()
        if "bfloat16" in str(values.dtype):  # which numpy has not
            values = values.float()
        output = tensors.from_numpy(self._translate_arrays(values.numpy(), floats))
        return output.permute(0, 3, 1, 2).contiguous().to(batch.device)

    def _translate_arrays(
        self, batch: NDArray[Any], floats: Limits | None, *, alpha: bool | None = None
    ) -> NDArray[Any]:
        refuse_empty(batch.shape)
        (source,) = self.model.sources
        if not self._check_values(batch.dtype.name, floats):
            raise ValueError(
                f"got {batch.dtype.name} values, but an exported file takes {source.file_type} only: "
                "convert the image to it, or use the model folder, which takes floating numbers"
            )
        if batch.dtype.kind == "f":
            batch = batch.astype(np.float32, copy=False)
        has = has_opacity(batch.shape[3], source) if alpha is None else alpha
        try:
            images = [self.encode([SourceImage(values, has, Path("the image"))]) for values in batch]
        except DataError as error:
            raise ModelError(str(error)) from None
        for one in images:
            self._log_once(one.conversions)
        outputs = self.translate_encoded(images)
        return np.stack([self.to_array(output, one.holes) for output, one in zip(outputs, images, strict=True)])


def _as_in_files(values: Array, source: ImageEncoding, name: Path) -> Array:
    """Return (H, W, C) as the file takes it; label maps are checked, since the file would take the nearest class."""
    if not isinstance(source.values, LabelEncoding):
        return np.ascontiguousarray(values)
    indices = source.values.to_indices(values, name)[..., 0]
    levels = np.array([class_levels(name) for name in source.values.classes], source.file_type)
    return np.ascontiguousarray(levels[indices])
