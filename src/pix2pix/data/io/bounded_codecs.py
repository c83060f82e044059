"""Decode chunks of zarr into memory of a known size: whatever a chunk claims, it gives no more than its shape takes.

The decoders of zarr allocate what a chunk states or unpacks to, and that of Blosc reads beyond the end of a block that
is cut off.
"""

import bz2
import lzma
import math
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

LZMA_MEMORY = 2**28
"""Bytes that a decoder of LZMA may take; the strongest preset takes 2^26."""
_registering = threading.Lock()

Decode = Callable[[bytes, int], bytes]
"""Decode a chunk to at most so many bytes. Raises ValueError, or what the library of the codec raises."""


def with_overhead(size: int) -> int:
    """Return the most bytes that values of a size take between two codecs, or stored: some cannot be compressed."""
    return size + size // 8 + 2**12


def _decode_stream(decoder: Any, chunk: bytes, most: int) -> bytes:
    """Decode by a decompressor of Python's library, which stops one byte after the limit."""
    values: bytes = decoder.decompress(chunk, most + 1)
    if len(values) > most:
        raise _too_large(most)
    if not decoder.eof:
        raise ValueError("a chunk is cut off")
    if decoder.unused_data:
        raise ValueError("a chunk has more bytes after its end")
    return values


def _decode_zstd(chunk: bytes, most: int) -> bytes:
    from imagecodecs import ZstdError, zstd_decode

    try:
        return bytes(zstd_decode(chunk, out=most))  # into `most` bytes, whatever the chunk states
    except ZstdError as error:
        raise _too_large(most) if "too small" in str(error) else ValueError(f"a chunk is damaged: {error}") from None


def _decode_lz4(chunk: bytes, most: int) -> bytes:
    from numcodecs import LZ4

    if len(chunk) < 4 or struct.unpack_from("<I", chunk)[0] > most:
        raise _too_large(most)
    return bytes(LZ4().decode(chunk))


def _decode_blosc(chunk: bytes, most: int) -> bytes:
    from numcodecs import Blosc

    values, _, stored = struct.unpack_from("<III", chunk, 4) if len(chunk) >= 16 else (0, 0, 16)
    if stored > len(chunk):
        raise ValueError("a chunk is cut off")
    if values > most:
        raise _too_large(most)
    return bytes(Blosc().decode(chunk))


def _too_large(most: int) -> ValueError:
    return ValueError(f"a chunk decodes to more than {most:,} bytes, the most for its shape")


DECODERS: dict[str, Decode] = {
    "blosc": _decode_blosc,
    "bz2": lambda chunk, most: _decode_stream(bz2.BZ2Decompressor(), chunk, most),
    "gzip": lambda chunk, most: _decode_stream(zlib.decompressobj(zlib.MAX_WBITS | 16), chunk, most),
    "lz4": _decode_lz4,
    "lzma": lambda chunk, most: _decode_stream(lzma.LZMADecompressor(memlimit=LZMA_MEMORY), chunk, most),
    "zlib": lambda chunk, most: _decode_stream(zlib.decompressobj(), chunk, most),
    "zstd": _decode_zstd,
}
"""Name of a codec, of both versions of zarr -> how its chunks are decoded."""
_OF_VERSION_3 = ("blosc", "gzip", "zstd")


@contextmanager
def bounded_codecs(chunk_bytes: int) -> Iterator[None]:
    """Within the block, arrays of zarr are opened with bounded decoders; chunks take `chunk_bytes`.

    The decoders of version 3 are told the shape of each chunk; those of version 2 know this number only.
    """
    import zarr
    from numcodecs.registry import codec_registry, get_codec

    names = {name: _register_codec(name) for name in _OF_VERSION_3}
    with _registering, zarr.config.set({f"codecs.{name}": registered for name, registered in names.items()}):
        for name in DECODERS:
            get_codec({"id": name})  # enters those that numcodecs loads on demand
        before = {name: codec_registry[name] for name in DECODERS}
        codec_registry.update({name: _make_codec(name, before[name], with_overhead(chunk_bytes)) for name in before})
        try:
            yield
        finally:
            codec_registry.update(before)


def _make_codec(name: str, original: Any, most: int) -> Any:
    """Return the class of a codec of zarr version 2, with a bounded decoder."""

    class Bounded(original):  # type: ignore[misc]
        def decode(self, buf: Any, out: Any = None) -> Any:  # zarr gives no `out`
            return DECODERS[name](bytes(memoryview(buf).cast("B")), most)

    return Bounded


@cache
def _register_codec(name: str) -> str:
    """Register a bounded codec of zarr version 3, and return the name to ask for it."""
    import asyncio

    from zarr import codecs
    from zarr.registry import register_codec

    original: Any = {"blosc": codecs.BloscCodec, "gzip": codecs.GzipCodec, "zstd": codecs.ZstdCodec}[name]

    class Bounded(original):  # type: ignore[misc]
        def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            size = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
            return chunk_spec.prototype.buffer.from_bytes(DECODERS[name](chunk_bytes.to_bytes(), with_overhead(size)))

        async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            return await asyncio.to_thread(self._decode_sync, chunk_bytes, chunk_spec)

    registered = f"{__name__}.{name}"
    register_codec(name, Bounded, qualname=registered)
    return registered
