"""A model and a split of pairs in; the slides' four numbers, L1, PSNR and SSIM, baselines and a report out."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pix2pix.config import Config
from pix2pix.data import images
from pix2pix.data.loading import Batch, PairDataset, make_dataset, make_loader
from pix2pix.data.pairs import MANIFEST, Pair, PairSet, describe_unmatched, find_pairs
from pix2pix.errors import DataError, ModelError
from pix2pix.evaluation.metrics import METRICS, ImageScore, image_metrics, mean_scores, score
from pix2pix.evaluation.report import Example, write_evaluation_report, write_run_report
from pix2pix.files import write_text
from pix2pix.inference.translate import Translator, choose_device
from pix2pix.model import load_model, locate

BATCH = 4
SHOWN = 4  # pictures of the best, the median and the worst each
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """The folder of an evaluation and the content of its `metrics.json`."""

    path: Path
    metrics: dict[str, Any]


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    split: str = "test",
    output: str | Path | None = None,
    device: str = "auto",
    dropout: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on a split of pairs, laid out and carved as for its training.

    Writes `metrics.json`, `per_image.csv`, `report.html` and `outputs/` into `output`, by default the run's
    `evaluation/SPLIT`. Pairs are presented at the model's image_size, as in validation. With `dropout` the method's
    noise is on. Raises DataError or ModelError with one sentence.
    """
    loaded = load_model(model, discriminator=True)
    config = loaded.card.config
    pairs = find_pairs(config.data.model_copy(update=_place(data)))
    if pairs.unmatched:
        raise DataError(f"{describe_unmatched(pairs)}; add the missing halves or move these images away")
    chosen = _split(pairs, split, data)
    folder = Path(output) if output is not None else _default_output(model, split)
    translator = Translator(loaded, device=choose_device(device), dropout=dropout)
    dataset = make_dataset(chosen, config.data.model_copy(update={"cache": False}), None, None, 0)
    critic = loaded.discriminator if config.loss.adversarial_weight else None  # at 0 it has learnt nothing
    if critic is not None:
        critic.to(translator.device)

    # First, as it reads every pair: a broken one is met before anything is written.
    unlearnt = baselines(pairs.splits.get("train", ()), dataset, config)
    scores: list[ImageScore] = []
    torch.manual_seed(config.training.seed)
    for result, image in score(translator.generator, critic, _batches(dataset), config.loss, translator.device):
        images.write(_output_path(folder, chosen[result.index]), images.to_array(image))
        scores.append(result)
        if progress is not None:
            progress(len(scores), len(chosen))

    metrics = {
        "model": str(model),
        "data": str(data),
        "split": split,
        "carved": split in pairs.carved,
        "images": len(chosen),
        "epoch": loaded.card.epoch,
        "direction": config.data.direction,
        "image_size": list(config.data.image_size),
        "norm_statistics": loaded.card.norm_statistics,
        "dropout": dropout,
        **{name: None for name in METRICS},
        **mean_scores(scores),
        "baselines": unlearnt,
    }
    _write(folder, metrics, scores, chosen)
    write_evaluation_report(
        folder / "report.html",
        metrics,
        list(_examples(folder, scores, dataset, chosen)),
        scores=[result.values for result in scores],
        adversarial=config.loss.adversarial,
    )
    if (run := _run_of(folder)) is not None:
        write_run_report(run)
    return Evaluation(folder, metrics)


# ---- baselines -------------------------------------------------------------------------------------------------


def baselines(train: Sequence[Pair], dataset: PairDataset, config: Config) -> dict[str, dict[str, float]]:
    """What needs no learning, measured on the same pairs: the mean training target, and the source itself."""
    found: dict[str, dict[str, float]] = {}
    if train:
        training = make_dataset(train, config.data.model_copy(update={"cache": False}), None, None, 0)
        total, count = torch.zeros(()), 0
        for batch in _batches(training):
            total, count = total + batch.target.sum(dim=0), count + len(batch.index)
        mean = total / count
        found["mean_target"] = _baseline(dataset, lambda batch: mean.expand_as(batch.target))
    if dataset.source_channels == dataset.target_channels:
        found["source"] = _baseline(dataset, lambda batch: batch.source)
    return found


def _baseline(dataset: PairDataset, output: Callable[[Batch], Tensor]) -> dict[str, float]:
    scores = []
    for batch in _batches(dataset):
        terms = image_metrics(output(batch), batch.target)
        scores += [
            ImageScore(int(index), {name: term[n].item() for name, term in terms.items()})
            for n, index in enumerate(batch.index)
        ]
    return mean_scores(scores)


# ---- files -----------------------------------------------------------------------------------------------------


def _place(data: str | Path) -> dict[str, Any]:
    place = {"path": str(data), "source": None, "target": None}
    manifest = Path(data).is_file() or (Path(data) / MANIFEST).exists()
    return place | ({"direction": "AtoB"} if manifest else {})  # its columns say which side is the source


def _split(pairs: PairSet, split: str, data: str | Path) -> tuple[Pair, ...]:
    if split not in pairs.splits:
        known = ", ".join(f"{name} ({len(of)} pairs)" for name, of in pairs.splits.items())
        raise DataError(f"{data}: has no split `{split}`; it has {known}")
    return pairs.splits[split]


def _default_output(model: str | Path, split: str) -> Path:
    """RUN/evaluation/SPLIT; for a model outside a run, evaluation/SPLIT inside the model's folder if it is local."""
    folder = locate(model)
    if _is_run(folder.parent):
        return folder.parent / "evaluation" / split
    if Path(model).exists():
        return folder / "evaluation" / split
    raise ModelError(f"{model}: comes from the hub; say where to write with --output DIR")


def _run_of(folder: Path) -> Path | None:
    """The run whose evaluation a folder is, if it is one."""
    return folder.parent.parent if folder.parent.name == "evaluation" and _is_run(folder.parent.parent) else None


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").exists() and (folder / "model").is_dir()


def _batches(dataset: PairDataset) -> Iterator[Batch]:
    return make_loader(dataset, batch_size=BATCH, workers=0, shuffle=False).epoch(0)


def _output_path(folder: Path, pair: Pair) -> Path:
    path = folder / "outputs" / f"{pair.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(folder: Path, metrics: Mapping[str, Any], scores: Sequence[ImageScore], pairs: Sequence[Pair]) -> None:
    text = io.StringIO()
    names = [name for name in METRICS if name in scores[0].values]
    rows = csv.DictWriter(text, ["name", *names], lineterminator="\n")
    rows.writeheader()
    for result in scores:
        rows.writerow({"name": pairs[result.index].name, **{name: f"{result.values[name]:.6g}" for name in names}})
    write_text(folder / "per_image.csv", text.getvalue())
    write_text(folder / "metrics.json", to_json(metrics))


def to_json(metrics: Mapping[str, Any]) -> str:
    """Metrics as strict JSON: an infinite PSNR, of an exact copy, becomes null."""

    def finite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: finite(item) for name, item in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(metrics), indent=2, allow_nan=False) + "\n"


def _examples(
    folder: Path, scores: Sequence[ImageScore], dataset: PairDataset, pairs: Sequence[Pair]
) -> Iterator[Example]:
    """The best, the median and the worst images by l1, each image at most once."""
    ranked = sorted(scores, key=lambda result: result.values["l1"])
    middle = max(0, len(ranked) // 2 - SHOWN // 2)
    groups = (("best", ranked[:SHOWN]), ("worst", ranked[-SHOWN:]), ("median", ranked[middle : middle + SHOWN]))
    shown: set[int] = set()
    for group, members in groups:
        for result in members:
            if result.index in shown:
                continue
            shown.add(result.index)
            source, target, _ = dataset[0, result.index]
            output = images.read(_output_path(folder, pairs[result.index]))
            name = pairs[result.index].name
            arrays = (images.to_array(source), output, images.to_array(target))
            yield Example(name, group, *arrays, values=result.values)  # type: ignore[arg-type]
