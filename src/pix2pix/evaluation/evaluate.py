"""A model and a split of pairs in; the slides' four numbers, every metric with intervals, baselines, a report out."""

import contextlib
import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pix2pix.config import SMALLEST_SIDE, Data, smallest_discriminated
from pix2pix.config.fields import Native
from pix2pix.config.io import explain
from pix2pix.data.checks.check import check
from pix2pix.data.encoding import tensors
from pix2pix.data.encoding.prepared import refuse_other_count
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import Batch, PairDataset
from pix2pix.data.loading.loader import make_loader
from pix2pix.data.pairing.manifest import MANIFEST
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import PairSet, describe_unmatched, find_pairs
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.translator import Translator
from pix2pix.metrics.bootstrap import mean_intervals
from pix2pix.metrics.diagnostics import Health, examine, thumbnails
from pix2pix.metrics.perceptual import BEYOND, PerceptualMetrics, make_perceptual_metrics
from pix2pix.metrics.pixel import METRICS, OWN_UNITS, ImageScore, image_metrics, mean_scores, score
from pix2pix.metrics.segmentation import LabelScore, find_palette, get_segmenter, parse_palette
from pix2pix.model import Model, ModelConfig, load_model, locate
from pix2pix.reports.pages import Example, write_evaluation_report, write_run_report
from pix2pix.system.files import write_text
from pix2pix.system.hardware import choose_device

BATCH = 4
SHOWN = 4  # pictures of the best, the median and the worst each
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Evaluation:
    """The folder of an evaluation and the content of its `metrics.json`."""

    path: Path
    metrics: dict[str, Any]


def evaluate(
    model: str | Path,
    data: str | Path | None = None,
    *,
    source: str | Path | Sequence[str | Path] | None = None,
    target: str | Path | None = None,
    source_pattern: str | Sequence[str] | None = None,
    target_pattern: str | None = None,
    split: str = "test",
    output: str | Path | None = None,
    device: str = "auto",
    dropout: bool = False,
    full_size: bool = False,
    weights: Sequence[str | Path] = (),
    features: nn.Module | None = None,
    segmenter: bool = False,
    segmenter_folder: str | Path | None = None,
    palette: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on a split of pairs, carved as for its training, in any layout.

    `source_pattern` and `target_pattern` stand for those of the training, which are tried otherwise. Writes
    `metrics.json`, `per_image.csv`, `report.html` and `outputs/` into `output`, by default the run's
    `evaluation/SPLIT`. Pairs are presented as in validation: at the model's image_size, or whole if its training kept
    their own sizes. With `full_size` they are measured as `translate` writes them, against targets as the files have
    them, into `evaluation/SPLIT-full-size`. With `dropout` the method's noise is on.
    LPIPS, FID and KID are measured where their weights are at hand, in the usual caches or among the files and folders
    `weights`; `features`, (N, C, H, W) in [-1, 1] -> (N, d), is another network for FID and KID.
    With `segmenter`, a network that reads labels from photos is taught on the training pairs, or taken from
    `segmenter_folder` (by default in the run), and measures how well it reads them from the outputs; `palette` names
    the colours of the label maps. Raises ConfigError, DataError or ModelError with one sentence.
    """
    loaded = load_model(model, discriminator=True)
    patterns: dict[str, Any] = {"source_pattern": source_pattern, "target_pattern": target_pattern}
    place = _place(data, source, target)
    pairs, notes = _found(loaded.config.settings.data, place, patterns)
    if pairs.unmatched:
        raise DataError(f"{describe_unmatched(pairs)}; add the missing halves or move these images away")
    chosen = _split(pairs, split)
    native = loaded.config.settings.native
    folder = (
        Path(output) if output is not None else _default_output(model, f"{split}-full-size" if full_size else split)
    )
    full_size = full_size or native
    dataset = presented(chosen, loaded)
    measured = presented(chosen, loaded, full_size=True) if full_size else dataset
    translator = Translator(loaded, device=choose_device(device), dropout=dropout)
    perceptual = make_perceptual_metrics(
        BEYOND,
        image_size=measured.smallest,
        channels=dataset.target_channels,
        device=translator.device,
        weights=[Path(path) for path in weights],
        features=features,
    )
    # First, as it reads every pair: a broken one is met before anything is written.
    train = pairs.splits.get("train", ())
    unlearnt, known = baselines(train, measured, loaded)
    labels = None
    if segmenter or segmenter_folder is not None or palette is not None:
        if full_size:
            raise ConfigError("--segmenter reads labels from pictures of one size, and these keep their own: drop it")
        if not train:
            raise DataError(f"{data or target}: has no training pairs to teach a segmenter on; drop --segmenter")
        own = (_run_with(locate(model)) or folder) / "segmenter"
        taught = get_segmenter(
            own if segmenter_folder is None else Path(segmenter_folder),
            presented(train, loaded),
            parse_palette(palette) if palette is not None else find_palette(train),
            device=translator.device,
            fingerprint=pairs.fingerprint(),
            progress=progress,
        )
        labels = LabelScore(taught)
    for name in ("metrics.json", "per_image.csv", "report.html"):
        (folder / name).unlink(missing_ok=True)  # if this is interrupted, no older numbers stand beside newer outputs
    scores = list(_measured(translator, measured, folder, perceptual, labels, progress))
    counted = [result for result in scores if not math.isnan(result.values["l1"])]
    if not counted:
        raise DataError(f"{chosen[0].target.path} and the others of its split: nothing is known of any target")
    seed = loaded.config.settings.training.seed
    if split == "train":
        known = None  # every target would find itself
    health = _examined(translator.generator, dataset, translator.device, train, known, loaded, seed)
    of_the_set = perceptual.of_the_set(perceptual.taken(), intervals=True)
    intervals = mean_intervals([result.values for result in counted])
    metrics = {
        "model": str(model),
        "data": str(data) if data is not None else " and ".join([*(place["source"] or ()), str(target)]),
        "split": split,
        "images": len(chosen),
        **_facts(loaded.config),
        "dropout": dropout,
        "full_size": full_size,
        "target_values": loaded.target_values.describe(),
        **{name: None for name in METRICS},
        **mean_scores(counted),
        **{name: value for name, (value, _) in of_the_set.items()},
        "intervals": intervals | {name: interval for name, (_, interval) in of_the_set.items()},
        "missing": perceptual.missing,
        "features": None if features is None else type(features).__name__,
        "baselines": unlearnt,
        "labels": None if labels is None else labels.to_json(),
        "health": {**health.numbers, "sentences": health.sentences},
        "notes": [
            *notes,
            *_holes(len(scores) - len(counted)),
            *_notes(pairs, split, loaded.config, full_size=full_size),
        ],
    }
    _write(folder, metrics, scores, chosen)
    write_evaluation_report(
        folder / "report.html",
        metrics,
        list(_examples(folder, counted, measured, loaded)),
        scores=[result.values for result in counted],
        adversarial=loaded.config.settings.loss.adversarial,
        health=health,
        run=_run_with(locate(model)),
    )
    if (run := _run_with(folder.parent)) is not None and folder.parent.name == "evaluation":
        write_run_report(run)
    return Evaluation(folder, metrics)


def _measured(
    translator: Translator,
    dataset: PairDataset,
    folder: Path,
    perceptual: PerceptualMetrics,
    labels: LabelScore | None,
    progress: Progress | None,
) -> Iterator[ImageScore]:
    """Score every pair and write its output."""
    model, loss, device = translator.model, translator.model.config.settings.loss, translator.device
    discriminator = model.discriminator if loss.adversarial_weight else None  # at weight 0 it has learnt nothing
    if dataset.full_size and not _at_scale(model.config):
        discriminator = None
    generator = translator.for_any_size(translator.generator) if dataset.full_size else translator.generator
    if discriminator is not None:
        discriminator.to(device)
    torch.manual_seed(model.config.settings.training.seed)  # of the dropout, if it is on
    for done, (result, image) in enumerate(
        score(generator, discriminator, _batches(dataset), loss, device, perceptual, _span(model)), start=1
    ):
        path = output_path(folder, dataset.pairs[result.index], model)
        images.write(path, model.target_values.to_array(image.clamp(-1, 1)))
        if labels is not None:
            one = dataset.one(result.index)
            mask = None if one.mask is None else one.mask[0]
            result.values["label_accuracy"] = labels.see(dataset.pairs[result.index], image, one.target[0], mask)
        if progress is not None:
            progress(done, len(dataset), "evaluating")
        yield result


def _span(model: Model) -> Tensor:
    """What the range [-1, 1] is in the target's own units: (1,), or (C,)."""
    return torch.tensor([high - low for low, high in model.target_values.bounds])


def _at_scale(model_config: ModelConfig) -> bool:
    """Whether the networks see files pixel by pixel."""
    return model_config.scale == (1.0, 1.0)


def presented(pairs: Sequence[Pair], model: Model, *, full_size: bool = False) -> PairDataset:
    """Pairs at the model's image_size, as its training presented them, or at full size; of a training that kept their
    own sizes, without `full_size`, their middles. Raises DataError for other channels than the model was trained on.
    """
    model.prepared.refuse_other_files(pairs)
    load_size: Native | None = "native" if model.config.settings.native else None
    dataset = PairDataset(pairs, model.prepared, load_size=load_size, full_size=full_size)
    if full_size and min(dataset.smallest) < _least(model):
        height, width = dataset.smallest
        raise DataError(
            f"{pairs[0].source.path} and the others of its split: the least height and width are {height}x{width}, and "
            f"measuring them whole takes {_least(model)} pixels a side: remove the small pairs"
        )
    return dataset


def _least(model: Model) -> int:
    """Pixels a side that SSIM and, where it judges, D need."""
    judged = model.discriminator is not None and _at_scale(model.config)
    return max(SMALLEST_SIDE, smallest_discriminated(model.config.settings.discriminator.patch_size) if judged else 1)


def _facts(model_config: ModelConfig) -> dict[str, Any]:
    return {
        "epoch": model_config.epoch,
        "direction": model_config.settings.data.direction,
        "image_size": list(model_config.settings.data.image_size),
        "norm_statistics": model_config.norm_statistics,
    }


def _holes(count: int) -> Iterator[str]:
    if count:
        yield f"{count} of the targets are nothing but holes, and count for nothing"


def _notes(pairs: PairSet, split: str, model_config: ModelConfig, *, full_size: bool) -> Iterator[str]:
    """What a reader must know to trust the numbers."""
    if full_size:
        yield "pictures are measured whole, at their own size; the model's health is looked at in image_size"
        if not _at_scale(model_config):
            yield "the discriminator judges nothing here, as it was trained on pictures of another scale"
    if split not in pairs.carved:
        return
    yield f"there is no folder for {split}: it was carved from train by seed {model_config.settings.data.split_seed}"
    if pairs.fingerprint() != model_config.settings.provenance.get("data_fingerprint"):
        yield "these are not the data of the training, so some of these pairs may have been trained on"


def _examined(
    generator: nn.Module,
    dataset: PairDataset,
    device: torch.device,
    train: Sequence[Pair],
    known: Tensor | None,
    model: Model,
    seed: int,
) -> Health:
    """The health of a generator on some pairs of the split."""

    def some(indices: Sequence[int]) -> Iterator[Batch]:
        yield from (dataset.one(index) for index in indices)

    def training_image(index: int) -> tuple[str, Tensor]:
        _, target, _ = presented([train[index]], model)[0, 0]
        return train[index].name, target

    return examine(
        generator,
        some,
        len(dataset),
        device,
        train=known,
        training_image=training_image,
        names=[pair.name for pair in dataset.pairs],
        seed=seed,
    )


# ---- baselines -------------------------------------------------------------------------------------------------


def baselines(
    train: Sequence[Pair], dataset: PairDataset, model: Model
) -> tuple[dict[str, dict[str, float]], Tensor | None]:
    """What needs no learning, measured on the same pairs: the mean training target, or at full size, where pictures may
    differ in it, its mean colour; and the source itself.

    Also the thumbnails of all training targets, as they are read here.
    """
    found: dict[str, dict[str, float]] = {}
    known: list[Tensor] = []
    if train:
        total, count = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for batch in _batches(presented(train, model)):
            known_here = torch.ones_like(batch.target, dtype=torch.bool) if batch.mask is None else batch.mask
            total, count = total + batch.target.sum(dim=0), count + known_here.sum(dim=0)
            known.append(thumbnails(batch.target))
        if dataset.full_size:
            total, count = total.sum(dim=(1, 2), keepdim=True), count.sum(dim=(1, 2), keepdim=True)
        mean = total / count.clamp(min=1)
        name = "mean_colour" if dataset.full_size else "mean_target"
        found[name] = _baseline(dataset, lambda batch: mean.expand_as(batch.target), model)
    if dataset.source_widths == (dataset.target_channels,):
        found["source"] = _baseline(dataset, lambda batch: batch.source, model)
    return found, torch.cat(known) if known else None


def _baseline(dataset: PairDataset, output: Callable[[Batch], Tensor], model: Model) -> dict[str, float]:
    scores = []
    for batch in _batches(dataset):
        terms = image_metrics(output(batch), batch.target, batch.mask, _span(model))
        scores += [
            ImageScore(int(index), {name: term[n].item() for name, term in terms.items()})
            for n, index in enumerate(batch.index)
        ]
    return mean_scores(scores)


# ---- files -----------------------------------------------------------------------------------------------------


def _place(
    data: str | Path | None, source: str | Path | Sequence[str | Path] | None, target: str | Path | None
) -> dict[str, Any]:
    """Where the pairs are; a manifest's columns and the named folders say themselves which side is the source."""
    if (source is None) != (target is None) or (data is not None and source is not None):
        raise ConfigError("name the pairs in one way: DATA, or both of --source DIR and --target DIR")
    said = data is None or _is_manifest(Path(data)) or (Path(data) / "source_1").exists()
    named: dict[str, Any] = {
        name: None if place is None else str(place) for name, place in (("path", data), ("target", target))
    }
    sources = [source] if isinstance(source, str | Path) else source
    named["source"] = None if sources is None else [str(folder) for folder in sources]
    return named | ({"direction": "AtoB"} if said else {})


def _found(trained: Data, place: dict[str, Any], patterns: dict[str, Any]) -> tuple[PairSet, list[str]]:
    """The pairs in a place, and what must be said of how they were found. Raises ConfigError or DataError.

    Patterns that are given apply. Those of the training are of its own folders: a manifest has no use for them, and
    where they fit nothing, the other layouts are tried, but for one in which names suggest another pattern.
    """
    given = any(patterns.values())
    own = {name: getattr(trained, name) for name in patterns}
    manifest = place["path"] is not None and _is_manifest(Path(place["path"]))
    used = patterns if given else dict.fromkeys(own) if manifest else own
    try:
        asked = Data.model_validate(trained.model_dump() | place | used)
    except ValidationError as error:
        raise ConfigError(explain(error, Data)) from None
    if given or manifest or not any(own.values()):
        try:
            return _usable(asked), []
        except ConfigError:
            if asked.direction == "AtoB":
                raise
        return _usable(asked.model_copy(update={"direction": "AtoB"})), []  # the layout itself says which is the source
    try:
        return _usable(asked), []
    except DataError:
        plain = asked.model_copy(update=dict.fromkeys(own))
        with contextlib.suppress(DataError):
            pairs = _usable(plain)
            if not pairs.hint and not pairs.unmatched:
                return pairs, [f"no names fit the patterns of the training: taken as {pairs.layout}"]
        raise


def _usable(data: Data) -> PairSet:
    """All pairs, or those that can be used if the training was one on such."""
    pairs = find_pairs(data)
    if not data.skip_bad:
        return pairs
    refuse_other_count(next(iter(pairs.splits.values())), max(1, len(data.sources)))  # a check would speak of settings
    return check(data).without_bad().pairs


def _is_manifest(path: Path) -> bool:
    return path.is_file() or (path / MANIFEST).exists()


def _split(pairs: PairSet, split: str) -> tuple[Pair, ...]:
    if split not in pairs.splits:
        known = ", ".join(f"{name} ({len(of)} pairs)" for name, of in pairs.splits.items())
        raise DataError(f"the data have no split `{split}`, only {known}; choose one with --split")
    return pairs.splits[split]


def _default_output(model: str | Path, split: str) -> Path:
    """RUN/evaluation/SPLIT; for a model outside a run, evaluation/SPLIT inside the model's folder if it is local."""
    folder = locate(model)
    if (run := _run_with(folder)) is not None:
        return run / "evaluation" / split
    if Path(model).exists():
        return folder / "evaluation" / split
    raise ModelError(f"{model}: comes from the hub; say where to write with --output DIR")


def _run_with(part: Path) -> Path | None:
    """The run that a folder, its model or its evaluations, is a part of."""
    run = part.parent
    return run if (run / "config.yaml").exists() and (run / "model").is_dir() else None


def _batches(dataset: PairDataset) -> Iterator[Batch]:
    return make_loader(dataset, batch_size=BATCH, workers=0, shuffle=False).epoch(0)


def output_path(folder: Path, pair: Pair, model: Model) -> Path:
    """Where an evaluation in `folder` keeps the output of a pair."""
    suffix = images.suffix_for(model.target_values.dtype, model.out_channels)
    path = folder / "outputs" / f"{pair.name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(folder: Path, metrics: Mapping[str, Any], scores: Sequence[ImageScore], pairs: Sequence[Pair]) -> None:
    text = io.StringIO()
    names = [name for name in (*METRICS, *(own.name for own in OWN_UNITS)) if name in scores[0].values]
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
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(metrics), indent=2, allow_nan=False) + "\n"


def _examples(folder: Path, scores: Sequence[ImageScore], dataset: PairDataset, model: Model) -> Iterator[Example]:
    """The best, the median and the worst images by l1: up to SHOWN each, no image twice."""
    ranked = sorted(scores, key=lambda result: result.values["l1"])
    size = min(SHOWN, max(1, len(ranked) // 3))
    middle = (len(ranked) - size) // 2
    starts: tuple[tuple[Literal["best", "median", "worst"], int], ...] = (
        ("best", 0),
        ("worst", len(ranked) - size),
        ("median", middle),
    )
    shown: set[int] = set()
    for group, start in starts:
        for result in ranked[max(0, start) : max(0, start) + size]:
            if result.index not in shown:
                shown.add(result.index)
                yield _example(folder, result, dataset, model, group)


def _example(
    folder: Path, result: ImageScore, dataset: PairDataset, model: Model, group: Literal["best", "median", "worst"]
) -> Example:
    source, target, _ = dataset[0, result.index]
    pair = dataset.pairs[result.index]
    written = images.read(output_path(folder, pair, model), alpha=True)
    output = model.target_values.to_tensor(written)
    shown, made, wanted = dataset.picture(source), tensors.to_viewable(output), tensors.to_viewable(target)
    return Example(pair.name, group, shown, made, wanted, result.values)
