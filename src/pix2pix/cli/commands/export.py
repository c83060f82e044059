"""`pix2pix export`: write a model as an ONNX file, as a package around one, or as a page with the model in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from pix2pix.cli.console import print_path, say
from pix2pix.errors import ConfigError

if TYPE_CHECKING:
    from pix2pix.export.compare import Difference
    from pix2pix.export.onnx import Exported


def export(
    model: str,
    /,
    *,
    output: Path,
    format: Literal["onnx", "bioimageio", "web"] = "onnx",
    precision: Literal["32", "16", "int8"] | None = None,
    calibration: Annotated[list[Path], Parameter(negative=())] = [],  # noqa: B006  # never changed
    overwrite: bool = False,
    draw: Literal["auto", "labels", "lines", "image"] = "auto",
    palette: Path | None = None,
    examples: Path | None = None,
    onnxruntime_web: Path | None = None,
) -> None:
    """Write a model as one ONNX file that translates pixels to pixels, of any size, without this package.

    The file is compared with the model at three sizes before it gets its name.

    Parameters
    ----------
    model
        Run folder, model folder or hub id.
    output
        The file, such as model.onnx, or model.zip with --format bioimageio, or a folder with --format web.
    format
        An ONNX file; a package of bioimage.io around one, which Fiji, ilastik and napari take; or the page of
        `pix2pix serve` with the model inside the browser, a folder of files for any web server.
    precision
        Weights and maps in float32, in float16 (half the size, for GPUs), or in int8 (a quarter, fast on CPUs); 32 by
        default. Of --format web that of the stored weights alone, 16 by default.
    calibration
        Folder of source images, on which the ranges of int8 are measured and any file is compared with the model; once
        for each of several sources. By default, for int8, the training pairs of the run, if they are still there.
    overwrite
        Replace a file of this name, or the page in this folder.
    draw
        What the page of --format web offers: labels with their palette, lines, or image; auto decides by the model.
    palette
        Names and colours of the classes on the page, as of `pix2pix serve`.
    examples
        Folder of pictures to start from on the page; by default the run's samples.
    onnxruntime_web
        Folder of the npm package onnxruntime-web; by default npm downloads it once.
    """
    page = {"draw": draw, "palette": palette, "examples": examples, "onnxruntime_web": onnxruntime_web}
    if format == "web":
        if calibration:
            raise ConfigError("--calibration: --format web stores weights alone in int8, which needs no images")
        _export_page(model, output=output, precision=precision or "16", overwrite=overwrite, **page)
        return
    if given := [name for name, value in page.items() if value not in (None, "auto")]:
        raise ConfigError(f"--{given[0].replace('_', '-')}: is for --format web alone")
    precision = precision or "32"
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
    from pix2pix.text import format_bytes

    print(f"precision {exported.precision}, {format_bytes(exported.bytes)}")
    error = "another class" if exported.differences[0].counts_classes else "mean / range"
    print(f"{'one image by':>14}{'ms':>14}{error:>26}")
    for speed in exported.speeds:
        error = "" if speed.share_mean is None else f"{100 * speed.share_mean:.4f} %"
        print(f"{speed.engine:>14}{speed.milliseconds:>14.1f}{error:>26}")
    _print_differences(exported.differences)


def _export_page(model: str, **choices: Any) -> None:
    """Write the folder, and print what a browser downloads."""
    from pix2pix.serve.site import export_site
    from pix2pix.text import format_bytes

    site = export_site(model, **choices)
    loads = ", ".join(f"{format_bytes(count)} with {engine}" for engine, count in site.download.items())
    print(f"weights of precision {site.precision}; a browser loads {loads}, once")
    _print_differences(site.differences)
    say(f"try it: python -m http.server --directory {site.path}")
    print_path(site.path)


def _print_differences(differences: "Sequence[Difference]") -> None:
    """Print the errors against the model."""
    from pix2pix.text import format_share

    classes = differences[0].counts_classes
    columns = (
        f"{'another class':>20}"
        if classes
        else f"{'error, max':>14}{'mean':>12}{'max / range':>14}{'mean / range':>14}"
    )
    print(f"{'compared at':>14}{columns}")
    for one in differences:
        size = f"{one.height}x{one.width}"
        if classes:
            print(f"{size:>14}{100 * one.mean:>18.4f} %  of the pixels")
            continue
        shares = f"{format_share(one.share_most):>14}{100 * one.share_mean:>12.4f} %"
        print(f"{size:>14}{one.most:>14.4g}{one.mean:>12.4g}{shares}  {one.unit}")
