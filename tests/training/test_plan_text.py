"""The plan says how the files become training images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pix2pix.config.presets import choose_settings
from pix2pix.data.checks.check import check
from pix2pix.data.io import images
from pix2pix.training.plan_text import preview_plan, try_plan


def images_line(folder: Path, sizes: list[tuple[int, int]], flags: dict[str, Any]) -> str:
    for number, size in enumerate(sizes):
        images.write(folder / f"A/{number}.png", np.full((*size, 3), number, np.uint8))
        images.write(folder / f"B/{number}.png", np.full((*size, 3), 9 + number, np.uint8))
    chosen = choose_settings(folder, None, None, {"generator": {"depth": 5}, "training": {"device": "cpu"}} | flags)
    report = check(chosen.data)
    (line,) = [line for line in preview_plan(try_plan(chosen, report), report) if line.startswith("  images ")]
    return line.removeprefix("  images").strip()


@pytest.mark.parametrize(
    ("sizes", "load", "said"),
    [
        ([(286, 286)] * 3, None, "286x286 in the files, crops of 256x256, mirrored"),
        ([(512, 512)] * 3, None, "512x512 in the files, resized to 286x286, crops of 256x256, mirrored"),
        (
            [(40, 300)] * 3,
            None,
            "40x300 in the files, resized to 286x286 (the shape changes; --load-size native keeps the pixels), "
            "crops of 256x256, mirrored",
        ),
        (
            [(300, 300), (400, 300), (100, 400)],
            None,
            "heights 100 to 400, widths 300 to 400 in the files, resized to 286x286 (the shape of 2 of 3 pairs "
            "changes; --load-size native keeps the pixels), crops of 256x256, mirrored",
        ),
        ([(300, 400)] * 3, "native", "crops of 256x256 at their own size, validated whole, mirrored"),
    ],
)
def test_sizes(tmp_path: Path, sizes: list[tuple[int, int]], load: str | None, said: str) -> None:
    assert images_line(tmp_path, sizes, {"augment": {"load_size": load}}) == said


def test_sizes_without_jitter(tmp_path: Path) -> None:
    flags = {"augment": {"jitter": False, "flip": False}}
    assert images_line(tmp_path / "same", [(256, 256)] * 3, flags) == "256x256 in the files, not mirrored"
    assert images_line(tmp_path / "other", [(128, 128)] * 3, flags) == (
        "128x128 in the files, enlarged to 256x256 (a smaller --image-size takes less time), not mirrored"
    )
