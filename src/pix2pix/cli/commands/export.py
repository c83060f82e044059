"""`pix2pix export`: write a model as an ONNX file, or as a package around one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from pix2pix.cli.console import print_path, say
from pix2pix.errors import ConfigError

if TYPE_CHECKING:
    from pix2pix.export.onnx import Exported


def export(
    model: str,
    /,
    *,
    output: Path,
    format: Literal["onnx", "bioimageio"] = "onnx",
    precision: Literal["32", "16", "int8"] = "32",
    calibration: Annotated[list[Path], Parameter(negative=())] = [],  # noqa: B006  # never changed
    overwrite: bool = False,
) -> None:
    """Write a model as one ONNX file that translates pixels to pixels, of any size, without this package.

    The file is compared with the model at three sizes before it gets its name.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    output
        The file, such as model.onnx, or model.zip with --format bioimageio.
    format
        An ONNX file, or a package of bioimage.io around one, which Fiji, ilastik and napari take.
    precision
        Weights and maps in float32, in float16 (half the size, for GPUs), or in int8 (a quarter, fast on CPUs).
    calibration
        Folder of source images, on which the ranges of int8 are measured; once for each of several sources. By default
        the training pairs of the run, if they are still there.
    overwrite
        Replace a file of this name.
    """
    if format == "bioimageio":
        _export_bioimageio(model, output, precision, calibration, overwrite)
        return
    from pix2pix.export.onnx import export_onnx

    exported = export_onnx(model, output=output, precision=precision, calibration=calibration, overwrite=overwrite)
    for note in exported.notes:
        say(f"note: {note}")
    _print_table(exported)
    print_path(exported.path)


def _export_bioimageio(model: str, output: Path, precision: str, calibration: list[Path], overwrite: bool) -> None:
    from pix2pix.export.bioimageio import export_bioimageio
    from pix2pix.text import format_bytes

    if precision != "32" or calibration:
        raise ConfigError("--format bioimageio: packages hold float32; leave --precision and --calibration out")
    packaged = export_bioimageio(model, output=output, overwrite=overwrite)
    for note in packaged.notes:
        say(f"note: {note}")
    one = packaged.difference
    say(f"{format_bytes(packaged.bytes)}; largest error at {one.height}x{one.width}: {one.most:.4g} {one.unit}")
    print_path(packaged.path)


def _print_table(exported: "Exported") -> None:
    """Print size, time and errors of the file."""
    from pix2pix.text import format_bytes, format_share

    print(f"precision {exported.precision}, {format_bytes(exported.bytes)}")
    print(f"{'one image by':>14}{'ms':>14}{'mean / range':>26}")
    for speed in exported.speeds:
        error = "" if speed.share_mean is None else f"{100 * speed.share_mean:.4f} %"
        print(f"{speed.engine:>14}{speed.milliseconds:>14.1f}{error:>26}")
    print(f"{'compared at':>14}{'error, max':>14}{'mean':>12}{'max / range':>14}{'mean / range':>14}")
    for one in exported.differences:
        size = f"{one.height}x{one.width}"
        shares = f"{format_share(one.share_most):>14}{100 * one.share_mean:>12.4f} %"
        print(f"{size:>14}{one.most:>14.4g}{one.mean:>12.4g}{shares}  {one.unit}")
