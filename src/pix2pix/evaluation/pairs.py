"""Find the pairs of an evaluation, and prepare them as the model needs them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pix2pix.config import SMALLEST_SIDE, Data, least_side
from pix2pix.config.evaluation import EvaluateOptions
from pix2pix.config.fields import Native
from pix2pix.config.io import explain
from pix2pix.data.checks.check import check
from pix2pix.data.checks.evidence import SideBySideEvidence
from pix2pix.data.checks.turned import refuse_turned
from pix2pix.data.encoding.prepared import refuse_other_count
from pix2pix.data.io import images
from pix2pix.data.io.arrays import half_width
from pix2pix.data.loading.dataset import PairDataset
from pix2pix.data.pairing.manifest import MANIFEST
from pix2pix.data.pairing.pair import Pair
from pix2pix.data.pairing.pairs import PairSet, describe_unmatched, find_pairs, same_data
from pix2pix.errors import ConfigError, DataError
from pix2pix.model import Model
from pix2pix.networks.st_lpips import SMALLEST_SIDE as SMALLEST_COMPARED
from pix2pix.text import format_count


@dataclass(frozen=True)
class EvaluationPairs:
    """The pairs of one split, and all other pairs of the data set."""

    pairs: PairSet
    split: str
    place: str  # folder, folders or manifest, for messages
    notes: tuple[str, ...]  # on how they were found

    @property
    def chosen(self) -> tuple[Pair, ...]:
        return self.pairs.splits[self.split]

    @property
    def train(self) -> tuple[Pair, ...]:
        """The training pairs; empty where there are none."""
        return self.pairs.splits.get("train", ())


def find_evaluation_pairs(model: Model, data: str | Path | None, options: EvaluateOptions) -> EvaluationPairs:
    """Find the pairs in DATA, or in --source and --target, in any layout. Raises ConfigError or DataError.

    A missing split is carved as in training.
    """
    settings = model.config.settings.data
    place = _locate(data, options)
    place |= {"layout": options.layout}
    given = {"source_pattern": options.source_pattern, "target_pattern": options.target_pattern}
    own: dict[str, Any] = {name: getattr(settings, name) for name in given}
    notes: tuple[str, ...] = ()
    # The patterns of the training are tried too, except for a manifest, which names each file.
    if any(given.values()) or not any(own.values()) or _is_manifest(place["path"]):
        pairs = _find_in_either_direction(_validate(settings, place, given), model)
    else:
        asked = _validate(settings, place, own)
        try:
            pairs = _find_usable(asked, model)
        except DataError:
            other = _find_without_patterns(asked, model)
            if other is None:
                raise
            pairs, notes = other, (f"no names fit the patterns of the training: read as {other.layout}",)
    if pairs.unmatched:
        raise DataError(f"{describe_unmatched(pairs)}; add the missing halves or move these images away")
    if options.split not in pairs.splits:
        known = ", ".join(f"{name} ({format_count(len(of), 'pair')})" for name, of in pairs.splits.items())
        raise DataError(f"the data have no split `{options.split}`, only {known}; choose one with --split")
    if pairs.sources == len(model.sources) and not same_data(pairs.fingerprint(), _known(model)):
        refuse_turned(pairs.splits[options.split], _validate(settings, place))
    named = place["path"] or " and ".join([*place["source"], place["target"]])
    return EvaluationPairs(pairs, options.split, named, notes)


def _locate(data: str | Path | None, options: EvaluateOptions) -> dict[str, Any]:
    """Return the settings of `Data` that tell where the pairs are.

    The columns of a manifest, and folders named source and target, tell which side is the source. Then direction is
    reset to AtoB.
    """
    if (options.source is None) != (options.target is None) or (data is not None and options.source is not None):
        raise ConfigError("give the pairs in one way: DATA, or --source DIR and --target DIR")
    place = {"path": None if data is None else str(data), "source": options.source, "target": options.target}
    named = data is None or _is_manifest(str(data)) or (Path(data) / "source_1").exists()
    given = {name: value for name in ("planes", "npy_axes", "exif") if (value := getattr(options, name)) is not None}
    return place | given | ({"direction": "AtoB"} if named else {})


def _is_manifest(path: str | None) -> bool:
    return path is not None and (Path(path).is_file() or (Path(path) / MANIFEST).exists())


def _validate(settings: Data, *changes: dict[str, Any]) -> Data:
    values = settings.model_dump()
    for change in changes:
        values |= change
    try:
        return Data.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Data)) from None


def _find_in_either_direction(data: Data, model: Model) -> PairSet:
    """Find pairs. If the layout determines which side is the source, ignore the direction of the training."""
    try:
        return _find_usable(data, model)
    except ConfigError:
        if data.direction == "AtoB":
            raise
    return _find_usable(data.model_copy(update={"direction": "AtoB"}), model)


def _find_without_patterns(data: Data, model: Model) -> PairSet | None:
    """Try layouts without patterns; None if none fits, or if the names suggest that a pattern is needed."""
    try:
        pairs = _find_usable(data.model_copy(update={"source_pattern": None, "target_pattern": None}), model)
    except DataError:
        return None
    return None if pairs.hint or pairs.unmatched else pairs


def _find_usable(data: Data, model: Model) -> PairSet:
    """Find all pairs; only those without problems if the training used --skip-bad."""
    pairs, known = find_pairs(data), _known(model)
    if not data.skip_bad:
        if data.layout == "auto" and not same_data(pairs.fingerprint(), known):
            _refuse_single_images(pairs, data)
        return pairs
    refuse_other_count(
        next(iter(pairs.splits.values())), max(1, len(data.sources))
    )  # first, since the error of a check would name settings
    return check(data, known=[known]).without_bad([known]).pairs


def _known(model: Model) -> str:
    """Return the fingerprint of the data of the training; empty if it is not known."""
    return str(model.config.settings.provenance.get("data_fingerprint", ""))


def _refuse_single_images(pairs: PairSet, data: Data) -> None:
    """Raise DataError if images that would be cut in halves are not evidently two side by side."""
    evidence = SideBySideEvidence()
    for ref in (pair.source for of in pairs.splits.values() for pair in of if pair.source.half):
        with suppress(DataError):  # the reader of the pairs names it
            facts = images.probe(ref.path, ref.view.of_whole)
            evidence.add(ref.path, replace(facts, width=half_width(facts.width, ref.path)))
    for path, reason in evidence.problems(str(data.path)):
        raise DataError(f"{path}: {reason}")


def present_pairs(pairs: Sequence[Pair], model: Model, *, full_size: bool = False) -> PairDataset:
    """Make the data set of some pairs as the model needs them.

    Images are resized to image_size as in validation, or keep their sizes with `full_size`. If the training used native
    sizes, images without `full_size` are cropped at the centre. Raises DataError for other channels than the model's.
    """
    model.prepared.refuse_other_files(pairs)
    load_size: Native | None = "native" if model.config.settings.native else None
    dataset = PairDataset(pairs, model.prepared, load_size=load_size, full_size=full_size)
    if full_size and min(dataset.smallest) < _smallest_side(model):
        height, width = dataset.smallest
        raise DataError(
            f"{pairs[0].source.path} and the others of its split: the smallest height and width are {height}x{width}, "
            f"but a measurement at full size needs {_smallest_side(model)} pixels a side: remove the small pairs"
        )
    return dataset


def _smallest_side(model: Model) -> int:
    """Return the smallest side in pixels for SSIM and, if they are measured, for ST-LPIPS and the discriminator."""
    settings = model.config.settings
    least = max(SMALLEST_SIDE, SMALLEST_COMPARED["alex"] if settings.loss.perceptual_weight else 0)
    if model.discriminator is None or not sees_file_pixels(model):
        return least
    return max(least, least_side(settings.discriminator))


def sees_file_pixels(model: Model) -> bool:
    """Return whether the training used the pixels of the files, not resized."""
    return model.config.scale == (1.0, 1.0)


def describe_pairs(found: EvaluationPairs, model: Model, *, full_size: bool) -> Iterator[str]:
    """Yield notes on the pairs that a reader of the numbers must know."""
    yield from found.notes
    if model.predicts_classes:
        yield "outputs are label maps: l1, psnr, ssim and the other metrics of images are not measured"
    if full_size:
        yield "images are measured at full size; the diagnostics are measured at image_size"
        if not sees_file_pixels(model):
            yield "the discriminator is not measured, as it was trained on images of another scale"
    if found.split not in found.pairs.carved:
        return
    settings = model.config.settings
    yield f"there is no folder for {found.split}: it was taken from train (seed {settings.data.split_seed})"
    if not same_data(found.pairs.fingerprint(), settings.provenance.get("data_fingerprint")):
        yield "these are not the data of the training, so the training may have used some of these pairs"
