"""Convert a file of pytorch-CycleGAN-and-pix2pix into a model folder, and a model into such a file."""

from pathlib import Path
from typing import Literal, NamedTuple

from pix2pix.config.fields import Direction
from pix2pix.errors import ConfigError
from pix2pix.export.read_public import Assumed, read_public
from pix2pix.export.write_public import write_public
from pix2pix.model import load_model
from pix2pix.model.model_config import CONFIG

SUFFIXES = (".pth", ".pt")


class Converted(NamedTuple):
    """What was written, and what is to say about it."""

    path: Path
    notes: list[str]


def convert(
    model: str | Path,
    *,
    output: str | Path,
    discriminator: str | Path | None = None,
    key: str | None = None,
    image_size: int | str | None = None,
    direction: Direction = "AtoB",
    norm_statistics: Literal["image", "running"] = "image",
    dropout: bool = True,
    overwrite: bool = False,
) -> Converted:
    """Convert a file such as latest_net_G.pth into a model folder, or a model into such a file.

    `discriminator` is the file of D, which is read or written too. The next five say what a file does not: see
    `Assumed`. Raises ModelError or ConfigError.
    """
    source, target = Path(model), Path(output)
    opponent = None if discriminator is None else Path(discriminator)
    assumed = Assumed(key, image_size, direction, norm_statistics, dropout)
    if source.is_file() or source.suffix in SUFFIXES:
        if target.suffix in SUFFIXES:
            raise ConfigError(f"{target}: a file converts into a model folder; give the name of a folder as --output")
        _refuse_other_folder(target)
        _refuse_existing(target / CONFIG, target, overwrite)
        return Converted(target, read_public(source, target, opponent, assumed))
    _refuse_assumptions(assumed)
    loaded = load_model(model, discriminator=opponent is not None)
    for path in filter(None, (target, opponent)):
        if path.suffix not in SUFFIXES:
            raise ConfigError(f"{path}: a model converts into a file; give a name such as latest_net_G.pth")
        _refuse_existing(path, path, overwrite)
    return Converted(target, write_public(loaded, target, opponent))


def _refuse_assumptions(assumed: Assumed) -> None:
    """Raise ConfigError for what a model folder says itself."""
    for name, value, usual in zip(Assumed._fields, assumed, Assumed(), strict=True):
        if value != usual:
            flag = "--no-dropout" if name == "dropout" else f"--{name.replace('_', '-')} {value}"
            raise ConfigError(
                f"{flag}: is for reading a file such as latest_net_G.pth; a model folder says it; leave it out"
            )


def _refuse_other_folder(target: Path) -> None:
    """Raise ConfigError unless a model folder can stand here: a run, for one, would hide it behind its own `model/`."""
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target}: is a file; give the name of a folder as --output")
    if target.is_dir() and not (target / CONFIG).exists() and any(target.iterdir()):
        raise ConfigError(f"{target}: holds other files than a model; give the name of a new folder as --output")


def _refuse_existing(file: Path, path: Path, overwrite: bool) -> None:
    if file.exists() and not overwrite:
        raise ConfigError(f"{path}: exists; give another name, or --overwrite to replace it")
