"""Facts for the model card: those of the training in config.json, those of evaluations in evaluation.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from pix2pix.config import Data, Section
from pix2pix.config.io import explain
from pix2pix.errors import ModelError
from pix2pix.system.checked_json import dump_checked, read_checked
from pix2pix.system.files import write_text
from pix2pix.text import escape_unprintable, format_list

EVALUATION = "evaluation.json"
MOST_EVALUATIONS = 12
"""The newest ones that a model keeps."""

Digest = Annotated[str, Field(max_length=64, pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(max_length=200)]
Sentence = Annotated[str, Field(max_length=1000)]
Metric = Annotated[str, Field(max_length=100)]
Number = Annotated[float, Field(ge=-1e39, le=1e39)]  # errors in units of the files are float32
Pairs = Annotated[int, Field(ge=0, le=10**12)]
Metrics = Annotated[dict[Metric, Number | None], Field(max_length=100)]
Intervals = Annotated[dict[Metric, tuple[Number, Number] | None], Field(max_length=100)]


class TrainingFacts(Section):
    """What a training knows at the epoch that it keeps, and the settings do not say."""

    data: Name
    """Name of the data; never a path."""
    pairs: Annotated[dict[Name, Pairs], Field(max_length=10)]
    """Pairs in each split."""
    seconds: Annotated[float, Field(ge=0, le=1e12)]
    """Time of the training until then."""
    intervals: Intervals = Field(default_factory=dict)
    """95 % intervals of the validation metrics."""
    alarms: Annotated[tuple[Sentence, ...], Field(max_length=20)] = ()
    """Alarms that lasted then."""


class EvaluationFacts(Section):
    """What `evaluate` measured on one split."""

    data: Name
    """Name of the data; never a path."""
    of_training: bool
    """Whether the data are those of the training."""
    split: Name
    images: Pairs
    full_size: bool
    dropout: bool
    metrics: Metrics
    intervals: Intervals

    @property
    def key(self) -> tuple[object, ...]:
        """What tells evaluations apart; a newer one replaces an older one of the same key."""
        return self.data, self.split, self.full_size, self.dropout


class Evaluations(Section):
    """Content of `evaluation.json`: the evaluations of a model, the newest last."""

    checksum: Digest | None = None
    """SHA-256 of the file without these digits."""
    generator: Digest
    """SHA-256 of the weights that were measured."""
    evaluations: Annotated[tuple[EvaluationFacts, ...], Field(max_length=MOST_EVALUATIONS)] = ()


def read_evaluations(folder: Path, generator: str | None) -> tuple[EvaluationFacts, ...]:
    """Return the evaluations of these weights in a model folder, none of other weights. Raises ModelError."""
    path = folder / EVALUATION
    try:
        found = Evaluations.model_validate(read_checked(path))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:  # pydantic's error is a ValueError
        why = explain(error, Evaluations) if isinstance(error, ValidationError) else str(error)
        raise ModelError(
            f"{path}: broken ({escape_unprintable(why[:300])}); remove it, and run `pix2pix evaluate` again"
        ) from None
    return found.evaluations if found.generator == generator else ()


def add_evaluation(folder: Path, generator: str, new: EvaluationFacts) -> None:
    """Add an evaluation of these weights to `evaluation.json`. Raises OSError or ModelError."""
    kept = [one for one in read_evaluations(folder, generator) if one.key != new.key]
    newest = (*kept, new)[-MOST_EVALUATIONS:]
    values: Mapping[str, Any] = json.loads(
        Evaluations(generator=generator, evaluations=newest).model_dump_json(exclude={"checksum"})
    )
    write_text(folder / EVALUATION, dump_checked(values))


def name_data(data: Data) -> str:
    """Name the data of a training by the last part of its path, since a path tells about somebody's machine."""
    if data.path is not None:
        return name_folder(data.path)
    sources = [name_folder(source) for source in data.source or ()]
    return " and ".join(filter(None, [*sources, name_folder(data.target) if data.target else ""]))[:200]


def name_folder(path: str | Path) -> str:
    """Return the name of a folder, or of the folder of a manifest."""
    place = Path(path).resolve()
    place = place.parent if place.is_file() or place.suffix == ".csv" else place
    return escape_unprintable(place.name or "data")[:200]


def describe_pairs(pairs: Mapping[str, int]) -> str:
    """Return `400 train, 100 val and 106 test`."""
    return format_list(f"{count:,} {split}" for split, count in pairs.items())
