"""Choose how a source file is seen: which channels a model takes of it, and whether it is a stack of pictures."""

from dataclasses import replace
from pathlib import Path

from pix2pix.data.io import high_depth, images
from pix2pix.data.io.view import Planes, View, count_planes
from pix2pix.model.signature import Signature


def view_source(path: Path, model: Signature, number: int = 0) -> tuple[View, Planes]:
    """Return the view of a file as the source `number`, and the planes of a stack of pictures; none otherwise.

    The channels that the model takes decide: a stack that has as many in all its planes is one picture, any other is a
    stack of pictures. Of a file with exactly the channels of `source_from` all are taken. A model of pixels as stored
    (`exif: ignore`) gets these. Raises DataError.
    """
    data, wanted = model.config.settings.data, model.sources[number].file_channels
    chosen = data.source_from or ()
    stored = data.exif == "ignore"
    axes = high_depth.fitting_axes(path, wanted) or data.npy_axes or ""
    planes = images.find_planes(path, axes)
    if not planes:
        view = View(axes=axes, stored=stored)
    else:
        view = View(axes=axes, plane=0, stored=stored)
        channels = images.probe(path, view).channels * count_planes(planes)
        if channels == wanted or (chosen and data.planes == "channels"):
            view, planes = View(axes=axes, stacked=True, stored=stored), ()
    if chosen and images.probe(path, view).channels != len(chosen):
        view = replace(view, channels=chosen)
    return view, planes
