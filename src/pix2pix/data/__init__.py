"""Image files to batches of tensors. The names that other packages use are imported on first use.

pairing       file names -> named pairs in splits, without torch and numpy
io            image files <-> arrays
encoding      arrays <-> channels in [-1, 1]
transforms    random augmentations of a pair, padding
loading       pairs -> batches
checks        inspection of a data set before training
preparation   data sets from photos and from the web
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pix2pix.data.checks.check import check
    from pix2pix.data.encoding.prepared import PreparedData, prepare_data
    from pix2pix.data.loading.dataset import Batch, PairDataset, make_dataset
    from pix2pix.data.loading.loader import PairLoader, make_loader
    from pix2pix.data.pairing.pair import Pair
    from pix2pix.data.pairing.pairs import PairSet, find_pairs

_MODULES = {
    "Batch": "loading.dataset",
    "Pair": "pairing.pair",
    "PairDataset": "loading.dataset",
    "PairLoader": "loading.loader",
    "PairSet": "pairing.pairs",
    "PreparedData": "encoding.prepared",
    "check": "checks.check",
    "find_pairs": "pairing.pairs",
    "make_dataset": "loading.dataset",
    "make_loader": "loading.loader",
    "prepare_data": "encoding.prepared",
}

__all__ = [
    "Batch",
    "Pair",
    "PairDataset",
    "PairLoader",
    "PairSet",
    "PreparedData",
    "check",
    "find_pairs",
    "make_dataset",
    "make_loader",
    "prepare_data",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'pix2pix.data' has no attribute {name!r}")
    return getattr(import_module(f"pix2pix.data.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
