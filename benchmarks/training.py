"""The training step: against the reference, against the machine's floor, in a whole run, and as sizes grow."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from benchmarks.conditions import NO_BF16, SMALLEST, Conditions
from benchmarks.flops import step_work
from benchmarks.limits import Limits, limits_of, probes
from benchmarks.ours import OurTraining, our_training
from benchmarks.rows import Row, milliseconds, shown
from benchmarks.timing import Timing, faster, interleaved
from benchmarks.worker import Contender, Who
from pix2pix.config import Config, Training
from pix2pix.config.fields import UpdateOrder
from pix2pix.reports.pages import write_run_report
from pix2pix.system.progress import ProgressBar
from pix2pix.training.trainer import seconds_between_saves

BATCHES = (1, 4)
Targets = dict[int, tuple[float, float]]
"""Batch -> must reach, aim."""
MODERN = "a reference with bf16 autocast and fused Adam"
# fmt: off
COMPARED: tuple[tuple[str, str, str, Targets], ...] = (
    # ours         against       in words                   targets
    ("32 exact",   "reference",  "fp32, exact order",       {1: (1.25, 1.5), 4: (1.08, 1.2)}),
    ("32",         "reference",  "fp32, default settings",  {}),
    ("bf16",       "reference",  "bf16",                    {1: (2.4, 2.8), 4: (2.1, 2.3)}),
    ("bf16",       "modern",     f"bf16, against {MODERN}", {1: (1.35, 1.6), 4: (1.2, 1.35)}),
)
# fmt: on
FLOOR_TARGETS: Targets = {1: (0.70, 0.85), 4: (0.77, 0.88)}  # for bf16
FULL_EPOCH = 320  # pairs of the facades that are trained on, of 400
VALIDATED = 40
EPOCHS = 200


def step_rows(conditions: Conditions, limits: Limits) -> Iterator[Row]:
    """Ours against the reference in fp32 and in bf16, batch 1 and 4, and each as a share of the floor."""
    for batch in BATCHES:
        yield from _steps_of(batch, conditions)


def _steps_of(batch: int, conditions: Conditions) -> Iterator[Row]:
    """The steps and the machine's limits in turns, so that each share is of what the machine did at that time.

    Every training is a process of its own: the reference has the allocator as its users have it, ours as it sets it.
    """
    ours: dict[str, tuple[str, UpdateOrder]] = {"32 exact": ("32", "two-pass"), "32": ("32", "one-pass")}
    if conditions.bf16:
        ours["bf16"] = ("bf16", "one-pass")
    probed = probes(bf16=conditions.bf16, quick=True)
    tasks: dict[str, Callable[[], object]] = {}
    with ExitStack() as processes:

        def contend(name: str, who: Who, precision: str = "32", order: UpdateOrder = "one-pass") -> None:
            task = conditions.task(batch=batch, precision=precision, order=order)
            tasks[name] = processes.enter_context(Contender(who, task)).step

        contend("reference", "reference")
        if conditions.bf16:
            contend("modern", "modern")
        for name, (precision, order) in ours.items():
            contend(name, "ours", precision, order)
        tasks |= {name: probe.work for name, probe in probed.items()}
        rounds, in_a_row = (9, 3) if batch == 1 else (5, 2)  # about as many pictures in a turn of either
        timings = interleaved(tasks, conditions.rounds(rounds), conditions.tick, in_a_row=in_a_row)
    limits = limits_of(probed, {name: timings[name].median for name in probed})

    for name, reference, words, targets in COMPARED:
        must, aim = targets.get(batch, (None, None))
        must, aim, work = conditions.must(must), conditions.must(aim), f"training step, {words}, batch {batch}"
        if name not in timings:
            yield Row(section="training", work=work, must=must, aim=aim, note=NO_BF16)
            continue
        ratio = faster(timings[name], timings[reference])
        yield Row(
            section="training",
            work=work,
            ours=milliseconds(timings[name].median),
            reference=milliseconds(timings[reference].median),
            value=ratio.value,
            must=must,
            aim=aim,
            spread=(ratio.low, ratio.high),
            raw={"ours": timings[name].seconds, "reference": timings[reference].seconds},
        )
    for name in ("32 exact", "32", "bf16"):
        config = (
            conditions.config(batch_size=batch, precision=ours[name][0], order=ours[name][1]) if name in ours else None
        )
        yield _floor_row(name, batch, conditions, limits, timings, config)


def _floor_row(
    name: str,
    batch: int,
    conditions: Conditions,
    limits: Limits,
    timings: Mapping[str, Timing],
    config: Config | None,
) -> Row:
    """How much of a step no implementation of its arithmetic could have spared on this machine."""
    must, aim = map(conditions.must, FLOOR_TARGETS[batch] if name == "bf16" else (None, None))
    work = f"share of the floor, {name.replace('32', 'fp32')}, batch {batch}"
    if config is None:
        return Row(section="training", work=work, unit="%", must=must, aim=aim, note=NO_BF16)
    step, peak = step_work(config), limits.of(config.training.precision)
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


# ---- a whole run -----------------------------------------------------------------------------------------------


class _Clock(ProgressBar):
    """A display that shows nothing, notes when updates were done, and runs bare steps in between."""

    BLOCK = 4  # updates in a row of either kind

    def __init__(self) -> None:
        super().__init__(silent=True)
        self.bare: Callable[[], object] | None = None
        self.updates: list[list[float]] = []  # of each epoch: seconds of each update but the first
        self.between: list[float] = []  # seconds from an epoch's last update to the next one's first
        self.bare_seconds: list[float] = []
        self.began = self.last = time.perf_counter()
        self.first_update: float | None = None
        self.epoch = ""
        self.count = 0

    def update(self, done: int, total: int | None, what: str | None = None) -> None:
        now = time.perf_counter()
        where = what or ""
        if not where.startswith("epoch"):  # still looking at the data
            return
        if self.first_update is None:
            self.first_update = now - self.began
            self.updates.append([])
        elif where != self.epoch:
            self.between.append(now - self.last)
            self.updates.append([])
        else:
            self.updates[-1].append(now - self.last)
        self.epoch = where
        self.count += 1
        if self.bare is not None and self.count % self.BLOCK == 0:
            for _ in range(self.BLOCK):
                began = time.perf_counter()
                self.bare()
                self.bare_seconds.append(time.perf_counter() - began)
        self.last = time.perf_counter()


def run_rows(conditions: Conditions, limits: Limits) -> Iterator[Row]:
    """What `train` adds to its updates: loading, logs, validation, checkpoints; batch 1, default settings.

    Three epochs are trained, and every few updates the same step is run bare on a batch at hand. What the second
    validation, the checkpoint and the run cost beside their updates is then laid on the facades' 320 pairs and 200
    epochs, with the validations and the checkpoints that such a training has.
    """
    clock, epochs = _Clock(), 3
    config = conditions.config(epochs=epochs, validate_every=1)
    training = OurTraining(config, conditions.scratch / "run", clock)
    source, target = conditions.batch(1)
    for _ in range(2):
        training.step(source, target)
    clock.bare = lambda: training.step(source, target)
    total = epochs * len(training.trainer.train_loader.dataset)

    def stop() -> None:
        conditions.tick(clock.count, total)

    training.trainer.fit(stop)
    ended = time.perf_counter()
    training.trainer.draw_curves()
    write_run_report(training.folder)
    after = time.perf_counter() - ended

    bare, inside = (
        Timing(tuple(clock.bare_seconds)),
        Timing(tuple(seconds for epoch in clock.updates for seconds in epoch)),
    )
    validating, saving = max(0.0, clock.between[-1] - inside.median), training.trainer.save_took
    updates, validations = EPOCHS * FULL_EPOCH, 1 + EPOCHS // Training(epochs=EPOCHS).validation_epochs
    apart = math.ceil(seconds_between_saves(saving) / (FULL_EPOCH * inside.median))  # epochs, for a save is at an end
    saves = 1 + EPOCHS // max(1, apart)
    once = (clock.first_update or 0.0) + after
    beside = validations * validating + saves * saving + once
    whole = updates * bare.median / (updates * inside.median + beside)
    validated = len(training.trainer.val_loader.dataset) if training.trainer.val_loader else 0
    raw = {"ours": inside.seconds, "reference": bare.seconds}
    yield Row(
        section="run",
        work="train, updates inside an epoch, against the bare step",
        ours=milliseconds(inside.median),
        reference=milliseconds(bare.median),
        value=bare.median / inside.median,
        unit="%",
        raw=raw,
    )
    yield Row(
        section="run",
        work="train, the whole command, against the bare step",
        ours=f"{updates / (updates * bare.median / whole):.2f}/s",
        reference=f"{1 / bare.median:.2f}/s",
        value=whole,
        unit="%",
        must=conditions.must(0.97),
        aim=conditions.must(0.99),
        note=f"{EPOCHS} epochs of {FULL_EPOCH} pairs; validating {validated} takes {validating:.1f} s, "
        f"{validations} times, saving {saving:.1f} s, {saves} times, start and end {once:.1f} s",
    )


# ---- growth ----------------------------------------------------------------------------------------------------

SHAPES = {  # image size -> batches
    128: (1, 4, 16),
    256: (1, 2, 4, 8, 16),
    512: (1, 2, 4),
}
QUICK_SHAPES = {128: (1, 4), 256: (1, 2, 4), 512: (1,)}


def scaling_rows(conditions: Conditions, limits: Limits) -> Iterator[Row]:
    """Seconds of a step against pixels and batch: no shape may cost more for a pixel than one picture does.

    Each shape has its turns with one picture of the usual size, since the machine's speed changes meanwhile.
    """
    factor = conditions.image_size / 256
    shapes = QUICK_SHAPES if conditions.quick else SHAPES
    every = [(round(size * factor), batch) for size, batches in shapes.items() for batch in batches]
    every = [(size, batch) for size, batch in every if size >= SMALLEST]
    yardstick = our_training(conditions, conditions.config(), "scaling")
    one = partial(yardstick.step, *conditions.batch(1))
    one()
    raw: dict[str, tuple[float, ...]] = {}
    work = sum(size * size * batch for size, batch in every)
    done = 0
    for size, batch in every:
        config = conditions.config(image_size=size, batch_size=batch)
        training = our_training(conditions, config, f"scaling {size} {batch}")
        source, target = conditions.batch(batch, size)
        rounds = 5 if size * size * batch <= conditions.image_size**2 else 3
        timings = interleaved({"shape": partial(training.step, source, target), "one": one}, rounds)
        name = f"{size} px, batch {batch}"
        raw[name], raw[name + BESIDE] = timings["shape"].seconds, timings["one"].seconds
        done += size * size * batch
        conditions.tick(done, work)
    yield growth_row(raw, conditions)


def growth_row(raw: dict[str, tuple[float, ...]], conditions: Conditions) -> Row:
    """Timings by shape -> the dearest pixel of all larger shapes, in those of one picture of the usual size."""
    side = conditions.image_size
    usual = {shape: size_of(shape) / side**2 for shape in costs(raw)}
    dear = {shape: cost / usual[shape] for shape, cost in costs(raw).items()}
    dearest = max(dear, key=lambda shape: dear[shape] if usual[shape] > 1 else 0.0)
    points = [(math.log(size_of(shape)), math.log(cost)) for shape, cost in costs(raw).items()]
    return Row(
        section="scaling",
        work=f"dearest pixel of larger shapes, against {side} px, batch 1",
        ours=f"{dearest[0]} px x {dearest[1]}",
        reference=f"{side} px x 1",
        value=dear[dearest],
        must=conditions.must(1.1),
        at_most=True,
        note=f"seconds grow as (pixels x batch)^{_slope(points):.2f}",
        raw=raw,
    )


BESIDE = ", beside it one picture of the usual size"
Shape = tuple[int, int]


def costs(raw: dict[str, tuple[float, ...]]) -> dict[Shape, float]:
    """Timings by shape -> (side, batch) -> a step, in steps of one picture that were taken in turns with it."""
    shapes = [name for name in raw if not name.endswith(BESIDE)]
    return {_shape(name): min(raw[name]) / min(raw[name + BESIDE]) for name in shapes}


def size_of(shape: Shape) -> int:
    """Pixels of a batch."""
    side, batch = shape
    return side * side * batch


def _shape(name: str) -> Shape:
    """`256 px, batch 4` -> (256, 4)."""
    size, batch = name.split(" px, batch ")
    return int(size), int(batch)


def _slope(points: list[tuple[float, float]]) -> float:
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)
