"""The files that a run writes, by name: --overwrite moves and removes these, and nothing else in the folder."""

import csv
import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pix2pix.errors import ConfigError
from pix2pix.system.files import PARTIAL, remove_partial_files
from pix2pix.system.locks import LOCK
from pix2pix.system.reading import open_regular
from pix2pix.system.written import RECORD, read_record
from pix2pix.training.metrics_rows import DAMAGED

LEFT_OUT = "left_out.txt"
"""File that lists what --skip-bad left out."""
MARKER = ".pix2pix-run"
"""File that marks a run folder. Version 0.1 wrote none: its runs are recognised by the names in them."""
ASIDE = ".pix2pix-old"
"""Folder of the run that --overwrite replaces, until the new one has begun (`old_run`)."""
MOVING, REMOVING = f"{ASIDE}.moving", f"{ASIDE}.removing"

FOLDERS = ("samples", "tensorboard", "checkpoints", "model", "models", "evaluation", "segmenter")
"""Folders of a run. People may keep files of their own in them."""
WRITTEN = {
    "config.yaml", "metrics.csv", DAMAGED, "curves.png", "report.html", "study.json", LEFT_OUT,
    *FOLDERS, MARKER, LOCK, ASIDE, MOVING, REMOVING,
}  # fmt: skip
"""Every name that a run writes into its folder."""

_EVALUATION = r"(models/epoch-\d+/)?evaluation"
"""Folder of the evaluations of a run, or of one of the models that --keep-every keeps."""
_MODEL = r"(generator|discriminator)\.safetensors|(config|evaluation)\.json|README\.md|samples\.jpg"
_PATTERNS = re.compile(
    r"(config\.yaml|metrics\.csv(\.damaged(-\d+)?)?|curves\.png|report\.html|study\.json|left_out\.txt"
    r"|samples/epoch_\d+\.png"
    r"|tensorboard/events\.out\.tfevents\.[^/]+"
    r"|checkpoints/(state|previous)\.(pt|json)"
    rf"|(\.?model|\.model\.(partial|previous))/({_MODEL})"
    rf"|models/(epoch-\d+|\.epoch-\d+\.(partial|previous))/({_MODEL})"
    rf"|segmenter/(segmenter\.(safetensors|json)|state\.pt|{re.escape(RECORD)})"
    rf"|{_EVALUATION}/[^/]+/(metrics\.json|per_image\.csv|report\.html|{re.escape(RECORD)}))",
)
"""The files of a run, relative to its folder, except the outputs of evaluations."""


def name_kept_model(epoch: int) -> str:
    """Return the folder of the model of an epoch that --keep-every keeps, relative to the run."""
    return f"models/epoch-{epoch:04}"


def written_files(folder: Path) -> Iterator[str]:
    """Yield the files of a run, relative to its folder. Raises ConfigError for a link in place of one of them."""
    recorded = read_record(folder)  # of a run that was moved aside
    for name in sorted(os.listdir(folder)):
        if name in FOLDERS or name.startswith(".model."):
            yield from _files_below(folder, name, recorded)
        elif _is_written(name):
            _refuse_link(folder, name)
            yield name


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed training was writing: plots, sheets and tables. Checkpoints and models see to their own."""
    for place in ("", "samples/"):
        with suppress(OSError):
            found = (PARTIAL.fullmatch(name) for name in os.listdir(folder / place))
            ours = [match[1] for match in found if match and _PATTERNS.fullmatch(place + match[1])]
            remove_partial_files(folder / place, ours)


def _files_below(folder: Path, top: str, recorded: set[str]) -> Iterator[str]:
    """Yield the files of a run in one of its folders; links are not followed."""
    _refuse_link(folder, top)
    for place, folders, files in os.walk(folder / top):
        below = Path(place).relative_to(folder).as_posix()
        for name in folders:
            if re.fullmatch(rf"{_EVALUATION}(/[^/]+)?|models", below):
                _refuse_link(folder, f"{below}/{name}")
        outputs = re.fullmatch(rf"(?P<evaluation>{_EVALUATION}/[^/]+)/outputs(/.*)?", below)
        listed = _read_outputs(folder / outputs["evaluation"]) if outputs else set()
        for name in sorted(files):
            path = f"{below}/{name}"
            is_output = outputs and (path in recorded or _output_name(path[len(outputs["evaluation"]) + 1 :]) in listed)
            if is_output or _is_written(path):
                _refuse_link(folder, path)
                yield path


def _is_written(path: str) -> bool:
    """Return whether a run writes a file of this name; those that were not finished count."""
    place, slash, name = path.rpartition("/")
    unfinished = PARTIAL.fullmatch(name)
    return _PATTERNS.fullmatch(f"{place}{slash}{unfinished[1] if unfinished else name}") is not None


def _read_outputs(evaluation: Path) -> set[str]:
    """Return the names of an evaluation's outputs, without suffix; older ones are known by their per_image.csv."""
    names = {_output_name(name) for name in read_record(evaluation) if name.startswith("outputs/")}
    try:
        content = open_regular(evaluation / "per_image.csv")
        with io.TextIOWrapper(content, encoding="utf-8", errors="surrogateescape", newline="") as file:
            names |= {f"outputs/{row.get('name')}" for row in csv.DictReader(file)}
    except (OSError, csv.Error):
        pass
    return names


def _output_name(path: str) -> str:
    return os.path.splitext(path)[0]


def _refuse_link(folder: Path, name: str) -> None:
    if (folder / name).is_symlink():
        raise ConfigError(
            f"{folder / name}: is a link, which no training made, so --overwrite does not touch it; remove the link, "
            "or choose another --run"
        )
