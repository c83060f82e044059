"""Time functions in turns: functions -> seconds, medians and ratios of speed."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """The seconds that one piece of work took, repetition by repetition."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        return min(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one piece of work is as another, by their medians."""

    value: float
    low: float  # quartiles of the ratios of single rounds
    high: float


def interleaved(tasks: Mapping[str, Callable[[], object]], rounds: int, *, in_a_row: int = 1) -> dict[str, Timing]:
    """Time tasks in turns: each once unmeasured, then `rounds` times, every other round backwards.

    A machine that slows down or speeds up meanwhile does so for all of them alike. In a turn a task runs `in_a_row`
    times, of which the last counts: a task that follows itself finds its threads awake and its numbers in the cache.
    `torch.utils.benchmark` times one task after the other, and so cannot compare what a shared machine runs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    gc.collect()
    for turn in range(rounds + 1):
        for name in list(tasks) if turn % 2 else reversed(list(tasks)):
            for _ in range(in_a_row):
                began = time.perf_counter()
                tasks[name]()
            taken = time.perf_counter() - began
            if turn:
                seconds[name].append(taken)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def faster(ours: Timing, reference: Timing) -> Ratio:
    """Return the ratio of speeds of two tasks that were measured in turn."""
    each = [there / here for here, there in zip(ours.seconds, reference.seconds, strict=True)]
    low, _, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    return Ratio(reference.median / ours.median, low, high)
