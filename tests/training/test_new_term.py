"""What it takes to add a loss term: an entry in the table and a weight in the settings, and nothing else."""

import csv
import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import TINY
from torch import Tensor

from pix2pix.config import Loss
from pix2pix.config.presets import choose_settings
from pix2pix.losses import all_terms, generator_objective
from pix2pix.losses import terms as table
from pix2pix.metrics.pixel import image_metrics, metric_names
from pix2pix.system.progress import ProgressBar
from pix2pix.training.inspection import inspect_and_plan
from pix2pix.training.run_folder import begin_run
from pix2pix.training.setup import make_trainer


def charbonnier(output: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Mean sqrt((y - G(x))^2 + 1e-6), smooth at 0."""
    return ((output - target).square() + 1e-6).sqrt().mean()


class WithCharbonnier(Loss):
    """The settings with a weight for the new term."""

    charbonnier_weight: float = 0.0


def test_a_new_term_is_measured_for_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table.RECONSTRUCTION, "g_charbonnier", charbonnier)
    assert "g_charbonnier" in metric_names()
    output, target = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    values = image_metrics(output, target)["g_charbonnier"].tolist()
    assert values == [
        charbonnier(one[None], other[None], None).item() for one, other in zip(output, target, strict=True)
    ]


def test_a_new_term_is_computed_weighted_logged_and_validated(
    facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(table.RECONSTRUCTION, "g_charbonnier", charbonnier)
    assert "g_charbonnier" in all_terms()
    terms = {"g_adversarial": torch.tensor(2.0), "g_charbonnier": torch.tensor(0.5)}
    assert generator_objective(terms, WithCharbonnier(l1_weight=0, charbonnier_weight=10)).item() == 2 + 10 * 0.5

    generators = []
    for weight in (0.0, 100.0):
        folder = tmp_path / f"{weight:g}"
        with ProgressBar(silent=True) as bar:
            plan, pairs, _ = inspect_and_plan(choose_settings(facades, None, None, TINY), bar)
            loss = WithCharbonnier(l1_weight=0, charbonnier_weight=weight)
            plan = dataclasses.replace(plan, config=plan.config.model_copy(update={"loss": loss}))
            begin_run(folder, plan.config, overwrite=False)
            trainer = make_trainer(plan, pairs.splits, folder, bar)
            trainer.fit(lambda: None)
        with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["split"] for row in rows} == {"train", "val"}
        assert all(float(row["g_charbonnier"]) > float(row["g_l1"]) > 0 for row in rows)
        generators.append(trainer.state.generator.state_dict())
    assert any(not torch.equal(weights, generators[1][name]) for name, weights in generators[0].items())
