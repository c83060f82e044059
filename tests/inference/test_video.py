"""A clip becomes a clip: its times and its audio stay, its frames are those that the translator gives."""

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pix2pix.data.io.video import Frame, open_video
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference import video
from pix2pix.inference.huge import Tiling
from pix2pix.inference.pipeline import Options, translate_files
from pix2pix.inference.samples import Sampling
from pix2pix.inference.translator import Translator
from tests.inference.small_models import make_model

av = pytest.importorskip("av")

TIMES = (0, 1, 2, 4, 5, 9, 10, 11, 12, 13, 17, 18)
"""Variable: in units of 1/24 s."""
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (220, 220, 40)]


def picture(height: int, width: int) -> Any:
    """Four quarters of different colours, which tell turns apart."""
    values = np.zeros((height, width, 3), np.uint8)
    for number, colour in enumerate(COLOURS):
        rows = slice(None, height // 2) if number < 2 else slice(height // 2, None)
        values[rows, slice(None, width // 2) if number % 2 == 0 else slice(width // 2, None)] = colour
    return values


def make_clip(
    path: Path, times: tuple[int, ...] = TIMES, size: tuple[int, int] = (32, 48), audio: bool = True, codec: str = ""
) -> Path:
    """A clip of one picture that grows darker, and a tone."""
    codec = codec or ("libvpx-vp9" if path.suffix == ".webm" else "libx264")
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=24, options={"crf": "4", "g": "4"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 24)
        tone = container.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000) if audio else None
        for number, time in enumerate(times):
            values = (picture(*size) * (1 - number / 40)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(values, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 24)
            container.mux(stream.encode(frame))
        if tone is not None:
            wave = np.sin(np.arange(48000 * times[-1] // 24) / 20, dtype=np.float32)
            for at in range(0, len(wave) - 960, 960):
                sound = av.AudioFrame.from_ndarray(wave[None, at : at + 960], format="fltp", layout="mono")
                sound.sample_rate, sound.pts, sound.time_base = 48000, at, Fraction(1, 48000)
                container.mux(tone.encode(sound))
            container.mux(tone.encode(None))
        container.mux(stream.encode(None))
    return path


def turn(path: Path, matrix: tuple[int, ...]) -> Path:
    """Write a display matrix into the track header of an MP4, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for place, value in enumerate(matrix):
        data[at + 4 * place : at + 4 * place + 4] = int(value).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


def audio_of(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(path) as container:
        return [
            (bytes(packet), packet.pts * packet.time_base)
            for packet in container.demux(container.streams.audio)
            if packet.size
        ]


def frames_of(path: Path) -> list[tuple[Fraction, Any]]:
    with open_video(path) as reader:
        return [(item.pts * reader.time_base, item.values) for item in reader if isinstance(item, Frame)]


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(make_model(depth=2))


@pytest.fixture
def same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A translation that changes nothing, so that what else changes is seen."""
    monkeypatch.setattr(video, "_translate_frame", lambda translator, job, frame, notes: frame.values)


@pytest.mark.usefixtures("same")
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_times_audio_and_colours_stay(tmp_path: Path, translator: Translator, suffix: str) -> None:
    times = {".avi": tuple(range(8)), ".mkv": tuple(50 + time for time in TIMES)}.get(suffix, TIMES)
    clip = make_clip(tmp_path / f"a{suffix}", times)
    done = translate_files(translator, [clip], tmp_path / f"out{suffix}")
    assert (done.failed, done.written) == ((), (tmp_path / f"out{suffix}",))
    old, new = frames_of(clip), frames_of(tmp_path / f"out{suffix}")
    assert [time - old[0][0] for time, _ in old] == [time - new[0][0] for time, _ in new]
    for (_, before), (_, after) in zip(old, new, strict=True):
        assert np.abs(after.astype(int) - before).mean() < 4
    before, after = audio_of(clip), audio_of(tmp_path / f"out{suffix}")
    assert [data for data, _ in before] == [data for data, _ in after]
    assert suffix == ".avi" or [time for _, time in before] == [time for _, time in after]
    assert any("BT.709 of limited range" in note for note in done.notes)
    again = translate_files(translator, [clip], tmp_path / f"out{suffix}")
    assert (len(again.already), len(again.written)) == (1, 0)


@pytest.mark.usefixtures("same")
def test_colour_space_is_stated_and_read(tmp_path: Path, translator: Translator) -> None:
    """Of an HD file that states none it is BT.709; the output says what it has."""
    values = picture(720, 64)
    with av.open(tmp_path / "hd.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "4", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 720, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(values, format="rgb24").reformat(format="yuv420p", dst_colorspace=1)
        frame.colorspace = 2
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(frames_of(tmp_path / "hd.mp4")[0][1].astype(int) - values).mean() < 4
    translate_files(translator, [tmp_path / "hd.mp4"], tmp_path / "out.mp4")
    assert np.abs(frames_of(tmp_path / "out.mp4")[0][1].astype(int) - values).mean() < 4
    with av.open(tmp_path / "out.mp4") as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range, context.color_primaries, context.color_trc) == (1, 1, 1, 1)


def test_frames_are_those_of_the_translator(tmp_path: Path, translator: Translator) -> None:
    clip = make_clip(tmp_path / "clip.mp4", (0, 1, 2), audio=False)
    told: list[tuple[int, int | None, str]] = []
    done = translate_files(translator, [clip], tmp_path / "out", tile_progress=lambda *told_: told.append(told_))
    assert done.written == (tmp_path / "out/clip.mp4",)
    assert told == [(n, 3, "clip.mp4") for n in (1, 2, 3)]
    for (_, before), (_, after) in zip(frames_of(clip), frames_of(tmp_path / "out/clip.mp4"), strict=True):
        expected = translator(before).astype(float)
        assert np.abs(after.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 6


@pytest.mark.usefixtures("same")
def test_turned_and_odd_frames(tmp_path: Path, translator: Translator) -> None:
    one = 65536
    upright = make_clip(tmp_path / "a.mp4", (0, 1), audio=False)
    turned = turn(make_clip(tmp_path / "b.mp4", (0, 1), audio=False), (0, one, 0, -one, 0, 0, 0, 0, one << 14))
    done = translate_files(translator, [turned], tmp_path / "out.mp4")
    assert any("turned upright by 270 degrees counterclockwise" in note for note in done.notes)
    first, shown = frames_of(upright)[0][1], frames_of(tmp_path / "out.mp4")[0][1]
    assert shown.shape == (48, 32, 3)
    assert np.abs(shown.astype(int) - np.rot90(first, -1)).mean() < 4, "clockwise, as players turn it"
    odd = make_clip(tmp_path / "odd.mkv", (0, 1), (31, 45))
    done = translate_files(translator, [odd], tmp_path / "odd.mp4")
    assert any("frames of 31x45 (HxW) were padded to 32x46" in note for note in done.notes)
    values = frames_of(tmp_path / "odd.mp4")[0][1].astype(int)
    assert values.shape == (32, 46, 3)
    assert np.abs(values[31] - values[30]).mean() < 6


def test_what_is_broken_is_named_and_leaves_nothing(tmp_path: Path, translator: Translator) -> None:
    whole = make_clip(tmp_path / "whole.mkv", tuple(range(40)), audio=False).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.mp4").write_bytes(b"not a video")
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 300] = bytes(300)
    (tmp_path / "hole.mkv").write_bytes(damaged)
    short = make_clip(tmp_path / "short.avi", tuple(range(40)), audio=False).read_bytes()
    (tmp_path / "short.avi").write_bytes(short[: (short.index(b"movi") + short.index(b"idx1")) // 2])
    clips = [tmp_path / name for name in ("cut.mkv", "none.mp4", "hole.mkv", "short.avi")]
    done = translate_files(translator, clips, tmp_path / "out")
    reasons = {path.name: reason for path, reason in done.failed}
    assert "cut.mkv: is broken or truncated after frame " in reasons["cut.mkv"]
    assert "none.mp4: cannot be read as a video" in reasons["none.mp4"]
    assert "short.avi: is broken or truncated after frame " in reasons["short.avi"]
    assert "hole.mkv: is broken or truncated after frame " in reasons["hole.mkv"]
    assert not any(path.suffix in (".mkv", ".mp4", ".avi", ".partial") for path in (tmp_path / "out").glob("*"))


def test_an_interrupted_clip_leaves_nothing(
    tmp_path: Path, translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", audio=False)

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "_translate_frame", stop)
    with pytest.raises(KeyboardInterrupt):
        translate_files(translator, [clip], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_what_a_video_cannot_be(tmp_path: Path, translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "clip.mp4", (0, 1), audio=False)
    variable = make_clip(tmp_path / "variable.mp4", (0, 1, 5, 6, 8), audio=False)
    picture_file = tmp_path / "a.png"
    picture_file.write_bytes(b"")

    def refused(kind: type[Exception], message: str, inputs: list[Path], output: str, **options: Any) -> None:
        with pytest.raises(kind, match=message):
            translate_files(translator, inputs, tmp_path / output, Options(**options))

    refused(ConfigError, "is a video and .*a.png is none", [clip, picture_file], "out")
    refused(ConfigError, "is one video, but 2 are given", [clip, variable], "out.mp4")
    refused(ConfigError, "no input is one", [picture_file], "out.mp4")
    refused(ConfigError, "is the name of an image; give a folder", [picture_file], "out.PNG")
    refused(ConfigError, "is the name of an image; give a folder", [picture_file], "slide.ome.zarr")
    (tmp_path / "notes.txt").touch()
    refused(ConfigError, "notes.txt: is a file; give a folder", [picture_file], "notes.txt")
    refused(ConfigError, "would replace", [clip], "clip.mp4")
    refused(ConfigError, "--tile: is for images", [clip], "out", tiling=Tiling(64))
    refused(ConfigError, "--overlap: is for images", [clip], "out", tiling=Tiling(overlap=64))
    refused(ConfigError, "--samples: is for images", [clip], "out", sampling=Sampling(2))
    two = Translator(make_model(5, 3))
    (failed,) = translate_files(two, [clip], tmp_path / "out").failed
    assert "clip.mp4 (frame 1)" in failed[1]
    (failed,) = translate_files(translator, [variable], tmp_path / "out.avi").failed
    assert ".avi holds one constant frame rate" in failed[1]
    (failed,) = translate_files(translator, [clip], tmp_path / "out", Options(memory=1000.0)).failed
    assert "a frame of 32x48 (HxW) takes" in failed[1]
    with pytest.raises(ModelError, match="4 of uint8"):
        translate_files(Translator(make_model(3, 4)), [clip], tmp_path / "out")
    with pytest.raises(DataError, match="no such file"):
        translate_files(translator, [tmp_path / "absent.mp4"], tmp_path / "out")
    monkeypatch.setitem(sys.modules, "av", None)
    (failed,) = translate_files(translator, [clip], tmp_path / "new").failed
    assert failed[1].endswith("clip.mp4: reading videos needs PyAV: pip install 'pix2pix[video]'")


def test_dropout_of_a_seed_does_not_flicker(tmp_path: Path) -> None:
    noisy = Translator(make_model(), dropout=True)
    clip = make_clip(tmp_path / "clip.mp4", (0, 1), audio=False)
    torch.manual_seed(3)
    translate_files(noisy, [clip], tmp_path / "out", Options(seed=1))
    first, second = (values.astype(int) for _, values in frames_of(tmp_path / "out/clip.mp4"))
    assert np.abs(first - second).mean() < 20
