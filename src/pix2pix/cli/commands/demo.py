"""`pix2pix demo`: train, evaluate and report on data that come with the package."""

from pathlib import Path

from pix2pix.cli.console import print_metrics


def demo(*, run: Path = Path("runs/demo"), overwrite: bool = False) -> None:
    """Train, evaluate and report on data that come with the package; minutes on two CPU cores.

    Parameters
    ----------
    run
        Folder of the run; an interrupted demo continues in it.
    overwrite
        Replace the run in this folder.
    """
    from pix2pix.demo import demo as run_demo

    print_metrics(run_demo(run, overwrite=overwrite).metrics)
    print(run / "report.html")
