"""Translate a stack of pictures, plane by plane, to a stack with the same axes."""

import numpy as np

from pix2pix.data.io.arrays import Array
from pix2pix.data.io.view import Planes, count_planes
from pix2pix.errors import DataError
from pix2pix.inference.calls import ImageTranslator
from pix2pix.inference.jobs import Job
from pix2pix.inference.views import view_source
from pix2pix.system.hardware import say_gigabytes
from pix2pix.system.progress import OnNamedProgress

COPIES = 3
"""Copies of the output in memory: its planes, the stack, the encoded file."""


def translate_stack(
    translator: ImageTranslator, job: Job, planes: Planes, most: float, progress: OnNamedProgress | None
) -> tuple[Array, set[str]]:
    """Return (planes, H, W, C) of the target's type, and what was done to the sources' channels, in words.

    Calls progress(planes done, all, the name).

    Raises DataError for sources of other planes, and for an output of more than `most` bytes in memory.
    """
    sources, conversions = job.sources, set[str]()
    for number, path in enumerate(sources):
        if (of := view_source(path, translator.model, number)[1]) != planes:
            raise DataError(
                f"{path}: has the planes {_name(of)}, but {sources[0]} has {_name(planes)}: give equal ones"
            )
    outputs: list[Array] = []
    count = count_planes(planes)
    for plane in range(count):
        encoded = translator.read(sources, half=job.half, plane=plane)
        conversions.update(encoded.conversions)
        (output,) = translator.translate_encoded([encoded])
        outputs.append(translator.to_output(output, encoded.holes, sources[0]))
        needed = COPIES * count * outputs[0].nbytes
        if needed > most:
            raise DataError(
                f"{sources[0]}: a stack of {count} planes takes {say_gigabytes(needed)} of memory, but "
                f"{say_gigabytes(most)} are free or allowed: save its planes in several files"
            )
        if progress is not None:
            progress(plane + 1, count, sources[0].name)
    return np.stack(outputs), conversions


def _name(planes: Planes) -> str:
    return "x".join(f"{length}{axis}" for axis, length in planes) or "none"
