"""AVIF, JFIF and JPEG 2000 are read exactly or named; HEIC is named with what to type."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest
from PIL import Image, features

from pix2pix.data.checks.inspect import inspect_file
from pix2pix.data.io import eight_bit, images
from pix2pix.data.io.view import WHOLE
from pix2pix.errors import DataError

RNG = np.random.default_rng(0)
HEIC_START = b"\0\0\0\x18ftypheic" + bytes(20)


def encode(values: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.skipif(not (features.check("avif") and features.check("jpg_2000")), reason="a Pillow without them")
@pytest.mark.parametrize(
    ("name", "channels", "bits"),
    [("1.jp2", 3, 8), ("1.J2K", 1, 8), ("1.jp2", 1, 12), ("1.j2k", 3, 16), ("1.jp2", 1, 15), ("1.jp2", 5, 8)],
)
def test_jpeg_2000_is_read_exactly(tmp_path: Path, name: str, channels: int, bits: int) -> None:
    """Pillow alone would scale 12 bits to 16 and reduce 16-bit colour to 8."""
    values = RNG.integers(0, 2**bits, (20, 30, channels)).astype(np.uint8 if bits == 8 else np.uint16)
    codec = "j2k" if name.lower().endswith("j2k") else "jp2"
    content = imagecodecs.jpeg2k_encode(values.squeeze(), codecformat=codec, bitspersample=bits, reversible=True)
    (tmp_path / name).write_bytes(content)
    assert np.array_equal(images.read(tmp_path / name), values)
    facts = images.probe(tmp_path / name)
    assert (facts.size, facts.channels, facts.dtype) == ((20, 30), channels, values.dtype.name)
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match="cannot be read as an image"):
        images.read(tmp_path / name)


@pytest.mark.skipif(not features.check("avif"), reason="a Pillow without it")
def test_avif_and_jfif(tmp_path: Path) -> None:
    values = np.zeros((20, 30, 3), np.uint8)
    values[:, 15:] = (200, 100, 50)
    turned = Image.Exif()
    turned[0x0112] = 6
    (tmp_path / "1.avif").write_bytes(encode(values, "AVIF", quality=100))
    (tmp_path / "2.avif").write_bytes(encode(values, "AVIF", exif=turned))
    (tmp_path / "3.JFIF").write_bytes(encode(values, "JPEG", quality=95))
    for name in ("1.avif", "3.JFIF"):
        assert np.abs(images.read(tmp_path / name).astype(int) - values).mean() < 4
    assert images.read(tmp_path / "2.avif").shape == (30, 20, 3)
    assert images.probe(tmp_path / "2.avif").size == (30, 20)
    images.write(tmp_path / "4.jfif", values)
    assert images.read(tmp_path / "4.jfif").shape == values.shape
    (tmp_path / "deep.avif").write_bytes(imagecodecs.avif_encode(values.astype(np.uint16) * 4, bitspersample=10))
    with pytest.raises(DataError, match="has more than 8 bits in a form that cannot be read"):
        images.read(tmp_path / "deep.avif")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty, 0 bytes"),
        (HEIC_START, "pip install pi-heif, or convert it to JPEG or PNG"),
        (b"\0\0\0\x20ftypavif" + bytes(20), "this Pillow was built without AVIF: pip install --upgrade pillow"),
        (b"text", "not a PNG, JPEG, BMP, WebP, GIF, AVIF, JPEG 2000, TIFF or .npy"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    monkeypatch.setattr(features, "check", lambda _: False)
    monkeypatch.setattr(eight_bit, "READ_FORMATS", ("PNG", "JPEG"))
    for package in ("pi_heif", "pillow_heif"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "1.heic").write_bytes(content)
    with pytest.raises(DataError, match=said):
        images.probe(tmp_path / "1.heic")


def test_an_installed_package_reads_heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setitem(sys.modules, "pi_heif", SimpleNamespace(register_heif_opener=lambda: asked.append(True)))
    monkeypatch.setitem(Image.OPEN, "HEIF", (lambda *_: Image.new("RGB", (30, 20)), lambda start: b"heic" in start))
    (tmp_path / "1.heic").write_bytes(HEIC_START)
    with pytest.raises(DataError):  # the stand-in is no file of Pillow's
        images.read(tmp_path / "1.heic")
    assert asked


def test_a_missing_reader_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user installs what the message names, and the same check reads the file."""
    for package in ("pi_heif", "pillow_heif"):
        monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "1.heic").write_bytes(HEIC_START)
    found, _ = inspect_file(str(tmp_path / "1.heic"), WHOLE, False, True, False)
    assert found.passing
    assert "pip install pi-heif" in str(found.problem)
    monkeypatch.setitem(sys.modules, "pi_heif", SimpleNamespace(register_heif_opener=lambda: None))
    found, _ = inspect_file(str(tmp_path / "1.heic"), WHOLE, False, True, False)
    assert "pip install" not in str(found.problem)
