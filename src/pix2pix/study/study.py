"""Repeat an experiment of the paper on any pairs: train its variants, evaluate them, show them on one page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pix2pix.config import Config, Data, Loss
from pix2pix.config.io import make_config, merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.checks.check import check
from pix2pix.data.checks.report import CheckReport
from pix2pix.data.encoding.prepared import PreparedData
from pix2pix.data.loading.dataset import PairDataset
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.errors import ConfigError, DataError
from pix2pix.metrics.palette import find_palette, format_palette, parse_palette
from pix2pix.metrics.segmentation import load_or_train_segmenter
from pix2pix.study.jobs import Job, run_jobs
from pix2pix.study.page import write_page
from pix2pix.study.variants import KINDS, Variant, choose_variants
from pix2pix.system.hardware import choose_device
from pix2pix.system.locks import lock_folder
from pix2pix.system.progress import OnNamedProgress
from pix2pix.system.written import claim
from pix2pix.text import format_list
from pix2pix.training.plan import make_plan
from pix2pix.training.run_folder import is_run

VARIED = {
    "generator.kind": "the generators",
    "discriminator.conditional": "the losses",
    "loss.adversarial_weight": "the losses",
    "loss.l1_weight": "the losses",
    "loss.l2_weight": "the losses",
    "training.seed": "the seeds (--seeds)",
}
"""Settings that every study sets itself -> what it varies."""


@dataclass(frozen=True)
class Study:
    """The path of the page of a study, and its content for programs."""

    page: Path
    results: dict[str, Any]


@dataclass(frozen=True)
class StudyPlan:
    """All jobs of a study, and notes for the user."""

    kind: str
    jobs: list[Job]
    notes: list[str]
    images_per_epoch: int
    palette: str | None  # of the label maps; None if labels are not read
    data: Data  # with all settings resolved
    prepared: PreparedData

    @property
    def variants(self) -> list[Variant]:
        """The variants, in the order of the figure."""
        return list(dict.fromkeys(job.variant for job in self.jobs))


def study(
    kind: str,
    data: str | Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    run: str | Path = Path("runs/study"),
    processes: int = 1,
    progress: OnNamedProgress | None = None,
    **choices: Any,
) -> Study:
    """Train and evaluate all unfinished variants of `losses`, `generators` or `patches`, and write the page.

    `overrides` are nested settings that all variants share; `choices` are the other arguments of `plan_study`. Raises
    ConfigError, DataError, ModelError, RunError or OSError, and Interrupted after a signal.
    """
    plan = plan_study(kind, data, overrides, run=run, **choices)
    if processes < 1:
        raise ConfigError(f"--processes {processes}: expected 1 or more")
    folder = Path(run)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        logs = [str(job.log.relative_to(folder)) for job in plan.jobs]
        claim(folder, [f"{kind}.html", f"{kind}.json", f"{kind}.png", *logs], flag="--run", is_ours=_is_study)
        if plan.palette is not None:
            _train_segmenter(plan, plan.palette, progress)
        run_jobs(plan.jobs, processes, progress)
        results = write_page(folder, kind, plan.jobs, plan.notes)
    return Study(folder / f"{kind}.html", results)


def _is_study(folder: Path) -> bool:
    """Return whether an older version, which kept no record, began a study in a folder."""
    return any((folder / "runs").is_dir() and is_run(run) for run in folder.glob("runs/*-seed*"))


def plan_study(  # noqa: PLR0913  # the flags of the command
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
    """Plan the jobs of a study; nothing is written. Raises as `study` does."""
    if kind not in KINDS:
        raise ConfigError(f"there is no study `{kind}`; known: {', '.join(KINDS)}")
    if len(set(seeds)) != len(seeds) or not seeds:
        raise ConfigError("--seeds: expected different numbers; each variant is trained once with each")
    _refuse_varied(kind, overrides or {})
    # As in the paper, the newest epoch is kept: all variants then have the same budget.
    shared = choose_settings(data, preset, config, merge_settings({"training": {"best_by": "last"}}, overrides or {}))
    if shared.data.target_kind == "labels":
        raise ConfigError(
            "data.target_kind labels: a study compares the paper's losses on images, with L1, which label maps do not "
            "use; leave it out, or compare trainings of your own with `pix2pix compare`"
        )
    report = check(shared.data)
    _refuse_unusable(report, shared, split)
    variants, notes = choose_variants(kind, shared.data.image_size, shared.discriminator.patch_size)
    palette, more = _choose_palette(shared, palette, segmenter)
    more += _describe_losses(shared)
    measured = {} if palette is None else {"palette": palette, "segmenter_folder": str(Path(run) / "segmenter")}
    jobs = [
        Job(
            variant=variant,
            seed=seed,
            config=make_config(
                merge_settings(shared.model_dump(), variant.settings, {"training": {"seed": seed}}), variant.title
            ),
            place={"data": shared.data.path, "source": shared.data.source, "target": shared.data.target},
            study=Path(run),
            fingerprint=report.pairs.fingerprint(),  # the runs themselves compare contents
            choices={"split": split, **measured},
        )
        for variant in variants
        for seed in seeds
    ]
    training = make_plan(shared, report)
    return StudyPlan(
        kind, jobs, [*notes, *more], report.counts["train"], palette, training.config.data, training.prepared
    )


def _describe_losses(config: Config) -> Iterator[str]:
    """Describe what the variants' losses have that their titles do not say, unlike the paper's."""
    loss, usual = config.loss, Loss()
    adversarial = [] if config.adversarial == usual.adversarial else [config.adversarial]
    if loss.feature_matching_weight:
        adversarial.append(f"feature matching with weight {loss.feature_matching_weight:g}")
    if adversarial:
        yield f"GAN and cGAN mean {format_list(adversarial)} here"
    if loss.perceptual_weight:
        yield f"all variants also learn from ST-LPIPS, with weight {loss.perceptual_weight:g}"
    if loss.l1_weight != usual.l1_weight:
        yield f"L1 and L2 have the paper's weight, {usual.l1_weight:g}, not {loss.l1_weight:g}"


def _choose_palette(config: Config, palette: str | None, segmenter: bool) -> tuple[str | None, list[str]]:
    """Return the colours of the label maps, or None if labels are not read, and notes with the reason."""
    if config.native:
        return None, ["label accuracy is not measured, because images keep their own sizes"]
    if palette is not None:
        return format_palette(parse_palette(palette)), []
    if not segmenter:
        return None, []
    try:
        return format_palette(find_palette(find_pairs(config.data).splits["train"])), []
    except DataError:
        return None, ["label accuracy is not measured, because the sources are not label maps"]


def _train_segmenter(plan: StudyPlan, palette: str, progress: OnNamedProgress | None) -> None:
    """Train the segmenter that all jobs share."""
    job, pairs = plan.jobs[0], find_pairs(plan.data)
    load_or_train_segmenter(
        job.study / "segmenter",
        PairDataset(pairs.splits["train"], plan.prepared),
        parse_palette(palette),
        device=torch.device(choose_device(job.config.training.device)),
        fingerprint=pairs.fingerprint(),
        progress=progress,
    )


def _refuse_varied(kind: str, overrides: Mapping[str, Any]) -> None:
    patches = {"discriminator.patch_size": "the patches"} if kind == "patches" else {}
    for setting, what in (VARIED | patches).items():
        section, _, name = setting.partition(".")
        if name in overrides.get(section, {}):
            raise ConfigError(f"{setting}: a study varies {what} itself; leave this setting out")


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
