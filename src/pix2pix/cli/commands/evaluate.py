"""`pix2pix evaluate`: measure a model on pairs, and write a report."""

from pix2pix.cli.console import print_labels, print_metrics, print_path, say
from pix2pix.cli.flags import Json, with_flags
from pix2pix.config.evaluation import EvaluateOptions
from pix2pix.system.progress import ProgressBar


@with_flags
def evaluate(
    model: str,
    data: str | None = None,
    /,
    *,
    options: EvaluateOptions | None = None,
    json_: Json = False,
) -> None:
    """Measure a model on a split: losses, image metrics, confidence intervals, baselines, a report.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    data
        Folder of pairs, or pairs.csv; or use --source DIR --target DIR.
    json_
        Print metrics.json to stdout.
    """
    from pix2pix.evaluation.evaluate import evaluate_with
    from pix2pix.evaluation.write import to_json
    from pix2pix.metrics.perceptual import describe_missing

    with ProgressBar("evaluating") as bar:
        result = evaluate_with(model, data, options or EvaluateOptions(), progress=bar.update)
    for note in result.metrics["notes"]:
        say(f"note: {note}")
    for sentence in describe_missing(result.metrics["missing"]):
        say(sentence)
    if json_:
        print(to_json(result.metrics), end="")
    else:
        print_metrics(result.metrics)
        if result.metrics["labels"] is not None:
            print_labels(result.metrics["labels"])
        print_path(result.path / "report.html")
