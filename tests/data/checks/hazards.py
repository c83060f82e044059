"""A folder of pairs with one defect in each: what may lie in people's folders, and what must be said of it."""

import os
import struct
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.crafted_files import png

RNG = np.random.default_rng(7)
SIDE = 32


@dataclass(frozen=True)
class Hazard:
    """A file of A, what makes it, and words of the reason that must be given; none for what is ignored."""

    a: str
    make: Callable[[Path], object]
    said: str
    beside: bool = True  # whether B has a good image of that name


def pixels(height: int = SIDE, width: int = SIDE, channels: int = 3) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def picture(mode: str = "RGB", height: int = SIDE, width: int = SIDE) -> Image.Image:
    return Image.fromarray(pixels(height, width)).convert(mode)


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = BytesIO()
    (image or picture()).save(file, kind, **options)
    return file.getvalue()


def content(data: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data())


def cut(kind: str, keep: float = 0.5, **options: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        whole = encoded(kind, **options)
        path.write_bytes(whole[: int(len(whole) * keep)])

    return write


def lying(kind: str, find: bytes, place: bytes, **options: Any) -> Callable[[Path], object]:
    """A file of which the bytes `find` are replaced."""

    def write(path: Path) -> None:
        whole = encoded(kind, **options)
        assert find in whole
        path.write_bytes(whole.replace(find, place, 1))

    return write


def array(values: NDArray[Any]) -> Callable[[Path], object]:
    return lambda path: np.save(path, values)


def frames(kind: str) -> Callable[[Path], object]:
    return content(lambda: encoded(kind, picture(), save_all=True, append_images=[picture(), picture()]))


def tiff(values: NDArray[Any], **options: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        from tifffile import imwrite

        imwrite(path, values, **options)

    return write


def flat(path: Path) -> None:
    Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(path)


def transparent(path: Path) -> None:
    Image.new("RGBA", (SIDE, SIDE), (1, 2, 3, 77)).save(path)


NAN = np.full((SIDE, SIDE), np.nan, np.float32)
HUGE = struct.pack("<HH", 60000, 60000)
NFD = unicodedata.normalize("NFD", "é")

# ruff: noqa: E501
HAZARDS: dict[str, Hazard] = {
    "no bytes": Hazard("zero.png", content(lambda: b""), "cannot be read"),
    "no bytes, .npy": Hazard("zero_array.npy", content(lambda: b""), "cannot be read"),
    "text": Hazard("text.png", content(lambda: b"hello"), "cannot be read"),
    "a web page": Hazard("page.jpg", content(lambda: b"<!doctype html><html>404</html>"), "cannot be read"),
    "SVG": Hazard("vector.png", content(lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "cannot be read"),
    "zeros": Hazard("zeros.png", content(lambda: bytes(4096)), "cannot be read"),
    "noise": Hazard("noise.jpg", content(lambda: RNG.bytes(4096)), "cannot be read"),
    "a pointer of git LFS": Hazard("lfs.png", content(lambda: b"version https://git-lfs\noid sha256:0\n"), "cannot be read"),
    "a PDF": Hazard("paper.png", content(lambda: b"%PDF-1.7\n" + bytes(50)), "cannot be read"),
    "another format": Hazard("icon.png", content(lambda: encoded("ICO")), "cannot be read"),
    "cut PNG": Hazard("cut_png.png", cut("PNG"), "cannot be read"),
    "PNG's header alone": Hazard("head_png.png", content(lambda: encoded("PNG")[:40]), "cannot be read"),
    "cut JPEG": Hazard("cut_jpeg.jpg", cut("JPEG"), "cannot be read"),
    "JPEG's first bytes": Hazard("head_jpeg.jpg", content(lambda: encoded("JPEG")[:20]), "cannot be read"),
    "cut TIFF": Hazard("cut_tiff.tif", cut("TIFF"), "cannot be read"),
    "cut, packed TIFF": Hazard("cut_packed.tif", cut("TIFF", compression="tiff_deflate"), "cannot be read"),
    "cut GIF": Hazard("cut_gif.gif", cut("GIF"), "cannot be read"),
    "cut WebP": Hazard("cut_webp.webp", cut("WEBP", lossless=True), "cannot be read"),
    "cut BMP": Hazard("cut_bmp.bmp", cut("BMP"), "cannot be read"),
    "cut 16-bit PNG": Hazard("cut_deep.png", content(lambda: encoded("PNG", Image.fromarray(pixels()[..., 0].astype(np.uint16)))[:-200]), "cannot be read"),
    "cut .npy": Hazard("cut_npy.npy", lambda path: (array(pixels())(path), os.truncate(path, 500)), "cannot be read"),
    "damaged PNG": Hazard("crc.png", lying("PNG", b"IDAT", b"IDAX"), "cannot be read"),
    "huge PNG": Hazard("huge.png", content(lambda: png(60000, 60000, 8, 2)), "more than"),
    "huge 16-bit PNG": Hazard("huge_deep.png", content(lambda: png(60000, 60000, 16, 2)), "more than"),
    "huge GIF": Hazard("huge_gif.gif", lying("GIF", struct.pack("<HH", SIDE, SIDE), HUGE), "more than"),
    "huge BMP": Hazard("huge_bmp.bmp", lying("BMP", struct.pack("<II", SIDE, SIDE), struct.pack("<II", 60000, 60000)), "more than"),
    "a PNG that says less than it should": Hazard("short.png", content(lambda: png(64, 64, 8, 2, rows=b"\0" * 9)), "cannot be read"),
    "no width": Hazard("no_width.png", content(lambda: png(0, 64, 8, 2)), "cannot be read"),
    "CMYK": Hazard("cmyk.jpg", content(lambda: encoded("JPEG", picture("CMYK"))), "colour mode CMYK"),
    "LAB": Hazard("lab.tif", content(lambda: encoded("TIFF", picture("LAB"))), "colour mode LAB"),
    "YCbCr": Hazard("ycbcr.tif", content(lambda: encoded("TIFF", picture("YCbCr"))), "colour mode YCbCr"),
    "an animation": Hazard("moving.gif", frames("GIF"), "several frames"),
    "an animated WebP": Hazard("moving_webp.webp", frames("WEBP"), "3 frames"),
    "an animated PNG": Hazard("moving_png.png", frames("PNG"), "3 frames"),
    "several pages": Hazard("pages.tif", frames("TIFF"), "has 9 channels"),
    "transparency": Hazard("glass.png", transparent, "transparency"),
    "NaN": Hazard("nan.npy", array(NAN), "NaN or infinity in 1,024 of 1,024"),
    "NaN in TIFF": Hazard("nan_tiff.tif", tiff(NAN), "NaN or infinity"),
    "float64": Hazard("double.npy", array(np.zeros((SIDE, SIDE))), "float64"),
    "32-bit integers": Hazard("int32.tif", tiff(np.zeros((SIDE, SIDE), np.int32)), "int32"),
    "complex": Hazard("complex.npy", array(np.zeros((SIDE, SIDE), complex)), "complex"),
    "objects": Hazard("pickle.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), "cannot be read"),
    "one dimension": Hazard("line.npy", array(np.zeros(9, np.uint8)), "shape (9,)"),
    "four dimensions": Hazard("block.npy", array(np.zeros((2, 2, 2, 2), np.uint8)), "shape (2, 2, 2, 2)"),
    "an empty array": Hazard("empty.npy", array(np.zeros((0, 9), np.uint8)), "shape (0, 9)"),
    "16 bits among 8": Hazard("deep.png", content(lambda: encoded("PNG", Image.fromarray(pixels()[..., 0].astype(np.uint16)))), "uint16"),
    "gray among colour": Hazard("gray.png", content(lambda: encoded("PNG", picture("L"))), "has 1 channel"),
    "seven channels": Hazard("seven.npy", array(pixels(channels=7)), "has 7 channels"),
    "another size": Hazard("small.png", content(lambda: encoded("PNG", picture(height=30))), "is 30x32 (HxW), but its target"),
    "turned by EXIF": Hazard("turned.jpg", content(lambda: encoded("JPEG", picture(width=48), exif=_turned())), "is turned by EXIF orientation 6, its target"),
    "one colour": Hazard("flat.png", flat, "one flat colour"),
    "a folder": Hazard("folder.png", lambda path: path.mkdir(), "is a folder"),
    "a pipe": Hazard("pipe.png", os.mkfifo, "is a pipe"),
    "a link to nothing": Hazard("dangling.png", lambda path: path.symlink_to("nowhere"), "No such file"),
    "a link to itself": Hazard("loop.png", lambda path: path.symlink_to(path.name), "cannot be read"),
    "no partner": Hazard("lonely.png", content(lambda: encoded("PNG")), "has no partner lonely", beside=False),
    "another case": Hazard("Case.png", content(lambda: encoded("PNG")), "has no partner Case", beside=False),
    "a space at the end": Hazard("space .png", content(lambda: encoded("PNG")), "has no partner space ", beside=False),
    "a newline": Hazard("new\nline.png", content(lambda: encoded("PNG")), "has no partner", beside=False),
    "no text": Hazard(os.fsdecode(b"bytes\xff.png"), content(lambda: encoded("PNG")), "has no partner", beside=False),
    "a dash": Hazard("-rf.png", content(lambda: encoded("PNG")), "has no partner -rf", beside=False),
    "one name twice": Hazard("twin.png", lambda path: [path.with_suffix(s).write_bytes(encoded("PNG")) for s in (".png", ".PNG")], "has the same name, twin, as", beside=True),
    "one name in two spellings": Hazard(f"{NFD}.png", lambda path: [path.with_name(n).write_bytes(encoded("PNG")) for n in (f"{NFD}.png", "é.png")], "has the same name, é, as", beside=False),
    "a Mac's shadow": Hazard("._shadow.png", content(lambda: b"Mac OS X"), "", beside=False),
    "a thumbnail database": Hazard("Thumbs.db", content(lambda: bytes(9)), "", beside=False),
    "a hidden image": Hazard(".hidden.png", content(lambda: encoded("PNG")), "", beside=False),
    "no image by its name": Hazard("photo.nef", content(lambda: bytes(9)), "", beside=False),
    "a download under way": Hazard("photo.png.part", content(lambda: bytes(9)), "", beside=False),
    "a linked folder": Hazard("circle", lambda path: path.symlink_to("."), "", beside=False),
}  # fmt: skip
"""Each of these must be named in the report with the words given."""


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


GOOD = 80
"""Pairs without a defect."""


def seed(root: Path, *names: str) -> Path:
    """Good pairs in A and B of a folder, and the hazards of these names, or all, among them."""
    for side in "AB":
        (root / side).mkdir(parents=True)
        for number in range(GOOD if not names else 6):
            picture().save(root / side / f"good{number}.png")
    for name in names or HAZARDS:
        hazard = HAZARDS[name]
        path = root / "A" / hazard.a
        hazard.make(path)
        if hazard.beside:
            picture().save(root / "B" / f"{Path(hazard.a).stem}.png")
    return root
