"""Serve a model folder by torch: the same steps as `pix2pix translate`, with the same outputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Array
from pix2pix.data.io.view import count_planes
from pix2pix.errors import DataError
from pix2pix.inference.halves import choose_half
from pix2pix.inference.translator import Translator
from pix2pix.inference.views import view_source
from pix2pix.model import load_model
from pix2pix.serve.engine import Facts, ReadImage, SourceFacts
from pix2pix.system.hardware import choose_device
from pix2pix.system.threads import choose_threads, describe_threads
from pix2pix.text import format_count

GPU_BATCH = 8
"""Pictures that a GPU computes together; on a CPU, one at a time is as fast and answers the first one sooner."""


class TorchEngine:
    """A model folder, a run folder or a model of the hub."""

    def __init__(self, folder: Path, device: str, precision: Literal["32", "bf16"], processes: int = 1) -> None:
        torch.set_num_threads(threads := choose_threads("auto", processes))
        self.translator = Translator(load_model(folder), device=choose_device(device), precision=precision)
        self._dropouts = [layer for layer in self.translator.optimized.modules() if isinstance(layer, nn.Dropout)]
        self.facts = self._describe(threads, processes)

    def _describe(self, threads: int, processes: int) -> Facts:
        model, device = self.translator.model, self.translator.device
        config = model.config
        sources = [
            SourceFacts(name, one.file_channels, one.file_type, one.values.classes)
            if isinstance(one.values, LabelEncoding)
            else SourceFacts(name, one.file_channels, one.file_type, whole_type=one.values.is_8bit)
            for name, one in zip(model.source_names, model.sources, strict=True)
        ]
        height, width = config.settings.data.image_size
        return Facts(
            epoch=config.epoch,
            sources=tuple(sources),
            channels=model.file_type.channels,
            dtype=model.file_type.dtype,
            image_size=(height, width),
            size_multiple=model.size_multiple,
            noise=any(layer.p > 0 for layer in self._dropouts),
            is_labels=model.file_type.exact,
            palette=model.palette,
            half=config.half,
            batch_size=1 if device.type == "cpu" else GPU_BATCH,
            machine=f"{device}, {describe_threads(threads, processes)}",
        )

    def read(self, files: Sequence[Path]) -> ReadImage:
        """Read and encode the file of each source; of side-by-side files as in training, the source's half."""
        model, half = self.translator.model, None
        for number, file in enumerate(files):
            if planes := view_source(file, model, number)[1]:
                count = format_count(count_planes(planes), "plane")
                raise DataError(f"{file}: is a stack of {count}, expected one picture: send its planes one by one")
        if len(files) == 1 and model.config.half is not None:
            half = choose_half(model.config, images.probe(files[0]).size, "auto")
        encoded = self.translator.read(files, half=half)
        return ReadImage(encoded, encoded.shape)

    def translate(self, inputs: Sequence[ReadImage], seed: int | None = None) -> list[Array]:
        """Translate what was read, all of one size; a seed turns dropout on."""
        model = self.translator.model
        batch = torch.stack([one.values.tensor for one in inputs])
        with self._noise(seed):
            outputs = model.target_values.to_arrays(self.translator.translate(batch))
        for one, output in zip(inputs, outputs, strict=True):
            model.prepared.target.put_unknown(output, one.values.holes)
        return outputs

    @contextmanager
    def _noise(self, seed: int | None) -> Iterator[None]:
        """Turn dropout on within the block, unless there is no seed. Only one thread translates."""
        if seed is None:
            yield
            return
        torch.manual_seed(seed)
        for layer in self._dropouts:
            layer.train()
        try:
            yield
        finally:
            for layer in self._dropouts:
                layer.eval()

    def warm_up(self) -> None:
        """Translate an empty picture."""
        self.translator.translate(torch.zeros(1, self.translator.model.in_channels, *self.facts.image_size))
