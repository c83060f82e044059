"""A model and pictures in; translated pictures of the same kind and size out, of the target's type and units.

`Translator` is the one class behind the shell, Python, the service and the page.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pix2pix.data import images
from pix2pix.data.labels import Labels
from pix2pix.data.pairs import IMAGE_SUFFIXES
from pix2pix.data.ranges import refuse_gaps
from pix2pix.errors import ConfigError, DataError, ModelError
from pix2pix.inference.engine import Precision, prepare
from pix2pix.inference.sizes import AnySize, Size
from pix2pix.machine import choose_device
from pix2pix.model import Model, load_model

Picture = TypeVar("Picture", Image.Image, NDArray[np.uint8], NDArray[np.floating], Tensor)


class Translator:
    """Translates pictures with a trained model; deterministic unless `dropout` is on.

    A picture is presented at the scale that training used, padded by reflection to the sides that the generator
    takes, translated, cut back and brought to the input's size. With `dropout=True` the method's noise z is on, as
    in the paper's test mode (section 3.4), and each call gives another picture; `torch.manual_seed` repeats one.
    """

    def __init__(
        self, model: Model, *, device: str = "cpu", dropout: bool = False, precision: Precision = "32"
    ) -> None:
        self.model = model
        self.device = torch.device(device)
        self.generator = model.generator.to(self.device).eval()
        self.prepared = self.of_any_size(prepare(self.generator, self.device, precision=precision))
        if dropout:
            for module in [*self.generator.modules(), *self.prepared.modules()]:
                if isinstance(module, nn.Dropout):
                    module.train()

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str = "auto", dropout: bool = False, precision: Precision = "32"
    ) -> "Translator":
        """A run folder, model folder or hub id -> Translator. Raises ModelError with one sentence.

        `precision` bf16 is faster on processors and GPUs that have it, and errs by about a thousandth of the range.
        """
        return cls(load_model(name), device=choose_device(device), dropout=dropout, precision=precision)

    def __call__(self, picture: Picture) -> Picture:
        """Translate one picture, or a batch as a tensor; the same kind comes back.

        PIL image (gray or RGB); array (H, W) or (H, W, C); tensor (C, H, W) or (N, C, H, W). Arrays and tensors hold
        values of the source's type, and values of the target's come back; or, where the source is not float32 itself,
        floating numbers in [-1, 1], and such come back. Raises ModelError for a wrong number of channels, ValueError
        or TypeError for anything else that is not such a picture.
        """
        if isinstance(picture, Image.Image):
            return self._pil(picture)
        if isinstance(picture, np.ndarray):
            return self._array(picture)  # type: ignore[return-value]  # of the dtype that came in
        if isinstance(picture, Tensor):
            return self._tensor(picture)
        raise TypeError(f"expected a PIL image, an array or a tensor, got {type(picture).__name__}")

    def read(self, path: Path) -> Tensor:
        """File -> (in, H, W), as training presented it. Raises DataError for what does not fit the model."""
        if isinstance(labels := self.model.source_values, Labels):
            return labels.to_tensor(images.read(path), path)
        values, channels, dtype = self.model.source_values, self.model.in_channels, self.model.source_values.dtype
        pixels = images.read(path, alpha=self.model.card.converts and channels in (2, 4))
        if pixels.dtype.name != dtype:
            raise DataError(f"{path}: holds {pixels.dtype.name} values, but the model translates {dtype}: convert it")
        refuse_gaps(pixels, path)
        if self.model.card.converts:
            pixels = images.with_channels(pixels, channels, str(path))
        if pixels.shape[2] != channels:
            raise DataError(
                f"{path}: has {pixels.shape[2]} channels, but the model translates {channels}; convert it first"
            )
        return values.to_tensor(pixels)

    def write(self, path: Path, output: Tensor) -> None:
        """(out, H, W) in [-1, 1] -> a file of the target's type and units. Raises DataError."""
        images.write(path, self.model.target_values.to_array(output))

    def _pil(self, picture: Image.Image) -> Image.Image:
        source, target = self.model.source_values, self.model.target_values
        for side, values, channels in (
            ("takes", source, 3 if isinstance(source, Labels) else self.model.in_channels),
            ("gives", target, self.model.out_channels),
        ):
            if values.dtype != "uint8" or channels not in (1, 3):
                raise ModelError(
                    f"the model {side} {channels} channels of {values.dtype}, which no PIL image holds: use arrays"
                )
        pixels = images.from_pil(picture)
        if self.model.card.converts:
            pixels = images.with_channels(pixels, self.model.in_channels)
        return images.to_pil(target.to_array(self.translate(source.to_tensor(pixels)[None])[0]))

    def _array(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        flat = array.ndim == 2
        if array.ndim not in (2, 3):
            raise ValueError(f"expected an array (H, W) or (H, W, C), got shape {array.shape}")
        # Copied, since torch takes no read-only array, such as numpy makes of a PIL image.
        own = np.array(array[..., None] if flat else array, order="C")
        tensor = torch.from_numpy(own).permute(2, 0, 1)
        result = self._tensor(tensor).permute(1, 2, 0).contiguous().cpu().numpy()
        return result[..., 0] if flat and result.shape[2] == 1 else result

    def _tensor(self, tensor: Tensor) -> Tensor:
        if tensor.ndim not in (3, 4) or 0 in tensor.shape:
            raise ValueError(f"expected a tensor (C, H, W) or (N, C, H, W), none of them 0, got {tuple(tensor.shape)}")
        batch = tensor if tensor.ndim == 4 else tensor[None]
        source, target = self.model.source_values, self.model.target_values
        if tensor.dtype == getattr(torch, source.dtype) and not (source.plain and target.plain):
            values = batch.detach().cpu().numpy()
            expected = source.file_channels if isinstance(source, Labels) else self.model.in_channels
            if values.shape[1] != expected:
                raise ModelError(f"expected {expected} channels, which the model translates, and got {values.shape[1]}")
            numbers = torch.stack([source.to_tensor(one.transpose(1, 2, 0)) for one in values])
            if not numbers.isfinite().all():
                raise ValueError("expected finite values, got NaN or infinity")
            outputs = [target.to_array(image) for image in self.translate(numbers)]
            found = torch.stack([images.planes(image) for image in outputs]).to(tensor.device)
            return found if tensor.ndim == 4 else found[0]
        if tensor.dtype == torch.uint8 and source.plain:
            output = self.translate(images.scaled(batch)).add(1).mul(127.5).round().to(torch.uint8)
        elif tensor.is_floating_point() and source.dtype != "float32":
            low, high = batch.aminmax()
            if not (low >= -1 and high <= 1):  # NaN fails too
                raise ValueError(f"expected floating values in [-1, 1], got [{low.item():g}, {high.item():g}]")
            output = self.translate(batch.float())
        else:
            others = "" if source.dtype == "float32" else " or floating values in [-1, 1]"
            raise TypeError(f"expected {source.dtype}{others}, got {tensor.dtype}")
        output = output.to(tensor.device, tensor.dtype)
        return output if tensor.ndim == 4 else output[0]

    @torch.no_grad()  # not inference_mode, whose tensors can be neither changed nor learnt from
    def translate(self, source: Tensor) -> Tensor:
        """(N, in, H, W) in [-1, 1], any H and W -> (N, out, H, W) float32 in [-1, 1], on this translator's device."""
        if source.shape[1] != self.model.in_channels:
            raise ModelError(
                f"expected {self.model.in_channels} channels, which the model translates, and the picture has "
                f"{source.shape[1]}; convert it first"
            )
        size = (source.shape[-2], source.shape[-1])
        if 0 in size:
            raise ValueError(f"expected a picture with pixels in it, got one of {size[0]}x{size[1]}")
        output: Tensor = self.prepared(source.to(self.device, torch.float32))
        return output.clamp(-1, 1)

    def of_any_size(self, network: nn.Module) -> AnySize:
        """The model's generator, as it is or prepared, for pictures of any size."""
        labels = self.model.card.config.data.source_kind == "labels"
        return AnySize(network, self.model.size_multiple, self.presented_size, nearest=labels)

    def presented_size(self, size: Size) -> Size:
        """(H, W) of a picture -> (H, W) at which the generator sees it, before padding."""
        scale = self.model.card.scale
        if scale is None:
            return self.model.card.config.data.image_size
        return max(1, round(size[0] * scale[0])), max(1, round(size[1] * scale[1]))


# ---- files and folders -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One picture to translate: where it is and what its translation is called, relative to the output folder."""

    input: Path
    name: Path


def find_jobs(inputs: Sequence[Path], output: Path, written: tuple[str, int] = ("uint8", 3)) -> list[Job]:
    """Files and folders -> one job for each image; `written` is the translations' type and channels.

    Raises DataError for what is absent, empty or would collide.
    """
    jobs = [job for entry in inputs for job in _jobs_of(entry, output, written)]
    seen: dict[Path, Path] = {}
    for job in jobs:
        target = output / job.name
        if target in seen:
            raise DataError(f"{seen[target]} and {job.input} would both become {target}; translate them one by one")
        if target.exists() and target.samefile(job.input):
            raise DataError(f"{job.input}: its translation would replace it; choose another --output")
        seen[target] = job.input
    return jobs


def _jobs_of(entry: Path, output: Path, written: tuple[str, int]) -> Iterator[Job]:
    if entry.is_file():
        if entry.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(f"{entry}: no image by its name; expected one of {', '.join(sorted(IMAGE_SUFFIXES))}")
        yield Job(entry, _output_name(Path(entry.name), written))
        return
    if not entry.is_dir():
        raise DataError(f"{entry}: no such file or folder; give images or folders of images to translate")
    found = sorted(path for path in _walk(entry, output) if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{entry}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    for path in found:
        yield Job(path, _output_name(path.relative_to(entry), written))


def _walk(folder: Path, output: Path) -> Iterator[Path]:
    """Files below a folder, without hidden ones, links to folders and the output folder. Raises OSError."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        kept = (name for name in folders if not name.startswith("."))
        folders[:] = [name for name in kept if Path(root, name).resolve() != output.resolve()]
        yield from (Path(root, name) for name in names if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _output_name(path: Path, written: tuple[str, int]) -> Path:
    """The input's own name where its format can hold the translation exactly or nearly; else PNG, or else TIFF."""
    return path if images.can_hold(path.suffix.lower(), *written) else path.with_suffix(images.suffix_for(*written))


@dataclass(frozen=True)
class Translated:
    """What a folder's translation came to: the files written, and the inputs that could not be, with the reason."""

    written: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


class Shard(NamedTuple):
    """One of several parts of the pictures, for as many processes to translate at the same time."""

    number: int = 1  # from 1 to parts
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`2/8` is the second of eight parts. Raises ConfigError."""
        number, slash, parts = text.partition("/")
        if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
            raise ConfigError(f"--shard {text}: expected i/n with i from 1 to n, such as 2/8")
        return cls(int(number), int(parts))

    def of(self, jobs: list[Job]) -> list[Job]:
        """Every `parts`-th picture by name: the shards are disjoint and together all."""
        return jobs if self.parts == 1 else sorted(jobs, key=lambda job: job.name)[self.number - 1 :: self.parts]


def translate_files(
    translator: Translator,
    inputs: Sequence[Path],
    output: Path,
    *,
    batch_size: int = 4,
    shard: Shard = Shard(),  # noqa: B008  # a tuple
    progress: Callable[[int, int], None] | None = None,
) -> Translated:
    """Translate images and folders into `output`, under the inputs' names, each file whole.

    Neighbours of one size go through the generator together. An image that cannot be read or does not fit the model
    does not stop the others. Calls progress(done, total). Raises DataError where there is nothing to translate.
    """
    model = translator.model
    jobs = shard.of(find_jobs(inputs, output, (model.target_values.dtype, model.out_channels)))
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    writing: list[Future[Path]] = []

    def finish() -> None:
        while writing:
            written.append(writing.pop(0).result())
        if progress is not None and (written or failed):
            progress(len(written) + len(failed), len(jobs))

    with ThreadPoolExecutor(2) as pool:  # files are read ahead and written behind the generator
        for batch in _batches(jobs, batch_size, translator, failed, pool):
            outputs = translator.translate(torch.stack([source for _, source in batch]))
            finish()
            writing += [
                pool.submit(_write, translator, output / job.name, one)
                for (job, _), one in zip(batch, outputs, strict=True)
            ]
        finish()
    return Translated(tuple(written), tuple(failed))


def _write(translator: Translator, path: Path, translated: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    translator.write(path, translated)
    return path


def _batches(
    jobs: Sequence[Job], batch_size: int, translator: Translator, failed: list[tuple[Path, str]], pool: Executor
) -> Iterator[list[tuple[Job, Tensor]]]:
    """Read the jobs' images and group neighbours of one size; what cannot be used is added to `failed`."""
    batch: list[tuple[Job, Tensor]] = []
    for job, reading in _ahead(jobs, translator.read, pool, batch_size):
        try:
            source = reading.result()
        except DataError as error:
            failed.append((job.input, str(error)))
            continue
        if batch and (len(batch) == batch_size or batch[0][1].shape != source.shape):
            yield batch
            batch = []
        batch.append((job, source))
    if batch:
        yield batch


def _ahead(
    jobs: Sequence[Job], read: Callable[[Path], Tensor], pool: Executor, count: int
) -> Iterator[tuple[Job, Future[Tensor]]]:
    """The jobs in order, each with its reading under way, and that of `count` more."""
    waiting: deque[tuple[Job, Future[Tensor]]] = deque()
    for job in jobs:
        waiting.append((job, pool.submit(read, job.input)))
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def translate(
    model: str | Path,
    inputs: str | Path | Sequence[str | Path],
    *,
    output: str | Path,
    batch_size: int = 4,
    shard: str | None = None,
    dropout: bool = False,
    seed: int | None = None,
    device: str = "auto",
    precision: Precision = "32",
    progress: Callable[[int, int], None] | None = None,
) -> Translated:
    """Load a model and translate images and folders into `output`: `pix2pix translate` in Python.

    `shard`, such as "2/8", takes the second of eight parts of the pictures; the others may run at the same time, into
    the same folder. `seed` repeats a picture made with `dropout`. Raises ConfigError, ModelError or DataError with one
    sentence.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: expected 1 or more")
    part = Shard() if shard is None else Shard.parse(shard)
    if seed is not None:
        if not 0 <= seed < 2**63:
            raise ConfigError(f"--seed {seed}: expected a number from 0 to 2^63 - 1")
        torch.manual_seed(seed)
    places = [Path(inputs)] if isinstance(inputs, str | Path) else [Path(entry) for entry in inputs]
    if precision not in ("32", "bf16"):
        raise ConfigError(f"--precision {precision}: expected 32 or bf16")
    translator = Translator.from_pretrained(model, device=device, dropout=dropout, precision=precision)
    return translate_files(translator, places, Path(output), batch_size=batch_size, shard=part, progress=progress)
