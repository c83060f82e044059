"""Profile one training step: milliseconds of its forward passes, of the rest and of its slowest operations."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.conditions import Conditions
from benchmarks.flops import step_work
from benchmarks.limits import Limits
from benchmarks.ours import OurTraining

ROUNDS, QUICK_ROUNDS = 7, 3
SLOWEST = 25  # operations that are shown
GENERATOR, DISCRIMINATOR, REST = "G forward", "D forward", "backward passes and Adam"


@dataclass(frozen=True)
class Part:
    """A part of a step: what it took, and the arithmetic in it."""

    name: str
    seconds: float
    flop: float


@dataclass(frozen=True)
class Operation:
    """One of torch's operations on inputs of one shape; its own time, without that of the operations it calls."""

    name: str
    shapes: str
    calls: float  # in a step
    seconds: float  # of a step


@dataclass(frozen=True)
class Profile:
    """A step by its parts and by its operations, the slowest first."""

    what: str
    bare: float  # seconds of a step without the profiler
    seconds: float  # of a step under the profiler, which the parts and operations divide
    floor: float
    peak: float  # FLOP/s
    parts: list[Part]
    operations: list[Operation]

    def to_json(self) -> dict[str, Any]:
        """All of it in seconds and FLOP."""
        return asdict(self)

    def to_text(self) -> str:
        """Two aligned tables."""
        floor = f"{1000 * self.floor:.0f} ms ({100 * self.floor / self.bare:.0f} %) are this machine's floor"
        lines = [f"{self.what}: {1000 * self.bare:.0f} ms, of which {floor}"]
        lines += [f"Under the profiler it takes {1000 * self.seconds:.0f} ms:", ""]
        lines.append(f"{'part':30}{'ms':>9}{'of step':>9}{'GFLOP':>9}{'GFLOP/s':>9}{'of peak':>9}")
        for part in self.parts:
            rate = part.flop / part.seconds
            lines.append(
                f"{part.name:30}{1000 * part.seconds:9.1f}{100 * part.seconds / self.seconds:7.1f} %"
                f"{part.flop / 1e9:9.2f}{rate / 1e9:9.0f}{100 * rate / self.peak:7.0f} %"
            )
        lines += ["", f"{'ms':>9}{'of step':>9}{'calls':>7}  operation, without those that it calls"]
        for one in self.operations[:SLOWEST]:
            share = 100 * one.seconds / self.seconds
            lines.append(f"{1000 * one.seconds:9.1f}{share:7.1f} %{one.calls:7.0f}  {one.name}  {one.shapes}")
        return "\n".join(lines)


def profile_step(conditions: Conditions, limits: Limits, *, batch_size: int = 1) -> Profile:
    """Time the step that this machine trains with by default, then profile it."""
    training = OurTraining(conditions.config(batch_size=batch_size), conditions.scratch / "profile")
    config = training.plan.config
    work, peak = step_work(config), limits.of(config.training.precision)
    source, target = conditions.batch(batch_size)
    rounds = QUICK_ROUNDS if conditions.quick else ROUNDS
    seconds = []
    for _ in range(2 + rounds):
        began = time.perf_counter()
        training.step(source, target)
        seconds.append(time.perf_counter() - began)

    networks = {GENERATOR: training.trainer.state.generator, DISCRIMINATOR: training.trainer.state.discriminator}
    handles = [handle for name, network in networks.items() for handle in _annotate(network, name)]
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        began = time.perf_counter()
        for _ in range(rounds):
            training.step(source, target)
        profiled = (time.perf_counter() - began) / rounds
    for handle in handles:
        handle.remove()

    events = profiler.key_averages(group_by_input_shape=True)
    forward = {name: [event for event in events if event.key == name] for name in networks}
    taken = {name: sum(event.cpu_time_total for event in found) / 1e6 / rounds for name, found in forward.items()}
    calls = {name: sum(event.count for event in found) / rounds for name, found in forward.items()}
    flop = {GENERATOR: work.generator_forward, DISCRIMINATOR: calls[DISCRIMINATOR] * work.discriminator_forward}
    parts = [Part(f"{name}, {calls[name]:.0f} x", taken[name], flop[name]) for name in networks]
    parts.append(Part(REST, profiled - sum(taken.values()), work.flop - sum(flop.values())))
    operations = [
        Operation(one.key, _shapes(one.input_shapes), one.count / rounds, one.self_cpu_time_total / 1e6 / rounds)
        for one in events
        if one.key not in networks
    ]
    return Profile(
        what=f"A training step at {conditions.image_size} px, batch {batch_size}, {config.training.precision}",
        bare=statistics.median(seconds[2:]),
        seconds=profiled,
        floor=work.floor(peak, limits.bandwidth),
        peak=peak,
        parts=parts,
        operations=sorted(operations, key=lambda one: -one.seconds),
    )


def _annotate(network: nn.Module, name: str) -> Iterator[Any]:
    """Name a network's forward passes in the profile."""
    opened: list[record_function] = []

    def before(*_: Any) -> None:
        opened.append(record_function(name))
        opened[-1].__enter__()  # type: ignore[no-untyped-call]

    def after(*_: Any) -> None:
        opened.pop().__exit__(None, None, None)

    yield network.register_forward_pre_hook(before)
    yield network.register_forward_hook(after)


def _shapes(shapes: list[list[int]]) -> str:
    return " ".join("x".join(map(str, shape)) for shape in shapes if shape)
