"""Note an evaluation beside the weights that it measured, and make the model card anew with it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pix2pix.data.pairing.pairs import same_data
from pix2pix.evaluation.pairs import EvaluationPairs
from pix2pix.evaluation.write import find_run
from pix2pix.model import Model, locate
from pix2pix.model.card import METRICS, SAMPLES
from pix2pix.model.card_file import update_card
from pix2pix.model.facts import EvaluationFacts, add_evaluation, name_folder
from pix2pix.model.model_config import CONFIG, read_model_config
from pix2pix.model.samples import MOST_ROWS, draw_samples
from pix2pix.model.weights import GENERATOR
from pix2pix.reports.examples import Gallery
from pix2pix.system.files import write_atomically
from pix2pix.system.locks import find_holder


def record_evaluation(
    name: str | Path, model: Model, found: EvaluationPairs, metrics: Mapping[str, Any], gallery: Gallery
) -> list[str]:
    """Add an evaluation to the folder of its model, and update the card there; return notes.

    A model of the hub's cache and one that is being trained are left as they are.
    """
    folder, digest = locate(name), model.config.sha256.get(GENERATOR)
    if not Path(name).exists() or (folder / CONFIG).is_symlink() or digest is None:
        return []
    run = find_run(folder)
    if run is not None and find_holder(run) is not None:
        return [f"{run} is being trained, so the card of its model is not updated"]
    if read_model_config(folder / CONFIG).sha256.get(GENERATOR) != digest:
        return [f"{folder} holds other weights now, so its card is not updated"]
    try:
        add_evaluation(folder, digest, _facts(model, found, metrics))
        if found.split != "train" and not (folder / SAMPLES).exists():
            _write_samples(folder, gallery)
        note = update_card(folder)
    except OSError as error:
        return [f"the card of the model is not updated: {error.filename or folder}: {error.strerror or error}"]
    return [] if note is None else [note]


def _facts(model: Model, found: EvaluationPairs, metrics: Mapping[str, Any]) -> EvaluationFacts:
    known = model.config.settings.provenance.get("data_fingerprint")
    names = [name for name in METRICS if metrics.get(name) is not None and math.isfinite(metrics[name])]
    return EvaluationFacts(
        data=name_folder(found.place),
        of_training=known is not None and same_data(found.pairs.fingerprint(), known),
        split=found.split,
        images=len(found.chosen),
        full_size=metrics["full_size"],
        dropout=metrics["dropout"],
        metrics={name: metrics[name] for name in names},
        intervals={name: metrics["intervals"].get(name) for name in names},
    )


def _write_samples(folder: Path, gallery: Gallery) -> None:
    """Draw the best, a middle and the worst image of an evaluation."""
    examples = gallery.examples
    chosen = sorted({0, (len(examples) - 1) // 2, len(examples) - 1})[:MOST_ROWS] if examples else []
    rows = [[view.whole for view in (examples[n].source, examples[n].output, examples[n].target)] for n in chosen]
    if (picture := draw_samples(rows)) is not None:
        write_atomically(folder / SAMPLES, lambda file: file.write(picture))
