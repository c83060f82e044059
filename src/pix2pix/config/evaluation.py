"""Options of `pix2pix evaluate`."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from pix2pix.config.fields import Axes, Device, Exif, IsPattern, Layout, Planes, ThreadCount, Words
from pix2pix.config.section import Section


def _to_text(value: Any) -> Any:
    """Write a path, or several, as text."""
    if isinstance(value, list | tuple):
        return tuple(map(_to_text, value))
    return str(value) if isinstance(value, os.PathLike) else value


class EvaluateOptions(Section):
    """What `evaluate` measures, on which pairs, and where it writes."""

    source: Annotated[Words | None, BeforeValidator(_to_text)] = None
    """Folder of sources, in place of DATA; repeated for several."""
    target: Annotated[str | None, BeforeValidator(_to_text)] = None
    """Folder of targets, matched to the sources by name."""
    source_pattern: Annotated[Words | None, IsPattern] = None
    """Names of the sources, such as {id}_training.tif, repeated for several; by default the training's are tried."""
    target_pattern: Annotated[str | None, IsPattern] = None
    """Names of the targets."""
    layout: Layout = "auto"
    """`side-by-side`: each image of DATA holds a source and its target."""
    planes: Planes | None = None
    """What the planes of stacks are, pictures or channels; by default as in the training."""
    npy_axes: Axes | None = None
    """Order of the axes in .npy files; by default as in the training."""
    exif: Exif | None = None
    """EXIF orientation: auto, apply or ignore; by default as in the training."""
    split: str = "test"
    """Which pairs to measure: train, val or test."""
    output: Path | None = None
    """Folder to write to; by default the run's evaluation/SPLIT."""
    device: Device = "auto"
    """Where to compute."""
    threads: ThreadCount = "auto"
    """Threads that compute on the CPU; `auto` is OMP_NUM_THREADS, or the cores that this program may use."""
    dropout: bool = False
    """Keep dropout on, as the paper does at test time."""
    full_size: bool = False
    """Measure images at their own size, as translate writes them; by default at the size of the training. Models that
    were trained with --load-size native are always measured so."""
    weights: tuple[Path, ...] = ()
    """File with the weights of AlexNet (for LPIPS) or Inception (for FID and KID), or a folder with both; by default
    torch's cache (TORCH_HOME) is searched."""
    features: str | None = None
    """Another network for FID and KID, as package.module:factory."""
    segmenter: bool = False
    """Train a small network that reads labels from photos, and measure how well it reads them from the outputs: the
    paper's FCN-score, for models from label maps to photos."""
    segmenter_folder: Path | None = None
    """Folder that keeps this network, for other models to share; by default in the run."""
    palette: str | None = None
    """Colours of the label maps, as #0000ff,#ff5500,... or a file with one on each line; by default found in the
    maps."""
