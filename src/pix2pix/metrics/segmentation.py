"""Pairs of label map and photo in; a network that reads labels from photos, and how well it reads outputs, out.

The paper's FCN-score (4.1) for any labels -> photo task: where outputs look like photos, a network that was taught on
real photos finds the labels in them. What it finds in the real targets is the ceiling.
"""

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pix2pix.config import Generator
from pix2pix.data.io.arrays import Pixels
from pix2pix.data.loading.dataset import PairDataset, read_pair
from pix2pix.data.pairing.pair import Pair
from pix2pix.errors import ConfigError, DataError
from pix2pix.metrics.bootstrap import Interval, percentiles, resampled
from pix2pix.metrics.diagnostics import chosen
from pix2pix.networks import make_generator
from pix2pix.system.files import lock_folder, write_atomically, write_text

Colour = tuple[int, ...]
LOOKED_AT = 60  # label maps, for their colours
MOST = 64  # classes
UNKNOWN = 255  # the class of a pixel in a hole of the photo
RADIUS = 30.0  # of a class's colours, where files are lossy; classes lie farther apart than twice this
FLAT = 12  # levels; a pixel whose neighbours differ by more is on an edge, where lossy files mix colours
RARE = 5e-4  # share of the flat pixels below which a colour is no class
NEAR = 12.0  # levels; most flat pixels of a label map are as near to their class's colour, and those of a photo are not
EXPLAINED = 0.75
BASE_CHANNELS, BATCH, RATE = 16, 4, 2e-3
SAMPLES = 6000  # pairs that the segmenter is taught, in whole epochs
REMEMBERED = 2**30  # bytes of decoded pairs
SAVE_SECONDS = 30.0
WEIGHTS, CARD, STATE = "segmenter.safetensors", "segmenter.json", "state.pt"


# ---- classes ---------------------------------------------------------------------------------------------------


def parse_palette(text: str) -> list[Colour]:
    """`#0000ff,#ff5500`, or a file with one such colour a line -> colours. Raises ConfigError."""
    path = Path(text)
    words = path.read_text(encoding="utf-8").split() if path.is_file() else text.split(",")
    try:
        colours = [tuple(bytes.fromhex(word.strip().removeprefix("#"))) for word in words if word.strip()]
    except ValueError:
        colours = []
    if len(colours) < 2 or len({len(colour) for colour in colours}) > 1 or len(set(colours)) < len(colours):
        raise ConfigError(
            f"--palette {text}: expected two or more different colours, such as #0000ff,#ff5500, or a file with one "
            "a line"
        )
    return colours


def find_palette(pairs: Sequence[Pair]) -> list[Colour]:
    """The colours of label maps, which are the sources of some training pairs, most frequent first.

    Maps of few colours have just those. Otherwise they are lossy (JPEG): colours are counted where a map is flat, and
    each class takes in what is near its most frequent colour. Raises DataError where the sources are no label maps.
    """
    maps = [read_pair(pairs[index])[0] for index in chosen(len(pairs), LOOKED_AT)]
    if any(pixels.dtype != np.uint8 or pixels.shape[2] > 3 for pixels in maps):
        maps = [np.zeros((1, 1, 1), np.uint8)]  # which is no label map
    exact = _counted(np.concatenate([pixels.reshape(-1, pixels.shape[2]) for pixels in maps]))
    if len(exact) <= MOST:
        found = [colour for colour, _ in exact]
    else:
        flat = np.concatenate([pixels[_flat(pixels)] for pixels in maps])
        found = _clustered(_counted(flat))
        if not found or len(found) > MOST or (_distances(flat, found).min(axis=-1) < NEAR).mean() < EXPLAINED:
            found = []
    if len(found) < 2:
        raise DataError(
            f"{pairs[0].source.path}: the sources are no label maps of 2 to {MOST} colours, which a segmenter needs; "
            "name the colours with --palette, or drop --segmenter"
        )
    return found


def _counted(colours: NDArray[np.uint8]) -> list[tuple[Colour, int]]:
    """(n, C) -> each colour and how often it is there, most frequent first."""
    if not len(colours):
        return []
    packed = colours.astype(np.uint32) @ (256 ** np.arange(colours.shape[1], dtype=np.uint32))
    values, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    channels = colours.shape[1]
    return [(tuple(int(values[n]) >> 8 * c & 255 for c in range(channels)), int(counts[n])) for n in order]


def _flat(pixels: Pixels) -> NDArray[np.bool_]:
    """(H, W, C) -> (H, W): whether the eight neighbours have nearly the same colour."""
    high = F.max_pool2d(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()[None], 3, 1, 1)
    low = -F.max_pool2d(-torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()[None], 3, 1, 1)
    flat: NDArray[np.bool_] = ((high - low).amax(dim=1)[0] <= FLAT).numpy()
    return flat


def _clustered(counted: list[tuple[Colour, int]]) -> list[Colour]:
    """Greedy: the most frequent colour that is left takes in all within RADIUS, until only rare ones are left."""
    if not counted:
        return []
    colours = np.array([colour for colour, _ in counted], np.float64)
    counts = np.array([count for _, count in counted], np.float64)
    total = counts.sum()
    found: list[Colour] = []
    while len(found) <= MOST and counts.any():
        near = np.linalg.norm(colours - colours[counts.argmax()], axis=1) <= RADIUS
        weight = counts * near
        if weight.sum() < RARE * total:
            break
        mean = (weight @ colours) / weight.sum()
        near |= np.linalg.norm(colours - mean, axis=1) <= RADIUS
        found.append(tuple(round(float(level)) for level in mean))
        counts = np.where(near, 0, counts)
    return found


def _distances(pixels: Pixels, palette: Sequence[Colour]) -> NDArray[np.float64]:
    """(H, W, C) -> (H, W, K)."""
    return np.stack([np.linalg.norm(pixels - np.array(colour, np.float64), axis=-1) for colour in palette], axis=-1)


def labels_of(pair: Pair, palette: Sequence[Colour], size: tuple[int, int]) -> Tensor:
    """The source of a pair -> (H, W) classes, each pixel's nearest colour, brought to `size` without mixing any."""
    source = read_pair(pair)[0]
    if source.shape[2] != len(palette[0]):
        raise DataError(f"{pair.source.path}: has {source.shape[2]} channels, and the palette {len(palette[0])}")
    classes = torch.from_numpy(_distances(source, palette).argmin(axis=-1))
    return F.interpolate(classes[None, None].double(), size, mode="nearest-exact")[0, 0].long()


# ---- the network -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segmenter:
    """A network of photos (N, C, H, W) in [-1, 1] -> logits (N, K, H, W), in eval mode, and its classes' colours."""

    network: nn.Module
    palette: tuple[Colour, ...]
    device: torch.device

    def read(self, image: Tensor) -> Tensor:
        """(C, H, W) -> (H, W) classes on the CPU."""
        with torch.inference_mode():
            classes: Tensor = self.network(image[None].to(self.device)).argmax(dim=1)[0].cpu()
        return classes


def get_segmenter(
    folder: Path,
    dataset: PairDataset,
    palette: Sequence[Colour],
    *,
    device: torch.device,
    fingerprint: str,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Segmenter:
    """The segmenter in `folder`, if it was taught on the same data, colours and size; otherwise one is taught on
    `dataset`, the training pairs as validation sees them, goes on where that was stopped, and is kept there.
    """
    height, width = dataset.image_size
    facts = [fingerprint, [list(colour) for colour in palette], height, width, dataset.target_channels, seed]
    key = hashlib.sha256(json.dumps([*facts, SAMPLES, BASE_CHANNELS, RATE]).encode()).hexdigest()
    torch.manual_seed(seed)
    network = _make_network(dataset.target_channels, len(palette), dataset.image_size).to(device)
    folder.mkdir(parents=True, exist_ok=True)
    if not _load(network, folder, key):
        with lock_folder(folder):
            _teach(network, folder, key, dataset, palette, device, seed, progress)
            write_atomically(folder / WEIGHTS, lambda file: file.write(_bytes(network)))
            card = {"key": key, "palette": [list(colour) for colour in palette], "image_size": [height, width]}
            write_text(folder / CARD, json.dumps(card, indent=2) + "\n")
            (folder / STATE).unlink(missing_ok=True)
    return Segmenter(network.eval(), tuple(palette), device)


def _make_network(channels: int, classes: int, image_size: tuple[int, int]) -> nn.Module:
    """A small U-Net whose last layer gives logits."""
    settings = Generator(base_channels=BASE_CHANNELS, dropout=0.0)
    network = make_generator(settings, in_channels=channels, out_channels=classes, image_size=image_size)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Sequential)]
    for sequence in layers:
        for n, layer in enumerate(sequence):
            if isinstance(layer, nn.Tanh):
                sequence[n] = nn.Identity()
    return network


def _load(network: nn.Module, folder: Path, key: str) -> bool:
    """Whether the folder has this segmenter; what is broken or another's is as good as none."""
    try:
        if json.loads((folder / CARD).read_text(encoding="utf-8"))["key"] != key:
            return False
        network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    except Exception:  # whatever a damaged file makes its reader raise
        return False
    return True


def _teach(
    network: nn.Module,
    folder: Path,
    key: str,
    dataset: PairDataset,
    palette: Sequence[Colour],
    device: torch.device,
    seed: int,
    progress: Callable[[int, int, str], None] | None,
) -> None:
    """Epochs of cross-entropy on mirrored pairs, the rate falling to 0; a checkpoint now and then."""
    count = len(dataset)
    epochs = max(1, math.ceil(SAMPLES / count))
    adam = torch.optim.Adam(network.parameters(), lr=RATE)
    begun = _resumed(network, adam, folder, key)
    saved, height, width = time.monotonic(), *dataset.image_size

    @functools.lru_cache(maxsize=REMEMBERED // (height * width * (dataset.target_channels + 1) * 4))
    def example(index: int) -> tuple[Tensor, Tensor]:
        batch = dataset.one(index)
        labels = labels_of(dataset.pairs[index], palette, dataset.image_size).to(torch.uint8)
        if batch.mask is not None:
            labels[~batch.mask[0].all(dim=0)] = UNKNOWN
        return batch.target[0], labels

    for epoch in range(begun, epochs):
        rng = np.random.default_rng([seed, epoch])
        order, network = rng.permutation(count), network.train()
        for group in adam.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for start in range(0, count, BATCH):
            part = [int(index) for index in order[start : start + BATCH]]
            photos, labels = (torch.stack(side) for side in zip(*map(example, part), strict=True))
            if rng.random() < 0.5:
                photos, labels = photos.flip(-1), labels.flip(-1)
            if (labels == UNKNOWN).all():
                continue
            adam.zero_grad()
            loss = F.cross_entropy(network(photos.to(device)), labels.to(device).long(), ignore_index=UNKNOWN)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            if progress is not None:
                progress(epoch * count + start + len(part), epochs * count, "teaching the segmenter")
        if time.monotonic() - saved < SAVE_SECONDS:
            continue
        saved = time.monotonic()
        state = {"key": key, "epoch": epoch + 1, "network": network.state_dict(), "adam": adam.state_dict()}
        write_atomically(folder / STATE, lambda file, state=state: torch.save(state, file))  # type: ignore[misc]


def _resumed(network: nn.Module, adam: torch.optim.Adam, folder: Path, key: str) -> int:
    """Epochs done by the checkpoint that is there; 0 without one, or with another's."""
    try:
        state = torch.load(folder / STATE, weights_only=True)
        if state["key"] != key:
            return 0
        network.load_state_dict(state["network"])
        adam.load_state_dict(state["adam"])
        return int(state["epoch"])
    except Exception:  # there is none, or it is damaged
        return 0


def _bytes(network: nn.Module) -> bytes:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return safetensors.torch.save(weights)


# ---- the score -------------------------------------------------------------------------------------------------


@dataclass
class LabelScore:
    """Counts of (true, read) classes for every image, of outputs and of real targets."""

    segmenter: Segmenter
    outputs: list[Tensor] = field(default_factory=list)  # (K, K) each
    targets: list[Tensor] = field(default_factory=list)

    def see(self, pair: Pair, output: Tensor, target: Tensor, mask: Tensor | None = None) -> float:
        """Count one image, output and target (C, H, W) in [-1, 1]; returns its share of rightly read pixels.

        Where `mask` (C, H, W) is false, the output shows the target and nothing is counted.
        """
        labels = labels_of(pair, self.segmenter.palette, (output.shape[-2], output.shape[-1]))
        known = torch.ones_like(labels, dtype=torch.bool)
        if mask is not None:
            output, known = torch.where(mask, output.cpu(), target), mask.all(dim=0)
        for image, counts in ((output, self.outputs), (target, self.targets)):
            read = self.segmenter.read(image)
            counts.append(_confusion(labels[known], read[known], len(self.segmenter.palette)))
        return float(self.outputs[-1].diagonal().sum() / self.outputs[-1].sum())

    def to_json(self) -> dict[str, Any]:
        """The part `labels` of metrics.json."""
        own, ceiling = torch.stack(self.outputs).double(), torch.stack(self.targets).double()
        classes = zip(self.segmenter.palette, _ious(own.sum(0)), _ious(ceiling.sum(0)), own.sum((0, 2)), strict=True)
        return {
            **agreement(own.sum(0)),
            "intervals": _intervals(own),
            "ceiling": {**agreement(ceiling.sum(0)), "intervals": _intervals(ceiling)},
            "classes": [
                {
                    "colour": "#" + bytes(colour).hex(),
                    "share": float(count / own.sum()),
                    "iou": float(iou) if count else None,
                    "ceiling": float(best) if count else None,
                }
                for colour, iou, best, count in classes
            ],
        }


def _confusion(labels: Tensor, read: Tensor, classes: int) -> Tensor:
    return torch.bincount((labels * classes + read).flatten(), minlength=classes**2).view(classes, classes)


def agreement(confusion: Tensor) -> dict[str, float]:
    """(K, K) counts, true by read -> the paper's three: `pixel_accuracy`, `class_accuracy` and `iou`, of which the last
    two are means over the classes that are there."""
    true, right = confusion.sum(dim=1), confusion.diagonal()
    there = true > 0
    return {
        "pixel_accuracy": float(right.sum() / true.sum()),
        "class_accuracy": float((right / true)[there].mean()),
        "iou": float(_ious(confusion)[there].mean()),
    }


def _ious(confusion: Tensor) -> Tensor:
    """(K, K) -> (K,): pixels that are and are read as a class, over those that are or are read as it."""
    return confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())


def _intervals(confusions: Tensor) -> dict[str, Interval | None]:
    """(N, K, K) -> 95 % intervals, by bootstrap over the images."""
    count = len(confusions)
    names = ("pixel_accuracy", "class_accuracy", "iou")
    if count < 2:
        return dict.fromkeys(names)
    drawn = list(_drawn(confusions, count))
    ends = {name: percentiles(np.array([one[name] for one in drawn])) for name in names}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _drawn(confusions: Tensor, count: int) -> Iterator[dict[str, float]]:
    for weights in resampled(count):
        for total in torch.tensordot(torch.from_numpy(weights), confusions, dims=1):
            yield agreement(total)
