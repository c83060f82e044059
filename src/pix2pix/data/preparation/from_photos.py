"""A folder of photos in; pairs out, in folders A (source) and B (target) with splits, as `train` reads them.

The work stands in OUTPUT.partial until every photo has had its turn, so that OUTPUT is always a whole set. A journal
there remembers each pair by the photo's size and date and the hashes of its two files; whatever agrees with it is not
made again.
"""

import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from pix2pix.config import Make
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels, to_pil, with_channels
from pix2pix.data.pairing.pair import IMAGE_SUFFIXES, SPLITS
from pix2pix.data.pairing.pairs import share, turn
from pix2pix.data.preparation.edges import Mask, outlines
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.files import lock_folder, sha256, write_text
from pix2pix.system.hardware import usable_cores
from pix2pix.system.signals import raise_interrupted

SETTINGS = "make.json"
JOURNAL = "made.jsonl"
HOLE = 128  # mid-gray: unlike white and black, no photo has large areas of exactly it
OWN = {"edges": {"sigma", "low", "high"}, "gray": set(), "lowres": {"factor"}, "mask": {"holes"}}
"""Settings that only one kind has."""

Progress = Callable[[int, int], None]


class Failure(NamedTuple):
    """A photo that gave no pair. The reason does not repeat the path."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Made:
    """A set of pairs that stands on disk, and what did not get into it."""

    path: Path
    counts: dict[str, int]
    """Pairs in each split."""
    new: int
    """Pairs that this call made; the others were there."""
    failed: tuple[Failure, ...]
    passed_over: tuple[Path, ...]
    """Files that are no images by their names."""


def make(
    photos: Path, output: Path, settings: Make, *, overwrite: bool = False, progress: Progress | None = None
) -> Made:
    """Make a pair of each photo below `photos`; photos that cannot be used are reported, and the rest goes on.

    The same call goes on where an earlier one was stopped. Calls progress(done, total). Raises ConfigError for
    settings that cannot be, and for an `output` that holds anything but pairs made of these photos with these
    settings (`overwrite` replaces other pairs); DataError where there are no photos, or none can be used.
    """
    _refuse(settings)
    _refuse_nested(photos, output)
    plan, passed_over = _plan(photos, settings)
    work = output.with_name(f"{output.name}.partial")
    begun = _place(output, work, plan, overwrite)
    place = begun or work
    if begun is None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_text(work / SETTINGS, json.dumps(plan.described, indent=1))
    with lock_folder(place):
        outcomes = _standing(place, plan.tasks, settings, progress)
        todo = [task for task in plan.tasks if task.name not in outcomes]
        if place == output and todo:
            shutil.rmtree(work, ignore_errors=True)
            os.replace(output, work)
        outcomes |= _carried_out(todo, work, settings, progress, len(plan.tasks))
        made = _made(output, plan.tasks, outcomes, todo, passed_over)
        if not made.counts:
            if begun is None:
                shutil.rmtree(work)
            raise DataError(f"{photos}: none of its {len(plan.tasks)} photos can be used; {_example(made.failed)}")
        if todo or place == work:
            _take_place(work, output)
    return made


# ---- one pair ----------------------------------------------------------------------------------------------------


def pair_of(photo: Path, name: str, settings: Make) -> tuple[Pixels, Pixels]:
    """A photo -> source and target, (H, W, C) uint8 of one size. Raises DataError."""
    pixels = images.read(photo)
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise DataError(f"{photo}: is not an 8-bit photo in gray or RGB: convert it")
    if settings.kind == "gray" and pixels.shape[2] == 1:
        raise DataError(f"{photo}: is gray already; --kind gray needs photos in colour")
    target = with_channels(pixels, settings.channels)
    if settings.size is not None:
        target = _filling(target, settings.size, photo)
    return _source(target, name, settings, photo), target


def _source(target: Pixels, name: str, settings: Make, photo: Path) -> Pixels:
    match settings.kind:
        case "edges":  # black on white, as people draw
            edges = outlines(target, sigma=settings.sigma, low=settings.low, high=settings.high)
            return np.where(edges, np.uint8(0), np.uint8(255))[..., None]
        case "gray":
            return with_channels(target, 1)
        case "lowres":
            height, width, _ = target.shape
            small = (height // settings.factor, width // settings.factor)
            if not min(small):
                raise DataError(f"{photo}: is {height}x{width}, too small for --factor {settings.factor}")
            return _resized(_resized(target, small), (height, width))
        case "mask":
            seed = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big")
            holes = free_form_holes(np.random.default_rng([settings.seed, seed]), target.shape[:2], settings.holes)
            return np.where(holes[..., None], np.uint8(HOLE), target)


def _filling(pixels: Pixels, size: tuple[int, int], photo: Path) -> Pixels:
    """(H, W, C) -> (*size, C): scaled until it just covers the size, then its middle. Raises DataError if smaller."""
    height, width = pixels.shape[:2]
    if height < size[0] or width < size[1]:
        raise DataError(f"{photo}: is {height}x{width}, smaller than --size {size[0]}x{size[1]}; it is not enlarged")
    scale = max(size[0] / height, size[1] / width)
    covering = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    scaled = _resized(pixels, covering)
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return np.ascontiguousarray(scaled[top : top + size[0], left : left + size[1]])


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """(H, W, C) -> (*size, C), bicubic, antialiased."""
    resized = np.asarray(to_pil(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
    return resized if resized.ndim == 3 else resized[..., None]


def free_form_holes(rng: np.random.Generator, size: tuple[int, int], mean_share: float) -> Mask:
    """Rectangles and brush strokes until they cover a share of (H, W) drawn from half to one and a half the mean."""
    height, width = size
    side = min(size)
    goal = rng.uniform(0.5, 1.5) * mean_share
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    while (holes := np.asarray(canvas) > 0).mean() < goal:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.5:
            half_width, half_height = rng.uniform(0.04, 0.15, 2) * side
            draw.rectangle((x - half_width, y - half_height, x + half_width, y + half_height), fill=255)
        else:
            _stroke(draw, rng, x, y, side)
    return holes


def _stroke(draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, side: int) -> None:
    """A round brush from (x, y) on, turning a little after each of a few straight moves."""
    radius, angle = rng.uniform(0.015, 0.05) * side, rng.uniform(0, 2 * np.pi)
    points = [(x, y)]
    for _ in range(rng.integers(3, 9)):
        angle += rng.uniform(-1, 1)
        length = rng.uniform(0.05, 0.2) * side
        x, y = x + length * np.cos(angle), y + length * np.sin(angle)
        points.append((x, y))
    draw.line(points, fill=255, width=max(1, round(2 * radius)))
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


# ---- the plan ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    photo: Path
    name: str  # below A/SPLIT and B/SPLIT, without suffix
    split: str

    def files(self, root: Path) -> tuple[Path, Path]:
        """Where its source and target go."""
        source, target = (root / side / self.split / f"{self.name}.png" for side in "AB")
        return source, target


@dataclass(frozen=True)
class _Plan:
    tasks: list[_Task]
    described: dict[str, Any]  # what make.json keeps: settings by name, and a digest of the photos' names


def _plan(photos: Path, settings: Make) -> tuple[_Plan, tuple[Path, ...]]:
    found, passed_over = _photos(photos)
    if not found:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{photos}: no photos; expected files ending in {suffixes}, at any depth")
    named = _named(photos, found)
    order = sorted(named, key=lambda name: turn(name, settings.seed))
    test, val = (share(fraction, len(order)) for fraction in (settings.test_fraction, settings.val_fraction))
    if test + val >= len(order):
        raise ConfigError(f"--val-fraction and --test-fraction leave none of the {len(order)} photos to train on")
    splits = dict(zip(order, ["test"] * test + ["val"] * val + ["train"] * (len(order) - test - val), strict=True))
    others = set().union(*OWN.values()) - OWN[settings.kind]
    names = hashlib.sha256("\0".join(sorted(named)).encode(errors="surrogateescape")).hexdigest()
    described = {
        "settings": {name: value for name, value in settings.model_dump(mode="json").items() if name not in others},
        "photos": len(named),
        "names": names,
    }
    return _Plan([_Task(path, name, splits[name]) for name, path in named.items()], described), passed_over


def _photos(root: Path) -> tuple[list[Path], tuple[Path, ...]]:
    """Images by their names at any depth, and the other files; hidden ones and linked folders are left alone."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one of photos")
    found: list[Path] = []
    others: list[Path] = []
    for place, folders, files in os.walk(root, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                (found if Path(name).suffix.lower() in IMAGE_SUFFIXES else others).append(Path(place, name))
    return found, tuple(others)


def _named(root: Path, found: list[Path]) -> dict[str, Path]:
    """Name -> photo: its path without the suffix, or with it where photos differ in nothing else."""
    plain: dict[str, list[Path]] = {}
    for path in found:
        name = unicodedata.normalize("NFC", path.relative_to(root).with_suffix("").as_posix())
        plain.setdefault(name, []).append(path)
    named: dict[str, Path] = {}
    for name, paths in plain.items():
        for path in paths:
            full = name if len(paths) == 1 else f"{name}{path.suffix}"
            if full in named or (full != name and full in plain):
                other = named[full] if full in named else plain[full][0]
                raise DataError(f"{other} and {path}: the pairs of both would be named {full}; rename one")
            named[full] = path
    return named


def _raise(error: OSError) -> None:
    raise error


def _refuse(settings: Make) -> None:
    """Settings that contradict each other, or do nothing."""
    for kind, names in OWN.items():
        for name in sorted(names & settings.model_fields_set):
            if kind != settings.kind:
                raise ConfigError(f"--{name} is a setting of --kind {kind}, not of {settings.kind}: leave it out")
    if settings.low > settings.high:
        raise ConfigError(f"--low {settings.low} is above --high {settings.high}: an edge would have to be both")
    if settings.kind == "gray" and settings.channels == 1:
        raise ConfigError("--kind gray with --channels 1 would give the same picture twice: leave --channels out")
    if settings.val_fraction + settings.test_fraction >= 1:
        raise ConfigError("--val-fraction and --test-fraction leave nothing to train on: their sum must be below 1")


def _refuse_nested(photos: Path, output: Path) -> None:
    if output.name in ("", ".."):
        raise ConfigError(f"--output {output}: expected a folder by its own name, which will be made")
    inside, outside = photos.resolve(), output.resolve()
    if inside == outside or inside in outside.parents or outside in inside.parents:
        raise ConfigError(f"--output {output} and the photos, {photos}, lie in one another: keep them apart")


# ---- what stands already -----------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    source: str  # SHA-256 of the file
    target: str


class _Failed(NamedTuple):
    reason: str


_Outcome = _Pair | _Failed


def _place(output: Path, work: Path, plan: _Plan, overwrite: bool) -> Path | None:
    """The folder in which this plan was begun or carried out, None if it is new. Raises ConfigError for another's."""
    for folder in (output, work):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: is a file, expected a folder for the pairs; choose another --output")
        if folder.exists() and any(folder.iterdir()) and not (folder / SETTINGS).exists():
            raise ConfigError(f"{folder}: holds something else than pairs made here; choose another --output")
    if overwrite:
        return work if _described(work) == plan.described else None
    for folder in (output, work):
        described = _described(folder)
        if described is not None and described != plan.described:
            difference = _difference(described, plan.described)
            raise ConfigError(f"{folder}: {difference}; choose another --output, or make all anew with --overwrite")
    if _described(output) is not None:
        return output
    return work if _described(work) is not None else None


def _described(folder: Path) -> dict[str, Any] | None:
    try:
        described = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        described = {}
    return described if isinstance(described, dict) else {}


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first difference in words."""
    was = old.get("settings")
    if not isinstance(was, dict):
        return f"{SETTINGS} is damaged"
    for name, value in new["settings"].items():
        if was.get(name) != value:
            flag = name.replace("_", "-")
            return f"was made with --{flag} {was.get(name)}, not {value}"
    return f"was made of other photos ({old.get('photos')} of them; now there are {new['photos']})"


def _standing(place: Path, tasks: Sequence[_Task], settings: Make, progress: Progress | None) -> dict[str, _Outcome]:
    """What the journal tells of these tasks and still holds: photos and files as they were, or photos as bad."""
    written = _read_journal(place / JOURNAL)

    def holds(task: _Task) -> _Outcome | None:
        line = written.get(task.name, {})
        if "reason" in line:
            pair = _attempt(task, settings)
            return pair if isinstance(pair, _Failed) else None
        hashes = _Pair(str(line.get("source")), str(line.get("target")))
        same = bool(line) and line.get("photo") == _stamp(task.photo)
        return hashes if same and hashes == tuple(_hash(path) for path in task.files(place)) else None

    outcomes: dict[str, _Outcome] = {}
    for task, outcome in zip(tasks, _in_threads(holds, tasks), strict=True):
        if outcome is not None:
            outcomes[task.name] = outcome
            if progress is not None:
                progress(len(outcomes), len(tasks))
    return outcomes


def _read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> its newest line; a line that was cut short is as good as none."""
    lines: dict[str, dict[str, Any]] = {}
    with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    lines[str(line.get("name"))] = line
    return lines


def _stamp(photo: Path) -> list[int] | None:
    """Size and date of a photo: another photo under its name has others."""
    with suppress(OSError):
        facts = photo.stat()
        return [facts.st_size, facts.st_mtime_ns]
    return None


def _hash(path: Path) -> str | None:
    with suppress(OSError):
        return sha256(path)
    return None


# ---- the work ----------------------------------------------------------------------------------------------------


def _carried_out(
    todo: Sequence[_Task], work: Path, settings: Make, progress: Progress | None, total: int
) -> dict[str, _Outcome]:
    """Make what is left to do, with a line in the journal for each. Raises Interrupted after Ctrl-C."""
    outcomes: dict[str, _Outcome] = {}
    if not todo:
        return outcomes
    for leftover in work.glob("[AB]/**/.*.partial"):  # of a process that was killed while it wrote
        leftover.unlink()
    stamps = {task.name: _stamp(task.photo) for task in todo}

    def carry_out(task: _Task) -> _Outcome:
        pair = _attempt(task, settings)
        return _without(task.files(work), pair) if isinstance(pair, _Failed) else _write(task.files(work), *pair)

    with raise_interrupted(work), (work / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line that was cut short
        for task, outcome in zip(todo, _in_threads(carry_out, todo), strict=True):
            outcomes[task.name] = outcome
            line = {"name": task.name, "photo": stamps[task.name], **outcome._asdict()}
            journal.write(json.dumps(line) + "\n")
            journal.flush()
            if progress is not None:
                progress(total - len(todo) + len(outcomes), total)
    return outcomes


def _attempt(task: _Task, settings: Make) -> tuple[Pixels, Pixels] | _Failed:
    try:
        return pair_of(task.photo, task.name, settings)
    except DataError as error:
        return _Failed(str(error).removeprefix(f"{task.photo}: "))


def _write(files: tuple[Path, Path], source: Pixels, target: Pixels) -> _Pair:
    for path, pixels in zip(files, (source, target), strict=True):
        images.write(path, pixels)
    return _Pair(*map(sha256, files))


def _without(files: tuple[Path, Path], failed: _Failed) -> _Failed:
    """Nothing may be left of a pair whose photo has been replaced by one that is no good."""
    for path in files:
        path.unlink(missing_ok=True)
    return failed


Item = TypeVar("Item")
Result = TypeVar("Result")


def _in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results in order, from all cores: what reads, resizes, filters and writes leaves the interpreter free."""
    pool = ThreadPoolExecutor(usable_cores())
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _made(
    output: Path,
    tasks: Sequence[_Task],
    outcomes: Mapping[str, _Outcome],
    todo: Sequence[_Task],
    passed_over: tuple[Path, ...],
) -> Made:
    splits = [task.split for task in tasks if isinstance(outcomes[task.name], _Pair)]
    failed = ((task.photo, outcomes[task.name]) for task in tasks)
    return Made(
        output,
        {split: splits.count(split) for split in SPLITS if split in splits},
        sum(isinstance(outcomes[task.name], _Pair) for task in todo),
        tuple(Failure(photo, outcome.reason) for photo, outcome in failed if isinstance(outcome, _Failed)),
        passed_over,
    )


def _example(failed: Sequence[Failure]) -> str:
    return f"the first, {failed[0].path}: {failed[0].reason}"


def _take_place(work: Path, output: Path) -> None:
    """The finished folder takes its name; pairs that stood there are removed."""
    previous = output.with_name(f".{output.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    if output.exists():
        os.replace(output, previous)
    os.replace(work, output)
    shutil.rmtree(previous, ignore_errors=True)
