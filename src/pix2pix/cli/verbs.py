"""The verbs: what each takes from a command line, its help, the call of the room that does it, what it prints.

Heavy modules are imported by the verb that needs them.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from pix2pix.cli.console import aligned, print_labels, print_metrics, say
from pix2pix.cli.flags import with_flags
from pix2pix.config import Settings
from pix2pix.config.io import merged, to_yaml
from pix2pix.config.presets import chosen_settings
from pix2pix.errors import DataError
from pix2pix.system.progress import ProgressBar

Device = Literal["auto", "cpu", "cuda", "mps"]
Json = Annotated[bool, Parameter(name="--json", negative=())]


def demo(*, run: Path = Path("runs/demo"), overwrite: bool = False) -> None:
    """Embedded data, trained, evaluated and reported in minutes on two CPU cores.

    Parameters
    ----------
    run
        Folder of the run; an interrupted demo goes on in it.
    overwrite
        Replace the run that stands there.
    """
    from pix2pix.demo import demo as run_demo

    print_metrics(run_demo(run, overwrite=overwrite).metrics)
    print(run / "report.html")


@with_flags
def train(
    data: str | None = None,
    /,
    *,
    run: Path | None = None,
    preset: str | None = None,
    config: Path | None = None,
    base_channels: int | None = None,
    overwrite: bool = False,
    print_config: bool = False,
    dry_run: bool = False,
    settings: Settings | None = None,
) -> None:
    """Train a translator on pairs; the same command again resumes it.

    Parameters
    ----------
    data
        Folder of pairs, or pairs.csv; or give --source DIR --target DIR.
    run
        Folder of the run; by default runs/NAME, after the data.
    preset
        Published recipe: slides, paper, junyanz; by default paper.
    config
        YAML file of settings; flags win over it, it wins over a preset.
    base_channels
        First width of both networks.
    overwrite
        Replace the run that stands in the folder.
    print_config
        Print the settings as YAML and stop.
    dry_run
        Look at the data, print the plan and stop.
    """
    overrides = settings.model_dump(exclude_unset=True) if settings is not None else {}
    if base_channels is not None:
        widths = {section: {"base_channels": base_channels} for section in ("generator", "discriminator")}
        overrides = merged(widths, overrides)

    chosen = chosen_settings(data, preset, config, overrides)
    if print_config:
        print(to_yaml(chosen), end="")
        return
    from pix2pix.training.train import plan_only, train_with

    if dry_run:
        plan_only(chosen, run, overwrite=overwrite)
    else:
        done = train_with(chosen, run, overwrite=overwrite)
        if done.first:
            print(done.path)


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
    """Measure a model on a split: the slides' four numbers, all metrics, intervals, baselines, a report.

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


def compare(
    runs: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    output: Path | None = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Put runs side by side: settings that differ, curves, best epochs, evaluations, pictures, and findings.

    Parameters
    ----------
    runs
        Run folders, two or more, finished or not.
    output
        Folder for compare.html and compare.json; by default runs/compare, and none with --json.
    device
        Where the same inputs are translated by each run's model.
    json_
        Print everything but the pictures to stdout.
    """
    from pix2pix.evaluation.compare import compare as put_side_by_side
    from pix2pix.evaluation.evaluate import to_json

    place = Path("runs/compare") if output is None and not json_ else output
    with ProgressBar("comparing") as bar:
        done = put_side_by_side(*runs, output=place, device=device, progress=bar.update)
    if json_:
        print(to_json(done.results), end="")
        return
    for finding in done.results["findings"]:
        print(f"- {finding}")
    print(done.page)


def translate(
    model: str,
    inputs: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    output: Path,
    batch_size: int = 4,
    shard: str | None = None,
    source_pattern: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006  # never changed
    dropout: bool = False,
    seed: int | None = None,
    device: Device = "auto",
    precision: Literal["32", "bf16"] = "32",
) -> None:
    """Translate images and folders of images; each output has its input's size and name.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    inputs
        Images, or folders of images; for a model of several sources one of each, in the order of its training.
    output
        Folder for the translations.
    batch_size
        Pictures of one size that are translated together.
    shard
        Part of the pictures, as i/n with i from 1 to n: for array jobs, which may share the output folder.
    source_pattern
        Names in the folders of several sources, such as {id}_t1.tif: one for all, or one for each.
    dropout
        Keep dropout on, the method's noise: another picture each time.
    seed
        Repeat a picture made with dropout.
    device
        Where to compute.
    precision
        Arithmetic; bf16 is faster where the hardware has it, and errs by about a thousandth of the range.
    """
    from pix2pix.inference.pipeline import translate as carry_out
    from pix2pix.text import escape_unprintable

    choices: dict[str, Any] = {"batch_size": batch_size, "shard": shard, "dropout": dropout, "seed": seed}
    choices["source_pattern"] = source_pattern
    with ProgressBar("translating") as bar:
        result = carry_out(
            model, inputs, output=output, device=device, precision=precision, progress=bar.update, **choices
        )
    say(f"{len(result.written)} translated into {output}")
    if len(result.failed) == 1:
        raise DataError(result.failed[0][1])
    for _, reason in result.failed:
        say(f"not translated: {escape_unprintable(reason)}")
    if result.failed:
        raise DataError(f"{len(result.failed)} of the images could not be translated; they are named above")


def info(model: str, /, *, json_: Json = False) -> None:
    """What a model is: networks, channels, sizes, statistics, validation.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    json_
        Print it as JSON.
    """
    from pix2pix.inference.optimize import describe_engine
    from pix2pix.model import describe_model

    facts = describe_model(model) | {"engine": describe_engine()}
    print(json.dumps(facts, indent=2) if json_ else aligned(facts))


@with_flags
def study(
    kind: str,
    data: str | None = None,
    /,
    *,
    run: Path = Path("runs/study"),
    seeds: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = [0],  # noqa: B006  # never changed
    processes: int = 1,
    split: str = "test",
    preset: str | None = None,
    config: Path | None = None,
    base_channels: int | None = None,
    segmenter: bool = True,
    palette: str | None = None,
    dry_run: bool = False,
    json_: Json = False,
    settings: Settings | None = None,
) -> None:
    """Repeat one of the paper's experiments: variants of one budget on one page; the same command resumes it.

    Parameters
    ----------
    kind
        losses, generators or patches.
    data
        Folder of pairs, or pairs.csv; or give --source DIR --target DIR.
    run
        Folder of the study; other studies may share it, and with it the trainings that they have in common.
    seeds
        One training of each variant for each of these.
    processes
        Trainings at the same time, each with one thread if there are several.
    split
        Which pairs are measured and shown.
    preset
        Published recipe that all variants share; by default paper.
    config
        YAML file of settings that all variants share.
    base_channels
        First width of both networks.
    segmenter
        Where the sources are label maps, measure how well the labels can be read from the outputs, as the paper does.
    palette
        Colours of the label maps, as #0000ff,#ff5500,... or a file with one a line; by default found in them.
    dry_run
        Print the plan with an estimate of its time and stop.
    json_
        Print the table as JSON.
    """
    from pix2pix.study.page import lines
    from pix2pix.study.study import describe, plan_study
    from pix2pix.study.study import study as carry_out

    overrides = settings.model_dump(exclude_unset=True) if settings is not None else {}
    if base_channels is not None:
        widths = {section: {"base_channels": base_channels} for section in ("generator", "discriminator")}
        overrides = merged(widths, overrides)
    choices: dict[str, Any] = {"run": run, "seeds": seeds, "split": split, "preset": preset, "config": config}
    choices |= {"segmenter": segmenter, "palette": palette}
    if dry_run:
        for line in describe(plan_study(kind, data, overrides, **choices), processes):
            print(line)
        return
    if processes > 1:
        with ProgressBar("studying") as bar:
            done = carry_out(kind, data, overrides, **choices, processes=processes, progress=bar.update)
    else:  # each training shows its own progress
        done = carry_out(kind, data, overrides, **choices, processes=processes)
    if json_:
        print(json.dumps(done.results, indent=2))
    else:
        print("\n".join(lines(done.results)))
        print(done.page)
