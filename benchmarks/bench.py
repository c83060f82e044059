"""The verb: sizes and sections in, the table of everything measured out, with the machine's limits above it."""

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from benchmarks.conditions import JUDGED, NO_BF16, SMALLEST, Conditions, collect_pairs
from benchmarks.flops import step_work
from benchmarks.inference import folder_rows, picture_rows
from benchmarks.limits import Limits, describe_machine, measure_limits
from benchmarks.loading import loading_rows
from benchmarks.plot import draw_growth
from benchmarks.processes import memory_rows, startup_rows
from benchmarks.profile import Profile, profile_step
from benchmarks.rows import Row, table
from benchmarks.training import VALIDATED, run_rows, scaling_rows, step_rows
from pix2pix.errors import ConfigError
from pix2pix.system.hardware import choose_precision
from pix2pix.text import format_duration

TRAINED, QUICK_TRAINED, QUICK_VALIDATED = 24, 16, 8  # pairs
EXPECTED = 0.6  # of the matrix multiply's speed; only for saying beforehand how long it will take
SHORTEST_STEP = 0.03  # seconds, however small the networks are


class Section(NamedTuple):
    """A group of rows, and about what it takes: training steps of one picture, and seconds of everything else."""

    rows: Callable[[Conditions, Limits], Iterator[Row]]
    steps: tuple[int, int]  # in full, and if quick
    seconds: tuple[int, int]


SECTIONS = {
    "training": Section(step_rows, (70, 45), (3, 3)),
    "run": Section(run_rows, (110, 70), (25, 20)),
    "inference": Section(lambda conditions, _: picture_rows(conditions), (35, 15), (2, 2)),
    "folder": Section(lambda conditions, _: folder_rows(conditions), (210, 15), (15, 3)),
    "memory": Section(lambda conditions, _: memory_rows(conditions), (65, 35), (25, 20)),
    "loading": Section(lambda conditions, _: loading_rows(conditions), (0, 0), (5, 3)),
    "startup": Section(lambda conditions, _: startup_rows(conditions), (0, 0), (8, 3)),
    "scaling": Section(scaling_rows, (210, 60), (5, 3)),
}


@dataclass
class Benchmark:
    """Everything that was measured; `complete` is false where it was interrupted."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    limits: Limits | None = None
    rows: list[Row] = field(default_factory=list)
    profile: Profile | None = None
    seconds: float = 0.0
    complete: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values, every repetition's seconds included."""
        return {
            "format": 1,
            "date": self.date,
            "machine": self.machine,
            "settings": self.settings,
            "limits": None if self.limits is None else asdict(self.limits),
            "rows": [row.to_json() for row in self.rows],
            "profile": None if self.profile is None else self.profile.to_json(),
            "seconds": round(self.seconds, 1),
            "complete": self.complete,
        }

    def to_text(self) -> str:
        """The machine, its limits, and the table of all rows."""
        parts = ["\n".join(self._heads())]
        parts += [table(self.rows)] if self.rows else []
        parts += [self.profile.to_text()] if self.profile is not None else []
        return "\n\n".join(parts)

    def _heads(self) -> Iterator[str]:
        machine, limits = self.machine, self.limits
        memory = f", {machine['memory_gb']:.0f} GB" if machine["memory_gb"] else ""
        arithmetic = ", ".join(machine["arithmetic"]) or "no vector arithmetic that torch names"
        cores = f"{machine['threads']} threads on {machine['cores']} cores"
        yield f"machine   {machine['processor']}, {cores}{memory}; {arithmetic}"
        yield f"versions  pix2pix {machine['pix2pix']}, torch {machine['torch']}, Python {machine['python']}"
        if limits is not None:
            bf16 = (
                f"{limits.bf16 / 1e9:.0f} GFLOP/s in bf16"
                if limits.bf16
                else f"bf16 not measured: {NO_BF16} (--bf16 measures it all the same)"
            )
            yield f"limits    matrix multiply {limits.fp32 / 1e9:.0f} GFLOP/s in fp32, {bf16}"
            yield f"          memory {limits.bandwidth / 1e9:.1f} GB/s"
        if not self.settings["judged"]:
            yield "          sizes other than 256 px and 64 channels: ratios of their own, to which no target applies"


def bench(
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    profile: bool = False,
    bf16: bool = False,
    data: Path | None = None,
    image_size: int = JUDGED[0],
    base_channels: int = JUDGED[1],
    threads: int | None = None,
    plot: Path | None = None,
) -> Benchmark:
    """Measure this machine, the reference and this package, side by side; what was finished comes back if interrupted.

    `only` names sections; `bf16` measures it even where the processor emulates it; `profile` takes one training step
    apart in place of the table. Raises ConfigError for misuse, DataError for pictures that cannot be measured on.
    """
    chosen = _chosen(only, profile)
    _refuse_sizes(image_size, base_channels, threads)
    if plot is not None and "scaling" not in chosen:
        raise ConfigError("--plot draws what the section `scaling` measures: name it in --only, or leave --plot out")
    began = time.perf_counter()
    with _threads(threads), _terminated(), tempfile.TemporaryDirectory(prefix="pix2pix-bench-") as scratch:
        measured_bf16 = bf16 or choose_precision("auto", "cpu") == "bf16"
        judged = (image_size, base_channels) == JUDGED
        settings = {
            "image_size": image_size,
            "base_channels": base_channels,
            "judged": judged,  # by the table's targets
            "quick": quick,
            "bf16": measured_bf16,
            "data": None if data is None else str(data),
            "sections": list(chosen),
        }
        result = Benchmark(describe_machine(), settings)
        progress = _Progress()
        try:
            with progress:
                pairs = Path(scratch) / "pairs"
                counts = (QUICK_TRAINED, QUICK_VALIDATED) if quick else (TRAINED, VALIDATED)
                progress.say("measuring the machine's limits")
                collect_pairs(data, pairs, train=counts[0], val=counts[1], size=image_size)
                result.limits = measure_limits(bf16=measured_bf16, quick=quick)
                conditions = Conditions(
                    image_size=image_size,
                    base_channels=base_channels,
                    bf16=measured_bf16,
                    quick=quick,
                    pairs=pairs,
                    scratch=Path(scratch),
                    tick=progress.tick,
                )
                _measure(result, chosen, profile, conditions, progress)
                result.complete = True
        except KeyboardInterrupt:
            progress.say("interrupted; what was finished:")
    result.seconds = time.perf_counter() - began
    if plot is not None and (rows := [row for row in result.rows if row.section == "scaling"]):
        precision = "bf16" if choose_precision("auto", "cpu") == "bf16" else "fp32"
        draw_growth(
            rows[0].raw, plot, f"{result.machine['processor']}, {result.machine['threads']} threads, {precision}"
        )
    return result


def _measure(
    result: Benchmark, chosen: Sequence[str], profile: bool, conditions: Conditions, progress: "_Progress"
) -> None:
    assert result.limits is not None
    quick = int(conditions.quick)
    step = max(step_work(conditions.config()).flop / result.limits.fp32 / EXPECTED, SHORTEST_STEP)
    expected = {name: SECTIONS[name].steps[quick] * step + SECTIONS[name].seconds[quick] for name in chosen}
    if profile:
        progress.say("taking a training step apart")
        progress.section("profile")
        result.profile = profile_step(conditions, result.limits)
        return
    progress.say(f"this will take about {format_duration(sum(expected.values()))}; Ctrl-C shows what is finished")
    for number, name in enumerate(chosen, start=1):
        progress.say(f"[{number}/{len(chosen)}] {name}, about {format_duration(expected[name])}")
        progress.section(name)
        for row in SECTIONS[name].rows(conditions, result.limits):
            result.rows.append(row)


def _chosen(only: Sequence[str], profile: bool) -> tuple[str, ...]:
    """The sections that were named, in the order of the table."""
    if unknown := [name for name in only if name not in SECTIONS]:
        raise ConfigError(f"--only {unknown[0]}: no section of that name; known: {', '.join(SECTIONS)}")
    if profile and only:
        raise ConfigError("--profile takes one training step apart and measures no sections: leave --only out")
    return () if profile else tuple(name for name in SECTIONS if not only or name in only)


def _refuse_sizes(image_size: int, base_channels: int, threads: int | None) -> None:
    if image_size < SMALLEST or image_size & (image_size - 1):
        raise ConfigError(f"--image-size {image_size}: expected a power of two from {SMALLEST} up, such as 256")
    if base_channels < 1:
        raise ConfigError(f"--base-channels {base_channels}: expected 1 or more, such as 64")
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: expected 1 or more")


# ---- around the measurement ------------------------------------------------------------------------------------


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _terminated() -> Iterator[None]:
    """Within the block, SIGTERM ends the program by exit code 143, its scratch folder removed."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread, to which signals belong
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Progress:
    """A bar on a terminal while a section is measured, lines elsewhere; on stderr."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)
        self._console = console

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def section(self, name: str) -> None:
        self._bar.update(self._task, description=name, total=None, completed=0)

    def tick(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
