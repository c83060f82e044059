"""Compare the settings of a run with those that are to resume it."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import BaseModel

from pix2pix.config import Config
from pix2pix.config.recorded import apply_choices
from pix2pix.data.pairing.nesting import links_to_images
from pix2pix.data.pairing.pairs import same_data
from pix2pix.errors import ConfigError, DataError
from pix2pix.text import format_examples

# Settings that may change when a run is resumed, since they do not change what is learned.
FREE = {
    "data.path", "data.source", "data.target", "data.layout", "data.workers",
    "data.cache", "data.cache_dir", "data.planes",  # other planes are other pairs, which the fingerprint covers
    "training.epochs", "training.validate_every", "training.patience", "training.samples", "training.device",
    "training.threads", "training.devices", "training.nodes", "training.rank_timeout", "training.keep_every",
    "training.validation_perceptual", "training.license",
    "provenance.pix2pix", "provenance.python", "provenance.torch",
}  # fmt: skip

_FINGERPRINT = "provenance.data_fingerprint"


def changed_settings(saved: Config, config: Config) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, saved value, new value) of the settings that prevent resuming, each as `config.yaml` has them."""
    moved = config.training.convolutions == "auto"
    saved, config = apply_choices(saved), apply_choices(config)
    moved = moved and saved.training.device != config.training.device  # to a device with other kernels
    old, new = dict(_leaves(saved)), dict(_leaves(config))
    by_share = config.optimizer.schedule != "constant" or config.training.reconstruction_first  # of all epochs
    free = FREE - {"training.epochs"} if by_share else FREE
    if moved:
        free = free | {"training.convolutions"}
    if config.training.effective_batch == saved.training.effective_batch:
        free = free | {"training.batch_size"}  # each step sees the same pairs, in another number of processes
        if config.training.normalised_together == saved.training.normalised_together:
            free = free | {"training.sync_norm"}  # which makes no difference in one process
    # By default load_size follows from image_size, so image_size is what the user has changed.
    for name in sorted(old.keys() | new.keys(), key=lambda name: (name == "augment.load_size", name)):
        if name == _FINGERPRINT and same_data(old.get(name), new.get(name)):
            continue  # a run of an earlier version has a fingerprint of its own kind
        if name == "data.npy_axes" and {old.get(name), new.get(name)} == {None, "YXC"}:
            continue  # the usual order, which None asks about where it is unclear
        if name == "training.best_by" and old.get(name) == "last" and new.get("training.patience") is not None:
            continue  # a run that kept the newest epoch may begin to wait for a better one
        if name == "data.exif" and "ignore" not in (old.get(name), new.get(name)):
            continue  # `auto` and `apply` give the same pixels
        if name not in free and old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def describe_change(config: Config, name: str, old: Any, new: Any) -> str:
    """Say how a setting of a run differs from that of `config`, which is to resume it."""
    if name == _FINGERPRINT:
        return _describe_changed_data(config)
    what = f"{name} was {old}, now {new}"
    if name == "training.epochs":
        what += (
            "; its schedule or its first phase counts on all epochs, so those done would have been others: to train "
            "further, begin another --run with --from this one and the same --preset"
        )
    if name == "training.norm_statistics" and config.training.processes > 1 and not config.training.sync_norm:
        what += ", as each process would normalise its own images: --sync-norm makes it one batch again"
    return what


def _describe_changed_data(config: Config) -> str:
    """Say that the data have changed; where links lead to more images, that versions before did not search these."""
    what = "the data have changed"
    with suppress(ConfigError, DataError, OSError):
        if links := links_to_images(config.data):
            what += (
                f" (links to folders are searched now, and were not by earlier versions: {format_examples(links)}; to "
                "resume a run that began without their images, move these links away)"
            )
    return what


def _leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for key, item in value.items():
                inside = f"{prefix}{name}.{key}"
                yield from _leaves(item, f"{inside}.") if isinstance(item, BaseModel) else ((inside, item),)
        else:
            yield f"{prefix}{name}", value
