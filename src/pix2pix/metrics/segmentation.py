"""Train a segmenter, a small network that reads labels from photos, on pairs of label map and photo.

It serves the paper's FCN-score (4.1) for any labels -> photo task: the segmenter, trained on real photos, reads labels
from the outputs (`label_score.py`).
"""

import functools
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pix2pix.config import Generator
from pix2pix.data.checks.main_colours import Colour
from pix2pix.data.loading.dataset import PairDataset
from pix2pix.metrics.palette import label_pixels
from pix2pix.networks import make_generator
from pix2pix.system.files import write_atomically, write_text
from pix2pix.system.locks import lock_folder
from pix2pix.system.progress import OnNamedProgress
from pix2pix.system.reading import open_regular, read_json
from pix2pix.system.written import claim

UNKNOWN = 255  # the class of a pixel where the photo is masked
BASE_CHANNELS, BATCH, RATE = 16, 4, 2e-3
SEED = 0
SAMPLES = 6000  # training pairs that are seen, rounded up to whole epochs
CACHE_BYTES = 2**30  # of decoded pairs
SAVE_SECONDS = 30.0
WEIGHTS, DESCRIPTION, STATE = "segmenter.safetensors", "segmenter.json", "state.pt"


@dataclass(frozen=True)
class Segmenter:
    """A network in eval mode, photos (N, C, H, W) in [-1, 1] -> logits (N, K, H, W), and its classes' colours."""

    network: nn.Module
    palette: tuple[Colour, ...]
    device: torch.device

    def read_labels(self, image: Tensor) -> Tensor:
        """Return the class of each pixel of (C, H, W): (H, W) on the CPU."""
        with torch.inference_mode():
            classes: Tensor = self.network(image[None].to(self.device)).argmax(dim=1)[0].cpu()
        return classes


def load_or_train_segmenter(
    folder: Path,
    dataset: PairDataset,
    palette: Sequence[Colour],
    *,
    device: torch.device,
    fingerprint: str,
    progress: OnNamedProgress | None = None,
) -> Segmenter:
    """Load the segmenter in `folder` if it was trained on the same data, colours and size; otherwise train and save it.

    `dataset` holds the training pairs, not augmented. An interrupted training is resumed.
    """
    height, width = dataset.image_size
    colours = [list(colour) for colour in palette]
    facts = [fingerprint, colours, height, width, dataset.target_channels, SEED, SAMPLES, BASE_CHANNELS, RATE]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    torch.manual_seed(SEED)
    network = _make_network(dataset.target_channels, len(palette), dataset.image_size).to(device)
    folder.mkdir(parents=True, exist_ok=True)
    if not _load_weights(network, folder, key):
        with lock_folder(folder):
            claim(folder, (WEIGHTS, DESCRIPTION, STATE), flag="--segmenter-folder", is_ours=_is_segmenter)
            train_segmenter(
                network, dataset, palette, SegmenterCheckpoint(folder / STATE, key), seed=SEED, progress=progress
            )
            weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
            write_atomically(folder / WEIGHTS, lambda file: file.write(safetensors.torch.save(weights)))
            description = {"key": key, "palette": colours, "image_size": [height, width]}
            write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")
            (folder / STATE).unlink(missing_ok=True)
    return Segmenter(network.eval(), tuple(palette), device)


def _is_segmenter(folder: Path) -> bool:
    """Return whether an older version, which kept no record, has trained a segmenter in a folder."""
    try:
        if (folder / DESCRIPTION).exists():
            return "palette" in read_json(folder / DESCRIPTION)
        with open_regular(folder / STATE) as file:
            return not (folder / WEIGHTS).exists() and "network" in torch.load(file, weights_only=True)
    except Exception:  # a damaged file may raise anything
        return False


def _make_network(channels: int, classes: int, image_size: tuple[int, int]) -> nn.Module:
    """Make a small U-Net whose last layer gives logits."""
    settings = Generator(base_channels=BASE_CHANNELS, dropout=0.0)
    network = make_generator(settings, in_channels=channels, out_channels=classes, image_size=image_size)
    for sequence in [layer for layer in network.modules() if isinstance(layer, nn.Sequential)]:
        for n, layer in enumerate(sequence):
            if isinstance(layer, nn.Tanh):
                sequence[n] = nn.Identity()
    return network


def _load_weights(network: nn.Module, folder: Path, key: str) -> bool:
    """Load the weights and return true; return false if the folder has none, broken ones, or those of other data."""
    try:
        if read_json(folder / DESCRIPTION)["key"] != key:
            return False
        open_regular(folder / WEIGHTS).close()  # a pipe would wait
        network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    except Exception:  # a damaged file may raise anything
        return False
    return True


@dataclass
class SegmenterCheckpoint:
    """The file from which an interrupted training is resumed."""

    path: Path
    key: str  # hash of the data, colours and size
    saved: float = field(default_factory=time.monotonic)

    def restore(self, network: nn.Module, adam: torch.optim.Adam) -> int:
        """Restore a checkpoint and return its epochs; 0 if there is none, or if it is damaged or of other data."""
        try:
            with open_regular(self.path) as file:
                state = torch.load(file, weights_only=True)
            if state["key"] != self.key:
                return 0
            network.load_state_dict(state["network"])
            adam.load_state_dict(state["adam"])
            return int(state["epoch"])
        except Exception:  # no file, or a damaged one
            return 0

    def save(self, network: nn.Module, adam: torch.optim.Adam, epoch: int) -> None:
        """Save a checkpoint after `epoch` epochs, at most every SAVE_SECONDS."""
        if time.monotonic() - self.saved < SAVE_SECONDS:
            return
        self.saved = time.monotonic()
        state = {"key": self.key, "epoch": epoch, "network": network.state_dict(), "adam": adam.state_dict()}
        write_atomically(self.path, lambda file: torch.save(state, file))


def train_segmenter(
    network: nn.Module,
    dataset: PairDataset,
    palette: Sequence[Colour],
    checkpoint: SegmenterCheckpoint,
    *,
    seed: int,
    progress: OnNamedProgress | None = None,
) -> None:
    """Minimise the cross-entropy with Adam, on randomly mirrored pairs; the learning rate falls to 0 along a cosine."""
    count, device = len(dataset), next(network.parameters()).device
    epochs = max(1, math.ceil(SAMPLES / count))
    adam = torch.optim.Adam(network.parameters(), lr=RATE)
    example_bytes = math.prod(dataset.image_size) * (dataset.target_channels + 1) * 4
    read = functools.lru_cache(maxsize=CACHE_BYTES // example_bytes)(lambda n: _read_example(dataset, palette, n))
    network.train()
    for epoch in range(checkpoint.restore(network, adam), epochs):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(count)
        for group in adam.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for start in range(0, count, BATCH):
            batch = [read(int(index)) for index in order[start : start + BATCH]]
            photos, labels = (torch.stack(side) for side in zip(*batch, strict=True))
            if rng.random() < 0.5:
                photos, labels = photos.flip(-1), labels.flip(-1)
            if (labels == UNKNOWN).all():
                continue
            adam.zero_grad()
            loss = F.cross_entropy(network(photos.to(device)), labels.to(device).long(), ignore_index=UNKNOWN)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            if progress is not None:
                progress(epoch * count + start + len(batch), epochs * count, "training the segmenter")
        checkpoint.save(network, adam, epoch + 1)


def _read_example(dataset: PairDataset, palette: Sequence[Colour], index: int) -> tuple[Tensor, Tensor]:
    """Return the photo (C, H, W) and the classes (H, W) of a pair; UNKNOWN where the photo is masked."""
    batch = dataset.load_one(index)
    labels = label_pixels(dataset.pairs[index], palette, dataset.image_size).to(torch.uint8)
    if batch.mask is not None:
        labels[~batch.mask[0].all(dim=0)] = UNKNOWN
    return batch.target[0], labels
