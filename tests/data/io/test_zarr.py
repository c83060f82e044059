"""OME-Zarr images: read whole and by rows, written with a pyramid; stores of strangers are refused by name."""

import bz2
import gzip
import json
import lzma
import os
import shutil
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

zarr = pytest.importorskip("zarr")
import google_crc32c  # noqa: E402
import numcodecs  # noqa: E402
from zarr.codecs import (  # noqa: E402
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from pix2pix.data.io import images, ngff, zarr_reader, zarr_writer  # noqa: E402
from pix2pix.data.io.arrays import ImageFacts  # noqa: E402
from pix2pix.data.io.row_reader import open_rows  # noqa: E402
from pix2pix.data.io.row_writer import begin_to_write_rows  # noqa: E402
from pix2pix.data.io.surroundings import StoreAxis, Surroundings  # noqa: E402
from pix2pix.data.io.view import View  # noqa: E402
from pix2pix.errors import DataError  # noqa: E402

H, W = 90, 70


def values(*shape: int, dtype: str = "uint8") -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


def write_store(path: Path, array: NDArray[Any], axes: str, version: str = "0.4", **options: Any) -> Path:
    """Write an image as other programs do: the array is not named 0, and y and x have sizes of pixels."""
    group = zarr.create_group(zarr.storage.LocalStore(path), zarr_format=3 if version == "0.5" else 2)
    options.setdefault("chunks", tuple(min(32, side) for side in array.shape))
    group.create_array("full", shape=array.shape, dtype=array.dtype, **options)[...] = array
    listed = [{"name": axis, "type": "space"} | ({"unit": "micrometer"} if axis in "yx" else {}) for axis in axes]
    scale = {"type": "scale", "scale": [0.5 if axis in "yx" else 1 for axis in axes]}
    multiscale = {"axes": listed, "datasets": [{"path": "full", "coordinateTransformations": [scale]}]}
    ome: dict[str, Any] = {"multiscales": [multiscale], "omero": {"channels": [{"label": axis} for axis in "abc"]}}
    if version == "0.5":
        group.attrs.update({"ome": {"version": version, **ome}})
    else:
        multiscale["version"] = version
        group.attrs.update(ome)
    return path


STORES: dict[str, dict[str, Any]] = {
    "yx": {"array": values(H, W), "axes": "yx"},
    "cyx": {"array": values(3, H, W), "axes": "cyx", "version": "0.5"},
    "five axes": {"array": values(1, 3, 1, H, W, dtype=">u2"), "axes": "tczyx"},
    "shards": {"array": values(3, H, W, dtype="float32"), "axes": "cyx", "version": "0.5", "shards": (3, 64, 64)},
    "uncompressed": {"array": values(2, H, W, dtype="int16"), "axes": "cyx", "compressors": None},
    "one chunk": {"array": values(H, W), "axes": "yx", "version": "0.5", "chunks": (300, 300)},
}


@pytest.mark.parametrize("name", STORES)
def test_reading(tmp_path: Path, name: str) -> None:
    stored = STORES[name]
    path = write_store(tmp_path / "a.zarr", **stored)
    expected = np.moveaxis(stored["array"].reshape(-1, H, W), 0, 2)
    read = images.read(path)
    assert np.array_equal(read, expected)
    assert images.probe(path) == ImageFacts(*read.shape, read.dtype.name)
    with open_rows(path, alpha=True) as reader:
        assert not reader.whole
        for top, bottom in ((0, 1), (20, 77), (31, 33), (64, 90)):
            assert np.array_equal(reader.read(top, bottom), expected[top:bottom])
    image = ngff.read_image(path)
    unkept = zarr_reader.open_bands(image, None, image.chunk_bytes)  # rows of chunks that take too much to be kept
    assert unkept is not None
    assert np.array_equal(unkept(20, 77), expected[20:77])
    assert zarr_reader.open_bands(image, None, image.chunk_bytes - 1) is None
    if expected.shape[2] == 3:
        with open_rows(path, View(channels=("c", "0"))) as reader:
            assert np.array_equal(reader.read(0, 50), expected[:50, :, [2, 0]])
    kept = images.read_surroundings(path)
    assert kept.voxel is not None
    assert kept.unit == "µm"
    assert kept.voxel[1:] == (0.5, 0.5)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(("version", "axes", "channels"), [("0.4", "yx", 3), ("0.5", "tczyx", 1), ("0.5", "cyx", 2)])
def test_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, axes: str, channels: int, labels: bool
) -> None:
    monkeypatch.setattr(zarr_writer, "CHUNK", 32)
    array = values(H, W + 1, channels, dtype="uint16")
    array[:40] = 0  # chunks of one value are written too
    stored = tuple(StoreAxis(axis, "space", "nanometer", 2.0, 10.0) for axis in axes)
    kept = Surroundings(ngff=version, axes=stored, channel_names=("p", "q"))
    palette = np.zeros((1, 3), np.uint8) if labels else None
    path, facts = tmp_path / "new/a.zarr", ImageFacts(*array.shape, "uint16")
    finish = begin_to_write_rows(path, facts, np.split(array, [1, 40, 41]), surroundings=kept, palette=palette)
    assert not path.exists()
    finish()
    assert [one.name for one in path.parent.iterdir()] == ["a.zarr"]
    assert np.array_equal(images.read(path), array)
    image = ngff.read_image(path)
    assert image.version == version
    assert image.letters == (axes if channels == 1 or "c" in axes else "c" + axes)
    assert image.axes[-1] == stored[-1]
    assert image.names == (("p", "q") if channels == 2 else ("red", "green", "blue") if channels == 3 else ("0",))
    group = zarr.open_group(path, mode="r")
    attributes = group.attrs.asdict()
    (multiscale,) = (attributes["ome"] if version == "0.5" else attributes)["multiscales"]
    assert [level["path"] for level in multiscale["datasets"]] == ["0", "1", "2"]
    half = multiscale["datasets"][1]["coordinateTransformations"]
    assert half[0]["scale"][-1] == 4
    assert half[1]["translation"][-1] == (10 if labels else 11)
    first, second = (np.asarray(group[level]).reshape(channels, *np.shape(group[level])[-2:]) for level in "01")
    assert second.shape[1:] == (45, 36)
    whole = first[:, :, :-1].reshape(channels, 45, 2, 35, 2)
    expected = whole[:, :, 0, :, 0] if labels else np.floor(whole.mean(axis=(2, 4)) + 0.5)
    assert np.array_equal(second[:, :, :-1], expected)
    assert len([one for one in path.rglob("*") if one.is_file() and one.parts[-1].isdecimal()]) >= 9 * channels


def change(path: Path, **values: Any) -> None:
    """Change values of a metadata file."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def change_multiscale(path: Path, **values: Any) -> None:
    attributes = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
    attributes["multiscales"][0].update(values)
    change(path / ".zattrs", **attributes)


def name_array(path: Path, name: str) -> None:
    change_multiscale(path, datasets=[{"path": name}])


def size_pixels(path: Path, *scale: float) -> None:
    change_multiscale(path, coordinateTransformations=[{"type": "scale", "scale": scale}])


def link(path: Path, target: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def as_plate(path: Path) -> None:
    (path / ".zattrs").write_text(json.dumps({"plate": {"wells": [{"path": "A/1"}]}}), encoding="utf-8")


def as_series(path: Path) -> None:
    (path / ".zattrs").write_text(json.dumps({"bioformats2raw.layout": 3}), encoding="utf-8")
    write_store(path / "0", values(8, 8), "yx")


Damage = tuple[Callable[[Path], object], str]
STRANGE: dict[str, Damage] = {
    "path outside": (lambda path: name_array(path, "../b.zarr/full"), "expected a folder below this one"),
    "absolute path": (lambda path: name_array(path, "/etc"), "expected a folder below this one"),
    "linked array": (lambda path: link(path / "full", path.parent), "is a link that leads elsewhere"),
    "linked chunk": (lambda path: link(path / "full/0.0", Path("/etc/passwd")), "full/0.0 is no regular file"),
    "pipe": (lambda path: ((path / "full/0.0").unlink(), os.mkfifo(path / "full/0.0")), "full/0.0 is no regular file"),
    "cut chunk": (lambda path: cut(path / "full/0.0"), "a chunk is cut off"),
    "no chunks": (lambda path: [one.unlink() for one in (path / "full").glob("[0-9]*")], "no chunk of pixels"),
    "no array": (lambda path: shutil.rmtree(path / "full"), "lacks its array full"),
    "huge shape": (lambda path: change(path / "full/.zarray", shape=[10**6, 10**6]), "more than 536,870,912 pixels"),
    "many chunks": (
        lambda path: change(path / "full/.zarray", shape=[9**4, 9**4], chunks=[1, 1]),
        "has more than 65,536 chunks of 1x1 values",
    ),
    "far shape": (lambda path: change(path / "full/.zarray", shape=[10**30, 10**30]), "more than 536,870,912 pixels"),
    "large file": (lambda path: os.truncate(path / "full/0.0", 2**40), "full/0.0: cannot be read as an image (it has "),
    "endless text": (lambda path: change(path / "full/.zarray", fill_value="x" * 10**6), "cannot be read as an image"),
    "thousands of axes": (lambda path: change_multiscale(path, axes=["y"] * 10**5), "named y, y, y, y, y and 99,995"),
    "thousands of levels": (lambda path: change_multiscale(path, datasets=[{"path": "0"}] * 10**5), "lacks its array"),
    "other differences": (
        lambda path: change(path / "full/.zarray", filters=[{"id": "delta", "dtype": "<u2", "astype": "|i1"}]),
        "differences (delta) of another type",
    ),
    "huge chunk": (lambda path: change(path / "full/.zarray", chunks=[10**6, 10**6]), "GB of memory"),
    "runs code": (lambda path: change(path / "full/.zarray", filters=[{"id": "pickle"}]), "is compressed by pickle"),
    "unknown codec": (lambda path: change(path / "full/.zarray", compressor={"id": "jxl"}), "is compressed by jxl"),
    "fields": (lambda path: change(path / "full/.zarray", dtype=[["a", "<u2"]]), "values of several fields"),
    "wide integers": (lambda path: change(path / "full/.zarray", dtype="<i4"), "holds int32 values"),
    "no metadata": (lambda path: (path / ".zattrs").unlink(), "have no multiscales"),
    "no JSON": (lambda path: (path / ".zattrs").write_text("[" * 10**5), "its metadata are damaged"),
    "wrong JSON": (lambda path: change(path / ".zattrs", multiscales=[3]), "its metadata are damaged"),
    "pixels without size": (lambda path: size_pixels(path, 1, 0), "pixels of the size [1, 0]"),
    "sizes that are no numbers": (lambda path: size_pixels(path, 1, float("nan")), "a transformation by [1, nan]"),
    "plate": (as_plate, "is a plate of 1 well (A/1/0): give one of them, such as"),
    "series": (as_series, "is a collection of images (0): give one of them, such as"),
    "stack": (lambda path: (shutil.rmtree(path), write_store(path, values(3, 8, 8), "zyx")), "3 along Z"),
    "order": (lambda path: (shutil.rmtree(path), write_store(path, values(8, 8), "xy")), "expected y and x"),
    "array": (lambda path: (shutil.rmtree(path), zarr.save(path, values(8, 8))), "is an array of zarr"),
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of zarr about arrays that a test writes
def test_stores_of_strangers_are_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write_store(tmp_path / "a.zarr", values(64, 48), "yx")
    damage, reason = STRANGE[name]
    damage(path)
    with pytest.raises(DataError) as raised:
        images.read(path)
    assert str(raised.value).startswith(str(path))
    assert reason in str(raised.value)
    assert len(str(raised.value)) < 600 + len(str(path))


CODECS_2: dict[str, Any] = {
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(preset=0),  # by default 8 MB to decode each chunk
    "lz4": numcodecs.LZ4(),
    "zstd": numcodecs.Zstd(),
    "blosc": numcodecs.Blosc("lz4", shuffle=numcodecs.Blosc.BITSHUFFLE),
}
CODECS_3: dict[str, Any] = {
    "gzip": GzipCodec(),
    "zstd": ZstdCodec(checksum=True),
    "blosc": BloscCodec(cname="lz4", shuffle="bitshuffle"),
    "crc32c, gzip": [Crc32cCodec(), GzipCodec()],
    "zstd, gzip": [ZstdCodec(), GzipCodec()],
}
ZEROS = bytes(2**24)
BOMBS: dict[str, bytes] = {
    "zlib": zlib.compress(ZEROS, 1),
    "gzip": gzip.compress(ZEROS, 1),
    "bz2": bz2.compress(ZEROS, 1),
    "lzma": lzma.compress(ZEROS, preset=0),
    "lz4": bytes(numcodecs.LZ4().encode(ZEROS)),
    "zstd": bytes(numcodecs.Zstd().encode(ZEROS)),
    "blosc": bytes(numcodecs.Blosc().encode(ZEROS)),
}


def write_codec(path: Path, version: str, codec: str) -> NDArray[Any]:
    """Write noise and a blank half, with filters in version 2; the shards of version 3 are read by rows."""
    array = np.hstack([values(H, W, dtype="uint16"), np.zeros((H, W), np.uint16)])
    options: dict[str, Any] = {"version": version, "chunks": (32, 32)}
    if version == "0.4":
        options |= {"compressors": CODECS_2[codec], "filters": [numcodecs.Delta("<u2"), numcodecs.Shuffle(2)]}
    else:
        options |= {"compressors": CODECS_3[codec], "filters": [TransposeCodec(order=(1, 0))], "shards": (64, 64)}
    write_store(path, array, "yx", **options)
    return array


@pytest.mark.parametrize(
    ("version", "codec"), [*(("0.4", name) for name in CODECS_2), *(("0.5", name) for name in CODECS_3)]
)
def test_each_codec_is_read_exactly(tmp_path: Path, version: str, codec: str) -> None:
    array = write_codec(tmp_path / "a.zarr", version, codec)
    assert np.array_equal(images.read(tmp_path / "a.zarr")[..., 0], array)
    with open_rows(tmp_path / "a.zarr") as reader:
        assert np.array_equal(reader.read(30, 70)[..., 0], array[30:70])


def refuse_in_little_memory(path: Path, *, rows: bool = False) -> str:
    def read() -> None:
        if rows:
            with open_rows(path) as reader:
                reader.read(0, 40)
        else:
            images.read(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngff, "MAX_METADATA", 2**16)  # reading a file takes as much
        tracemalloc.start()
        with pytest.raises(DataError) as raised:
            read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 0.25 * len(ZEROS)
    return str(raised.value)


@pytest.mark.parametrize(
    ("version", "codec"), [*(("0.4", name) for name in CODECS_2), *(("0.5", name) for name in list(CODECS_3)[:3])]
)
@pytest.mark.parametrize("rows", [False, True])
def test_a_chunk_that_decodes_to_more_is_refused_in_little_memory(
    tmp_path: Path, version: str, codec: str, rows: bool
) -> None:
    options: dict[str, Any] = {"version": version, "compressors": (CODECS_2 if version == "0.4" else CODECS_3)[codec]}
    path = write_store(tmp_path / "a.zarr", values(64, 48), "yx", **options)
    (chunk,) = [one for one in (path / "full").rglob("*") if one.as_posix().endswith(("full/0.1", "full/c/0/1"))]
    chunk.write_bytes(BOMBS[codec])
    assert refuse_in_little_memory(path, rows=rows).startswith(f"{chunk}: cannot be read as an image (")


def test_a_bomb_in_a_shard_is_refused_in_little_memory(tmp_path: Path) -> None:
    path = write_store(tmp_path / "a.zarr", values(64, 64), "yx", "0.5", compressors=GzipCodec(), shards=(64, 64))
    (shard,) = (one for one in (path / "full").rglob("*") if one.name == "0" and one.is_file())
    index = np.frombuffer(shard.read_bytes()[-(4 * 16 + 4) : -4], "<u8").copy()
    index[:2] = 0, len(BOMBS["gzip"])
    index[2:] = 2**64 - 1  # no other chunks
    checksum = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    shard.write_bytes(BOMBS["gzip"] + index.tobytes() + checksum)
    reason = refuse_in_little_memory(path)
    assert reason.startswith(f"{shard}: cannot be read as an image (a chunk decodes to more than 5,248 bytes")


@pytest.mark.filterwarnings("ignore:Combining a `sharding_indexed` codec")
def test_shards_that_are_compressed_as_a_whole(tmp_path: Path) -> None:
    array = values(H, W)
    inner = ShardingCodec(chunk_shape=(16, 16), codecs=[BytesCodec(), ZstdCodec()])
    path = write_store(
        tmp_path / "a.zarr", array, "yx", "0.5", chunks=(32, 32), serializer=inner, compressors=GzipCodec()
    )
    assert np.array_equal(images.read(path)[..., 0], array)


def test_without_zarr_the_error_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_store(tmp_path / "a.zarr", values(8, 8), "yx")
    monkeypatch.setattr(ngff.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install 'pix2pix\[zarr\]'"):
        images.probe(path)
