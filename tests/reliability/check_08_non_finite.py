"""Check 8: NaN, infinity and 1e25 in losses, gradients and activations of real trainings."""

import contextlib
import io
import itertools
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.distributed.parallel import unwrap
from pix2pix.errors import RunError
from pix2pix.training import step as steps
from pix2pix.training import trainer as trainers
from pix2pix.training.finite import BadStepError
from pix2pix.training.train import train_with
from tests.reliability.runs import differences, make_data, saved_state

TITLE = "NaN, infinity and 1e25 in a loss, a gradient or an activation"
PLACES = ("g_l1", "d_real", "discriminator", "output layer", "innermost layer", "activation")
"""Two losses, the gradients of D and of two layers of G, and a value in G's forward pass."""
VALUES = (1e25, float("nan"), float("inf"))
SETTINGS = {
    "data": {"direction": "BtoA", "image_size": 32},
    "generator": {"base_channels": 16},  # large enough for updates during the backward pass
    "discriminator": {"base_channels": 4, "patch_size": 16},
    "training": {
        "epochs": 2, "batch_size": 2, "precision": "32", "device": "cpu", "samples": 0, "ema": 0.9,
        "norm_statistics": "running",
    },
}  # fmt: skip


def train(data: Path, run: Path, settings: dict[str, Any]) -> str:
    """Train and return what was said on stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        train_with(choose_settings(data, None, None, merge_settings(SETTINGS, settings)), run)
    return said.getvalue()


@contextmanager
def poisoned(bad_steps: Collection[int], place: str, value: float) -> Iterator[None]:
    """Within the block, trainings meet `value` in the steps `bad_steps`, counted from 0, in their real computation."""
    active = False

    def hook(gradient: Tensor) -> Tensor:
        return torch.full_like(gradient, value) if active else gradient

    def hook_output(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if active and place == "activation":
            return torch.full_like(output, value)
        if output.requires_grad and place in ("output layer", "innermost layer", "discriminator"):
            output.register_hook(hook)
        return output

    def poisoned_terms(function: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
        def terms(*args: Any) -> dict[str, Tensor]:
            found = function(*args)
            return {name: term * value if active and name == place else term for name, term in found.items()}

        return terms

    take_step = trainers.Trainer._step

    def step(self: trainers.Trainer, *args: Any, **options: Any) -> dict[str, Tensor]:
        nonlocal active
        generator: Any = unwrap(self.state.generator)
        discriminator: Any = unwrap(self.state.discriminator)
        layers = {"output layer": generator.to_image, "discriminator": discriminator.layers[-1]}
        handle = layers.get(place, generator.encoder[-1]).register_forward_hook(hook_output)
        active = self.progress.step in bad_steps
        try:
            return take_step(self, *args, **options)
        finally:
            active = False
            handle.remove()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers.Trainer, "_step", step)
        for name in ("reconstruction_terms", "discriminator_terms"):
            patch.setattr(steps, name, poisoned_terms(getattr(steps, name)))
        yield


@contextmanager
def left_out(bad_steps: Collection[int]) -> Iterator[None]:
    """Within the block, trainings do not take the steps `bad_steps`: the reference."""
    take_step = trainers.Trainer._step

    def step(self: trainers.Trainer, *args: Any, **options: Any) -> dict[str, Tensor]:
        if self.progress.step in bad_steps:
            raise BadStepError("this step", undone=True)
        return take_step(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers.Trainer, "_step", step)
        yield


def bad_tensors(run: Path) -> list[str]:
    """Return the names of the tensors and numbers of the newest checkpoint that are not finite."""

    def search(value: Any, name: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from search(item, f"{name}.{key}")
        elif isinstance(value, list | tuple):
            yield from search(dict(enumerate(value)), name)
        elif isinstance(value, Tensor | float) and not torch.as_tensor(value).isfinite().all():
            yield name

    return list(search(saved_state(run), ""))


def check(work: Path, full: bool) -> str:
    data = make_data(work / "data")
    cases = list(itertools.product(PLACES, VALUES, ("one-pass", "two-pass"))) if full else [
        ("g_l1", float("nan"), "one-pass"), ("output layer", 1e25, "two-pass"), ("innermost layer", 1e25, "one-pass"),
    ]  # fmt: skip
    references = {}
    skipped = repeated = 0
    for number, (place, value, order) in enumerate(cases):
        if place in ("g_l1", "d_real") and value == 1e25:
            continue  # a finite loss, whose gradient is finite too
        bad = [{3}, {1, 6}, {0, 1, 2, 3}][number % 3]
        training = {"training": {"update_order": order}}
        reference = (order, tuple(sorted(bad)))
        if reference not in references:
            references[reference] = work / f"reference-{len(references)}"
            with left_out(bad):
                train(data, references[reference], training)
        run = work / f"run-{number}"
        with poisoned(bad, place, value):
            said = train(data, run, training)
        what = f"{place} = {value} in steps {sorted(bad)} ({order})"
        assert said.count(" is skipped: ") >= len(bad), f"{what}: {said}"
        assert ".png" in said.split(" is skipped: ")[1].splitlines()[0] or ".jpg" in said, f"{what}: no file named"
        assert not bad_tensors(run), f"{what}: {bad_tensors(run)}"
        found = differences(saved_state(references[reference]), saved_state(run), "state")
        assert not found, f"{what}: not the bits of a run without these steps: {found[:3]} of {len(found)}"
        skipped, repeated = skipped + len(bad), repeated + said.count("going back to the checkpoint")
    assert repeated, "no case had updated weights before it met the bad gradient"
    stops = [check_stop(data, work / f"stop-{place}", place) for place in (PLACES if full else ["innermost layer"])]
    return (
        f"{skipped} bad steps in {len(cases)} trainings: all skipped and named, {repeated} after going back; bits of a "
        f"run without them, every saved number finite; {len(stops)} of {len(stops)} stopped after five in a row"
    )


def check_stop(data: Path, run: Path, place: str) -> None:
    """Let five bad steps in a row stop a run, with its last checkpoint intact."""
    with poisoned(range(5, 10), place, float("nan")):
        try:
            train(data, run, {})
        except RunError as error:
            sentence = str(error)
        else:
            raise AssertionError(f"{place}: five bad steps in a row did not stop the training")
    assert "5 steps in a row" in sentence
    assert str(data) in sentence, f"no file is named: {sentence}"
    assert not bad_tensors(run)


def control(work: Path) -> str:
    """Train without the check: the moments become infinite."""
    data = make_data(work / "data")

    def find_nothing(suspects: Any, agree: Any) -> None:
        agree(0)

    with poisoned({3}, "innermost layer", 1e25), pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "find_bad", find_nothing)
        patch.setattr("pix2pix.networks.cpu.fused_adam.math.isfinite", lambda number: True)
        patch.setattr(trainers.Trainer, "_save", lambda self: self.checkpoints.save(self.state, self.progress))
        patch.setattr(trainers.Trainer, "_refuse_non_finite", lambda self, values: None)
        train(data, work / "run", {})
    found = bad_tensors(work / "run")
    assert not found, f"{len(found)} tensors are not finite, such as {found[0]}"
    return "no tensor is infinite"
