"""Read `metrics.json` of an evaluation, and check the types of all that pages and comparisons use."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from pix2pix.errors import ModelError
from pix2pix.metrics.pixel import HIGHER_IS_BETTER
from pix2pix.system.reading import LARGE, read_json
from pix2pix.text import escape_unprintable

_Number = float | None
_Interval = tuple[float, float] | None


class _Evaluation(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    split: str
    images: int
    l1: float | None
    epoch: int | None = None
    intervals: dict[str, _Interval] | None = None
    baselines: dict[str, dict[str, _Number]] | None = None
    baseline_differences: dict[str, dict[str, _Interval]] | None = None
    missing: dict[str, str] | None = None
    features: str | None = None
    labels: dict[str, Any] | None = None
    classes: dict[str, Any] | None = None
    diagnostics: dict[str, Any] | None = None
    health: dict[str, Any] | None = None


@cache
def _schema() -> type[BaseModel]:
    names = HIGHER_IS_BETTER.keys() - _Evaluation.model_fields.keys()
    numbers: Any = dict.fromkeys(sorted(names), (_Number, None))
    return create_model("_Evaluation", __base__=_Evaluation, **numbers)


def read_evaluation_metrics(path: Path) -> dict[str, Any]:
    """Return the content of `metrics.json`, of version 0.1 too. Raises ModelError naming it, OSError."""
    try:
        metrics = read_json(path, LARGE)
        _schema().model_validate_json(json.dumps(metrics))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    else:
        assert isinstance(metrics, dict)
        return metrics
    raise ModelError(
        f"{path}: not the metrics of an evaluation, or broken ({escape_unprintable(reason[:200])}); "
        "run `pix2pix evaluate` again"
    )
