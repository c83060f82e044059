"""What Python programs hand to a translator, and get back: PIL images, arrays, tensors, and lists of them."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.background import Limits
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding
from pix2pix.data.io.arrays import Array
from pix2pix.data.io.view import Half
from pix2pix.errors import DataError, ModelError
from pix2pix.inference.channels import ChannelRule
from pix2pix.inference.fit_sources import SourceImage, read_images
from pix2pix.inference.kinds import fits_pil, in_native_order, is_tensor, pil_values, to_pil_image, to_values
from pix2pix.inference.memory import Device
from pix2pix.model.signature import Signature
from pix2pix.text import format_count

if TYPE_CHECKING:
    from torch import Tensor

AnyImage = TypeVar("AnyImage", Image.Image, NDArray[Any], "Tensor")
Encoded = Any
"""The sources of one image as a translator wants them, with their `shape`, `conversions` and `holes`."""

_log = logging.getLogger(__name__)


class ImageTranslator(ABC):
    """A model that translates images; children say how it computes."""

    model: Signature
    rule: ChannelRule
    device: Device
    dropout: bool = False
    precision: str
    _logged: set[str]

    @abstractmethod
    def encode(self, sources: Sequence[SourceImage]) -> Encoded:
        """Prepare the sources of one image. Raises DataError if they do not fit the model."""

    @abstractmethod
    def translate_encoded(self, images: Sequence[Encoded]) -> Any:
        """Translate images of one shape; return their outputs in a row, each for `to_array`."""

    @abstractmethod
    def to_array(self, output: Any, holes: NDArray[np.bool_] | None = None) -> Array:
        """Return an output as values (H, W, C) of the target's type, with its mask value in holes (H, W).

        Raises ValueError for an output that is not finite.
        """

    def to_output(self, output: Any, holes: NDArray[np.bool_] | None, name: object) -> Array:
        """Return what `to_array` does. Raises DataError, which begins with `name`, for an output that is not finite."""
        try:
            return self.to_array(output, holes)
        except ValueError as error:  # weights that are not finite
            raise DataError(f"{name}: the model gives no image for it ({error})") from None

    @abstractmethod
    def _translate_tensors(self, batch: "Tensor", floats: Limits | None) -> "Tensor":
        """Translate (N, C, H, W), values or floating numbers, to (N, out, H, W) of the target's or the same type."""

    @abstractmethod
    def _translate_arrays(
        self, batch: NDArray[Any], floats: Limits | None, *, alpha: bool | None = None
    ) -> NDArray[Any]:
        """Translate (N, H, W, C), as `_translate_tensors`.

        `alpha` tells whether the last channel is opacity; None to conclude it from the number of channels.
        """

    def read(self, paths: Sequence[Path], *, half: Half | None = None, plane: int | None = None) -> Encoded:
        """Read and prepare the file of each source, a half of it or a plane of a stack. Raises DataError."""
        return self.encode(read_images(paths, self.model, half=half, plane=plane))

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
        if is_tensor(image):
            return self._translate_tensor(image, floats)
        opened = ": PIL.Image.open reads a file, pix2pix.translate translates files"
        raise TypeError(
            f"expected a PIL image, an array or a tensor, got {type(image).__name__}"
            f"{opened if isinstance(image, str | Path) else ''}"
        )

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
        encoded = self.encode(sources)
        self._log_once(encoded.conversions)
        output = self.to_array(self.translate_encoded([encoded])[0], encoded.holes)
        if all(is_tensor(image) for image in images):
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
        return to_pil_image(self._translate_arrays(values[None], None, alpha=alpha)[0])

    def _translate_array(self, array: NDArray[Any], floats: Limits | None) -> NDArray[Any]:
        flat = array.ndim == 2
        if array.ndim not in (2, 3, 4):
            raise ValueError(f"expected an array (H, W), (H, W, C) or (N, H, W, C), got shape {array.shape}")
        self._refuse_channels_first(array.shape)
        batch = in_native_order(array[None, ..., None] if flat else array if array.ndim == 4 else array[None])
        result = self._translate_arrays(batch, floats)
        result = result if array.ndim == 4 else result[0]
        return result[..., 0] if flat and result.shape[2] == 1 else result

    def _translate_tensor(self, tensor: "Tensor", floats: Limits | None) -> "Tensor":
        if tensor.ndim not in (3, 4):
            raise ValueError(f"expected a tensor (C, H, W) or (N, C, H, W), got shape {tuple(tensor.shape)}")
        output = self._translate_tensors(tensor if tensor.ndim == 4 else tensor[None], floats)
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

    @property
    def _takes_labels(self) -> bool:
        return isinstance(self.model.source_values, LabelEncoding)

    @property
    def _takes_stored(self) -> bool:
        return self.model.config.settings.data.exif == "ignore"

    def _check_values(self, kind: str, floats: Limits | None) -> bool:
        """Return whether a batch of a type, such as uint8, holds values of the source, not numbers in a range.

        Raises TypeError or ValueError for a type that is neither.
        """
        source, floating = self.model.source_values, "float" in kind
        if floating and source.dtype == "float32":
            if floats is not None:
                raise ValueError("floats= is for models of integers: this one takes float32 values in their own units")
            return True
        if floating:
            return False
        if kind != source.dtype and not (self._takes_labels and kind != "bool"):
            others = "" if source.dtype == "float32" else " or floating numbers"
            raise TypeError(f"expected {source.dtype}{others}, got {kind}: convert it by the range of its values")
        return True

    def _log_once(self, conversions: Sequence[str]) -> None:
        for text in conversions:
            if text not in self._logged:
                self._logged.add(text)
                _log.warning("%s; strict=True refuses such images", text)


def has_opacity(channels: int, source: ImageEncoding) -> bool:
    """Conclude from the number of channels of an array whether its last one is opacity."""
    return channels in (2, 4) and (source.reads_alpha or source.file_channels in (1, 3))


def refuse_empty(shape: Sequence[int]) -> None:
    """Raise ValueError for an image without pixels."""
    if 0 in shape:
        raise ValueError(f"expected an image that is not empty, got shape {tuple(shape)}")
