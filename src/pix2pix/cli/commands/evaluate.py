"""`pix2pix evaluate`: a model and pairs -> metrics and a report."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pix2pix.cli.console import print_labels, print_metrics, say
from pix2pix.cli.flags import Json
from pix2pix.config.fields import Device
from pix2pix.system.progress import ProgressBar


def evaluate(
    model: str,
    data: str | None = None,
    /,
    *,
    source: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006  # never changed
    target: str | None = None,
    source_pattern: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006  # never changed
    target_pattern: str | None = None,
    split: str = "test",
    output: Path | None = None,
    dropout: bool = False,
    full_size: Annotated[bool, Parameter(negative=())] = False,
    weights: Annotated[list[Path], Parameter(negative=())] = [],  # noqa: B006  # never changed
    features: str | None = None,
    segmenter: Annotated[bool, Parameter(negative=())] = False,
    segmenter_folder: Path | None = None,
    palette: str | None = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Measure a model on a split: losses, image metrics, confidence intervals, baselines, a report.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    data
        Folder of pairs, or pairs.csv; or give --source DIR --target DIR.
    source
        Folder of sources, in place of DATA; repeated for several.
    target
        Folder of targets, matched to the sources by name.
    source_pattern
        Names of the sources, such as {id}_training.tif, repeated for several; by default the training's are tried.
    target_pattern
        Names of the targets.
    split
        Which pairs: train, val or test.
    output
        Folder to write to; by default the run's evaluation/SPLIT.
    dropout
        Keep dropout on, as the paper's test mode does.
    full_size
        Measure pictures at their own size, as translate writes them; by default at the size that the model was trained
        at. Always so for models that were trained with --load-size native.
    weights
        File with the weights of AlexNet (for LPIPS) or Inception (FID, KID), or a folder with both; by default they are
        looked for in torch's cache (TORCH_HOME).
    features
        Another network for FID and KID, as package.module:factory.
    segmenter
        Teach a small network to read labels from photos, and measure how well it reads them from the outputs: the
        paper's FCN-score, for models from label maps to photos.
    segmenter_folder
        Where that network is kept, for other models to share; by default in the run.
    palette
        Colours of the label maps, as #0000ff,#ff5500,... or a file with one a line; by default found in them.
    device
        Where to compute.
    json_
        Print metrics.json to stdout.
    """
    from pix2pix.evaluation.evaluate import evaluate as measure
    from pix2pix.evaluation.evaluate import to_json

    place: dict[str, Any] = {"data": data, "source": source or None, "target": target}
    place |= {"source_pattern": source_pattern or None, "target_pattern": target_pattern}
    choices: dict[str, Any] = {"split": split, "output": output, "device": device, "dropout": dropout}
    choices |= {
        "full_size": full_size,
        "segmenter": segmenter,
        "segmenter_folder": segmenter_folder,
        "palette": palette,
    }
    if features is not None:
        from pix2pix.metrics.perceptual import load_features

        choices["features"] = load_features(features)
    with ProgressBar("evaluating") as bar:
        result = measure(model, **place, **choices, weights=weights, progress=bar.update)
    for note in result.metrics["notes"]:
        say(f"note: {note}")
    for name, reason in result.metrics["missing"].items():
        say(f"not measured: {name}: {reason}")
    if json_:
        print(to_json(result.metrics), end="")
    else:
        print_metrics(result.metrics)
        if result.metrics["labels"] is not None:
            print_labels(result.metrics["labels"])
        print(result.path / "report.html")
