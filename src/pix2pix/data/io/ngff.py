"""Read the metadata of an OME-Zarr image: a folder to what its full-size array is, without reading pixels.

OME-NGFF 0.4 on zarr version 2 and 0.5 on zarr version 3; also earlier ones, which state no sizes of pixels. What the
metadata name lies below the folder, and codecs are of a list: zarr knows some that run code.
"""

import importlib.util
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pix2pix.data.io.arrays import unreadable
from pix2pix.data.io.surroundings import StoreAxis
from pix2pix.errors import DataError
from pix2pix.system.reading import read_json
from pix2pix.text import format_count, format_examples, format_list

SUFFIX = ".zarr"
METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
"""Files of which a group or an array of zarr has one or more."""
MAX_METADATA = 2**24
"""Bytes of a metadata file; those of plates list thousands of images."""
MANY_CHUNKS = 2**16
SMALL_CHUNK = 2**10
"""Values of a chunk; an array of more than MANY_CHUNKS that are smaller would take hours."""
AXES = "tczyx"
CODECS = {
    "blosc", "bytes", "bz2", "crc32c", "delta", "gzip", "lz4", "lzma", "sharding_indexed", "shuffle", "transpose",
    "zlib", "zstd",
}  # fmt: skip
"""Codecs that are lossless and only compute; none but compressors changes the size of what it decodes."""


@dataclass(frozen=True)
class StoredImage:
    """The full-size array of an OME-Zarr image."""

    path: Path
    version: str
    """Of OME-NGFF, such as 0.4."""
    axes: tuple[StoreAxis, ...]
    """y and x are the last."""
    array: Path
    """Folder of the array."""
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    """Shape of what is decoded at once: a chunk, or a part of one that is a shard."""
    dtype: np.dtype[Any]
    names: tuple[str, ...]
    """Of the channels; none unless all have one."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        known = dict(zip(self.letters, self.shape, strict=True))
        return known["y"], known["x"], known.get("c", 1)

    @property
    def letters(self) -> str:
        """The axes by their letters, such as cyx."""
        return "".join(axis.name for axis in self.axes)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of what is decoded at once."""
        return math.prod(self.chunk) * self.dtype.itemsize

    @property
    def chunks_of_a_row(self) -> int:
        """Number of chunks that hold the same rows of pixels, y."""
        counts = [-(-size // side) for size, side in zip(self.shape, self.chunk, strict=True)]
        return math.prod(counts) // counts[-2]


def is_store(path: Path) -> bool:
    """Return whether a path is a folder of zarr: a group, an image or an array."""
    return any(os.path.isfile(path / name) for name in METADATA)


def output_name(path: Path) -> Path:
    """Return the name of the output of an image: `a.zarr`, or `a-0.zarr` for the image `a.zarr/0`."""
    path = Path(os.path.abspath(path))
    names = [path.stem if path.suffix.lower() == SUFFIX else path.name]
    while is_store(path.parent):
        path = path.parent
        names.insert(0, path.stem if path.suffix.lower() == SUFFIX else path.name)
    return Path("-".join(names) + SUFFIX)


def read_image(path: Path) -> StoredImage:
    """Read the metadata of an image. Raises DataError."""
    if importlib.util.find_spec("zarr") is None:
        raise DataError(
            f"{path}: reading and writing OME-Zarr needs zarr, and Python 3.11 or later: pip install 'pix2pix[zarr]'"
        )
    try:
        version, ome = _read_ome(path)
        _refuse_others(path, ome)
        multiscale = ome["multiscales"][0]
        level = multiscale["datasets"][0]
        array = _find_array(path, level["path"])
        shape, chunk, dtype = _read_array(path, array)
        axes = _read_axes(path, multiscale, level, len(shape))
    except DataError:
        raise
    except OSError as error:
        raise unreadable(path, f"{os.path.relpath(error.filename or path, path)}: {error.strerror or error}") from None
    except Exception as error:  # untrusted metadata may be of any shape
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        reason = reason[:200]
        raise unreadable(path, f"its metadata are damaged: {reason}") from None
    image = StoredImage(path, version, axes, array, shape, chunk, dtype, _read_names(ome))
    if math.prod(image.chunk) < SMALL_CHUNK and math.prod(image.shape) > MANY_CHUNKS * math.prod(image.chunk):
        sides = "x".join(map(str, image.chunk))
        raise DataError(f"{path}: has more than {MANY_CHUNKS:,} chunks of {sides} values: save it with larger chunks")
    stack = [(axis.name.upper(), size) for axis, size in zip(axes, shape, strict=True) if axis.name in "tz"]
    if any(size > 1 for _, size in stack):
        each = " and ".join(f"{size} along {name}" for name, size in stack if size > 1)
        raise DataError(
            f"{path}: is a stack of planes ({each}), and of OME-Zarr only single pictures are read: save it as TIFF, "
            "or each plane as an OME-Zarr of its own"
        )
    return image


def _read_ome(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the version and the metadata of OME. Raises DataError, OSError, ValueError or TypeError."""
    if (path / "zarr.json").exists():
        stored = _read(path / "zarr.json")
        if stored.get("node_type") == "group":
            ome = stored.get("attributes", {}).get("ome", {})
            return str(ome.get("version", "0.5")), ome
    elif not (path / ".zarray").exists():
        ome = _read(path / ".zattrs") if (path / ".zattrs").exists() else {}
        versions = [one.get("version") for one in ome.get("multiscales", ())]
        return str((versions or ["0.4"])[0] or "0.4"), ome
    raise DataError(f"{path}: is an array of zarr, expected an OME-Zarr image: give the folder that holds it")


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path, MAX_METADATA, finite=False)
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no object")
    return found


def _refuse_others(path: Path, ome: dict[str, Any]) -> None:
    """Raise DataError for a group that is not one image, and name the images in it."""
    if "multiscales" in ome:
        if (count := len(ome["multiscales"])) != 1:
            raise DataError(f"{path}: holds {count} images (multiscales) in one group, expected one: save each alone")
        return
    if plate := ome.get("plate"):
        wells = [str(well["path"]) for well in plate["wells"]]
        raise DataError(_advise(path, f"is a plate of {format_count(len(wells), 'well')}", [f"{w}/0" for w in wells]))
    if well := ome.get("well"):
        images = [str(image["path"]) for image in well["images"]]
        raise DataError(_advise(path, "is a well of a plate", images))
    inside = sorted(entry.name for entry in path.iterdir() if is_store(entry) and _is_image(entry))
    if inside or "bioformats2raw.layout" in ome:
        raise DataError(_advise(path, "is a collection of images", inside))
    raise DataError(f"{path}: is no OME-Zarr image: its metadata have no multiscales")


def _is_image(path: Path) -> bool:
    try:
        return "multiscales" in _read_ome(path)[1]
    except Exception:  # untrusted metadata may be of any shape
        return False


def _advise(path: Path, what: str, images: list[str]) -> str:
    if not images:
        return f"{path}: {what}, but holds none"
    return f"{path}: {what} ({format_examples(images)}): give one of them, such as {path / images[0]}"


def _find_array(path: Path, name: Any) -> Path:
    """Return the folder of an array; it lies below the image. Raises DataError, OSError or ValueError."""
    parts = PurePosixPath(str(name)).parts
    if not isinstance(name, str) or not parts or ".." in parts or name.startswith("/") or re.search(r"[\\:\0]", name):
        raise DataError(f"{path}: its metadata name the array {str(name)[:100]!r}, expected a folder below this one")
    array = path.joinpath(*parts)
    if not array.resolve().is_relative_to(path.resolve()):
        raise DataError(f"{path}: its array {name} is a link that leads elsewhere: copy what it leads to")
    if not array.is_dir():
        raise DataError(f"{path}: lacks its array {name} of full size: copy it again")
    return array


# ---- the array ---------------------------------------------------------------------------------------------------


def _read_array(path: Path, array: Path) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    """Return shape, chunk and type of an array. Raises DataError, or nearly anything for damaged metadata."""
    if (array / "zarr.json").exists():
        stored = _read(array / "zarr.json")
        codecs, chunk = stored["codecs"], stored["chunk_grid"]["configuration"]["chunk_shape"]
        used, dtype = [*_codec_names(codecs)], stored["data_type"]
        if codecs[0]["name"] == "sharding_indexed" and len(codecs) == 1:  # parts of shards are read alone
            chunk = codecs[0]["configuration"]["chunk_shape"]
        used += [str(one) for one in stored.get("storage_transformers") or ()]
        if stored["chunk_grid"]["name"] != "regular":
            raise DataError(f"{path}: has chunks of unequal size, expected a regular grid")
    else:
        stored = _read(array / ".zarray")
        codecs, chunk, dtype = [stored["compressor"], *(stored["filters"] or ())], stored["chunks"], stored["dtype"]
        used = [str(codec["id"]) for codec in codecs if codec]
        if any(codec and codec.get("astype", codec.get("dtype")) != codec.get("dtype") for codec in codecs):
            raise DataError(
                f"{path}: stores differences (delta) of another type than its values: save it without delta"
            )
    if unknown := sorted(set(used) - CODECS):
        known = format_list(sorted(CODECS))
        raise DataError(f"{path}: is compressed by {format_examples(unknown)[:100]}, expected codecs among {known}")
    if not isinstance(dtype, str):
        raise DataError(f"{path}: holds values of several fields, expected numbers")
    return _lengths(stored["shape"]), _lengths(chunk), np.dtype(dtype)


def _codec_names(codecs: Any) -> list[str]:
    """Return the names of codecs, and of those within shards."""
    names = []
    for codec in codecs:
        codec = {"name": codec} if isinstance(codec, str) else codec
        settings = codec.get("configuration", {})
        inner = [*settings.get("codecs", ()), *settings.get("index_codecs", ())]
        names += [str(codec["name"]), *_codec_names(inner)]
    return names


def _lengths(values: Any) -> tuple[int, ...]:
    if not all(isinstance(value, int) and not isinstance(value, bool) and value > 0 for value in values):
        raise ValueError(f"{values} are no lengths")
    return tuple(values)


# ---- axes and channels -------------------------------------------------------------------------------------------


def _read_axes(path: Path, multiscale: Any, level: Any, count: int) -> tuple[StoreAxis, ...]:
    """Return the axes with the size and the place of a pixel. Raises DataError, or nearly anything for damaged ones."""
    listed = [{"name": one} if isinstance(one, str) else one for one in multiscale.get("axes") or AXES]
    names = [str(one["name"]) for one in listed]
    if len(set(names)) < len(names) or not set(names) <= set(AXES) or names[-2:] != ["y", "x"] or len(names) != count:
        raise DataError(
            f"{path}: has an array with {count} axes, named {format_examples(names, 5)[:100]}, "
            "expected y and x, with c, t or z before them"
        )
    scale, translation = np.ones(count), np.zeros(count)
    for change in (*level.get("coordinateTransformations", ()), *multiscale.get("coordinateTransformations", ())):
        if change["type"] == "scale":
            factors = _numbers(change["scale"], count)
            if (factors <= 0).any():
                raise ValueError(f"pixels of the size {str(change['scale'])[:100]}")
            scale, translation = scale * factors, translation * factors
        elif change["type"] == "translation":
            translation = translation + _numbers(change["translation"], count)
        elif change["type"] != "identity":
            raise ValueError(f"a transformation of the kind {change['type']}")
    kinds = {"t": "time", "c": "channel"}
    return tuple(
        StoreAxis(name, str(one.get("type") or kinds.get(name, "space")), str(one.get("unit") or ""), *at)
        for name, one, at in zip(names, listed, zip(scale.tolist(), translation.tolist(), strict=True), strict=True)
    )


def _numbers(values: Any, count: int) -> Any:
    numbers = np.array(values, np.float64)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"a transformation by {str(values)[:100]}")
    return numbers


def _read_names(ome: dict[str, Any]) -> tuple[str, ...]:
    try:
        names = tuple(str(channel.get("label") or "") for channel in ome["omero"]["channels"])
    except (KeyError, TypeError, AttributeError):
        return ()
    return names if all(names) else ()
