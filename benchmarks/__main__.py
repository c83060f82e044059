"""Measure this machine, the usual way of training and this package side by side; minutes on two cores."""

import argparse
import json
import signal
import sys
from pathlib import Path

from benchmarks.bench import SECTIONS, bench
from pix2pix.errors import ConfigError, DataError, ModelError, RunError


def main(arguments: list[str] | None = None) -> None:
    """Print the table, or JSON; exit with 1 after a failure, 2 after misuse, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", metavar="NAME,NAME", help=f"sections to measure: {', '.join(SECTIONS)}")
    add("--quick", action="store_true", help="fewer repetitions and images")
    add("--profile", action="store_true", help="profile one training step instead")
    add("--bf16", action="store_true", help="measure bf16 even where the processor only emulates it")
    add("--data", type=Path, help="folder of side-by-side pairs to measure on; by default procedural facades")
    add("--image-size", type=int, default=256, help="side of the images, a power of two; targets hold for 256")
    add("--base-channels", type=int, default=64, help="first width of both networks; targets hold for 64")
    add("--threads", type=int, help="threads to compute with; by default torch's choice")
    add("--plot", type=Path, metavar="FILE.png", help="draw seconds of a step against pixels and batch")
    add("--json", action="store_true", help="print everything as JSON, every repetition included")
    chosen = parser.parse_args(arguments)
    try:
        result = bench(
            only=[name.strip() for name in chosen.only.split(",")] if chosen.only else (),
            quick=chosen.quick,
            profile=chosen.profile,
            bf16=chosen.bf16,
            data=chosen.data,
            image_size=chosen.image_size,
            base_channels=chosen.base_channels,
            threads=chosen.threads,
            plot=chosen.plot,
        )
    except (ConfigError, DataError, ModelError, RunError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    print(json.dumps(result.to_json(), indent=2) if chosen.json else result.to_text())
    if not result.complete:
        sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # removes the scratch folder
    main()
