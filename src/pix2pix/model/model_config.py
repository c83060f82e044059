"""Configuration of a model, `config.json`: settings, batch norm statistics, and the size at which it sees images."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pix2pix.config import Config, Section
from pix2pix.config.fields import MAX_SIDE, Statistics
from pix2pix.config.io import explain
from pix2pix.config.legacy import upgrade_settings
from pix2pix.data.encoding.prepared import PreparedData
from pix2pix.data.io.view import Half
from pix2pix.errors import ConfigError, ModelError
from pix2pix.model.facts import Digest, Metric, TrainingFacts
from pix2pix.system.checked_json import dump_checked, read_checked
from pix2pix.system.files import write_text
from pix2pix.text import format_factors

CONFIG = "config.json"
PARENT, PARENT_SHA256, PARENT_EPOCH = "parent", "parent_sha256", "parent_epoch"
"""Provenance of a training that began with another model's weights: its folder, file of G and epoch."""
CONVERTED, CONVERTED_SHA256 = "converted_from", "converted_sha256"
"""Provenance of a model that was converted from a file of other software."""

Factor = Annotated[float, Field(ge=1e-6, le=MAX_SIDE)]
"""Size in training over the size of a file, in which a side has one pixel or more."""
Size = tuple[int, int]
"""(height, width) in pixels."""
Present = Literal["auto", "image_size", "scale", "native"]
"""Size at which the generator sees an image: by the model's rule, at image_size, at the scale of the training, or at
its own size."""


class ModelConfig(Section):
    """Everything needed to rebuild the networks and to present an image as in training."""

    checksum: Digest | None = None
    """SHA-256 of the file without these digits. Compared on reading; None in files of version 0.1, and where somebody
    removed it to edit the file."""
    format: Literal[1] = 1
    """Version of the layout of this file."""
    pix2pix: Annotated[str, Field(max_length=100)]
    """Version of the package that wrote the file."""
    settings: Config = Field(validation_alias="config", serialization_alias="config")
    """The resolved settings of the training, without the paths of its data and of its parent."""
    norm_statistics: Statistics
    """What batch norm uses when translating: each image's own statistics, or the running averages of training."""
    scale: tuple[Factor, Factor] | None
    """Size in training over the size of the files, (vertical, horizontal); None if the sizes of the files
    differed and all were resized to image_size."""
    converts: bool = False
    """Whether files with another number of channels are converted, as in training."""
    half: Half | None = None
    """Half of the training's side-by-side files that held the source; None if the training had other files, and in
    models that are older than this field."""
    enlarged: tuple[Factor, Factor] = (1.0, 1.0)
    """Size of an output over that of its source, (vertical, horizontal), as of the pairs of a training with
    resize_source; 1 if those had several, and in models that are older than this field."""
    epoch: Annotated[int, Field(ge=0, le=1_000_000)]
    """Epochs trained when the weights were saved."""
    validation: Annotated[dict[Metric, float | None], Field(max_length=100)]
    """Validation metrics of that epoch; empty without a validation split."""
    sha256: Annotated[dict[str, Digest], Field(max_length=10)] = Field(default_factory=dict)
    """SHA-256 of each file of weights; empty in models of version 0.1."""
    trained: TrainingFacts | None = None
    """What the training knew at that epoch, for the model card; None in models that are older than this field."""

    @property
    def file_size(self) -> Size | None:
        """Size of the training's images before they were resized; None if they had several sizes."""
        if self.scale is None or self.settings.native:
            return None
        height, width = self.settings.data.image_size
        return round(height / self.scale[0]), round(width / self.scale[1])

    def presented_size(self, size: Size, present: Present = "auto") -> Size:
        """Return the size at which the generator sees an image of `size`, before padding.

        By default, an image of image_size keeps its size. Others are scaled as in training, but no side becomes smaller
        than in image_size, since the generator was not trained on smaller images. A model trained with native sizes
        resizes nothing. Raises ConfigError for the scale of a training whose files had several sizes.
        """
        smallest = self.settings.data.image_size
        if present == "native" or (self.settings.native and present != "image_size"):
            return size
        if self.scale is None and present == "scale":
            raise ConfigError(
                "--present scale: the files of this training had several sizes, so it has no one scale; "
                "choose auto, image_size or native"
            )
        if self.scale is None or present == "image_size" or (size == smallest and present == "auto"):
            return smallest
        sides = size[0] * self.scale[0], size[1] * self.scale[1]
        larger = max(1.0, smallest[0] / sides[0], smallest[1] / sides[1])
        return max(smallest[0], round(sides[0] * larger)), max(smallest[1], round(sides[1] * larger))

    def output_size(self, size: Size) -> Size:
        """Return the size of the output for a source of `size`, to which the source is resized first."""
        return max(1, round(size[0] * self.enlarged[0])), max(1, round(size[1] * self.enlarged[1]))

    def describe_origin(self) -> str:
        """Say where the weights come from, in one sentence; empty if they were drawn at random and trained."""
        origin = self.settings.provenance
        if CONVERTED in origin:
            digest = origin.get(CONVERTED_SHA256, "unknown")
            return f"Converted from {origin[CONVERTED]} of pytorch-CycleGAN-and-pix2pix (SHA-256 {digest})."
        if PARENT in origin:
            epoch, digest = origin.get(PARENT_EPOCH, "unknown"), origin.get(PARENT_SHA256, "unknown")
            return f"The training began with the weights of {origin[PARENT]}, epoch {epoch} (SHA-256 {digest})."
        return ""

    def describe_output_size(self) -> str:
        """State the size of outputs, in one sentence; empty if it is plainly that of the source."""
        if not self.settings.data.resize_source:
            return ""
        if self.enlarged == (1.0, 1.0):
            return "Sources were resized to their targets in training; an output has the size of its source."
        times = format_factors(*self.enlarged)
        return f"Each source is resized to {times} times its size first, as in training, and the output has that size."

    def describe_presented_size(self) -> str:
        """State the rule of `presented_size` in one sentence."""
        height, width = self.settings.data.image_size
        if self.settings.native:
            return "Every image keeps its size."
        if self.scale is None:
            return f"Every image is resized to {height}x{width}, whatever its shape."
        if self.scale == (1.0, 1.0):
            return (
                f"Every image keeps its size, unless a side is smaller than in {height}x{width}: then it is enlarged."
            )
        factor = f"{self.scale[0]:g}" + ("" if self.scale[0] == self.scale[1] else f" x {self.scale[1]:g}")
        return (
            f"An image of {height}x{width} keeps its size; others are scaled by {factor}, as in training, "
            f"but no side becomes smaller than in {height}x{width}."
        )

    def describe_half(self) -> str:
        """State which part of a side-by-side file is translated, in one sentence; empty without such files."""
        if self.half is None:
            return ""
        if self.file_size is None:
            return f"Trained on side-by-side files, the source in the {self.half} half: --half {self.half} takes it."
        height, width = self.file_size
        return f"Of a side-by-side file of {height}x{2 * width}, as in training, the {self.half} half is translated."


def write_model_config(path: Path, config: ModelConfig, sha256: Mapping[str, str]) -> None:
    """Write `config.json` with the SHA-256 of each file of weights, and its own checksum. Raises OSError."""
    values = config.model_copy(update={"sha256": dict(sha256)}).model_dump_json(by_alias=True, exclude={"checksum"})
    write_text(path, dump_checked(json.loads(values)))


def make_model_config(
    config: Config,
    norm_statistics: Statistics,
    scale: tuple[float, float] | None,
    converts: bool,
    epoch: int,
    validation: dict[str, float | None],
    *,
    half: Half | None = None,
    enlarged: tuple[float, float] = (1.0, 1.0),
    trained: TrainingFacts | None = None,
) -> ModelConfig:
    """Describe a model that this version of the package trained."""
    data = config.data.model_copy(update={"path": None, "source": None, "target": None})
    return ModelConfig(
        pix2pix=version("pix2pix"),
        settings=config.model_copy(
            update={"data": data, "training": config.training.model_copy(update={"from_model": None})}
        ),
        norm_statistics=norm_statistics,
        scale=scale,
        converts=converts,
        half=half,
        enlarged=enlarged,
        epoch=epoch,
        validation=validation,
        trained=trained,
    )


def read_model_config(path: Path) -> ModelConfig:
    """Read and check `config.json`, of version 0.1 too. Raises ModelError."""
    try:
        values = read_checked(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read as a model configuration ({error.strerror or error})") from None
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read as a model configuration ({error})") from None
    return check_model_config(values, path)


def check_model_config(values: Any, path: Path) -> ModelConfig:
    """Check the content of `config.json`; `path` is for messages. Raises ModelError."""
    try:
        if isinstance(values, dict):
            values = {name: upgrade_settings(value) if name == "config" else value for name, value in values.items()}
        model_config = ModelConfig.model_validate(values)
    except ValidationError as error:
        raise ModelError(
            f"{path}: not a model configuration that this version reads: {explain(error, ModelConfig)}"
        ) from None
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read as a model configuration ({error})") from None
    try:
        PreparedData.from_settings(model_config.settings.data)
    except ConfigError as error:
        raise ModelError(f"{path}: config.{error}") from None
    return model_config
