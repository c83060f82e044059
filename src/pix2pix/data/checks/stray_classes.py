"""Name classes of label maps that only a handful of pixels have: they are stray colours, or cannot be learned."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pix2pix.data.encoding.labels import class_name, unique_colours, without_alpha
from pix2pix.data.io import images
from pix2pix.data.pairing.pair import ImageRef
from pix2pix.text import escape_unprintable, format_count, format_examples

FEW_FILES = 3
"""A colour in more files is not counted."""
FEW_PIXELS = 10
"""A class with fewer pixels in all files together is named."""


class ColourFiles:
    """The first files that hold each colour of one side, FEW_FILES + 1 at most."""

    def __init__(self) -> None:
        self._files: dict[str, list[ImageRef]] = {}

    def add(self, ref: ImageRef, colours: Sequence[str]) -> None:
        """Enter the colours of an image, given as hexadecimal digits."""
        for colour in colours:
            files = self._files.setdefault(colour, [])
            if len(files) <= FEW_FILES:
                files.append(ref)

    def in_few(self) -> dict[str, list[ImageRef]]:
        """Return the colours that occur in FEW_FILES files at most, named as classes, with these files."""
        few = {colour: files for colour, files in self._files.items() if len(files) <= FEW_FILES}
        return {class_name(list(bytes.fromhex(colour))): files for colour, files in few.items()}


def describe_stray_classes(side: str, classes: Mapping[str, Sequence[ImageRef]]) -> Iterator[str]:
    """Yield a note if fewer than FEW_PIXELS pixels have one of `classes`, which occur in the given files only."""
    counts: Counter[str] = Counter()
    for ref in dict.fromkeys(ref for refs in classes.values() for ref in refs):
        colours, _, inverse = unique_colours(without_alpha(images.read(ref.path, ref.view, alpha=True)))
        counts.update({class_name(levels): int((inverse == at).sum()) for at, levels in enumerate(colours)})
    stray = [name for name in classes if counts[name] < FEW_PIXELS]
    if stray:
        first, others = stray[0], len(stray) - 1
        more = f" ({others:,} more {'class has' if others == 1 else 'classes have'} as few)" if others else ""
        files = format_examples([escape_unprintable(ref.path) for ref in classes[first]], 1)
        yield (
            f"{side}: the class {first} has {format_count(counts[first], 'pixel')} in all files together, in {files}"
            f"{more}: too few to learn; if the colour is stray, correct the file"
        )
