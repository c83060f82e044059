"""`study`: a question of the paper and pairs in; its variants trained, measured, and one page that shows them out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pix2pix.config import Config, Data
from pix2pix.config.io import make_config, merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.checks.check import check
from pix2pix.data.checks.report import CheckReport
from pix2pix.data.encoding.prepared import PreparedData
from pix2pix.data.loading.dataset import PairDataset
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError, DataError
from pix2pix.metrics.segmentation import find_palette, get_segmenter, parse_palette
from pix2pix.model import build_networks
from pix2pix.networks import set_fast_convolutions
from pix2pix.study.jobs import Job, Progress, carry_out
from pix2pix.study.page import write_page
from pix2pix.study.variants import KINDS, Variant, variants_of
from pix2pix.system.files import lock_folder
from pix2pix.system.hardware import choose_device
from pix2pix.text import format_duration
from pix2pix.training.optimizers import make_adam
from pix2pix.training.plan import make_plan
from pix2pix.training.step import TrainState, train_step

VARIED = {
    "generator.kind": "the generators",
    "discriminator.patch_size": "the patches",
    "discriminator.conditional": "the losses",
    "loss.adversarial_weight": "the losses",
    "loss.l1_weight": "the losses",
    "loss.l2_weight": "the losses",
    "training.seed": "the seeds (--seeds)",
}
"""What a study sets itself."""


@dataclass(frozen=True)
class Study:
    """Where its page is, and everything on it for programs."""

    page: Path
    results: dict[str, Any]


@dataclass(frozen=True)
class StudyPlan:
    """Every job of a study, and what people should know before it starts."""

    kind: str
    jobs: list[Job]
    notes: list[str]
    images_per_epoch: int
    palette: str | None  # of the label maps, if labels are to be read
    data: Data  # with nothing left open
    prepared: PreparedData

    @property
    def variants(self) -> list[Variant]:
        """In the order of the figure."""
        return list(dict.fromkeys(job.variant for job in self.jobs))


def study(
    kind: str,
    data: str | Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    run: str | Path = Path("runs/study"),
    preset: str | None = None,
    config: str | Path | None = None,
    seeds: Sequence[int] = (0,),
    processes: int = 1,
    split: str = "test",
    segmenter: bool = True,
    palette: str | None = None,
    progress: Progress | None = None,
) -> Study:
    """Train and measure the variants of `losses`, `generators` or `patches`, as far as that is not done, and write the
    page. `overrides` are nested settings that all variants share.

    Raises ConfigError, DataError, ModelError, RunError or OSError with one sentence; Interrupted when a signal came.
    """
    choices: dict[str, Any] = {"run": run, "preset": preset, "config": config, "seeds": seeds, "split": split}
    plan = plan_study(kind, data, overrides, **choices, segmenter=segmenter, palette=palette)
    if processes < 1:
        raise ConfigError(f"--processes {processes}: expected 1 or more")
    folder = Path(run)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        if plan.palette is not None:
            _teach(plan, plan.palette, progress)
        carry_out(plan.jobs, processes, progress)
        results = write_page(folder, kind, plan.jobs, plan.notes, split)
    return Study(folder / f"{kind}.html", results)


def plan_study(
    kind: str,
    data: str | Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    run: str | Path = Path("runs/study"),
    preset: str | None = None,
    config: str | Path | None = None,
    seeds: Sequence[int] = (0,),
    split: str = "test",
    segmenter: bool = True,
    palette: str | None = None,
) -> StudyPlan:
    """The jobs of a study; nothing is written. Raises as `study` does."""
    if kind not in KINDS:
        raise ConfigError(f"there is no study `{kind}`; known: {', '.join(KINDS)}")
    if len(set(seeds)) != len(seeds) or not seeds:
        raise ConfigError("--seeds: expected different numbers, one training of each variant for each")
    overrides = overrides or {}
    _refuse_varied(overrides)
    # The paper keeps the newest epoch; keeping another would give each variant a budget of its own.
    shared = choose_settings(data, preset, config, merge_settings({"training": {"best_by": "last"}}, overrides))
    report = check(shared.data)
    _refuse_unusable(report, shared, split)
    variants, notes = variants_of(kind, shared.data.image_size)
    if shared.native:
        notes.append("label accuracy is not measured, as pictures keep their own sizes")
        palette = None
    elif segmenter or palette is not None:
        try:
            found = (
                parse_palette(palette) if palette is not None else find_palette(find_pairs(shared.data).splits["train"])
            )
            palette = ",".join("#" + bytes(colour).hex() for colour in found)
        except DataError:
            notes.append("label accuracy is not measured, as the sources are no label maps")
    measured = {} if palette is None else {"palette": palette, "segmenter_folder": str(Path(run) / "segmenter")}
    place = {"data": shared.data.path, "source": shared.data.source, "target": shared.data.target}
    jobs = [
        Job(
            variant,
            seed,
            make_config(
                merge_settings(shared.model_dump(), variant.settings, {"training": {"seed": seed}}), variant.title
            ),
            place,
            Path(run),
            report.fingerprint,
            {"split": split, **measured},
        )
        for variant in variants
        for seed in seeds
    ]
    training = make_plan(shared, report)
    return StudyPlan(kind, jobs, notes, report.counts["train"], palette, training.config.data, training.prepared)


def _teach(plan: StudyPlan, palette: str, progress: Progress | None) -> None:
    """The segmenter of all jobs, before any of them needs it; at once if it is there."""
    job = plan.jobs[0]
    pairs = find_pairs(plan.data)
    get_segmenter(
        job.study / "segmenter",
        PairDataset(pairs.splits["train"], plan.prepared),
        parse_palette(palette),
        device=torch.device(choose_device(job.config.training.device)),
        fingerprint=pairs.fingerprint(),
        progress=progress,
    )


def _refuse_varied(overrides: Mapping[str, Any]) -> None:
    for path, what in VARIED.items():
        section, _, field = path.partition(".")
        if field in overrides.get(section, {}):
            raise ConfigError(f"{path}: a study varies {what} itself; drop this setting")


def _refuse_unusable(report: CheckReport, config: Config, split: str) -> None:
    where = config.data.path or config.data.target
    if report.problems:
        path, reason = report.problems[0]
        raise DataError(f"{path}: {reason} (`pix2pix data check` lists all problems)")
    if not report.counts.get("train"):
        raise DataError(f"{where}: has no pairs to train on")
    if not report.counts.get(split):
        known = ", ".join(report.counts)
        raise DataError(f"{where}: has no split `{split}`, only {known}; choose one with --split")


# ---- the plan in words -----------------------------------------------------------------------------------------


def describe(plan: StudyPlan, processes: int) -> Iterator[str]:
    """The plan with an estimate of its time, from a few updates of every kind of training."""
    first = plan.jobs[0].config
    height, width = first.data.image_size
    yield (
        f"{plan.kind}: {len(plan.variants)} variants x {len(plan.jobs) // len(plan.variants)} seeds = "
        f"{len(plan.jobs)} trainings of {first.training.epochs} epochs on {plan.images_per_epoch} pairs "
        f"of {height}x{width}"
    )
    yield from (f"note: {note}" for note in plan.notes)
    pace: dict[Variant, float] = {}
    total = 0.0
    for job in plan.jobs:
        if job.done:
            yield f"  {job.name:40} done"
            continue
        if job.variant not in pace:
            pace[job.variant] = seconds_per_update(job.config, threads=1 if processes > 1 else None)
        left = job.config.training.epochs - job.epochs_done
        seconds = left * plan.images_per_epoch / job.config.training.batch_size * pace[job.variant]
        total += seconds
        gone = f", {job.epochs_done} epochs done" if job.epochs_done else ""
        yield f"  {job.name:40} about {format_duration(seconds)}{gone}"
    together = f" with {processes} processes" if processes > 1 else ""
    yield f"in all about {format_duration(total / processes)}{together}, validation and measuring not counted"


def seconds_per_update(config: Config, *, threads: int | None = None, updates: int = 3) -> float:
    """The median of a few updates on random pictures, on this machine's processor."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        data = config.data.model_copy(
            update={
                "source_channels": config.data.network_channels or 3,
                "sources": {},
                "target_channels": config.data.target_channels or 3,
            }
        )
        generator, discriminator = build_networks(config.model_copy(update={"data": data}))
        for network in (generator, discriminator):
            set_fast_convolutions(network, config.training.convolutions != "native")
        state = TrainState(
            generator,
            discriminator,
            make_adam(generator, config.optimizer),
            make_adam(discriminator, config.optimizer),
        )
        size = (config.training.batch_size, 3, *config.data.image_size)
        taken = []
        for _ in range(updates + 1):
            source, target = (torch.rand(*size) * 2 - 1 for _ in range(2))
            began = time.perf_counter()
            train_step(state, source, target, config.loss, order=config.training.update_order)
            taken.append(time.perf_counter() - began)
        return sorted(taken[1:])[updates // 2]
    finally:
        torch.set_num_threads(before)
