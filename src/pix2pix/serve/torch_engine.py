"""Serve a model folder by torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from pix2pix.inference.translator import Translator
from pix2pix.model import load_model
from pix2pix.serve.translator_engine import TranslatorEngine
from pix2pix.system.hardware import choose_device
from pix2pix.system.threads import choose_threads, describe_threads


def open_torch(folder: Path, device: str, precision: Literal["32", "bf16"], processes: int = 1) -> TranslatorEngine:
    """Load a model folder, a run folder or a model of the hub. Raises ModelError."""
    torch.set_num_threads(threads := choose_threads("auto", processes))
    translator = Translator(load_model(folder), device=choose_device(device), precision=precision)
    dropouts = [layer for layer in translator.optimized.modules() if isinstance(layer, nn.Dropout) and layer.p > 0]
    noise = partial(_noise, dropouts) if dropouts else None
    return TranslatorEngine(translator, describe_threads(threads, processes), noise)


@contextmanager
def _noise(dropouts: Sequence[nn.Dropout], seed: int) -> Iterator[None]:
    """Turn dropout on within the block. Only one thread translates."""
    torch.manual_seed(seed)
    for layer in dropouts:
        layer.train()
    try:
        yield
    finally:
        for layer in dropouts:
            layer.eval()
