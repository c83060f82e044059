"""`pix2pix translate`: translate images with a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from pix2pix.cli.console import say
from pix2pix.config.fields import Device
from pix2pix.errors import DataError
from pix2pix.system.progress import ProgressBar

Present = Literal["auto", "image_size", "scale", "native"]
HalfChoice = Literal["auto", "left", "right", "whole"]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pix2pix.inference.pipeline import Translated


def translate(
    model: str,
    inputs: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    output: Path,
    overwrite: bool = False,
    batch_size: int = 4,
    shard: str | None = None,
    source_pattern: Annotated[list[str], Parameter(negative=())] = [],  # noqa: B006  # never changed
    present: Present = "auto",
    half: HalfChoice = "auto",
    background: str = "white",
    strict: bool = False,
    dropout: bool = False,
    seed: int | None = None,
    samples: int | None = None,
    uncertainty: bool = False,
    memory: float | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    device: Device = "auto",
    threads: Literal["auto"] | int = "auto",
    precision: Literal["32", "bf16"] = "32",
    engine: Literal["auto", "onnxruntime", "openvino"] = "auto",
) -> None:
    """Translate images, folders of images, or videos. Each output has the size and the name of its input.

    The same command again does only what is missing: outputs of the same sources, model and settings stay. A file that
    no translation wrote is never replaced.

    Parameters
    ----------
    model
        Run folder, model folder or hub id; or an exported file such as model.onnx, which needs no torch.
    inputs
        Images, or folders of images; for a model of several sources one for each source, in the order of its training.
        Images may be OME-Zarr folders, which need pix2pix[zarr].
        Or videos (.mp4, .mov, .mkv, .webm, .avi), which need pix2pix[video].
    output
        Folder for the outputs, or the name of the output of one video. A hidden file beside them records what was
        written.
    overwrite
        Translate all images again, and replace files in the output folder that no translation wrote.
    batch_size
        Images of one size that are translated together; tiles, planes, frames and samples are translated one by one.
    shard
        Translate only one part of the images: i/n, with i from 1 to n. Several jobs may share the output folder.
    source_pattern
        File names in the folders of several sources, such as {id}_t1.tif: one for all, or one for each.
    present
        Size at which the model sees images: auto by its rule, which `pix2pix info` states; image_size; scale, as in
        training; or native, the size of each image.
    half
        Half of side-by-side files to translate, for models of one source; auto takes the source's half of files as in
        the training, and says so.
    background
        Colour behind transparent pixels, such as white or #20a040; models with opacity keep it.
    strict
        Refuse images with other channels than the model takes, or with transparency; by default they are converted.
    dropout
        Keep dropout on, the method's noise: outputs differ from run to run.
    seed
        Seed of dropout, to repeat an output; with --dropout or --samples.
    samples
        Outputs of each image, of other draws of dropout: a-1.png, a-2.png and so on of a.png; by default of seed 0.
    uncertainty
        Also write the mean and the standard deviation of the samples, in the target's units (a-mean.tif, a-std.tif),
        and a picture of both (a-uncertainty.png); of label maps the shares of the votes and their entropy.
    memory
        Most memory for all images in flight in GB, beyond the model; by default all that is free.
    tile
        Side of the tiles of larger images, in pixels; by default tiles are made of images that do not fit into memory.
    overlap
        Pixels that neighbouring tiles share; by default an eighth of their side.
    device
        Where to compute.
    threads
        Threads that compute on the CPU; by default OMP_NUM_THREADS, or the cores that this program may use.
    precision
        Arithmetic: float32, or bfloat16, which is faster if the hardware has it; its errors are about a thousandth of
        the range.
    engine
        What runs an exported file; auto is openvino where it is installed, else onnxruntime.
    """
    from pix2pix.data.io.video import is_video_name
    from pix2pix.inference.translate import translate as carry_out
    from pix2pix.text import escape_unprintable

    choices: dict[str, Any] = {"batch_size": batch_size, "shard": shard, "dropout": dropout, "seed": seed}
    choices |= {
        "source_pattern": source_pattern,
        "present": present,
        "half": half,
        "background": background,
        "strict": strict,
        "overwrite": overwrite,
        "memory": memory,
        "tile": tile,
        "overlap": overlap,
        "samples": samples,
        "uncertainty": uncertainty,
        "threads": threads,
        "engine": engine,
    }
    with ProgressBar("translating") as bar:

        def show_tiles(done: int, total: int | None, name: str) -> None:
            unit = "frames" if is_video_name(Path(name)) else "tiles"
            bar.update(done, total, escape_unprintable(name), unit=unit)

        choices |= {"progress": bar.update, "tile_progress": show_tiles}
        result = carry_out(model, inputs, output=output, device=device, precision=precision, **choices)
    _report(result, output, "written" if samples else "translated")


def _report(result: "Translated", output: Path, verb: str) -> None:
    """Say what was translated. Raises DataError if an image could not be."""
    from pix2pix.data.pairing.image_files import describe_ignored
    from pix2pix.text import escape_unprintable, format_examples

    for line in describe_ignored(result.ignored):
        say(f"ignored: {line}")
    for note in result.notes:
        say(f"note: {note}")
    there = f"{_count(len(result.already))} there already, " if result.already else ""
    say(f"{there}{len(result.written):,} {verb} into {output} ({result.machine})")
    if result.lost:
        what = ", ".join(f"{what} of {_name(sources)}" for what, sources in sorted(result.lost.items()))
        say(f"not kept in the outputs: {what}")
    if result.edited:
        names = escape_unprintable(format_examples(result.edited))
        them = "it" if len(result.edited) == 1 else "them"
        say(f"{_count(len(result.edited))} changed since a translation wrote {them}, and nothing was replaced: {names}")
    if len(result.failed) == 1:
        raise DataError(result.failed[0][1])
    for _, reason in result.failed:
        say(f"not translated: {escape_unprintable(reason)}")
    if result.failed:
        raise DataError(f"{len(result.failed)} of the images could not be translated; they are named above")


def _name(sources: "Sequence[Path]") -> str:
    from pix2pix.text import escape_unprintable, format_count

    return escape_unprintable(str(sources[0])) if len(sources) == 1 else format_count(len(sources), "image")


def _count(number: int) -> str:
    return f"{number:,} {'was' if number == 1 else 'were'}"
