"""Run the benchmark: sections and sizes -> the machine's limits and the table of everything measured."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.conditions import NO_BF16, SMALLEST, TARGET_SIZES, Conditions, collect_pairs
from benchmarks.flops import step_work
from benchmarks.inference import folder_rows, image_rows
from benchmarks.limits import Limits, describe_machine, measure_limits
from benchmarks.loading import loading_rows
from benchmarks.processes import memory_rows, startup_rows
from benchmarks.profile import Profile, profile_step
from benchmarks.rows import Row, table
from benchmarks.run import VALIDATED, run_rows
from benchmarks.scaling import draw_growth, scaling_rows
from benchmarks.training import step_rows
from pix2pix.errors import ConfigError
from pix2pix.system.hardware import choose_precision
from pix2pix.text import format_duration

TRAINED, QUICK_TRAINED, QUICK_VALIDATED = 24, 16, 8  # pairs
EXPECTED = 0.6  # of the matrix multiply's speed; only for saying beforehand how long it will take
SHORTEST_STEP = 0.03  # seconds, however small the networks are


class Section(NamedTuple):
    """A group of rows, and about what it takes: training steps of one image, and seconds of everything else."""

    rows: Callable[[Conditions], Iterator[Row]]
    steps: tuple[int, int]  # in full, and if quick
    seconds: tuple[int, int]


SECTIONS = {
    "training": Section(step_rows, (70, 45), (3, 3)),
    "run": Section(run_rows, (110, 70), (25, 20)),
    "inference": Section(image_rows, (35, 15), (2, 2)),
    "folder": Section(folder_rows, (210, 15), (15, 3)),
    "memory": Section(memory_rows, (65, 35), (25, 20)),
    "loading": Section(loading_rows, (0, 0), (5, 3)),
    "startup": Section(startup_rows, (0, 0), (8, 3)),
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
        """Return the machine, its limits, and the table of all rows."""
        parts = ["\n".join(self._head())]
        parts += [table(self.rows)] if self.rows else []
        parts += [self.profile.to_text()] if self.profile is not None else []
        return "\n\n".join(parts)

    def _head(self) -> Iterator[str]:
        machine, limits = self.machine, self.limits
        memory = f", {machine['memory_gb']:.0f} GB" if machine["memory_gb"] else ""
        vectors = ", ".join(machine["arithmetic"]) or "no vector instructions that torch names"
        threads = f"{machine['threads']} threads on {machine['cores']} cores"
        yield f"machine   {machine['processor']}, {threads}{memory}; {vectors}"
        yield f"versions  pix2pix {machine['pix2pix']}, torch {machine['torch']}, Python {machine['python']}"
        if limits is not None:
            bf16 = f"{limits.bf16 / 1e9:.0f} GFLOP/s in bf16" if limits.bf16 else f"bf16 not measured: {NO_BF16}"
            yield f"limits    matrix multiply {limits.fp32 / 1e9:.0f} GFLOP/s in fp32, {bf16}"
            yield f"          memory {limits.bandwidth / 1e9:.1f} GB/s"
        if not self.settings["judged"]:
            yield "          targets hold for 256 px and 64 channels, and none applies to these sizes"


def bench(  # the flags
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    profile: bool = False,
    bf16: bool = False,
    data: Path | None = None,
    image_size: int = TARGET_SIZES[0],
    base_channels: int = TARGET_SIZES[1],
    threads: int | None = None,
    plot: Path | None = None,
) -> Benchmark:
    """Measure this machine, the reference and this package side by side; Ctrl-C returns what is finished.

    `only` names sections; `profile` replaces the table by the profile of one training step. Raises ConfigError for
    misuse, DataError for images that cannot be measured on.
    """
    chosen = _choose_sections(only, profile)
    _check_sizes(image_size, base_channels, threads)
    if plot is not None and "scaling" not in chosen:
        raise ConfigError("--plot draws what the section `scaling` measures: name it in --only, or leave --plot out")
    began = time.perf_counter()
    torch.set_num_threads(threads or torch.get_num_threads())
    bf16 = bf16 or choose_precision("auto", "cpu") == "bf16"
    settings = {
        "image_size": image_size,
        "base_channels": base_channels,
        "judged": (image_size, base_channels) == TARGET_SIZES,  # whether the targets apply
        "quick": quick,
        "bf16": bf16,
        "data": None if data is None else str(data),
        "sections": list(chosen),
    }
    result = Benchmark(describe_machine(), settings)
    with tempfile.TemporaryDirectory(prefix="pix2pix-bench-") as scratch:
        conditions = Conditions(
            image_size=image_size,
            base_channels=base_channels,
            bf16=bf16,
            quick=quick,
            pairs=Path(scratch) / "pairs",
            scratch=Path(scratch),
        )
        try:
            _say("measuring the machine's limits")
            train, val = (QUICK_TRAINED, QUICK_VALIDATED) if quick else (TRAINED, VALIDATED)
            collect_pairs(data, conditions.pairs, train=train, val=val, size=image_size)
            result.limits = measure_limits(bf16=bf16, quick=quick)
            if profile:
                _say("profiling a training step")
                result.profile = profile_step(conditions, result.limits)
            else:
                _measure(result, chosen, conditions)
            result.complete = True
        except KeyboardInterrupt:
            _say("interrupted; what was finished:")
    result.seconds = time.perf_counter() - began
    if plot is not None and (rows := [row for row in result.rows if row.section == "scaling"]):
        precision = "bf16" if choose_precision("auto", "cpu") == "bf16" else "fp32"
        draw_growth(rows[0], plot, f"{result.machine['processor']}, {result.machine['threads']} threads, {precision}")
    return result


def _measure(result: Benchmark, chosen: Sequence[str], conditions: Conditions) -> None:
    assert result.limits is not None
    quick = int(conditions.quick)
    step = max(step_work(conditions.config()).flop / result.limits.fp32 / EXPECTED, SHORTEST_STEP)
    expected = {name: SECTIONS[name].steps[quick] * step + SECTIONS[name].seconds[quick] for name in chosen}
    _say(f"this will take about {format_duration(sum(expected.values()))}; Ctrl-C shows what is finished")
    for number, name in enumerate(chosen, start=1):
        _say(f"[{number}/{len(chosen)}] {name}, about {format_duration(expected[name])}")
        result.rows.extend(SECTIONS[name].rows(conditions))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _choose_sections(only: Sequence[str], profile: bool) -> tuple[str, ...]:
    """Return the sections that were named, in the order of the table."""
    if unknown := [name for name in only if name not in SECTIONS]:
        raise ConfigError(f"--only {unknown[0]}: no section of that name; known: {', '.join(SECTIONS)}")
    if profile and only:
        raise ConfigError("--profile measures one training step and no sections: leave --only out")
    return () if profile else tuple(name for name in SECTIONS if not only or name in only)


def _check_sizes(image_size: int, base_channels: int, threads: int | None) -> None:
    if image_size < SMALLEST or image_size & (image_size - 1):
        raise ConfigError(f"--image-size {image_size}: expected a power of two from {SMALLEST} up, such as 256")
    if base_channels < 1:
        raise ConfigError(f"--base-channels {base_channels}: expected 1 or more, such as 64")
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: expected 1 or more")
