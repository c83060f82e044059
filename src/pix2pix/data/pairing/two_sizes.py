"""Sources and targets of two sizes: the factor between them, and what to do about it in words."""

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction

from pix2pix.data.pairing.pair import Pair

Size = tuple[int, int]
"""(height, width) in pixels."""
Factor = tuple[float, float]
"""Size of a target over that of its source, (vertical, horizontal)."""


def common_factor(sizes: Collection[tuple[Size, Size]]) -> Factor | None:
    """Return the factor from sources to targets, given as (source, target); None unless all have the same."""
    down, across = (_common_ratio([(source[at], target[at]) for source, target in sizes]) for at in (0, 1))
    return None if down is None or across is None else (down, across)


def _common_ratio(sides: Sequence[tuple[int, int]]) -> float | None:
    """Return the ratio of (source, target) sides; a whole one also where the smaller side was rounded."""
    if not sides:
        return None
    source, target = max(sides, key=max)
    whole = max(1, round(max(source, target) / min(source, target)))
    ordered = sides if target >= source else [(large, small) for small, large in sides]
    if all(abs(small * whole - large) < whole for small, large in ordered):
        return float(whole) if target >= source else 1 / whole
    ratios = {Fraction(large, small) for small, large in sides}
    return float(ratios.pop()) if len(ratios) == 1 else None


def describe_factor(factor: Factor) -> str:
    """Return how a source compares with its target, as `4 times smaller than its target`."""
    down, across = factor
    if down == across:
        return f"{max(down, 1 / down):.4g} times {'smaller' if down > 1 else 'larger'} than its target"
    return f"as high as its target divided by {down:.4g}, and as wide as it divided by {across:.4g}"


def describe_two_sizes(pair: Pair, source: Iterable[int], target: Iterable[int], factor: Factor | None = None) -> str:
    """Return what is wrong with a pair whose source and target have these sizes, and what to do.

    `factor` is that of all pairs, if they have one.
    """
    (height, width), (down, across) = list(source)[:2], list(target)[:2]
    also = "" if factor is None else f" (every source is {describe_factor(factor)})"
    align = "" if pair.more else ", `pix2pix data align DATA --output NEW` writes all pairs anew at one size"
    return (
        f"is {height}x{width} (HxW), but its target {pair.target.path} is {down}x{across}{also}; the "
        f"{'' if pair.more else 'two '}images of a pair need one size: --resize-source resizes each source to its "
        f"target{align}"
    )
