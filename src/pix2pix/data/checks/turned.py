"""Find pairs of which one side is turned by its EXIF orientation and the other is not."""

from pix2pix.data.checks.report import Problem
from pix2pix.data.checks.scan import Inspections
from pix2pix.data.io.orientation import SIDEWAYS
from pix2pix.data.pairing.pair import Pair


class TurnedPairs:
    """Sources whose EXIF orientation is not that of their target, by what their sizes say."""

    def __init__(self) -> None:
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
            what = (
                f"is turned by EXIF orientation {source.orientation}, its target {pair.target.path} by "
                f"{target.orientation} (1 is none)"
            )
            if (height, width) != (down, across):
                mismatched.add(ref.file)
                reason = (
                    f"{what}, and upright they are {height}x{width} and {down}x{across} (HxW): one was made for the "
                    "pixels as stored; remove its orientation from the other, as with `exiftool -Orientation= FILE`"
                )
                self.mismatched.append(Problem(ref.path, reason))
            elif height != width and (source.orientation in SIDEWAYS) != (target.orientation in SIDEWAYS):
                self.agreeing.append(Problem(ref.path, f"{what}; upright their sizes agree"))
            else:
                reason = (
                    f"{what}: give --exif apply if both are meant upright, or remove the orientation where the other "
                    "was made for the pixels as stored, as with `exiftool -Orientation= FILE`"
                )
                self.doubtful.append(Problem(ref.path, reason))
        return mismatched
