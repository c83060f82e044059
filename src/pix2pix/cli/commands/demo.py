"""`pix2pix demo`: train and evaluate a model on generated facades."""

from pathlib import Path
from typing import Literal

from pix2pix.cli.console import print_metrics, print_path


def demo(*, run: Path = Path("runs/demo"), overwrite: bool = False, threads: Literal["auto"] | int = "auto") -> None:
    """Train and evaluate a model on generated facades, and write a report; takes minutes on two CPU cores.

    Parameters
    ----------
    run
        Folder of the run; the same command resumes an interrupted demo.
    overwrite
        Replace the run in this folder.
    threads
        Threads that compute; by default OMP_NUM_THREADS, or the cores that this program may use.
    """
    from pix2pix.demo import demo as run_demo

    print_metrics(run_demo(run, overwrite=overwrite, threads=threads).metrics)
    print_path(run / "report.html")
