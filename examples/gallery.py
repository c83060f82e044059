"""Train three translators on procedural facades and draw held-out results as one figure: input, output, target.

    python examples/gallery.py --output docs/gallery.png

The data are drawn by the package itself: `pix2pix.synthetic` gives photos and their label maps, `pix2pix data make`
derives the other inputs from the photos. Nothing is downloaded. An interrupted call resumes where it was stopped, and
finished trainings are not repeated; `--work` holds the data and the run folders.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

import pix2pix
from pix2pix.synthetic.facades import facade

GAP, TITLE, LABEL = 6, 40, 24  # pixels


class Task(NamedTuple):
    """One block of the figure."""

    title: str
    source: str
    make: tuple[str, ...] = ()
    """Arguments of `pix2pix data make`; none for the label maps, which are drawn with the photos."""


TASKS = {
    "labels": Task("labels to photo", "label map"),
    "edges": Task("edges to photo", "edges", ("--kind", "edges", "--sigma", "1")),
    "gray": Task("gray to colour", "gray photo", ("--kind", "gray")),
    "lowres": Task("low to high resolution", "4x smaller", ("--kind", "lowres")),
    "holes": Task("inpainting", "photo with holes", ("--kind", "mask")),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--work", type=Path, default=Path("runs/gallery"), help="folder of the data and the runs")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["labels", "edges", "gray"])
    parser.add_argument("--pairs", type=int, default=400, help="pairs that each task trains on")
    parser.add_argument("--held-out", type=int, default=24, help="pairs of the test split, and as many for validation")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--image-size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--base-channels", type=int, default=32)
    parser.add_argument("--rows", type=int, default=3, help="held-out pairs that are shown of each task")
    parser.add_argument("--scale", type=float, default=1.0, help="pixels of the figure for each pixel of an image")
    chosen = parser.parse_args(arguments)

    photos = chosen.work / "photos"
    draw_photos(photos, chosen.pairs + 2 * chosen.held_out, chosen.image_size)
    blocks = []
    for number, name in enumerate(chosen.tasks):
        data = chosen.work / f"{name}-data"
        make_pairs(TASKS[name], photos, data, chosen.held_out)
        run = pix2pix.train(
            data,
            run=chosen.work / name,
            image_size=chosen.image_size,
            load_size=chosen.image_size,  # no random crops: there are as many facades as one asks for
            flip=False,  # the light comes from the left
            base_channels=chosen.base_channels,
            epochs=chosen.epochs,
        )
        shown = range(number * chosen.rows, (number + 1) * chosen.rows)  # other buildings in each block
        blocks.append(block(TASKS[name], [*results(data, run.path, shown)], chosen.scale))
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    arrange(blocks).save(chosen.output, optimize=True)
    print(chosen.output)


# ---- data --------------------------------------------------------------------------------------------------------


def draw_photos(folder: Path, count: int, size: int) -> None:
    """Draw facades as `folder/0000.png`, ..., and their label maps beside it, in `label-maps/`."""
    labels = folder.with_name("label-maps")
    for place in (folder, labels):
        place.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        name = f"{seed:04}.png"
        if not (labels / name).exists():
            photo, label_map = facade(seed, size)
            Image.fromarray(photo).save(folder / name)
            Image.fromarray(label_map).save(labels / name)


def make_pairs(task: Task, photos: Path, data: Path, held_out: int) -> None:
    """Make `data` with the splits train, val and test out of the photos."""
    fraction = str(held_out / sum(1 for _ in photos.iterdir()))
    splits = ("--val-fraction", fraction, "--test-fraction", fraction)
    kind = task.make or ("--kind", "gray")  # for the splits; the label maps take the place of the gray photos
    command = (sys.executable, "-m", "pix2pix", "data", "make", str(photos), *kind, *splits, "--output", str(data))
    if not data.exists():
        subprocess.run(command, check=True)
        if not task.make:
            for source in (data / "A").rglob("*.png"):
                source.write_bytes((photos.with_name("label-maps") / source.name).read_bytes())


def results(data: Path, run: Path, numbers: range) -> Iterator[tuple[Image.Image, ...]]:
    """Input, output and target of held-out pairs, counted by name; after the last the first comes again."""
    translator = pix2pix.Translator.from_pretrained(run)
    sources = sorted((data / "A" / "test").iterdir())
    for number in numbers:
        source = sources[number % len(sources)]
        image = Image.open(source)
        yield image, translator(image), Image.open(data / "B" / "test" / source.name)


# ---- the figure --------------------------------------------------------------------------------------------------


def block(task: Task, rows: list[tuple[Image.Image, ...]], scale: float) -> Image.Image:
    """Draw one task: its title, the labels of three columns, and a row for each pair."""
    side = round(rows[0][0].width * scale)
    step = side + GAP
    canvas = Image.new("RGB", (3 * step - GAP, TITLE + LABEL + len(rows) * step - GAP), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((0, TITLE / 2), task.title, "#111111", ImageFont.load_default(24), anchor="lm")
    for column, label in enumerate((task.source, "output", "target")):
        draw.text((column * step, TITLE + LABEL / 2 - 2), label, "#666666", ImageFont.load_default(15), anchor="lm")
    for number, images in enumerate(rows):
        for column, image in enumerate(images):
            fitted = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            corner = (column * step, TITLE + LABEL + number * step)
            canvas.paste(fitted, corner)
            draw.rectangle((*corner, corner[0] + side - 1, corner[1] + side - 1), outline="#d0d0d0")
    return canvas


def arrange(blocks: list[Image.Image]) -> Image.Image:
    """Lay blocks out on white: up to three side by side, four in two lines."""
    margin = 4 * GAP
    width, height = blocks[0].size
    columns = 2 if len(blocks) == 4 else min(3, len(blocks))
    lines = -(-len(blocks) // columns)
    canvas = Image.new("RGB", (margin + columns * (width + margin), margin + lines * (height + margin)), "white")
    for number, image in enumerate(blocks):
        line, column = divmod(number, columns)
        canvas.paste(image, (margin + column * (width + margin), margin + line * (height + margin)))
    return canvas


if __name__ == "__main__":
    main()
