"""Check blocks of Blosc before they are decoded: its decoder reads beyond the end of a block that is cut off."""

import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_NAME = "pix2pix.data.io.checked_blosc.CheckedBlosc"
_registering = threading.Lock()


def check_block(block: Any, most: int) -> None:
    """Raise ValueError unless a block has the bytes that it states, and at most `most` of values."""
    data = memoryview(block).cast("B")
    values, _, stored = struct.unpack_from("<III", data, 4) if len(data) >= 16 else (0, 0, 16)
    if stored > len(data):
        raise ValueError("a chunk is cut off")
    if values > most:
        raise ValueError(f"a chunk has {values:,} bytes of values, expected {most:,}")


@contextmanager
def checking_blosc(most: int) -> Iterator[None]:
    """Within the block, arrays of zarr are opened with decoders that check blocks; chunks have at most `most` bytes."""
    import numcodecs
    import zarr
    from numcodecs.registry import codec_registry

    class Checked(numcodecs.Blosc):  # type: ignore[misc]  # of zarr version 2
        def decode(self, buf: Any, out: Any = None) -> Any:
            check_block(buf, most)
            return super().decode(buf, out)

    _register_codec()
    with _registering, zarr.config.set({"codecs.blosc": _NAME}):
        before = codec_registry.get("blosc")
        codec_registry["blosc"] = Checked
        try:
            yield
        finally:
            codec_registry["blosc"] = before or numcodecs.Blosc


@cache
def _register_codec() -> None:
    """Register the decoder of zarr version 3."""
    from zarr.codecs import BloscCodec
    from zarr.registry import register_codec

    def check(block: Any, spec: Any) -> None:
        check_block(block.to_bytes(), math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize)

    class CheckedBlosc(BloscCodec):  # type: ignore[misc]
        def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            check(chunk_bytes, chunk_spec)
            return super()._decode_sync(chunk_bytes, chunk_spec)

        async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            check(chunk_bytes, chunk_spec)
            return await super()._decode_single(chunk_bytes, chunk_spec)

    register_codec("blosc", CheckedBlosc, qualname=_NAME)
