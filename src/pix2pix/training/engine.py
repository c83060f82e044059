"""Settings and ranks in; what carries the arithmetic out: device, precision, and gradients averaged over processes.

Several processes are Lightning Fabric's work. One alone needs nothing that torch has not, and is spared the import of
Fabric, three seconds and 200 MB; both are used alike.
"""

from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from pix2pix.config import Config
from pix2pix.distributed.process_group import Ranks
from pix2pix.training.adam import AnyAdam

Part = TypeVar("Part", Tensor, nn.Module)


class Engine(Protocol):
    """What a training asks of its engine."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    def setup(self, module: nn.Module, optimizer: Any, /) -> Any:
        """A network on the device and its optimiser -> the two that are called and stepped instead."""

    def to_device(self, part: Part, /) -> Part:
        """A tensor or a network where it is computed with."""

    def backward(self, loss: Tensor, /) -> None:
        """Add the gradients of a loss, averaged over all processes."""

    def autocast(self) -> AbstractContextManager[object]:
        """The arithmetic of the networks, for what was not set up."""


class OneProcess:
    """The engine of a training in one process, on one device."""

    def __init__(self, device: str, precision: str) -> None:
        self.device = torch.device(device)
        self._precision = precision

    def setup(self, network: nn.Module, optimizer: AnyAdam) -> tuple[nn.Module, AnyAdam]:
        """The network in this engine's arithmetic; in fp32 itself."""
        return (network if self._precision == "32" else InArithmeticOf(self, network)), optimizer

    def to_device(self, part: Part) -> Part:
        """Without waiting for the copy, where the memory is pinned for that."""
        return part.to(self.device, non_blocking=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        torch.autograd.backward(loss)

    def autocast(self) -> AbstractContextManager[object]:
        """bf16 where it is good enough, or nothing."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._precision == "bf16")


class InArithmeticOf(nn.Module):
    """A network under an engine's arithmetic; its output is float32."""

    def __init__(self, engine: Engine, network: nn.Module) -> None:
        super().__init__()
        self._engine, self.network = engine, network

    def forward(self, *inputs: Tensor) -> Tensor:
        with self._engine.autocast():
            output: Tensor = self.network(*inputs)
        return output.float()


def make_engine(config: Config, ranks: Ranks) -> Engine:
    """The engine of a training, whose device and precision are settled."""
    training = config.training
    if ranks.size == 1:
        return OneProcess(training.device, training.precision)
    from pix2pix.training.fabric import make_fabric

    return make_fabric(training, ranks)
