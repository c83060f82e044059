"""Find pairs of which one side is turned by its EXIF orientation and the other is not."""

from collections.abc import Sequence

from pix2pix.config import Data
from pix2pix.data.checks.report import Problem
from pix2pix.data.checks.scan import Inspections, scan_pairs
from pix2pix.data.io.file_facts import FileFacts, cache_folder
from pix2pix.data.io.orientation import SIDEWAYS
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.two_sizes import Size
from pix2pix.errors import DataError
from pix2pix.text import format_count


class TurnedPairs:
    """Sources whose EXIF orientation is not that of their target, by what their sizes say.

    With `resize`, sources are resized to their targets, so that their shapes count.
    """

    def __init__(self, *, resize: bool = False) -> None:
        self.resize = resize
        self.mismatched: list[Problem] = []
        """Sizes differ when both are upright."""
        self.doubtful: list[Problem] = []
        """Sizes agree either way: which is meant, nobody can know."""
        self.agreeing: list[Problem] = []
        """Sizes agree only when both are upright."""

    def add(self, pair: Pair, inspections: Inspections) -> set[str]:
        """Count a pair; return its files that are reported as mismatched."""
        target = inspections[pair.target.whole]
        mismatched = set()
        for ref in pair.sources:
            source = inspections[ref.whole]
            if source.facts is None or target.facts is None or source.orientation == target.orientation:
                continue
            (height, width), (down, across) = source.facts.size, target.facts.size
            fits = self._fits((height, width), (down, across))
            fits_turned = self._fits((height, width), (across, down))
            one_lies = (source.orientation in SIDEWAYS) != (target.orientation in SIDEWAYS)
            what = f"{_describe(source.orientation)}, its target {pair.target.path} {_describe(target.orientation)}"
            if not fits and (fits_turned or not self.resize):
                mismatched.add(ref.file)
                advice = (
                    "one was made for the pixels as stored: give --exif ignore to take all files as stored, not turned"
                    if one_lies and fits_turned
                    else "as stored their sizes differ too, and the images of a pair need one size: --resize-source "
                    "resizes each source to its target"
                )
                reason = f"{what}, and upright they are {height}x{width} and {down}x{across} (HxW); {advice}"
                self.mismatched.append(Problem(ref.path, reason))
            elif fits and not fits_turned and one_lies:
                agree = f"upright their {'shapes' if self.resize else 'sizes'} agree"
                self.agreeing.append(Problem(ref.path, f"{what}; {agree}"))
            else:
                agree = "their sizes agree either way" if fits else "their shapes agree in neither way"
                reason = (
                    f"{what}, and {agree}: give --exif apply if both are meant upright, or --exif "
                    "ignore if one was made for the pixels of the other as stored, to take all files so"
                )
                self.doubtful.append(Problem(ref.path, reason))
        return mismatched

    def _fits(self, source: Size, target: Size) -> bool:
        """Return whether the sizes agree; if sources are resized, the ratio of height to width up to a pixel."""
        if not self.resize:
            return source == target
        return abs(source[0] * target[1] - source[1] * target[0]) <= max(*source, *target)


def _describe(orientation: int) -> str:
    return "is not turned by EXIF" if orientation == 1 else f"is turned by EXIF orientation {orientation}"


def refuse_turned(pairs: Sequence[Pair], data: Data) -> None:
    """Raise DataError for the first pair of which the sides are turned differently, unless only so their sizes agree.

    Only the headers of files are read.
    """
    found = TurnedPairs(resize=data.resize_source)
    with FileFacts(cache_folder(data)) as facts:
        for pair, inspections, _ in scan_pairs(pairs, data, facts, decode=False):
            found.add(pair, inspections)
    problems = found.mismatched + ([] if data.exif == "apply" else found.doubtful)
    if problems:
        path, reason = problems[0]
        others = f" ({format_count(len(problems) - 1, 'other pair')} alike)" if len(problems) > 1 else ""
        raise DataError(f"{path}: {reason}{others}")
