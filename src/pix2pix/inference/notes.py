"""Count what a translation does to files before the generator sees them, and say it in one line for each kind."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pix2pix.inference.halves import HalfChoice, looks_like_two
from pix2pix.inference.jobs import Job
from pix2pix.model.model_config import Size
from pix2pix.model.signature import Signature
from pix2pix.text import format_count


@dataclass
class _Note:
    """What was done to one file."""

    half: str = ""
    """Half that was translated."""
    whole: bool = False
    """Whether it was translated whole although it looks like two images side by side."""
    enlarged: tuple[Size, Size] | None = None
    """(size of the image, size of its output), where these differ."""
    presented: tuple[Size, Size] | None = None
    """(size of the output, size at which the generator saw it), where these differ."""
    conversions: set[str] = field(default_factory=set)
    """What was done to channels, in words."""


class Notes:
    """What was done to the files of one command."""

    def __init__(self, model: Signature) -> None:
        self.model = model
        self._of: dict[Path, _Note] = {}  # by the names of the outputs; samples of one image share a note
        self._of_image: dict[tuple[Path, ...], _Note] = {}

    def add_size(self, job: Job, file_size: Size, size: Size, choice: HalfChoice) -> None:
        """Note a file of `file_size`, of which an image of `size` is translated."""
        new = self.model.output_size(size)
        presented = self.model.presented_size(new)
        whole = job.half is None and choice == "auto" and looks_like_two(self.model.config, file_size)
        note = _Note(
            job.half or "", whole, (size, new) if new != size else None, (new, presented) if presented != new else None
        )
        self._of[job.name] = self._of_image.setdefault(job.sources, note) if job.sample else note

    def add_conversions(self, job: Job, conversions: Iterable[str]) -> None:
        """Note what was done to the channels of a file, in words."""
        self._of[job.name].conversions.update(conversions)

    def lines(self, outputs: Iterable[Path]) -> Iterator[str]:
        """Yield a line for each kind of change, for the files of which these outputs were written."""
        notes = list({id(note): note for note in (self._of[name] for name in outputs)}.values())
        for half, number in sorted(Counter(note.half for note in notes if note.half).items()):
            yield f"took the {half} half of {format_count(number, 'side-by-side file')}: --half whole takes all"
        if whole := sum(note.whole for note in notes):
            yield (
                f"took {format_count(whole, 'file')} whole: with the shape of two images side by side, as in the "
                f"training, but of another size; if they are such files, give --half {self.model.config.half}"
            )
        if enlarged := [note.enlarged for note in notes if note.enlarged]:
            sizes, new = (_describe_sizes(pair[at] for pair in enlarged) for at in (0, 1))
            count = format_count(len(enlarged), "image")
            yield f"resized {count} of {sizes} (HxW) to {new}, the size of the outputs: as the sources of the training"
        if presented := [note.presented for note in notes if note.presented]:
            count = format_count(len(presented), "image")
            sizes, seen = (_describe_sizes(pair[at] for pair in presented) for at in (0, 1))
            yield f"resized {count} of {sizes} (HxW) to {seen} for the model, and the outputs back{self._choices()}"
        if conversions := Counter(text for note in notes for text in note.conversions):
            each = "; ".join(f"{text} ({format_count(n, 'image')})" for text, n in sorted(conversions.items()))
            yield f"{each}: --strict refuses such images"

    def _choices(self) -> str:
        return "" if self.model.present != "auto" else " (--present chooses, `pix2pix info` states the rule)"


def _describe_sizes(sizes: Iterable[Size]) -> str:
    """Return `256x256`, or `between 100x80 and 256x512`, the smallest and the largest."""
    ordered = sorted(set(sizes), key=lambda size: (size[0] * size[1], size))
    ends = ["{}x{}".format(*size) for size in (ordered[0], ordered[-1])]
    return ends[0] if len(ordered) == 1 else "between {} and {}".format(*ends)
