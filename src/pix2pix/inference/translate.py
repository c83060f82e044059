"""Load a model and translate images, folders and videos: `pix2pix translate` in Python."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pix2pix.errors import ConfigError
from pix2pix.inference.calls import ImageTranslator
from pix2pix.inference.halves import HalfChoice
from pix2pix.inference.jobs import Shard
from pix2pix.inference.noise import require_dropout
from pix2pix.inference.onnx_engines import Engine
from pix2pix.inference.pipeline import Options, Translated, translate_files
from pix2pix.inference.samples import Sampling
from pix2pix.inference.tiling import Tiling
from pix2pix.inference.translator import Translator
from pix2pix.model.model_config import Present
from pix2pix.model.onnx_model import is_onnx_name, require_torch
from pix2pix.system.hardware import GIGABYTE
from pix2pix.system.progress import OnNamedProgress, OnProgress
from pix2pix.system.threads import choose_threads, computing_threads, describe_threads

if TYPE_CHECKING:
    from pix2pix.inference.optimize import Precision


def translate(  # noqa: PLR0913  # the flags of the command
    model: str | Path,
    inputs: str | Path | Sequence[str | Path],
    *,
    output: str | Path,
    overwrite: bool = False,
    batch_size: int = 4,
    shard: str | None = None,
    source_pattern: str | Sequence[str] = (),
    present: Present = "auto",
    half: HalfChoice = "auto",
    background: str = "white",
    strict: bool = False,
    dropout: bool = False,
    seed: int | None = None,
    samples: int | None = None,
    uncertainty: bool = False,
    memory: float | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    device: str = "auto",
    threads: Literal["auto"] | int = "auto",
    precision: "Precision" = "32",
    engine: Engine = "auto",
    progress: OnProgress | None = None,
    tile_progress: OnNamedProgress | None = None,
) -> Translated:
    """Load a model and translate images and folders, or videos, into `output`: `pix2pix translate` in Python.

    `output` is a folder, or the name of the output of one video.

    What an earlier call has written, of the same sources by the same model and settings, is not done again; a file that
    no translation wrote is never replaced. `overwrite` does everything again and replaces what is there. `shard`, such
    as "2/8", selects the second of eight parts of the images; other processes can translate the others into the same
    folder. A model of several sources takes one file, or one folder, for each; `source_pattern`, one for all or one for
    each, tells how names in the folders match.

    `present` chooses the size at which the model sees images: `auto` by its rule (`ModelConfig.presented_size`),
    `image_size`, `scale` as in training, or `native`, their own. `half` takes the left or right half of side-by-side
    files; `auto` takes the source's half of files of the training's size. Gray, colour and transparency (over
    `background`) are brought to the model's channels, unless `strict`. What was done is in `Translated.notes`.

    `seed` repeats an output made with `dropout`. `samples` makes as many outputs of each image, a-1.png and so on, with
    dropout on and by default the seed 0; `uncertainty` writes their mean and standard deviation, or the votes and their
    entropy for label maps, beside them. `memory` is the most that
    all images in flight may take, in GB, beyond the model; by default all that is free. An image that does not fit is
    translated in tiles; `tile` and `overlap` are their side and overlap in pixels, for all images with a larger side.
    `threads` compute on the CPU; by default as many as OMP_NUM_THREADS says, or as the cores that this program may use.

    `model` may be an exported file, such as model.onnx. It is run without torch by `engine`: onnxruntime or openvino,
    by default the faster one that is installed. It takes neither tiles nor `present`, `dropout` and `precision`.

    Raises ConfigError, ModelError or DataError.
    """
    if batch_size < 1 or batch_size % 1 != 0:
        raise ConfigError(f"--batch-size {batch_size}: expected a whole number from 1")
    if memory is not None and not (memory > 0 and math.isfinite(memory)):
        raise ConfigError(f"--memory {memory:g}: expected a number of gigabytes above 0")
    part = Shard() if shard is None else Shard.parse(shard)
    if seed is not None and not 0 <= seed < 2**63:
        raise ConfigError(f"--seed {seed}: expected a number from 0 to 2^63 - 1")
    entries = [Path(inputs)] if isinstance(inputs, str | Path) else [Path(entry) for entry in inputs]
    if precision not in ("32", "bf16"):
        raise ConfigError(f"--precision {precision}: expected 32 or bf16")
    patterns = [source_pattern] if isinstance(source_pattern, str) else list(source_pattern)
    if half not in get_args(HalfChoice):
        raise ConfigError(f"--half {half}: expected {', '.join(get_args(HalfChoice))}")
    for pattern in patterns:
        if pattern.count("{id}") != 1:
            raise ConfigError(f"--source-pattern {pattern}: write {{id}} once where the image's name stands")
    shown: dict[str, Any] = {"present": present, "strict": strict, "background": background}
    most = None if memory is None else memory * GIGABYTE
    sampling = Sampling.of(samples, uncertainty)
    seed, dropout = (seed or 0, True) if sampling.count else (seed, dropout)
    options = Options(batch_size, overwrite, seed, most, tiling=Tiling(tile, overlap), half=half, sampling=sampling)
    calls: dict[str, Any] = {"progress": progress, "tile_progress": tile_progress}
    shown |= {"device": device, "dropout": dropout, "precision": precision}
    with _load(model, threads, engine, samples, **shown) as (translator, count):
        done = translate_files(translator, entries, Path(output), options, shard=part, patterns=patterns, **calls)
    return replace(done, machine=f"{translator.device}, {describe_threads(count)}")


@contextmanager
def _load(
    model: str | Path, threads: Literal["auto"] | int, engine: Engine, samples: int | None, **choices: Any
) -> Iterator[tuple[ImageTranslator, int]]:
    """Load a model that computes with so many threads within the block; also yield their number."""
    if threads != "auto" and threads < 1:
        raise ConfigError(f"--threads {threads}: expected 1 or more")
    if is_onnx_name(model):
        if samples is not None:
            raise ConfigError(f"--samples {samples}: an exported file has no dropout; give the model folder instead")
        translator = Translator.from_pretrained(model, engine=engine, threads=threads, **choices)
        yield translator, choose_threads(threads)
        return
    if engine != "auto":
        raise ConfigError(f"--engine {engine}: runs exported files, such as model.onnx; {model} is computed by torch")
    require_torch(model)
    with computing_threads(threads) as count:
        loaded = Translator.from_pretrained(model, **choices)
        if samples is not None and isinstance(loaded, Translator):
            require_dropout(loaded.generator, f"--samples {samples}")
        yield loaded, count
