"""`pix2pix compare`: compare runs on one page."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pix2pix.cli.console import print_path
from pix2pix.cli.flags import Json
from pix2pix.config.fields import Device
from pix2pix.system.progress import ProgressBar
from pix2pix.text import escape_unprintable


def compare(
    runs: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    output: Path | None = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Compare runs: settings, curves, best epochs, evaluations, images, findings.

    Parameters
    ----------
    runs
        Run folders, two or more, finished or not.
    output
        Folder for compare.html and compare.json; by default runs/compare, or no files with --json.
    device
        Where to translate the example images.
    json_
        Print the comparison, without images, as JSON.
    """
    from pix2pix.evaluation.compare import compare as put_side_by_side
    from pix2pix.evaluation.write import to_json

    place = Path("runs/compare") if output is None and not json_ else output
    with ProgressBar("comparing") as bar:
        done = put_side_by_side(*runs, output=place, device=device, progress=bar.update)
    if json_:
        print(to_json(done.results), end="")
        return
    for finding in done.results["findings"]:
        print(escape_unprintable(f"- {finding}"))
    assert done.page is not None
    print_path(done.page)
