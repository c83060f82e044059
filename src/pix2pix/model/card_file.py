"""Make the model card of a folder anew from its other files; a card that somebody edited stays."""

from pathlib import Path

from pix2pix.model.card import FOLDER, README, SAMPLES, is_unedited, write_card
from pix2pix.model.facts import read_evaluations
from pix2pix.model.model_config import CONFIG, ModelConfig, read_model_config
from pix2pix.model.weights import GENERATOR
from pix2pix.system.files import write_text
from pix2pix.system.reading import read_text


def is_edited(folder: Path) -> bool:
    """Return whether a model folder holds a card that this version would not have written so. Raises OSError."""
    try:
        return not is_unedited(read_text(folder / README))
    except FileNotFoundError:
        return False
    except UnicodeDecodeError:
        return True


def make_card(folder: Path, model_config: ModelConfig, *, samples: bool = True, name: str = FOLDER) -> str:
    """Return the card of a model folder, with the evaluations of these weights and, if wanted, the picture in it."""
    evaluations = read_evaluations(folder, model_config.sha256.get(GENERATOR))
    return write_card(
        model_config, evaluations=evaluations, samples=samples and (folder / SAMPLES).is_file(), name=name
    )


def update_card(folder: Path) -> str | None:
    """Write the card of a model folder anew; return None, or a sentence if it was edited and stays. Raises OSError."""
    if is_edited(folder):
        return f"{folder / README}: edited, or of an earlier version, so it stays; remove it to have it made anew"
    write_text(folder / README, make_card(folder, read_model_config(folder / CONFIG)))
    return None
