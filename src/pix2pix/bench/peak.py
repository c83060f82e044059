"""`python -m pix2pix.bench.peak TASK`: a few training steps in a process of their own; prints its peak memory in bytes.

TASK is JSON: who trains (`train`, the whole command; `ours`, its steps alone; `reference`; `nobody`, which only imports
torch), the sizes and folders.
"""

import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS = 4


def run(task: dict[str, Any]) -> None:
    """Train a little, with batch 1."""
    import torch

    if task["who"] == "nobody":
        return

    from pix2pix.bench.conditions import Conditions
    from pix2pix.bench.ours import our_training
    from pix2pix.bench.reference import Reference
    from pix2pix.config import resolved_depth
    from pix2pix.training.train import train_with

    torch.set_num_threads(int(task["threads"]))
    with tempfile.TemporaryDirectory(prefix="peak-", dir=task["scratch"]) as scratch:
        conditions = Conditions(
            image_size=task["image_size"],
            base_channels=task["base_channels"],
            pairs=Path(task["pairs"]),
            scratch=Path(scratch),
            tick=lambda done, total: None,
        )
        config = conditions.config(epochs=2)
        if task["who"] == "train":
            train_with(config, Path(scratch) / "run")
            return
        source, target = conditions.batch(1)
        depth = resolved_depth(config.generator, config.data.image_size)
        trained = (
            our_training(conditions, config, "steps")
            if task["who"] == "ours"
            else Reference(depth=depth, base=conditions.base_channels)
        )
        for _ in range(STEPS):
            trained.step(source, target)


def peak_bytes() -> int:
    """The most memory that this process had resident at once."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):  # not Linux
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
    print(peak_bytes())
