"""Count what a translation does to files before the generator sees them, and say it in one line for each kind."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pix2pix.inference.halves import HalfChoice, looks_like_two
from pix2pix.inference.jobs import Job
from pix2pix.model import Model
from pix2pix.model.model_config import Size
from pix2pix.text import format_count


@dataclass
class Notes:
    """Counts over the files of one command."""

    model: Model
    presented: Counter[tuple[Size, Size]] = field(default_factory=Counter)
    """(size of the image, size at which the generator saw it), where these differ."""
    halves: Counter[str] = field(default_factory=Counter)
    """Half that was translated."""
    whole: int = 0
    """Files that were translated whole although they look like two images side by side."""
    conversions: Counter[str] = field(default_factory=Counter)
    """What was done to channels, in words."""

    def count_size(self, job: Job, file_size: Size, size: Size, choice: HalfChoice) -> None:
        """Count a file of `file_size`, of which an image of `size` is translated."""
        if job.half is not None:
            self.halves[job.half] += 1
        elif choice == "auto" and looks_like_two(self.model.config, file_size):
            self.whole += 1
        presented = self.model.presented_size(size)
        if presented != size:
            self.presented[size, presented] += 1

    def lines(self) -> Iterator[str]:
        """Yield a line for each kind of change."""
        for half, number in sorted(self.halves.items()):
            yield f"took the {half} half of {format_count(number, 'side-by-side file')}: --half whole takes all"
        if self.whole:
            yield (
                f"took {format_count(self.whole, 'file')} whole: with the shape of two images side by side, as in the "
                f"training, but of another size; if they are such files, give --half {self.model.config.half}"
            )
        if self.presented:
            count = format_count(self.presented.total(), "image")
            sizes, seen = (_describe_sizes(pair[at] for pair in self.presented) for at in (0, 1))
            yield f"resized {count} of {sizes} (HxW) to {seen} for the model, and the outputs back{self._choices()}"
        if self.conversions:
            each = "; ".join(f"{text} ({format_count(n, 'image')})" for text, n in sorted(self.conversions.items()))
            yield f"{each}: --strict refuses such images"

    def _choices(self) -> str:
        return "" if self.model.present != "auto" else " (--present chooses, `pix2pix info` states the rule)"


def _describe_sizes(sizes: Iterable[Size]) -> str:
    """Return `256x256`, or `100x80 to 256x512`, the smallest and the largest."""
    ordered = sorted(set(sizes), key=lambda size: (size[0] * size[1], size))
    ends = ["{}x{}".format(*size) for size in (ordered[0], ordered[-1])]
    return ends[0] if len(ordered) == 1 else " to ".join(ends)
