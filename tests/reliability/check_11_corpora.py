"""Thousands of damaged images, made from valid ones of every format: each is read, or refused by name with a reason."""

import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from pix2pix.data.io import images
from pix2pix.errors import DataError
from tests.reliability import runs
from tests.reliability.hostile import png

TITLE = "a corpus of damaged images: each is read, or refused by name"
SIDE, MEGABYTES = 24, 600
"""Side of the images in pixels; most that the memory of the process may grow."""

Read = Callable[[Path], Any]


def seeds() -> dict[str, bytes]:
    """Valid files of every format and of most kinds of each."""
    values = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    colour, deep = Image.fromarray(values), values.astype(np.uint16) * 257

    def pillow(kind: str, image: Image.Image = colour, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    def tiff(array: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        return file.getvalue()

    def npy(array: Any) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6
    found = {kind: pillow(kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")}
    found |= {f"PNG {mode}": pillow("PNG", colour.convert(mode)) for mode in ("1", "L", "LA", "P", "RGBA")}
    found |= {
        f"TIFF {name}": pillow("TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd")
    }
    found |= {f"deep TIFF {name}": tiff(deep, compression=name) for name in (None, "zlib", "lzw", "zstd", "packbits")}
    return found | {
        "progressive JPEG": pillow("JPEG", progressive=True, exif=exif),
        "lossless WebP": pillow("WEBP", lossless=True),
        "16-bit PNG": png(SIDE, 16),
        "pages": tiff(deep.transpose(2, 0, 1).copy(), photometric="minisblack"),
        "ImageJ": tiff(deep.transpose(2, 0, 1).copy(), imagej=True),
        "OME": tiff(deep.transpose(2, 0, 1).copy(), ome=True, metadata={"axes": "CYX"}),
        "tiles": tiff(deep, tile=(16, 16), compression="zlib"),
        "float": tiff(values.astype(np.float32)),
        "npy": npy(deep),
    }


def damage(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Damage a file in one of several ways, most of them near its start, where headers are."""
    data, kind = bytearray(content), draw.randrange(6)
    if kind == 0:  # truncated
        return bytes(data[: draw.randrange(len(data))])
    if kind == 1:  # the start of one and the end of another
        other = draw.choice(others)
        return bytes(data[: draw.randrange(len(data))] + other[draw.randrange(len(other)) :])
    if kind == 2:  # a number of the header replaced by an extreme one
        at = draw.randrange(min(len(data), 200))
        data[at : at + 4] = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
    elif kind == 3:  # a part repeated
        at, length = draw.randrange(len(data)), draw.randrange(1, 200)
        data[at:at] = data[at : at + length]
    else:  # bits flipped
        within = len(data) if kind == 4 else min(len(data), 120)
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(within)] ^= 1 << draw.randrange(8)
    return bytes(data)


def measure(work: Path, count: int, read: Read) -> str:
    """Read a corpus in this process."""
    draw, found = random.Random(11), seeds()
    others, before = list(found.values()), peak_megabytes()
    outcomes: Counter[str] = Counter()
    wrong = []
    for number in range(count):
        kind = draw.choice(list(found))
        path = work / f"{number}.png"
        path.write_bytes(damage(found[kind], others, draw))
        try:
            outcome = "read" if np.asarray(read(path)).size else "empty"
        except DataError as error:
            outcome = "named" if str(error).startswith(f"{path}: ") else "not named"
        except Exception as error:
            outcome = type(error).__name__
        outcomes[outcome] += 1
        if outcome not in ("read", "named"):
            wrong.append(f"{kind} {number}: {outcome}")
        path.unlink()
    grown = peak_megabytes() - before
    figures = f"{count:,} files: {dict(outcomes)}, {grown:.0f} MB more memory at the peak"
    assert not wrong, f"{figures}; {'; '.join(wrong[:5])}"
    assert grown < MEGABYTES, figures
    return figures


def by_command(work: Path, count: int) -> str:
    """Check a folder of damaged pairs by the command, and compare with what reading each file says."""
    draw, found = random.Random(12), seeds()
    others, data = list(found.values()), work / "pairs"
    for side in "AB":
        (data / side).mkdir(parents=True)
    for number in range(count):
        (data / "A" / f"{number}.png").write_bytes(damage(found[draw.choice(list(found))], others, draw))
        (data / "B" / f"{number}.png").write_bytes(found["PNG"])
    done = runs.call(runs.command("data", "check", data, "--json"))
    assert "Traceback" not in done.stderr, done.stderr[-500:]
    assert done.returncode == 1, f"exit {done.returncode}: {done.stderr[-300:]}"
    named = {problem["path"] for problem in json.loads(done.stdout)["problems"]}
    missed = [path for path in sorted((data / "A").iterdir()) if not is_read(path) and str(path) not in named]
    shutil.rmtree(data)
    assert not missed, f"{len(missed)} of {count} bad files not named by `data check`, such as {missed[0]}"
    return f"`data check` of {count} pairs names {len(named)} files"


def is_read(path: Path) -> bool:
    try:
        images.read(path)
    except DataError:
        return False
    return True


def peak_megabytes() -> float:
    """Return the largest memory of this process so far (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def check(work: Path, full: bool) -> str:
    """Read a corpus of damaged files in this process, and check some by the command."""
    return f"{measure(work, 6000 if full else 300, images.read)}; {by_command(work, 200 if full else 20)}"


def control(work: Path) -> str:
    """Read with Pillow and nothing else."""

    def read(path: Path) -> Any:
        with Image.open(path) as image:
            return image.convert("RGB")

    return measure(work, 300, read)
