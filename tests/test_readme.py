"""The README's commands and Python run as they stand, on tiny pairs and with a tiny network."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx2
import numpy as np
import pytest
import tifffile
from PIL import Image

from pix2pix.cli import main
from pix2pix.synthetic.facades import facade, make_facades

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"image_size": 32, "base_channels": 4, "epochs": 1, "precision": "32", "device": "cpu"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def small_flags() -> list[str]:
    flags = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [*flags, "--discriminator.patch-size", "16"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_facades(tmp_path / "pairs", train=3, val=1, test=1, size=32)
    for folder in ("inputs", "photos"):
        (tmp_path / folder).mkdir()
        Image.fromarray(facade(0, 40)[1]).save(tmp_path / folder / "one.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shell_commands(place: Path) -> None:
    lines = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    commands = [words[1:] for words in lines if words and words[0] == "pix2pix"]
    assert len(commands) >= 6
    for words in commands:
        sized = {"train": small_flags(), "study": small_flags()[:-2]}  # a study sets the patches itself
        if words[0] == "serve":
            serve(words)
        elif "web" not in words or os.environ.get("PIX2PIX_ONNXRUNTIME_WEB"):  # else it needs the network
            main([*words, *sized.get(words[0], [])])
    assert (place / "runs" / "pairs" / "report.html").exists()
    assert (place / "runs" / "pairs" / "evaluation" / "test" / "report.html").exists()
    with Image.open(place / "translated" / "one.png") as translated:
        assert translated.size == (40, 40)


def serve(words: Sequence[str]) -> None:
    """Open the page at the address that the command prints, and stop it."""
    command = [sys.executable, "-m", "pix2pix", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert httpx2.get(process.stdout.readline().strip()).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def write_examples() -> None:
    """Write what the table of inputs names, three files of each kind."""
    for folder in ("low", "high", "tiles", "classes", "DATA/images", "DATA/masks"):
        Path(folder).mkdir(parents=True)
    Path("cells").mkdir()
    for n in range(3):
        rng = np.random.default_rng(n)
        stack = rng.integers(0, 60000, (2, 2, 32, 32), np.uint16)
        named = {"axes": "CZYX", "Channel": {"Name": ["DAPI", "actin"]}}
        tifffile.imwrite(f"cells/{n}.ome.tif", stack, metadata=named, photometric="minisblack")
        for side in ("low", "high"):
            tifffile.imwrite(f"{side}/{n}.tif", stack[0], imagej=True, metadata={"axes": "ZYX"})
        bands = stack.reshape(4, 32, 32)
        tifffile.imwrite(f"tiles/{n}.tif", bands, photometric="minisblack", planarconfig="separate")
        classes = stack[0, 0] % 2
        tifffile.imwrite(f"classes/{n}.tif", np.where(stack[1, 0] % 9 == 0, 255, classes).astype(np.uint8))
        Image.fromarray(facade(n, 32)[0]).save(f"DATA/images/{n}.jpg")
        Image.fromarray(classes.astype(np.uint8)).save(f"DATA/masks/{n}_mask.png")


def test_commands_of_the_table_of_inputs(place: Path) -> None:
    write_examples()
    commands = re.findall(r"^\| [^|`]+ \| `pix2pix (train [^`]*)`", README, flags=re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        main([*shlex.split(command), *small_flags(), "--dry-run"])


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = [line.split()[1] for block in blocks("sh") for line in block.splitlines() if line.startswith("make ")]
    assert wanted == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in wanted)


@pytest.mark.usefixtures("drawn")
def test_python(place: Path) -> None:
    (code,) = blocks("python")
    small = ", ".join(f"{name}={value!r}" for name, value in SMALL.items())
    changed = code.replace('direction="BtoA")', f'direction="BtoA", {small}, discriminator={{"patch_size": 16}})')
    assert changed != code
    names: dict[str, object] = {"image": Image.fromarray(facade(0, 40)[1])}
    exec(changed, names)
    picture = names["picture"]
    assert isinstance(picture, Image.Image)
    assert (picture.size, picture.mode) == ((40, 40), "RGB")
