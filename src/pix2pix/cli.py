"""Words typed in a shell in; calls of the verbs, exit codes and one-sentence errors out. Parsing only.

Exit codes: 0 done, 1 failed, 2 misuse, 130 or 143 interrupted with everything saved. Results for programs go to
stdout (`--json`), talk to stderr. Heavy modules are imported by the verb that needs them, never for `--help`.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from cyclopts import App, CoercionError, CycloptsError, Group, Parameter, ValidationError
from pydantic import ValidationError as PydanticError

from pix2pix.config import Augment, Data, Make, Settings, explain, merged, to_yaml
from pix2pix.errors import ConfigError, DataError, Interrupted, ModelError, RunError
from pix2pix.presets import chosen_settings

app = App(
    name="pix2pix",
    help="Bring a folder of image pairs; get a translator that is trained, measured and ready to use.",
    version=lambda: version("pix2pix"),
    help_format="plaintext",
    help_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
    group_parameters=Group("Parameters", sort_key=0),
)
data_app = App(name="data", help="Get a set of pairs, or make one from photos; check it before training; look at it.")
app.command(data_app)

OUT_OF_MEMORY = "out of memory; try a smaller --batch-size, --image-size or picture"

Device = Literal["auto", "cpu", "cuda", "mps"]
Json = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
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

    _print_metrics(run_demo(run, overwrite=overwrite).metrics)
    print(run / "report.html")


@app.command
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
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
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


@app.command
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
    """Measure a model on a split: the slides' four numbers, every metric with its interval, baselines, a report.

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
        from pix2pix.evaluation.features import load_features

        choices["features"] = load_features(features)
    with _Counting("evaluating") as progress:
        result = measure(model, **place, **choices, weights=weights, progress=progress)
    for note in result.metrics["notes"]:
        _say(f"note: {note}")
    for name, reason in result.metrics["missing"].items():
        _say(f"not measured: {name}: {reason}")
    if json_:
        print(to_json(result.metrics), end="")
    else:
        _print_metrics(result.metrics)
        if result.metrics["labels"] is not None:
            _print_labels(result.metrics["labels"])
        print(result.path / "report.html")


@app.command
def compare(
    runs: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    output: Path | None = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Put runs side by side: settings that differ, curves, best epochs, evaluations, pictures, and words on them.

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
    with _Counting("comparing") as progress:
        done = put_side_by_side(*runs, output=place, device=device, progress=progress)
    if json_:
        print(to_json(done.results), end="")
        return
    for finding in done.results["findings"]:
        print(f"- {finding}")
    print(done.page)


@app.command
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

    A model of several sources takes one image, or one folder, of each, in the order of its training.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    inputs
        Images, or folders of images.
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
    from pix2pix.data.check import visible
    from pix2pix.inference.translate import translate as carry_out

    choices: dict[str, Any] = {"batch_size": batch_size, "shard": shard, "dropout": dropout, "seed": seed}
    choices["source_pattern"] = source_pattern
    with _Counting("translating") as progress:
        result = carry_out(
            model, inputs, output=output, device=device, precision=precision, progress=progress, **choices
        )
    _say(f"{len(result.written)} translated into {output}")
    if len(result.failed) == 1:
        raise DataError(result.failed[0][1])
    for _, reason in result.failed:
        _say(f"not translated: {visible(reason)}")
    if result.failed:
        raise DataError(f"{len(result.failed)} of the images could not be translated; they are named above")


@app.command
def info(model: str, /, *, json_: Json = False) -> None:
    """What a model is: networks, channels, sizes, statistics, validation.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    json_
        Print it as JSON.
    """
    from pix2pix.inference.engine import describe_engine
    from pix2pix.model import describe_model

    facts = describe_model(model) | {"engine": describe_engine()}
    print(json.dumps(facts, indent=2) if json_ else _aligned(facts))


@app.command
def bench(
    *,
    only: str | None = None,
    quick: bool = False,
    profile: bool = False,
    bf16: bool = False,
    data: Path | None = None,
    image_size: int = 256,
    base_channels: int = 64,
    threads: int | None = None,
    plot: Path | None = None,
    json_: Json = False,
) -> None:
    """Measure this machine, the usual way of training, and this package, side by side; minutes on two cores.

    Parameters
    ----------
    only
        Sections to measure, with commas: training, run, inference, folder, memory, loading, startup, scaling.
    quick
        Fewer repetitions and pictures.
    profile
        Take one training step apart instead: its parts, its slowest layers.
    bf16
        Measure bf16 even where the processor only emulates it.
    data
        Folder of side-by-side pairs to measure on; by default procedural facades.
    image_size
        Side of the pictures, a power of two; targets hold for 256.
    base_channels
        First width of both networks; targets hold for 64.
    threads
        Threads to compute with; by default torch's choice.
    plot
        Draw seconds against pixels and batch into this PNG.
    json_
        Print everything as JSON, every repetition included.
    """
    from pix2pix.bench.bench import bench as measure

    sections = [name.strip() for name in only.split(",")] if only is not None else []
    result = measure(
        only=sections,
        quick=quick,
        profile=profile,
        bf16=bf16,
        data=data,
        image_size=image_size,
        base_channels=base_channels,
        threads=threads,
        plot=plot,
    )
    print(json.dumps(result.to_json(), indent=2) if json_ else result.to_text())
    if not result.complete:
        raise KeyboardInterrupt


@app.command
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
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> None:
    """Repeat one of the paper's experiments: its variants under one budget, on one page; the same command resumes it.

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
        with _Counting("studying") as progress:
            done = carry_out(kind, data, overrides, **choices, processes=processes, progress=progress)
    else:  # each training shows its own progress
        done = carry_out(kind, data, overrides, **choices, processes=processes)
    if json_:
        print(json.dumps(done.results, indent=2))
    else:
        print("\n".join(lines(done.results)))
        print(done.page)


@data_app.command
def check(
    data: str | None = None,
    /,
    *,
    preview: Path | None = None,
    json_: Json = False,
    settings: Annotated[Data | None, Parameter(name="*", group="Data")] = None,
) -> None:
    """Read every file and say what is there and what is wrong; exit code 1 if anything is.

    Parameters
    ----------
    data
        Folder of pairs, or pairs.csv; or give --source DIR --target DIR.
    preview
        Also draw random pairs that can be used on a sheet, a .png file, as `pix2pix data preview` does with choices.
    json_
        Print the report as JSON.
    """
    from pix2pix.data.check import check as look
    from pix2pix.data.preview import preview as draw
    from pix2pix.data.preview import refuse_output

    overrides = {"data": settings.model_dump(exclude_unset=True) if settings is not None else {}}
    chosen = chosen_settings(data, None, None, overrides)
    if preview is not None:
        refuse_output(preview, chosen.data)
    with _Counting("checking") as progress:
        report = look(chosen.data, progress=progress)
    if json_:
        print(json.dumps(report.to_json(), indent=2))
    else:
        from pix2pix.training.plan import would_choose

        print("\n".join([report.to_text(), "", *would_choose(chosen, report)]))
    if preview is not None:
        _say(f"preview      {draw(chosen, preview, found=report.without_bad().pairs).path}")
    elif not json_:
        _say("`pix2pix data preview` draws some of the pairs on a sheet; so does --preview FILE.png here")
    if not report.ok:
        raise SystemExit(1)


@data_app.command
def download(
    name: str | None = None,
    /,
    *,
    output: Path | None = None,
    url: str | None = None,
    sha256: str | None = None,
) -> None:
    """Fetch and unpack a published set of pairs; the same command goes on where it was stopped.

    Parameters
    ----------
    name
        facades, maps, cityscapes, edges2shoes, edges2handbags or night2day; with --url, any name.
    output
        Folder for the pairs; by default NAME.
    url
        Another archive, .tar.gz or .zip: an address, or a file that was fetched by hand.
    sha256
        Hash that the archive must have.
    """
    from pix2pix.data.download import download as fetch

    with _Counting("downloading", in_bytes=True) as progress:
        done = fetch(name, output, url=url, digest=sha256, progress=progress)
    if not done.new:
        _say(f"{done.path} is there already")
    _say(_aligned({key: _in_words(value) for key, value in done.record.items()}))
    if done.note:
        _say(f"note: not yet pairs to train on: {done.note}")
    print(done.path)


@data_app.command
def preview(
    data: str | None = None,
    /,
    *,
    output: Path,
    count: int = 8,
    split: str | None = None,
    seed: int = 0,
    augmented: Annotated[bool, Parameter(negative=())] = False,
    preset: str | None = None,
    config: Path | None = None,
    settings: Annotated[Data | None, Parameter(name="*", group="Data")] = None,
    augment: Annotated[Augment | None, Parameter(name="*", group="Augmentation")] = None,
) -> None:
    """Draw a contact sheet of random pairs, source | target, and name them.

    Parameters
    ----------
    data
        Folder of pairs, or pairs.csv; or give --source DIR --target DIR.
    output
        The sheet, a .png file.
    count
        Pairs on the sheet.
    split
        Take them from train, val or test only.
    seed
        Another seed picks other pairs and draws.
    augmented
        Beside each pair, two draws of it as training would see them.
    preset
        Published recipe whose augmentation is drawn; by default paper.
    config
        YAML file of a training's settings.
    """
    from pix2pix.data.preview import preview as draw

    sections = {"data": settings, "augment": augment}
    overrides = {name: section.model_dump(exclude_unset=True) for name, section in sections.items() if section}
    chosen = chosen_settings(data, preset, config, overrides)
    choices: dict[str, Any] = {"count": count, "split": split, "seed": seed, "augmented": augmented}
    with _Counting("reading") as progress:
        drawn = draw(chosen, output, progress=progress, **choices)
    for name in drawn.names:
        _say(name)
    print(drawn.path)


@data_app.command
def make(
    photos: Path,
    /,
    *,
    output: Path,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    settings: Annotated[Make, Parameter(name="*", group="Pairs")],
) -> None:
    """Make pairs from ordinary photos, source in A and target in B; the same command goes on where it was stopped.

    Parameters
    ----------
    photos
        Folder of photos, at any depth.
    output
        Folder for the pairs, ready for `pix2pix train`.
    overwrite
        Replace pairs that were made with other settings or of other photos.
    """
    from pix2pix.data.make import make as carry_out

    with _Counting("making pairs") as progress:
        made = carry_out(photos, output, settings, overwrite=overwrite, progress=progress)
    for path, reason in made.failed:
        _say(f"no pair: {path}: {reason}")
    if made.passed_over:
        _say(f"passed over, as no photos by their names: {_some(made.passed_over)}")
    pairs = ", ".join(f"{split} {count}" for split, count in made.counts.items())
    _say(f"{made.new} new pairs, {sum(made.counts.values())} in all ({pairs})")
    print(made.path)
    if made.failed:
        raise DataError(f"{len(made.failed)} of the photos gave no pair; they are named above")


# ---- talk ------------------------------------------------------------------------------------------------------


class _Counting:
    """A bar on a terminal while something counts up; elsewhere a line now and then."""

    PLAIN_SECONDS = 30.0

    def __init__(self, what: str, *, in_bytes: bool = False) -> None:
        self.what, self.in_bytes = what, in_bytes
        self.said = time.monotonic()

    def __enter__(self) -> Callable[..., None]:
        """A function of how much is done, how much in all (None if unknown) and, where it changes, of what."""
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

        console = Console(stderr=True)
        more = (DownloadColumn(), TransferSpeedColumn()) if self.in_bytes else ()
        columns = (*Progress.get_default_columns(), *more)
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.bar.start()
        task = self.bar.add_task(self.what, total=None)

        def update(done: int, total: int | None, what: str = self.what) -> None:
            self.bar.update(task, completed=done, total=total, description=what)
            if self.bar.disable and not self.in_bytes and time.monotonic() - self.said > self.PLAIN_SECONDS:
                self.said = time.monotonic()
                _say(f"{what}: {done:,} of {total:,}" if total else f"{what}: {done:,}")

        return update

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _in_words(value: object) -> object:
    return ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else value


def _some(paths: Sequence[Path], most: int = 3) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(map(str, paths[:most])) + more


def _aligned(facts: dict[str, Any]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())


def _print_labels(labels: dict[str, Any]) -> None:
    print("labels read from         pixel accuracy  class accuracy             IoU")
    for what, values in (("outputs", labels), ("real targets", labels["ceiling"])):
        cells = (values[name] for name in ("pixel_accuracy", "class_accuracy", "iou"))
        print(f"{what:23}" + "".join(f"{cell:16.4f}" for cell in cells))


def _print_metrics(metrics: dict[str, Any]) -> None:
    rows = {f"{metrics['split']} ({metrics['images']} images)": metrics} | metrics["baselines"]
    names = ["g_adversarial", "g_l1", "d_real", "d_fake", "l1", "psnr", "ssim"]  # the slides' four numbers first
    names += [name for name in ("ms_ssim", "lpips", "fid", "kid", "mae", "rmse") if metrics.get(name) is not None]
    print(" " * 22 + "".join(f"{name:>14}" for name in names))
    for row, values in rows.items():
        cells = (values.get(name) for name in names)
        print(f"{row:22}" + "".join(f"{'-' if cell is None else f'{cell:.4f}':>14}" for cell in cells))
    for end, what in enumerate(("95 %: from", "95 %: to")):
        ends = ((metrics["intervals"].get(name) or (None, None))[end] for name in names)
        print(f"{what:22}" + "".join(f"{'-' if cell is None else f'{cell:.4f}':>14}" for cell in ends))


# ---- the way out -----------------------------------------------------------------------------------------------


def _fail(message: object, code: int) -> NoReturn:
    _say(f"pix2pix: {message}")
    sys.stdout.flush()
    sys.exit(code)


def _misuse(error: CycloptsError) -> str:
    """A parsing error as one sentence."""
    cause = error.__cause__
    if isinstance(error, ValidationError) and isinstance(cause, PydanticError):
        return explain(cause)
    message = " ".join(str(error).split())
    if isinstance(error, CoercionError) and error.token is not None and error.token.keyword == "--seeds":
        message += (
            f"; if {error.token.value} is DATA, put it before --seeds, as in `pix2pix study losses DATA --seeds 0 1`"
        )
    return message


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with the code that the module's docstring lists."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        message = _misuse(error)
        _fail(f"{message}{'' if message[-1] in '.?!' else '.'} See `pix2pix --help`.", 2)
    except ConfigError as error:
        _fail(error, 2)
    except (DataError, ModelError, RunError) as error:
        _fail(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'the file system'}: {error.strerror or error}", 1)
    except MemoryError:
        _fail(OUT_OF_MEMORY, 1)
    except RuntimeError as error:  # torch's own
        if "out of memory" not in str(error) and "DefaultCPUAllocator" not in str(error):
            raise
        _fail(OUT_OF_MEMORY, 1)
    except Interrupted as interrupt:
        _fail(interrupt, 128 + interrupt.signal)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
