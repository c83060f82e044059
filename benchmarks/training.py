"""Rows of the training step: against the reference, and as a share of the machine's floor."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.conditions import NO_BF16, Conditions
from benchmarks.flops import step_work
from benchmarks.limits import Limits, limits_of, probes
from benchmarks.rows import Row, compared, milliseconds, shown
from benchmarks.timing import Timing, interleaved
from benchmarks.worker import Who, Worker
from pix2pix.config.fields import UpdateOrder

BATCHES = (1, 4)
Targets = dict[int, tuple[float, float]]
"""Batch -> must reach, aim."""


class Ours(NamedTuple):
    """A way of training with this package."""

    precision: str
    order: UpdateOrder


OURS = {"fp32 exact": Ours("32", "two-pass"), "fp32": Ours("32", "one-pass"), "bf16": Ours("bf16", "one-pass")}
MODERN = "a reference with bf16 autocast and fused Adam"
# fmt: off
COMPARED: tuple[tuple[str, Who, str, Targets], ...] = (
    # ours           against       in words                   targets
    ("fp32 exact",   "reference",  "fp32, exact order",       {1: (1.25, 1.5), 4: (1.08, 1.2)}),
    ("fp32",         "reference",  "fp32, default settings",  {}),
    ("bf16",         "reference",  "bf16",                    {1: (2.4, 2.8), 4: (2.1, 2.3)}),
    ("bf16",         "modern",     f"bf16, against {MODERN}", {1: (1.35, 1.6), 4: (1.2, 1.35)}),
)
# fmt: on
FLOOR_TARGETS: Targets = {1: (0.70, 0.85), 4: (0.77, 0.88)}  # for bf16


def step_rows(conditions: Conditions) -> Iterator[Row]:
    """Compare with the reference in fp32 and in bf16, batch 1 and 4, and each step with the floor."""
    for batch in BATCHES:
        timings, limits = _time_steps(batch, conditions)
        for name, reference, words, targets in COMPARED:
            yield compared(
                timings.get(name),
                timings.get(reference),
                section="training",
                work=f"training step, {words}, batch {batch}",
                targets=conditions.targets(targets.get(batch)),
                note="" if name in timings else NO_BF16,
            )
        for name in OURS:
            yield _floor_row(name, batch, conditions, limits, timings)


def _time_steps(batch: int, conditions: Conditions) -> tuple[dict[str, Timing], Limits]:
    """Time the steps and the machine's limits in turns, so that each share is of the speed at that time.

    Every training is a process of its own: each has the memory allocator as its users have it.
    """
    probed = probes(bf16=conditions.bf16, quick=True)
    tasks: dict[str, Callable[[], object]] = {}
    with ExitStack() as processes:

        def start(name: str, who: Who, ours: Ours = OURS["fp32"]) -> None:
            task = conditions.task(batch=batch, precision=ours.precision, order=ours.order)
            tasks[name] = processes.enter_context(Worker(who, task)).step

        start("reference", "reference")
        if conditions.bf16:
            start("modern", "modern")
        for name, ours in OURS.items():
            if conditions.bf16 or ours.precision == "32":
                start(name, "ours", ours)
        tasks |= {name: probe.work for name, probe in probed.items()}
        rounds, in_a_row = (9, 3) if batch == 1 else (5, 2)  # about as many images in a turn of either
        timings = interleaved(tasks, conditions.rounds(rounds), in_a_row=in_a_row)
    return timings, limits_of(probed, {name: timings[name].median for name in probed})


def _floor_row(name: str, batch: int, conditions: Conditions, limits: Limits, timings: Mapping[str, Timing]) -> Row:
    """Say which share of a step no implementation of its arithmetic could have saved on this machine."""
    must, aim = conditions.targets(FLOOR_TARGETS[batch] if name == "bf16" else None)
    work = f"share of the floor, {name}, batch {batch}"
    if name not in timings:
        return Row(section="training", work=work, unit="%", must=must, aim=aim, note=NO_BF16)
    ours = OURS[name]
    config = conditions.config(batch_size=batch, precision=ours.precision, order=ours.order)
    step, peak = step_work(config), limits.of(ours.precision)
    floor = step.floor(peak, limits.bandwidth)
    return Row(
        section="training",
        work=work,
        ours=milliseconds(timings[name].median),
        reference=milliseconds(floor),
        value=floor / timings[name].median,
        unit="%",
        must=must,
        aim=aim,
        note=f"{step.flop / 1e9:.1f} GFLOP at {peak / 1e9:.0f} GFLOP/s, Adam at {limits.bandwidth / 1e9:.1f} GB/s; "
        f"the reference is at {shown(floor / timings['reference'].median, '%')}",
    )
