"""Serve a translator, of torch or of an exported file: the same steps as `pix2pix translate`, with the same outputs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array
from pix2pix.data.io.view import count_planes
from pix2pix.errors import DataError
from pix2pix.export.example_images import draw_sources
from pix2pix.inference.calls import ImageTranslator
from pix2pix.inference.fit_sources import SourceImage
from pix2pix.inference.halves import HalfChoice, choose_half
from pix2pix.inference.views import view_source
from pix2pix.model.model_config import Size
from pix2pix.serve.engine import Facts, ReadImage, SourceFacts
from pix2pix.text import format_count

GPU_BATCH = 8
"""Pictures that a GPU computes together; on a CPU, one at a time is as fast and answers the first one sooner."""

Noise = Callable[[int], AbstractContextManager[None]]
"""Turn dropout on within a block, with the draws of a seed."""


class TranslatorEngine:
    """A translator as the service needs it; `noise` is None for a model without dropout."""

    def __init__(self, translator: ImageTranslator, threads: str, noise: Noise | None = None) -> None:
        self.translator, self._noise = translator, noise
        self.facts = _describe(translator, threads, noise=noise is not None)

    def read(self, files: Sequence[Path], half: HalfChoice = "auto") -> ReadImage:
        """Read and encode the file of each source; of side-by-side files as in training, the source's half."""
        model, taken = self.translator.model, None
        for number, file in enumerate(files):
            if planes := view_source(file, model, number)[1]:
                count = format_count(count_planes(planes), "plane")
                raise DataError(f"{file}: is a stack of {count}, expected one picture: send its planes one by one")
        if len(files) == 1:
            taken = choose_half(model.config, images.probe(files[0]).size, half)
        encoded = self.translator.read(files, half=taken)
        return ReadImage(encoded, encoded.shape)

    def seen_size(self, size: Size) -> Size:
        """Return the size at which the network sees a picture."""
        model = self.translator.model
        return model.presented_size(model.output_size(size))

    def translate(self, inputs: Sequence[ReadImage], seed: int | None = None) -> list[Array]:
        """Translate what was read, all of one size; a seed turns dropout on."""
        with nullcontext() if seed is None or self._noise is None else self._noise(seed):
            outputs = self.translator.translate_encoded([one.values for one in inputs])
        return [self.translator.to_array(output, one.values.holes) for output, one in zip(outputs, inputs, strict=True)]

    def warm_up(self) -> None:
        """Translate a drawn picture."""
        drawn = draw_sources(self.translator.model.sources, self.facts.image_size)
        sources = [SourceImage(values, False, Path("drawn")) for values in drawn]
        self.translator.translate_encoded([self.translator.encode(sources)])


def _describe(translator: ImageTranslator, threads: str, *, noise: bool) -> Facts:
    model, device = translator.model, translator.device
    sources = [
        SourceFacts(name, one.file_channels, one.file_type, one.values.classes)
        if isinstance(one.values, LabelEncoding)
        else SourceFacts(name, one.file_channels, one.file_type, whole_type=one.values.is_8bit)
        for name, one in zip(model.source_names, model.sources, strict=True)
    ]
    height, width = model.config.settings.data.image_size
    return Facts(
        epoch=model.config.epoch,
        sources=tuple(sources),
        channels=model.file_type.channels,
        dtype=model.file_type.dtype,
        image_size=(height, width),
        size_multiple=model.size_multiple,
        noise=noise,
        is_labels=model.file_type.exact,
        palette=model.palette,
        half=model.config.half,
        batch_size=1 if device.type == "cpu" else GPU_BATCH,
        machine=f"{device}, {threads}",
        weights=" ".join(model.config.sha256.values()),
    )
