"""Time the reference's training step, alone or in turns with that of the public PyTorch code.

    python -m benchmarks.public
    python -m benchmarks.public --public ~/pytorch-CycleGAN-and-pix2pix

DIR is a checkout of junyanz/pytorch-CycleGAN-and-pix2pix. Its own model, networks, losses and optimizers are imported
from there and run as its training script runs them: `set_input`, then `optimize_parameters`.
"""

import argparse
import contextlib
import io
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.reference import Reference
from benchmarks.timing import faster, interleaved

PUBLIC_OPTIONS = {  # the public code's defaults for pix2pix, on the processor
    "isTrain": True, "gpu_ids": [], "device": torch.device("cpu"), "checkpoints_dir": ".", "name": "benchmark",
    "preprocess": "resize_and_crop", "direction": "AtoB", "input_nc": 3, "output_nc": 3, "ngf": 64, "ndf": 64,
    "netG": "unet_256", "netD": "basic", "n_layers_D": 3, "norm": "batch", "no_dropout": False, "init_type": "normal",
    "init_gain": 0.02, "pool_size": 0, "gan_mode": "vanilla", "lr": 2e-4, "beta1": 0.5, "lambda_L1": 100.0,
    "lr_policy": "linear", "verbose": False, "continue_train": False,
}  # fmt: skip


def public_step(checkout: Path) -> Callable[[Tensor, Tensor], Any]:
    """Return the training step of a checkout, on (N, 3, H, W) in [-1, 1]."""
    if not (checkout / "models" / "pix2pix_model.py").is_file():
        sys.exit(f"{checkout}: no models/pix2pix_model.py in it; expected a checkout of the public code")
    sys.path.insert(0, str(checkout))
    with contextlib.redirect_stdout(io.StringIO()):  # it talks while it builds
        from models.pix2pix_model import Pix2PixModel  # type: ignore[import-not-found]

        model = Pix2PixModel(Namespace(**PUBLIC_OPTIONS))

    def step(source: Tensor, target: Tensor) -> None:
        model.set_input({"A": source, "B": target, "A_paths": [], "B_paths": []})
        model.optimize_parameters()

    return step


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--public", type=Path, metavar="DIR", help="checkout of the public code, run in turns")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 4], metavar="N")
    parser.add_argument("--rounds", type=int, default=9, help="repetitions of each")
    chosen = parser.parse_args()

    print(f"256 px, {torch.get_num_threads()} threads, torch {torch.__version__}, medians of {chosen.rounds} turns")
    for batch in chosen.batch_size:
        source, target = torch.rand(2, batch, 3, 256, 256).mul(2).sub(1)
        steps: dict[str, Callable[[Tensor, Tensor], Any]] = {"reference": Reference().step}
        if chosen.public is not None:
            steps["public"] = public_step(chosen.public)
        tasks = {name: partial(step, source, target) for name, step in steps.items()}
        timings = interleaved(tasks, chosen.rounds)
        line = f"batch {batch}: " + ", ".join(f"{name} {1000 * t.median:.0f} ms" for name, t in timings.items())
        if "public" in timings:
            ratio = faster(timings["reference"], timings["public"])
            line += (
                f"; the reference is {ratio.value:.3f} times as fast (quartiles {ratio.low:.3f} to {ratio.high:.3f})"
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()
