"""Compare the epochs that each validation metric would have kept: their numbers and their pictures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pix2pix.data.checks.contact_sheet import cut_columns
from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import ModelError
from pix2pix.metrics.pixel import HIGHER_IS_BETTER, MEASURES, SAME_ORDER, Measure
from pix2pix.reports.curves import Row
from pix2pix.system.reading import read_json
from pix2pix.text import escape_unprintable, format_list


@dataclass
class EpochChoice:
    """An epoch that a metric would have kept, the one that is kept, or the last."""

    epoch: int
    values: Mapping[str, float]
    best_by: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    """`kept`, `last`, or `last validated`."""
    model: str = ""
    """Folder of its model in the run; empty if there is none."""


def find_best_epoch(rows: Sequence[Row], metric: str, warmup: int) -> Row | None:
    """Return the row of the best validation by a metric, after the first phase; the first of equal ones."""
    measured = [row for row in rows if row.split == "val" and row.epoch > warmup and metric in row.values]
    sign = 1 if HIGHER_IS_BETTER.get(metric) else -1
    return max(measured, key=lambda row: sign * row.values[metric], default=None)


def measured_metrics(rows: Sequence[Row]) -> list[Measure]:
    """Return the metrics of the validations of a run, in their usual order."""
    names = {name for row in rows if row.split == "val" for name in row.values}
    return [one for one in MEASURES if one.name in names and SAME_ORDER.get(one.name) not in names]


def read_kept_epoch(folder: Path) -> int | None:
    """Return the epoch of the run's model; None without a model. Raises ModelError if its file is broken."""
    path = folder / "model" / "config.json"
    try:
        epoch = read_json(path).get("epoch") if path.exists() else None
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: broken ({escape_unprintable(str(error)[:200])})") from None
    return epoch if isinstance(epoch, int) else None


def find_kept_models(folder: Path, kept: int | None) -> dict[int, str]:
    """Return epoch -> folder of its model in a run: those of --keep-every, and `model` of the epoch `kept`."""
    names = [path.parent.name for path in folder.glob("models/epoch-*/config.json")]
    models = {int(match[1]): f"models/{match[0]}" for name in names if (match := re.fullmatch(r"epoch-(\d+)", name))}
    return models | ({} if kept is None else {kept: "model"})


def list_choices(rows: Sequence[Row], warmup: int, kept: int | None, models: Mapping[int, str]) -> list[EpochChoice]:
    """Return the best epoch of each metric, the kept one and the last one, oldest first; none without validations.

    `models` is as from `find_kept_models`.
    """
    validated = {row.epoch: row for row in rows if row.split == "val"}
    if not validated:
        return []
    choices: dict[int, EpochChoice] = {}

    def choose(epoch: int) -> EpochChoice:
        values = validated[epoch].values if epoch in validated else {}
        return choices.setdefault(epoch, EpochChoice(epoch, values, model=models.get(epoch, "")))

    for measure in measured_metrics(rows):
        if (best := find_best_epoch(rows, measure.name, warmup)) is not None:
            choose(best.epoch).best_by.append(measure.name)
    if kept is not None:
        choose(kept).marks.append("kept")
    newest = max(validated)
    choose(newest).marks.append("last" if newest == rows[-1].epoch else "last validated")
    return [choices[epoch] for epoch in sorted(choices)]


def describe_choices(choices: Sequence[EpochChoice]) -> str:
    """Say in a sentence which epochs the metrics prefer; empty if none has been validated."""
    by = {choice.epoch: choice.best_by for choice in choices if choice.best_by}
    if len(by) < 2:
        return f"All metrics are best in epoch {next(iter(by))}." if by else ""
    preferred = (f"epoch {epoch} by {format_list(names)}" for epoch, names in by.items())
    return f"The metrics prefer different epochs: {'; '.join(preferred)}."


# ---- pictures ------------------------------------------------------------------------------------------------------


def find_sheets(folder: Path, kept: int | None) -> dict[int, Path]:
    """Return epoch -> sample sheet, for the first, the kept and the newest epoch that have one."""
    found = (re.fullmatch(r"epoch_(\d+)\.png", path.name) for path in (folder / "samples").glob("epoch_*.png"))
    sheets = {int(match[1]): folder / "samples" / match[0] for match in found if match}
    chosen = {min(sheets, default=None), kept, max(sheets, default=None)}
    return {epoch: sheets[epoch] for epoch in sorted(sheets) if epoch in chosen}


def align_sheets(sheets: Mapping[int, Pixels], sources: int, marks: Mapping[int, str]) -> dict[str, Pixels] | None:
    """Cut sheets of the same pairs into columns: title -> the sources, the outputs of each epoch, the target.

    Return None if they are not sheets of so many sources. `marks` says of an epoch what it is.
    """
    columns = {epoch: cut_columns(sheet, sources + 2) for epoch, sheet in sheets.items()}
    whole = [parts for parts in columns.values() if parts is not None]
    if not whole or len(whole) < len(columns):
        return None
    longest = max(whole, key=lambda parts: parts[0].shape[0])
    titles = [f"source {number}" if sources > 1 else "source" for number in range(1, sources + 1)]
    outputs = {
        f"epoch {epoch}{f', {marks[epoch]}' if epoch in marks else ''}": parts[-2]
        for epoch, parts in columns.items()
        if parts is not None
    }
    return dict(zip(titles, longest, strict=False)) | outputs | {"target": longest[-1]}
