"""Write the files of a run folder: metrics, samples, model, curves, report.

All processes call these functions; rank 0 writes while the others wait.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pix2pix.data.checks.contact_sheet import draw_sheet
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.pairing.pair import source_titles
from pix2pix.distributed.parallel import unwrap
from pix2pix.distributed.process_group import ProcessGroup
from pix2pix.errors import RunError
from pix2pix.metrics.pixel import metric_names
from pix2pix.model import Model, ModelConfig, make_model_config
from pix2pix.model.facts import TrainingFacts, name_data
from pix2pix.model.samples import draw_samples
from pix2pix.reports.alarms import ALARMS, describe_changes, find_alarms
from pix2pix.reports.curves import Row, draw_curves, read_metrics
from pix2pix.reports.pages import write_run_report
from pix2pix.system.files import HeldFolder
from pix2pix.training.checkpoint import TrainingProgress
from pix2pix.training.metrics_log import MetricsLog
from pix2pix.training.plan import Plan
from pix2pix.training.step import TrainState


class Speed(NamedTuple):
    """Learning rate of G at its end, and speed, of an epoch, for its row of metrics."""

    learning_rate: float
    images_per_second: float
    loading_share: float
    """Share of the time in which steps waited for pairs."""


class Shown(NamedTuple):
    """What the model card shows of a validation."""

    intervals: Callable[[], Mapping[str, tuple[float, float] | None]]
    """95 % intervals of the metrics."""
    rows: Callable[[], Sequence[Sequence[Pixels]]]
    """Rows of images: sources, output, target."""


class RunWriter:
    """Write into one run folder. When a run is resumed, rows that are newer than the checkpoint are dropped."""

    def __init__(self, folder: Path, plan: Plan, group: ProcessGroup, progress: TrainingProgress) -> None:
        self.folder, self.plan, self.group, self.progress = folder, plan, group, progress
        self._warmup = plan.config.training.first_phase.epochs
        self._open_log()
        self._held = HeldFolder(folder) if group.is_first else None

    def require_folder(self) -> None:
        """Raise RunError if the run folder was removed, renamed or replaced, so that nothing makes it anew."""
        try:
            if self._held is not None:
                self._held.check()
        except FileNotFoundError:
            raise RunError(
                f"{self.folder}: was removed or renamed while this training wrote to it, so it cannot save what it "
                "has trained since; put the folder back and run the same command again"
            ) from None

    def go_back(self) -> None:
        """Drop the rows that are newer than the progress, which has returned to a checkpoint."""
        self._open_log()

    def _open_log(self) -> None:
        progress, first = self.progress, self.group.is_first
        self._log = MetricsLog(self.folder, progress.step, progress.epoch) if first else None
        self._rows = read_metrics(self.folder / "metrics.csv") if first else []

    def write_metrics(self, split: str, values: Mapping[str, float], speed: Speed) -> list[str]:
        """Append a row to `metrics.csv` and to the TensorBoard events; return what to say about alarms."""
        self.group.broadcast(self.require_folder)
        if self._log is None:
            return []
        progress, rate = self.progress, speed._asdict()
        share = rate.pop("loading_share")
        row = Row(
            progress.step, progress.epoch, progress.images_seen, split, progress.seconds, **rate, values={**values}
        )
        before = find_alarms(self._rows, self._warmup)
        self._rows.append(row)
        now = find_alarms(self._rows, self._warmup)
        row.values.update({name: int(name in now) for name, alarm in ALARMS.items() if alarm.split == split})
        facts = {name: value for name, value in vars(row).items() if name != "values"}
        self._log.write({**facts, "loading_share": share, **row.values})
        return list(describe_changes(before, now))

    def write_samples(self, epoch: int, draw: Callable[[], Sequence[Sequence[Pixels]]]) -> None:
        """Write a sample sheet; `draw` returns its rows of images: sources, output, target."""

        def write() -> None:
            self.require_folder()
            rows = draw()
            path = self._sample_path(epoch)
            path.parent.mkdir(exist_ok=True)
            images.write(path, draw_sheet(rows, [*source_titles(len(rows[0]) - 2), "output", "target"]))

        self.group.broadcast(write)

    def remove_samples(self, epoch: int) -> None:
        """Remove the sample sheet of an epoch, if there is one."""
        self.group.broadcast(lambda: self._sample_path(epoch).unlink(missing_ok=True))

    def _sample_path(self, epoch: int) -> Path:
        return self.folder / "samples" / f"epoch_{epoch:04}.png"

    def write_model(
        self, state: TrainState, validation: Mapping[str, float], name: str = "model", shown: Shown | None = None
    ) -> None:
        """Write a model folder: the generator, or its average if there is one, and the discriminator.

        `shown` is of the validation of these weights.
        """
        generator = unwrap(state.generator) if state.average is None else state.average
        measured: dict[str, float | None] = {name: validation[name] for name in metric_names() if name in validation}

        def write() -> None:
            self.require_folder()
            config = self._describe_model(measured, shown)
            samples = None if shown is None else draw_samples(shown.rows())
            Model(generator, unwrap(state.discriminator), config).save(self.folder / name, samples=samples)

        self.group.broadcast(write)

    def _describe_model(self, measured: dict[str, float | None], shown: Shown | None) -> ModelConfig:
        plan, progress = self.plan, self.progress
        intervals = {} if shown is None else shown.intervals()
        facts = TrainingFacts(
            data=name_data(plan.config.data),
            pairs=plan.counts,
            seconds=progress.seconds,
            intervals={name: intervals[name] for name in measured if name in intervals},
            alarms=tuple(ALARMS[name].meaning for name in find_alarms(self._rows, self._warmup)),
        )
        return make_model_config(
            plan.config,
            plan.norm_statistics,
            plan.scale,
            plan.prepared.converts,
            progress.epoch,
            measured,
            half=plan.half,
            enlarged=plan.enlarged,
            trained=facts,
        )

    def write_report(self) -> Path:
        """Draw the curves, write the report, and return the path of the report."""
        config = self.plan.config

        def write() -> Path:
            self.require_folder()
            draw_curves(
                self.folder / "metrics.csv",
                self.folder / "curves.png",
                phase=config.training.first_phase,
                adversarial=config.adversarial,
            )
            return write_run_report(self.folder)

        return self.group.broadcast(write)
