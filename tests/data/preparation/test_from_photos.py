"""Edges of known shapes; the pairs of each kind; interruptions and changes between two calls."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import label

from pix2pix.config import Data, Make
from pix2pix.data.checks.check import check
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels, with_channels
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.data.preparation.derive import Mask, draw_holes, find_edges
from pix2pix.data.preparation.from_photos import JOURNAL, Made, make
from pix2pix.errors import ConfigError, DataError
from pix2pix.synthetic.facades import facade
from pix2pix.system.locks import lock_folder
from pix2pix.system.written import RECORD, read_record

# ---- edges -------------------------------------------------------------------------------------------------------

Y, X = np.mgrid[0:64, 0:64].astype(np.float64)


def gray(levels: NDArray[np.float64]) -> Pixels:
    """(H, W) in [0, 1] -> (H, W, 1) uint8."""
    return np.round(255 * levels)[..., None].astype(np.uint8)


def half_plane(degrees: float) -> tuple[Pixels, NDArray[np.float64]]:
    """A dark and a light half, antialiased, and each pixel's distance from the line between them."""
    angle = np.deg2rad(degrees)
    distance = (X - 31.7) * np.cos(angle) + (Y - 31.2) * np.sin(angle)
    return gray(0.25 + 0.5 * np.clip(distance + 0.5, 0, 1)), distance


def one_piece(edges: Mask) -> bool:
    return int(label(edges, connectivity=2).max()) == 1


@pytest.mark.parametrize("degrees", [0, 3, 17, 45, 63, 90, 116, 135, 171, 180, 250, 315])
@pytest.mark.parametrize("sigma", [0.7, 1.4, 3])
def test_a_straight_edge_is_one_thin_line_in_its_place(degrees: float, sigma: float) -> None:
    picture, distance = half_plane(degrees)
    edges = find_edges(picture, sigma=sigma, low=0.2, high=0.4)
    inner = np.zeros_like(edges)
    inner[4:-4, 4:-4] = True
    assert np.abs(distance[edges & inner]).max() < 1
    along = edges.sum(axis=0 if abs(np.sin(np.deg2rad(degrees))) > 0.71 else 1)  # a steep line has a pixel in each row
    assert (along[4:-4] == 1).all()
    assert one_piece(edges)


def test_a_disc_has_a_closed_outline() -> None:
    radius = np.hypot(Y - 31.5, X - 31.5)
    edges = find_edges(gray(np.clip(20.5 - radius, 0, 1)), sigma=1, low=0.2, high=0.4)
    assert np.abs(radius[edges] - 20).max() < 1.2
    assert one_piece(edges)
    angles = np.sort(np.arctan2(Y[edges] - 31.5, X[edges] - 31.5))
    assert np.diff(angles).max() < 1.6 / 20  # no gap of a pixel
    assert edges.sum() < 8 / np.sqrt(2) * 20 * 1.05  # pixels of a thin digital circle


@pytest.mark.parametrize("sigma", [0.7, 1.4, 4])
def test_thresholds_are_contrasts_whatever_the_sigma(sigma: float) -> None:
    for contrast, threshold, seen in ((0.2, 0.18, True), (0.2, 0.22, False)):
        step = gray(np.where(X < 32, 0.4, 0.4 + contrast))
        assert find_edges(step, sigma=sigma, low=threshold, high=threshold).any() == seen


def test_hysteresis_follows_a_fading_edge_and_drops_a_weak_one() -> None:
    fading = gray(np.where(X < 32, 0.2, 0.2 + 0.5 * (63 - Y) / 63))
    edges = find_edges(fading, sigma=1, low=0.1, high=0.4)
    assert edges[2:48].any(axis=1).all()  # strong above, then 0.1 at row 50
    assert not edges[54:].any()
    assert not find_edges(gray(np.where(X < 32, 0.2, 0.45)), sigma=1, low=0.1, high=0.4).any()


def test_colours_of_one_brightness_have_an_edge() -> None:
    colours = np.where(X[..., None] < 32, np.uint8([150, 50, 60]), np.uint8([50, 101, 60])).astype(np.uint8)
    luminance = with_channels(colours, 1)
    assert int(luminance.max()) - int(luminance.min()) <= 1
    edges = find_edges(colours, sigma=1.4, low=0.1, high=0.2)
    assert (edges.sum(axis=1) == 1).all()


def test_flat_tiny_and_noisy_pictures() -> None:
    assert not find_edges(gray(np.full((5, 7), 0.5)), sigma=2, low=0.01, high=0.01).any()
    assert not find_edges(np.full((1, 1, 3), 9, np.uint8), sigma=2, low=0.01, high=0.01).any()
    noise = np.random.default_rng(0).integers(118, 138, (64, 64, 3), dtype=np.uint8)
    assert not find_edges(noise, sigma=1.4, low=0.08, high=0.2).any()


# ---- pairs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty photos in nested folders, with equal names in different ones."""
    for number in range(30):
        place = tmp_path / "photos" / ("" if number < 20 else "holiday/rome")
        images.write(place / f"{number % 20}.png", facade(number, 40)[0])
    return tmp_path / "photos"


def pairs_of(made: Made) -> dict[str, tuple[Pixels, Pixels]]:
    found = find_pairs(Data(path=str(made.path)))
    return {
        pair.name: (images.read(pair.source.path), images.read(pair.target.path))
        for pairs in found.splits.values()
        for pair in pairs
    }


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["edges", "gray", "lowres", "mask"])
def test_every_kind_gives_a_set_to_train_on(kind: str, photos: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    settings = Make.model_validate({"kind": kind})
    made = make(photos, tmp_path / "pairs", settings, progress=lambda *counts: seen.append(counts))
    assert (made.new, made.failed, made.ignored) == (30, (), ())
    assert made.counts == {"train": 24, "val": 3, "test": 3}
    assert seen == [(done, 30) for done in range(1, 31)]
    report = check(Data(path=str(made.path)))
    assert report.ok
    assert not report.carved
    assert report.counts == made.counts
    for name, (source, target) in pairs_of(made).items():
        np.testing.assert_array_equal(target, images.read(photos / f"{name}.png"))
        match kind:
            case "edges":
                edges = find_edges(target, sigma=1.4, low=0.08, high=0.2)
                np.testing.assert_array_equal(source[..., 0], np.where(edges, 0, 255))
                assert edges.any()
            case "gray":
                np.testing.assert_array_equal(source, with_channels(target, 1))
            case "lowres":
                assert source.shape == target.shape
                roughness = [np.abs(np.diff(image.astype(int), axis=1)).mean() for image in (source, target)]
                assert roughness[0] < 0.7 * roughness[1]
                np.testing.assert_allclose(source.mean((0, 1)), target.mean((0, 1)), atol=2)
            case "mask":
                holes = (source != target).any(axis=2)
                assert 0.1 < holes.mean() < 0.45
                assert (source[holes] == 128).all()


def test_holes_cover_their_share_and_differ_from_photo_to_photo(photos: Path, tmp_path: Path) -> None:
    shares = [draw_holes(np.random.default_rng(seed), (64, 96), 0.3).mean() for seed in range(200)]
    assert 0.29 < np.mean(shares) < 0.35
    assert 0.14 < min(shares) < max(shares) < 0.6
    first, again, other = (
        pairs_of(make(photos, tmp_path / name, Make(kind="mask", seed=seed)))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert all((first[name][0] == again[name][0]).all() for name in first)
    assert sum((first[name][0] == other[name][0]).all() for name in first) == 0
    holes = {(source == 128).all(axis=2).tobytes() for source, _ in first.values()}
    assert len(holes) == 30


def test_splits_are_those_that_train_would_carve(photos: Path, tmp_path: Path) -> None:
    for seed in (0, 5):
        made = make(photos, tmp_path / f"pairs-{seed}", Make(kind="gray", seed=seed, val_fraction=0.2))
        found = find_pairs(Data(path=str(made.path)))
        flat = tmp_path / f"flat-{seed}"
        for name, (source, target) in pairs_of(made).items():
            images.write(flat / "A" / f"{name}.png", source)
            images.write(flat / "B" / f"{name}.png", target)
        carved = find_pairs(Data(path=str(flat), val_fraction=0.2, split_seed=seed))
        for split in ("train", "val", "test"):
            assert [pair.name for pair in found.splits[split]] == [pair.name for pair in carved.splits[split]]


def test_size_covers_then_cuts_the_middle(tmp_path: Path) -> None:
    photo = np.zeros((60, 200, 3), np.uint8)
    photo[:, 70:130] = (0, 200, 0)
    images.write(tmp_path / "photos/wide.png", photo)
    images.write(tmp_path / "photos/small.png", np.zeros((60, 39, 3), np.uint8))
    made = make(tmp_path / "photos", tmp_path / "pairs", Make(kind="lowres", size=(30, 40)))
    _, target = pairs_of(made)["wide"]
    assert target.shape == (30, 40, 3)
    assert (target[:, 8:32, 1] == 200).all()  # of 100 columns, 35 to 65 are green, and 30 to 70 are cut out
    assert (target[:, [0, 1, 2, 37, 38, 39]] == 0).all()
    assert [failure.path.name for failure in made.failed] == ["small.png"]
    assert "is 60x39, smaller than --size 30x40" in made.failed[0].reason


def test_orientation_channels_and_one_name_with_two_suffixes(tmp_path: Path) -> None:
    turned = Image.fromarray(facade(1, (32, 48))[0])
    exif = turned.getexif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    turned.save(tmp_path / "photos/turned.png", exif=exif)
    images.write(tmp_path / "photos/gray.png", facade(2, 32)[0][..., :1])
    images.write(tmp_path / "photos/twin.png", facade(3, 32)[0])
    images.write(tmp_path / "photos/twin.bmp", facade(4, 32)[0])
    (tmp_path / "photos/notes.txt").write_text("no photo")
    made = make(tmp_path / "photos", tmp_path / "pairs", Make(kind="edges"))
    assert [path for path, _ in made.ignored] == [tmp_path / "photos/notes.txt"]
    pairs = pairs_of(made)
    assert sorted(pairs) == ["gray", "turned", "twin.bmp", "twin.png"]
    np.testing.assert_array_equal(pairs["turned"][1], np.rot90(facade(1, (32, 48))[0], -1))
    assert all((source.shape[2], target.shape[2]) == (1, 3) for source, target in pairs.values())
    np.testing.assert_array_equal(pairs["twin.bmp"][1], facade(4, 32)[0])
    in_gray = pairs_of(make(tmp_path / "photos", tmp_path / "gray", Make(kind="mask", channels=1)))
    assert all(target.shape[2] == 1 for _, target in in_gray.values())


# ---- again, after trouble ----------------------------------------------------------------------------------------


def test_transparent_photos_need_a_background(photos: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (200, 100, 0, 51)).save(photos / "3.png")
    Image.new("P", (20, 20), 7).save(photos / "4.gif", transparency=7)
    made = make(photos, tmp_path / "pairs", Make(kind="lowres"))
    assert {str(failure.reason) for failure in made.failed} == {
        "has transparency: --background white lays such photos over white"
    }
    assert "background" not in (made.path / "make.json").read_text()  # as in sets of older versions
    blue = pairs_of(make(photos, tmp_path / "blue", Make(kind="lowres", background="#0000ff")))
    assert np.array_equal(np.unique(blue["3"][1].reshape(-1, 3), axis=0), [[40, 20, 204]])
    assert np.array_equal(np.unique(blue["4.gif"][1].reshape(-1, 3), axis=0), [[0, 0, 255]])
    with pytest.raises(ConfigError, match="--background blauw: expected a colour"):
        make(photos, tmp_path / "none", Make(kind="gray", background="blauw"))


def test_bad_photos_are_named_and_the_rest_goes_on(photos: Path, tmp_path: Path) -> None:
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:200])
    (photos / "4.png").write_text("no image")
    images.write(photos / "5.png", facade(5, 40)[0][..., :1])
    made = make(photos, tmp_path / "pairs", Make(kind="gray"))
    assert [failure.path.name for failure in made.failed] == ["3.png", "4.png", "5.png"]
    assert "gray already" in made.failed[2].reason
    assert sum(made.counts.values()) == made.new == 27
    before = contents(made.path)

    again = make(photos, tmp_path / "pairs", Make(kind="gray"))  # as bad as ever: nothing is touched
    assert (again.new, again.failed, contents(again.path)) == (0, made.failed, before)

    images.write(photos / "4.png", facade(4, 40)[0])
    better = make(photos, tmp_path / "pairs", Make(kind="gray"))
    assert (better.new, len(better.failed)) == (1, 2)
    assert "4" in pairs_of(better)
    (photos / "4.png").write_text("bad once more")  # no pair of the former photo may stay
    worse = make(photos, tmp_path / "pairs", Make(kind="gray"))
    assert "4" not in pairs_of(worse)
    assert len(worse.failed) == 3


def test_only_what_is_whole_and_of_the_same_photo_is_kept(photos: Path, tmp_path: Path) -> None:
    made = make(photos, tmp_path / "pairs", Make(kind="mask"))
    whole = {name: data for name, data in contents(made.path).items() if name.endswith(".png")}
    journal = made.path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-30] + b"\xff")
    assert make(photos, tmp_path / "pairs", Make(kind="mask")).new == 1  # whose line was cut short
    files = sorted(made.path.rglob("*.png"))
    files[0].write_bytes(files[0].read_bytes()[:-20])
    files[1].unlink()
    flipped = bytearray(files[2].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    files[2].write_bytes(flipped)
    images.write(photos / "7.png", facade(77, 40)[0])
    again = make(photos, tmp_path / "pairs", Make(kind="mask"))
    assert again.new == 4
    changed = {name for name, data in contents(made.path).items() if name in whole and data != whole[name]}
    assert {Path(name).name for name in changed} == {"7.png"}


def test_other_settings_or_photos_are_refused(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs"
    make(photos, output, Make(kind="edges"))
    before = contents(output)
    with pytest.raises(ConfigError, match=r"made with --sigma 1\.4, not 2\.0; .* --overwrite"):
        make(photos, output, Make(kind="edges", sigma=2))
    with pytest.raises(ConfigError, match="made with --kind edges, not gray"):
        make(photos, output, Make(kind="gray"))
    description = json.loads((output / "make.json").read_text("utf-8"))
    assert description.pop("detector")
    (output / "make.json").write_text(json.dumps(description), "utf-8")  # as version 0.1 wrote it
    with pytest.raises(ConfigError, match="edge detector of another version"):
        make(photos, output, Make(kind="edges"))
    (output / "make.json").write_bytes(before["make.json"])
    (photos / "0.png").rename(photos / "renamed.png")
    with pytest.raises(ConfigError, match="made from other photos"):
        make(photos, output, Make(kind="edges"))
    assert contents(output) == before
    made = make(photos, output, Make(kind="gray"), overwrite=True)
    assert made.new == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs", "photos"]
    assert all(source.shape[2] == 1 and (source > 0).any() for source, _ in pairs_of(made).values())

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="holds files that `data make` did not write"):
            make(photos, tmp_path / "mine", Make(kind="gray"), overwrite=overwrite)
    with lock_folder(output), pytest.raises(OSError, match="another process"):
        make(photos, output, Make(kind="gray"), overwrite=False)


def test_misuse(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs"
    for settings, words in (
        (Make(kind="gray", sigma=2), "--sigma is a setting of --kind edges"),
        (Make(kind="edges", low=0.5, high=0.1), "--low 0.5 is above --high 0.1"),
        (Make(kind="gray", channels=1), "the same image twice"),
        (Make(kind="gray", val_fraction=0.6, test_fraction=0.5), "nothing to train on"),
    ):
        with pytest.raises(ConfigError, match=words):
            make(photos, output, settings)
    for inside in (photos, photos / "pairs", tmp_path):
        with pytest.raises(ConfigError, match="are nested"):
            make(photos, inside, Make(kind="gray"))
    for nameless in (Path("."), Path("..")):
        with pytest.raises(ConfigError, match="the name of a folder to create"):
            make(photos, nameless, Make(kind="gray"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photos; expected"):
        make(tmp_path / "empty", output, Make(kind="gray"))
    (tmp_path / "empty/bad.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of its 1 photos can be used; the first, .*bad\.png"):
        make(tmp_path / "empty", output, Make(kind="gray"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "photos"]


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_at_any_moment_and_run_again(tmp_path: Path) -> None:
    """Until the last photo there is no set to train on, and after it, the one that was never killed."""
    photos = tmp_path / "photos"
    for number in range(60):
        images.write(photos / f"{number}.bmp", facade(number, 64)[0])
    words = ["data", "make", str(photos), "--kind", "mask", "--output"]
    expected = make(photos, tmp_path / "expected", Make(kind="mask"))
    command = [sys.executable, "-m", "pix2pix", *words, str(tmp_path / "pairs")]
    work = tmp_path / "pairs.partial"
    for enough in (5, 30):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        while process.poll() is None and len(list(work.glob("[AB]/*/*.png"))) < 2 * enough:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "pairs").exists()
        for path in work.glob("[AB]/*/[!.]*"):
            images.read(path)
    unfinished = next(name for name in sorted(read_record(work)) if name.startswith("A/train/"))
    (work / "A/train" / f".{Path(unfinished).name}.99.partial").write_bytes(b"half")
    made = make(photos, tmp_path / "pairs", Make(kind="mask"))
    assert 0 < made.new < 50
    journals = {JOURNAL: b""}
    assert contents(made.path) | journals == contents(expected.path) | journals
    names = [json.loads(line)["name"] for line in (made.path / JOURNAL).read_text().splitlines() if line]
    assert set(names) == {str(number) for number in range(60)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", "pairs", "photos"]


def test_files_of_others_stay(photos: Path, tmp_path: Path) -> None:
    """--overwrite refuses a set that holds anything else, by name; without it, other files stay where they are."""
    output = tmp_path / "pairs"
    make(photos, output, Make(kind="gray"))
    for name in ("notes.txt", "A/train/own.png"):
        (output / name).write_text("mine")
        before = contents(output)
        with pytest.raises(ConfigError, match=rf"{name}: `data make` did not write it"):
            make(photos, output, Make(kind="lowres"), overwrite=True)
        assert contents(output) == before
        next(output.glob("B/train/*.png")).unlink()
        make(photos, output, Make(kind="gray"))
        assert contents(output) | {"made.jsonl": b""} == before | {"made.jsonl": b""}
        (output / name).unlink()
    (tmp_path / "pairs.partial").mkdir()
    (tmp_path / "pairs.partial" / "make.json").write_text("{}")
    (tmp_path / "pairs.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"thesis\.txt: `data make` did not write it"):
        make(photos, output, Make(kind="lowres"), overwrite=True)
    assert (tmp_path / "pairs.partial" / "thesis.txt").exists()


def test_edited_pairs_and_those_of_others_are_not_replaced(photos: Path, tmp_path: Path) -> None:
    """Neither an edited pair, nor what a user has put in place of one that could not be made."""
    (photos / "4.png").write_text("no image")
    output = make(photos, tmp_path / "pairs", Make(kind="gray")).path
    (name,) = {line[2:] for line in read_record(output) if line.endswith("/4.png") and "rome" not in line}
    edited = min(output.glob("A/*/*.png"))
    original = edited.read_bytes()
    images.write(edited, 255 - images.read(edited))
    before = contents(output)
    with pytest.raises(ConfigError, match=rf"{edited.name}: was changed since `data make` wrote it"):
        make(photos, output, Make(kind="gray"))
    assert contents(output) == before
    photo = next(path for path in photos.rglob(f"{edited.stem}.*"))
    content, times = photo.read_bytes(), photo.stat()
    for other in (b"no image", next(path for path in sorted(photos.rglob("*.*")) if path != photo).read_bytes()):
        photo.write_bytes(other)  # neither a photo that has become bad, nor another one, takes the edited pair away
        with pytest.raises(ConfigError, match=rf"{edited.name}: was changed since `data make` wrote it"):
            make(photos, output, Make(kind="gray"))
        assert contents(output) == before
    photo.write_bytes(content)
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    edited.write_bytes(original)

    (output / "B" / name).write_text("mine")
    before = contents(output)
    make(photos, output, Make(kind="gray"))
    with pytest.raises(ConfigError, match=rf"{name}: `data make` did not write it"):
        make(photos, output, Make(kind="lowres"), overwrite=True)
    images.write(photos / "4.png", facade(4, 40)[0])
    with pytest.raises(ConfigError, match=rf"{name}: exists, and `data make` did not write it"):
        make(photos, output, Make(kind="gray"))
    assert contents(output) == before
    (output / "B" / name).unlink()
    (output / "A/train/.mine.1.partial").write_text("mine")
    assert make(photos, output, Make(kind="gray")).new == 1
    assert (output / "A/train/.mine.1.partial").exists()


@pytest.mark.parametrize("name", [JOURNAL, "make.json", RECORD])
def test_links_in_place_of_records_are_refused(photos: Path, tmp_path: Path, name: str) -> None:
    output = make(photos, tmp_path / "pairs", Make(kind="gray")).path
    (output / name).rename(tmp_path / "mine")
    (output / name).symlink_to(tmp_path / "mine")
    next(output.glob("B/train/*.png")).unlink()
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=rf"{name}: is no regular file"):
            make(photos, output, Make(kind="gray"), overwrite=overwrite)
    assert contents(tmp_path) == before


def test_photos_whose_pairs_would_be_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "A", "b"):
        images.write(tmp_path / f"photos/{name}.png", facade(1, 32)[0])
    settings = Make(kind="gray", val_fraction=0, test_fraction=0)
    monkeypatch.setattr("pix2pix.system.folded_names.folds_names", lambda _: True)
    with pytest.raises(DataError, match=r"their pairs would be one file in .*rename one photo"):
        make(tmp_path / "photos", tmp_path / "pairs", settings)
    monkeypatch.undo()
    assert make(tmp_path / "photos", tmp_path / "pairs", settings).new == 3
