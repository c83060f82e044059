"""One training step in, milliseconds of its parts and of its convolutions out, with what each reaches of the peak."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.conditions import Conditions
from benchmarks.flops import Layer, StepWork, discriminator_forwards, patchgan_layers, step_work, unet_layers
from benchmarks.limits import Limits
from benchmarks.ours import OurTraining, our_training
from pix2pix.config import Config

ROUNDS, QUICK_ROUNDS = 7, 3
WORST = 12  # convolutions that are shown


@dataclass(frozen=True)
class Part:
    """A part of a step: what it took, and the arithmetic in it."""

    name: str
    seconds: float
    flop: float

    def lost(self, peak: float) -> float:
        """Seconds beyond what its arithmetic needs at the peak."""
        return self.seconds - self.flop / peak


@dataclass(frozen=True)
class Profile:
    """A step by its parts, in order, and by its convolutions, those first that lose most."""

    what: str
    seconds: float
    floor: float
    peak: float  # FLOP/s
    parts: list[Part]
    convolutions: list[Part]

    def to_json(self) -> dict[str, Any]:
        """All of it in seconds and FLOP."""
        rows = {
            kind: [{"name": part.name, "seconds": part.seconds, "flop": part.flop} for part in parts]
            for kind, parts in (("parts", self.parts), ("convolutions", self.convolutions))
        }
        return {"what": self.what, "seconds": self.seconds, "floor": self.floor, "peak": self.peak, **rows}

    def to_text(self) -> str:
        """Two aligned tables."""
        floor = f"{1000 * self.floor:.0f} ms ({100 * self.floor / self.seconds:.0f} %) are this machine's floor"
        lines = [f"{self.what}: {1000 * self.seconds:.0f} ms, of which {floor}", ""]
        lines += [*self._lines("part", self.parts), ""]
        lines += self._lines("convolution, forward and backward", self.convolutions[:WORST])
        return "\n".join(lines)

    def _lines(self, what: str, parts: list[Part]) -> Iterator[str]:
        yield f"{what:42}{'ms':>9}{'of step':>9}{'GFLOP':>9}{'GFLOP/s':>9}{'of peak':>9}{'lost ms':>9}"
        for part in parts:
            pace = part.flop / part.seconds if part.seconds else 0.0
            reached = f"{part.flop / 1e9:9.2f}{pace / 1e9:9.0f}{100 * pace / self.peak:7.0f} %" if pace else " " * 27
            share = 100 * part.seconds / self.seconds
            lost = 1000 * part.lost(self.peak)
            yield f"{part.name:42}{1000 * part.seconds:9.1f}{share:7.1f} %{reached}{lost:9.1f}"


def profile_step(conditions: Conditions, limits: Limits, *, batch_size: int = 1) -> Profile:
    """Time the step that this machine trains with by default: in parts, and then by its convolutions."""
    training = our_training(conditions, conditions.config(batch_size=batch_size), "profile")
    config = training.plan.config
    peak = limits.of(config.training.precision)
    source, target = conditions.batch(batch_size)
    rounds = QUICK_ROUNDS if conditions.quick else ROUNDS
    for _ in range(2):
        training.step(source, target)

    work = step_work(config)
    parts = _PartTimes(training)
    seconds = []
    for done in range(rounds):
        began = time.perf_counter()
        parts.next_step()
        training.step(source, target, backward=parts.backward)
        seconds.append(time.perf_counter() - began)
        conditions.tick(done + 1, 2 * rounds)
    parts.remove()

    convolutions = _ConvolutionTimes(training, config)
    for done in range(rounds):
        convolutions.next_step()
        training.step(source, target)
        conditions.tick(rounds + done + 1, 2 * rounds)
    convolutions.remove()

    median = statistics.median(seconds)
    return Profile(
        what=f"A training step at {conditions.image_size} px, batch {batch_size}, {config.training.precision}",
        seconds=median,
        floor=work.floor(peak, limits.bandwidth),
        peak=peak,
        parts=list(parts.parts(work, median)),
        convolutions=sorted(convolutions.parts(), key=lambda part: -part.lost(peak)),
    )


class _Times:
    """Seconds by name, step by step, from hooks that are removed in the end."""

    def __init__(self) -> None:
        self.steps: list[dict[str, list[float]]] = []
        self.handles: list[Any] = []
        self.began = 0.0

    def next_step(self) -> None:
        self.steps.append({})

    def begin(self, *_: Any) -> None:
        self.began = time.perf_counter()

    def end(self, name: str) -> None:
        self.steps[-1].setdefault(name, []).append(time.perf_counter() - self.began)

    def median(self, name: str) -> float:
        """Seconds that a step spends under a name."""
        return statistics.median(sum(step.get(name, [])) for step in self.steps)

    def calls(self, name: str) -> int:
        """How often a step comes by."""
        return len(self.steps[-1].get(name, []))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


class _PartTimes(_Times):
    """Forward and backward passes of a step; the Adams are at work during the latter."""

    LOSSES = ("backward of D's loss, D's Adam", "backward of G's loss, G's Adam")

    def __init__(self, training: OurTraining) -> None:
        super().__init__()
        state = training.trainer.state
        self.run_backward = torch.autograd.backward
        self.exact = training.plan.config.training.update_order == "two-pass"
        for name, network in (("G forward", state.generator), ("D forward", state.discriminator)):
            self.handles.append(network.register_forward_pre_hook(self.begin))
            self.handles.append(network.register_forward_hook(self._after(name)))

    def _after(self, name: str) -> Callable[..., None]:
        return lambda *_: self.end(name)

    def backward(self, loss: Tensor) -> None:
        name = self.LOSSES[sum(self.calls(name) for name in self.LOSSES)]
        self.begin()
        self.run_backward(loss)
        self.end(name)

    def parts(self, work: StepWork, whole: float) -> Iterator[Part]:
        d_loss, g_loss = self.LOSSES
        judging = work.discriminator_forward  # as much as the gradient on the output takes
        flop = {
            "G forward": work.generator_forward,
            "D forward": self.calls("D forward") * judging,
            d_loss: work.discriminator - 2 * judging,
        }
        rest = 0.0 if self.exact else judging
        flop[g_loss] = work.flop - rest - sum(flop.values())
        for name, operations in flop.items():
            calls = self.calls(name)
            yield Part(f"{name}, {calls} times" if calls > 1 else name, self.median(name), operations)
        words = "everything else" if self.exact else "D's gradient on the output, and the rest"
        yield Part(words, whole - sum(self.median(name) for name in flop), rest)


class _ConvolutionTimes(_Times):
    """Each convolution's forward and backward, whatever it is computed by."""

    def __init__(self, training: OurTraining, config: Config) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        data = config.data
        source, target = data.network_channels or 3, data.target_channels or 3
        self.batch = config.training.batch_size
        generator = unet_layers(config.generator, source, target, data.image_size)
        discriminator = patchgan_layers(config.discriminator, source + target, data.image_size)
        self._watch(training.trainer.generator, generator)
        self._watch(training.trainer.discriminator, discriminator)
        self.first = {generator[0].name, discriminator[0].name}
        self.forwards = discriminator_forwards(config)

    def _watch(self, network: nn.Module, layers: list[Layer]) -> None:
        found = [(module, weight) for module in network.modules() if (weight := _kernel(module)) is not None]
        for (module, weight), layer in zip(found, layers, strict=True):
            assert weight.numel() == layer.weights, "the layers are counted in the network's order"
            self.layers.append(layer)
            self.handles.append(module.register_forward_pre_hook(self.begin))
            self.handles.append(module.register_forward_hook(self._after(layer.name)))

    def _after(self, name: str) -> Callable[..., None]:
        def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.end(name)
            for node in _nodes_between(output, inputs[0]):
                node.register_prehook(self.begin)
                node.register_hook(lambda *_: self.end(name))

        return after

    def parts(self) -> Iterator[Part]:
        for layer in self.layers:
            yield Part(layer.name, self.median(layer.name), 2 * self.batch * layer.multiply_adds * self._passes(layer))

    def _passes(self, layer: Layer) -> int:
        """How often a step does a layer's arithmetic: forward, for the weights' gradients, for the inputs'."""
        first = layer.name in self.first
        if layer.name.startswith("D "):
            return self.forwards + 2 + (1 if first else 3)  # through D to the output, but not to what it is made of
        return 1 + 1 + (0 if first else 1)


def _kernel(module: nn.Module) -> Tensor | None:
    """A convolution's weights, whatever its class; None for other layers."""
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) and weight.ndim == 4 else None


def _nodes_between(output: Tensor, input: Tensor) -> Iterator[Any]:
    """The nodes of the backward pass that lead from a layer's output to its input and its weights."""
    waiting, seen = [output.grad_fn], {input.grad_fn, None}
    while waiting:
        node = waiting.pop()
        if node in seen or node is None or node.name() == "torch::autograd::AccumulateGrad":
            continue
        seen.add(node)
        yield node
        waiting += [after for after, _ in node.next_functions]
