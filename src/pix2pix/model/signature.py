"""What a model takes and gives, whatever computes it: sources, target, sizes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import ImageEncoding, PreparedData
from pix2pix.data.encoding.ranges import RangeEncoding
from pix2pix.data.io.arrays import Pixels
from pix2pix.model.model_config import ModelConfig, Present, Size


class FileType(NamedTuple):
    """What the files of outputs must hold."""

    dtype: str
    channels: int
    exact: bool = False
    """Whether every value must come back, which no lossy format does: for label maps."""


class Signature(ABC):
    """The sources and the target of a model, and the sizes of images."""

    config: ModelConfig
    present: Present
    """How the generator is shown images of other sizes."""

    @property
    @abstractmethod
    def size_multiple(self) -> int:
        """The generator takes sides that are multiples of this."""

    @abstractmethod
    def weight_bytes(self) -> Iterator[bytes]:
        """Yield what identifies the weights of the generator."""

    @cached_property
    def prepared(self) -> PreparedData:
        """How files become channels of the networks, and how outputs become values of files."""
        return PreparedData.from_settings(self.config.settings.data, converts=self.config.converts)

    @property
    def in_channels(self) -> int:
        """Channels of the stacked sources."""
        return self.prepared.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.prepared.out_channels

    @property
    def sources(self) -> tuple[ImageEncoding, ...]:
        """Channels and encoding of each source, in the order in which they are stacked."""
        return self.prepared.sources

    @property
    def source_kinds(self) -> list[tuple[int, bool]]:
        """Return channels in the network, and whether they are label classes, of each source."""
        return [(source.channels, isinstance(source.values, LabelEncoding)) for source in self.sources]

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of the sources in exported files and in requests: `source`, or `source_1`, `source_2` and so on."""
        count = len(self.sources)
        return ("source",) if count == 1 else tuple(f"source_{number}" for number in range(1, count + 1))

    @property
    def source_values(self) -> RangeEncoding | LabelEncoding:
        """Encoding of the only source into [-1, 1]."""
        (source,) = self.sources
        return source.values

    @property
    def target_values(self) -> RangeEncoding | LabelEncoding:
        """Encoding of the output: type and range of its values."""
        return self.prepared.target_values

    @property
    def predicts_classes(self) -> bool:
        """Whether outputs are label maps; the channels of the generator then hold probabilities of classes."""
        return self.prepared.predicts_classes

    @property
    def file_type(self) -> FileType:
        """Type and channels of the files of outputs."""
        target = self.prepared.target
        return FileType(target.file_type, target.file_channels, self.predicts_classes)

    @property
    def palette(self) -> Pixels | None:
        """The colours of the classes (classes, 3), where outputs are label maps in colour."""
        values = self.target_values
        return values.palette if isinstance(values, LabelEncoding) else None

    def describe(self) -> dict[str, Any]:
        """Describe channels, values and sizes, for `pix2pix info`."""
        config, settings = self.config, self.config.settings
        return {
            "channels": f"{self.in_channels} -> {self.out_channels}",
            **_describe_sources(self.sources),
            "target_values": self.target_values.describe(),
            "direction": settings.data.direction,
            "image_size": list(settings.data.image_size),
            "size_multiple": self.size_multiple,
            "norm": settings.generator.norm,
            "norm_statistics": config.norm_statistics,
            "presented_at": config.describe_presented_size(),
            **({"side_by_side": config.describe_half()} if config.half else {}),
            **({"output_size": words} if (words := config.describe_output_size()) else {}),
        }

    def presented_size(self, size: Size) -> Size:
        """Return the size at which the generator sees an image of `size`, before padding."""
        return self.config.presented_size(size, self.present)

    def output_size(self, size: Size) -> Size:
        """Return the size of the output for a source of `size`, to which the source is resized first."""
        return self.config.output_size(size)


def _describe_sources(sources: Sequence[ImageEncoding]) -> dict[str, str]:
    if len(sources) == 1:
        return {"source_values": sources[0].values.describe()}
    return {f"source_{number}": source.describe() for number, source in enumerate(sources, start=1)}
