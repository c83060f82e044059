"""Rows of the translator: one image, eight and a folder of files, against the plain network run eagerly."""

import shutil
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.conditions import NO_BF16, Conditions
from benchmarks.ours import our_translator, save_model
from benchmarks.rows import Row, compared
from benchmarks.timing import interleaved
from pix2pix.config.fields import Statistics
from pix2pix.data.encoding import tensors
from pix2pix.data.io import images
from pix2pix.inference.optimize import Precision
from pix2pix.inference.pipeline import Options, translate_files

TARGETS = {"32": (1.55, 1.7), "bf16": (2.9, 3.3)}  # must reach, aim
TOGETHER = 8  # images, for the throughput
FOLDER, QUICK_FOLDER = 1000, 60  # images
BATCH = 4  # of the folder's images together, as `translate` has it
Run = Callable[[Tensor], Tensor]


def image_rows(conditions: Conditions) -> Iterator[Row]:
    """Time one image and eight, by either statistics of batch norm; the note tells the error."""
    yield from _images("running", "32", conditions)
    yield from _images("image", "32", conditions)
    if conditions.bf16:
        yield from _images("running", "bf16", conditions)
    else:
        must, aim = conditions.targets(TARGETS["bf16"])
        work = "one image, bf16, running averages"
        yield Row(section="inference", work=work, must=must, aim=aim, note=NO_BF16)


def _images(statistics: Statistics, precision: Precision, conditions: Conditions) -> Iterator[Row]:
    folder = conditions.scratch / f"model {statistics} {precision}"
    eager = _eager(save_model(conditions, folder, statistics), statistics)
    ours = our_translator(folder, precision).translate
    source, _ = conditions.batch(TOGETHER)
    error = (ours(source) - torch.cat([eager(one[None]) for one in source])).abs()
    words = {"running": "running averages", "image": "each image's statistics"}[statistics]
    arithmetic = "fp32" if precision == "32" else precision
    # Eager batch norm takes the statistics of the whole batch: another result, so only one image is compared.
    for count in (1, TOGETHER) if statistics == "running" else (1,):
        image = source[:count]
        tasks = {"reference": lambda x=image: eager(x), "ours": lambda x=image: ours(x)}
        timings = interleaved(tasks, conditions.rounds(31 if count == 1 else 9))
        yield compared(
            timings["ours"],
            timings["reference"],
            section="inference",
            work=f"{'one image' if count == 1 else f'{count} images'}, {arithmetic}, {words}",
            targets=conditions.targets(TARGETS[precision] if statistics == "running" and count == 1 else None),
            note=f"{count / timings['ours'].median:.1f} images/s; error against eager fp32 in [-1, 1]: "
            f"max {error.max():.1e}, mean {error.mean():.1e}",
        )


def _eager(network: nn.Module, statistics: Statistics) -> Run:
    """Return the plain network without dropout, with the batch norm that the model asks for."""
    for module in network.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(statistics == "image")
    return torch.no_grad()(network)


# ---- a folder --------------------------------------------------------------------------------------------------


def folder_rows(conditions: Conditions) -> Iterator[Row]:
    """Time `translate` from files to files against the same translator on tensors, in turns of a few batches."""
    model, inputs = conditions.scratch / "model folder", conditions.scratch / "images"
    save_model(conditions, model, "running")
    translator = our_translator(model)
    count = QUICK_FOLDER if conditions.quick else FOLDER
    source, _ = conditions.batch(BATCH)
    inputs.mkdir()
    for number in range(count):
        path = inputs / f"{number:04}.jpg"
        if number < BATCH:
            images.write(path, tensors.to_array(source[number]))
        else:
            shutil.copyfile(inputs / f"{number % BATCH:04}.jpg", path)

    bare: list[float] = []
    files: list[float] = []
    translator.translate(source)
    last = time.perf_counter()

    def between(done: int, total: int) -> None:
        nonlocal last
        files.append(time.perf_counter() - last)
        if len(files) % 4 == 0:  # four batches of each kind in turn
            for _ in range(4):
                began = time.perf_counter()
                translator.translate(source)
                bare.append(time.perf_counter() - began)
        last = time.perf_counter()

    translate_files(
        translator, [inputs], conditions.scratch / "translated", Options(BATCH, overwrite=True), progress=between
    )
    ours, reference = sum(files) / count, sum(bare) / len(bare) / BATCH  # what disturbs the machine is in both
    must, aim = conditions.targets((0.95, 0.98))
    yield Row(
        section="inference",
        work=f"translate, a folder of {count:,} images, against the bare loop",
        ours=f"{1 / ours:.2f}/s",
        reference=f"{1 / reference:.2f}/s",
        value=reference / ours,
        unit="%",
        must=must,
        aim=aim,
        raw={"ours": tuple(files), "reference": tuple(bare)},
    )
