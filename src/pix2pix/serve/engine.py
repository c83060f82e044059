"""What the service needs of a model, whatever computes it: facts, reading files, translating what was read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pix2pix.data.io.arrays import Array, Pixels
from pix2pix.data.io.view import Half
from pix2pix.inference.halves import HalfChoice
from pix2pix.model.model_config import Size


@dataclass(frozen=True)
class SourceFacts:
    """What one source of a model is."""

    name: str
    """`source`, or `source_1` and so on: the name of its part in a request."""
    channels: int
    dtype: str
    classes: tuple[str, ...] = ()
    """Colours `#rrggbb` or gray values of the classes, of a label map."""
    whole_type: bool = True
    """Whether its values span their type, so that a picture on a screen shows them as they are."""


@dataclass(frozen=True)
class Facts:
    """What a model is."""

    epoch: int | None
    sources: tuple[SourceFacts, ...]
    channels: int
    """Channels in the files of outputs."""
    dtype: str
    """Type of the values in these."""
    image_size: Size
    size_multiple: int
    noise: bool
    """Whether a seed gives another sample."""
    is_labels: bool = False
    """Whether outputs are label maps, which no lossy format may hold."""
    palette: Pixels | None = field(default=None, compare=False)
    """The colours of the classes of outputs (classes, 3)."""
    half: Half | None = None
    """Half of side-by-side files that holds the source."""
    batch_size: int = 1
    """Pictures that are computed together fastest."""
    machine: str = ""
    """Device and threads, in words."""
    weights: str = ""
    """Digest of the weights; empty for a model of version 0.1, which states none."""


@dataclass(frozen=True)
class ReadImage:
    """The sources of one picture, ready to be translated."""

    values: Any
    """What the engine makes of them."""
    shape: tuple[int, ...]
    """Pictures of one shape can be translated together."""


class Engine(Protocol):
    """A model that reads files and translates what it read. `read` runs in several threads, `translate` in one."""

    facts: Facts

    def read(self, files: Sequence[Path], half: HalfChoice = "auto") -> ReadImage:
        """Read and check the file of each source, or a half of it. Raises DataError or ModelError."""

    def seen_size(self, size: Size) -> Size:
        """Return the size at which the network sees a picture; small ones are enlarged to that of the training."""

    def translate(self, inputs: Sequence[ReadImage], seed: int | None = None) -> list[Array]:
        """Translate what `read` returned, all of one size, to values (H, W, C) of the target's type.

        A seed turns the noise on. Raises ValueError for a result that is not finite.
        """

    def warm_up(self) -> None:
        """Translate an empty picture, so that the first request is as fast as the others."""
