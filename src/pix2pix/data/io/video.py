"""Read and write the frames of a video file through PyAV: (H, W, 3) uint8 with their times; audio as it is.

Frames are decoded to full-range RGB by the colour space that the file states, and encoded as yuv420p of BT.709 in
limited range. Where a file states none, it is BT.709 from 720 lines on and BT.601 below, as players take it. One frame
is in memory at a time, beside what the codecs hold.
"""

import heapq
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, cast

import numpy as np

from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import DataError

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
"""Suffixes of video files, in lower case -> FFmpeg's name of the container."""
VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
H264 = {"crf": "18", "preset": "medium"}
SLACK = 0.5
"""Seconds by which the packets of a whole file may end before its stated duration."""
BT709, UNSTATED = 1, 2
LIMITED, FULL = 1, 2
HD_LINES = 720
HDR_TRANSFERS = (16, 18)
"""PQ and HLG."""


def is_video_name(path: Path) -> bool:
    """Return whether a path has the suffix of a video file."""
    return path.suffix.lower() in FORMATS


@dataclass(frozen=True)
class Frame:
    """One frame, upright."""

    values: Pixels
    """(H, W, 3)."""
    number: int
    """From 1."""
    pts: int
    """Time in units of the video's time base."""


@dataclass
class VideoReader:
    """An open video: its frames and, between them, the packets of its audio."""

    path: Path
    container: Any
    stream: Any
    notes: list[str] = field(default_factory=list)
    """What is changed or left out, a sentence each."""
    _held: list[Any] = field(default_factory=list)
    _events: Iterator[Any] = field(default_factory=lambda: iter(()))
    _times: list[int] = field(default_factory=list)
    _last: int | None = None
    _decoded: int = 0
    _end: float = -math.inf

    @property
    def time_base(self) -> Fraction:
        """Seconds of one unit of time."""
        return Fraction(self.stream.time_base)

    @property
    def rate(self) -> Fraction:
        """Frames per second on average."""
        return Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)

    @property
    def copied(self) -> list[Any]:
        """The streams of which packets are copied: all audio."""
        return list(self.container.streams.audio)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the first frame, upright."""
        first = next(item for item in self._held if isinstance(item, Frame))
        height, width, _ = first.values.shape
        return height, width

    @property
    def length(self) -> int | None:
        """Number of frames as the file states it, or as its duration and rate give it; None if unknown."""
        if self.stream.frames:
            return int(self.stream.frames)
        duration = self.container.duration
        return round(duration / 10**6 * self.rate) if duration else None

    @property
    def pixel_shape(self) -> Fraction | None:
        """Width over height of a pixel, upright."""
        shape = self.stream.codec_context.sample_aspect_ratio
        return (1 / shape if self._turned % 2 else shape) if shape else None

    _turned: int = 0
    """Quarter turns, counterclockwise, that make frames upright."""

    def begin(self) -> None:
        """Read up to the first frame. Raises DataError."""
        self._events = self._read()
        for item in self._events:
            self._held.append(item)
            if isinstance(item, Frame):
                break
        else:
            raise DataError(f"{self.path}: holds no frame that can be decoded")
        self._note_what_changes()

    def __iter__(self) -> Iterator[Any]:
        """Yield frames, and packets of audio, in the order of the file. Raises DataError naming the frame."""
        while self._held:
            yield self._held.pop(0)
        yield from self._events

    def _read(self) -> Iterator[Any]:
        import av

        try:
            for packet in self.container.demux():
                if packet.pts is not None:
                    self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index == self.stream.index:
                    if packet.is_corrupt:
                        raise self._broken("its data end here")
                    if packet.size and packet.dts is not None:
                        heapq.heappush(self._times, packet.dts)
                    for frame in packet.decode():
                        yield self._take(frame)
                elif packet.stream.type == "audio" and packet.dts is not None:
                    yield packet
        except av.FFmpegError as error:
            raise self._broken(error.strerror or str(error)) from None
        if self._end < (stated := self._stated_end()) - SLACK:
            raise self._broken(f"it ends at {self._end:.1f} s of {stated:.1f} s")

    def _stated_end(self) -> float:
        """Return the second at which the file says that it ends, or an earlier one."""
        duration = (self.container.duration or 0) / 10**6  # from the first frame, or from 0, as the container counts
        if self.container.format.name == "avi":  # FFmpeg derives it from what is there
            duration = max(duration, float(self.stream.frames / self.rate))
        return duration

    def _broken(self, reason: str) -> DataError:
        return DataError(
            f"{self.path}: is broken or truncated after frame {self._decoded} ({reason}); give a whole file, or cut it "
            "before that frame"
        )

    def _take(self, frame: Any) -> Frame:
        self._decoded += 1
        if frame.is_corrupt:
            raise self._broken(f"frame {self._decoded} is damaged")
        pts = self._time_of(frame)
        if frame.rotation % 90:
            raise DataError(f"{self.path}: is turned by {frame.rotation} degrees; expected a multiple of 90")
        self._turned = frame.rotation // 90 % 4
        unstated = frame.colorspace == UNSTATED and frame.height >= HD_LINES
        rgb = frame.reformat(format="rgb24", src_colorspace=BT709 if unstated else None)
        values = np.rot90(rgb.to_ndarray(), self._turned)
        return Frame(np.ascontiguousarray(values), self._decoded, pts)

    def _time_of(self, frame: Any) -> int:
        """Return the time of a decoded frame; AVI has times of packets only, which are in the order of decoding."""
        pts = heapq.heappop(self._times) if self.container.format.name == "avi" and self._times else frame.pts
        if pts is None or (self._last is not None and pts <= self._last):
            raise DataError(
                f"{self.path}: frame {self._decoded} has {'no time' if pts is None else 'the time of an earlier one'}; "
                "convert the file first, as by ffmpeg -i FILE NEW.mkv"
            )
        self._last = pts
        return int(pts)

    def _note_what_changes(self) -> None:
        context, streams = self.stream.codec_context, self.container.streams
        if self._turned:
            self.notes.append(f"turned upright by {90 * self._turned} degrees counterclockwise, as the file states")
        depth = max(component.bits for component in context.format.components)
        if depth > 8:
            self.notes.append(f"frames of {depth} bits were rounded to 8")
        if getattr(context, "color_trc", 0) in HDR_TRANSFERS:
            self.notes.append("high dynamic range was not tone mapped: colours may look pale")
        if context.format.name.startswith("yuva") or self.stream.metadata.get("alpha_mode") == "1":
            self.notes.append("transparency was dropped")
        used = {self.stream.index, *(stream.index for stream in self.copied)}
        left_out = [stream.type for stream in streams if stream.index not in used]
        if left_out:
            self.notes.append(f"not kept: streams of {', '.join(sorted(set(left_out)))}")


@contextmanager
def open_video(path: Path) -> Iterator[VideoReader]:
    """Open a video file for reading, up to its first frame. Raises DataError."""
    av = _require_av(path)
    try:
        container = av.open(path, metadata_errors="replace")
    except av.FFmpegError as error:
        raise DataError(f"{path}: cannot be read as a video ({error.strerror or error})") from None
    with container:
        stream = container.streams.best("video")
        if stream is None:
            raise DataError(f"{path}: holds no video")
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"err_detect": "explode"}  # else damaged parts are filled in silently
        reader = VideoReader(path, container, stream)
        reader.begin()
        yield reader


def _require_av(path: Path) -> ModuleType:
    try:
        import av
    except ImportError:
        raise DataError(f"{path}: reading videos needs PyAV: pip install 'pix2pix[video]'") from None
    return av


class VideoWriter:
    """Write frames of one size, and copied audio, into a container; close it at the end."""

    def __init__(self, file: BinaryIO, path: Path, reader: VideoReader, size: tuple[int, int]) -> None:
        """Begin a file of the suffix of `path` for frames (H, W). Raises DataError."""
        import av

        self.path, self.reader, self._given = path, reader, size
        suffix = path.suffix.lower()
        self.constant = suffix == ".avi"
        self.time_base = 1 / reader.rate if self.constant else reader.time_base
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self.container = av.open(file, "w", format=FORMATS[suffix])
        codec, options = ("libvpx-vp9", VP9) if suffix == ".webm" else ("libx264", H264)
        try:
            self.stream = cast(Any, self.container.add_stream(codec, rate=reader.rate, options=options))
        except (av.FFmpegError, ValueError):
            raise DataError(f"{path}: this PyAV has no encoder {codec}; pip install --force-reinstall av") from None
        self._set_up(self.stream.codec_context)
        self._copies = {source.index: self._copy_of(source) for source in reader.copied}
        self._note(codec, size)

    def _set_up(self, context: Any) -> None:
        context.height, context.width = self.size
        context.pix_fmt, context.time_base, self.stream.time_base = "yuv420p", self.time_base, self.time_base
        context.color_range, context.colorspace = LIMITED, BT709
        context.color_primaries, context.color_trc = BT709, BT709
        if self.constant:
            context.max_b_frames = 0
        if self.reader.pixel_shape is not None:
            context.sample_aspect_ratio = self.reader.pixel_shape

    def write(self, values: Pixels, frame: Frame) -> None:
        """Encode (H, W, 1 or 3) at the time of a frame of the reader. Raises DataError."""
        import av

        if values.shape[:2] != self._given:
            old, new = ("{}x{}".format(*one) for one in (self._given, values.shape[:2]))
            raise DataError(
                f"{self.reader.path}: changes its size at frame {frame.number}, from {old} to {new} (HxW); cut it there"
            )
        rgb = np.broadcast_to(values, (*values.shape[:2], 3))
        height, width = self.size
        padded = np.pad(rgb, ((0, height - rgb.shape[0]), (0, width - rgb.shape[1]), (0, 0)), mode="edge")
        encoded = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")
        encoded = encoded.reformat(
            format="yuv420p", dst_colorspace=BT709, src_color_range=FULL, dst_color_range=LIMITED
        )
        encoded.pts, encoded.time_base = self._time(frame), self.time_base
        with self._naming():
            self.container.mux(self.stream.encode(encoded))

    def copy(self, packet: Any) -> None:
        """Write a packet of audio as it is."""
        packet.stream = self._copies[packet.stream.index]
        with self._naming():
            self.container.mux(packet)

    def close(self) -> None:
        """Write what the encoder holds, and the end of the file."""
        with self._naming():
            self.container.mux(self.stream.encode(None))
            self.container.close()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        import av

        try:
            yield
        except av.FFmpegError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def _time(self, frame: Frame) -> int:
        if not self.constant:
            return frame.pts
        place = frame.pts * self.reader.time_base / self.time_base
        if abs(place - round(place)) > 0.1:
            raise DataError(
                f"{self.path}: .avi holds one constant frame rate, and frame {frame.number} of {self.reader.path} is "
                "not at a multiple of it; write .mkv or .mp4"
            )
        return round(place)

    def _copy_of(self, source: Any) -> Any:
        import av

        try:
            return self.container.add_stream_from_template(source)
        except (av.FFmpegError, ValueError) as error:
            name = source.codec_context.name
            raise DataError(f"{self.path}: cannot hold the audio ({name}) as it is ({error}); write .mkv") from None

    def _note(self, codec: str, size: tuple[int, int]) -> None:
        name = "VP9" if codec == "libvpx-vp9" else "H.264"
        self.reader.notes.append(f"frames are written as {name}, yuv420p, BT.709 of limited range")
        if self.size != size:
            old, new = ("{}x{}".format(*one) for one in (size, self.size))
            self.reader.notes.append(
                f"frames of {old} (HxW) were padded to {new} by repeating the last row or column, since yuv420p needs "
                "even sides"
            )
