"""`python -m benchmarks`: measure this machine, the usual way of training, and this package, side by side."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from benchmarks.suite.bench import bench as measure

Json = Annotated[bool, Parameter(name="--json", negative=())]
app = App(name="python -m benchmarks", help_format="plaintext")


@app.default
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


if __name__ == "__main__":
    app()
