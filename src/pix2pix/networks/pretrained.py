"""Read files of pretrained weights; no code in a file is run, and nothing is downloaded."""

from pathlib import Path
from typing import Any

import torch

from pix2pix.errors import ModelError
from pix2pix.system.reading import open_regular


class WeightsUnavailableError(Exception):
    """A network is not available; the message says why and what to do."""


def load_tensors(path: Path, remedy: str = "download it again") -> dict[str, Any]:
    """Read a file of weights -> name -> tensor on the CPU; a file of something else gives no names.

    Raises FileNotFoundError, or ModelError, which ends in `remedy` for a damaged file.
    """
    try:
        with open_regular(path) as file:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read as a file of weights ({error.strerror or error})") from None
    except Exception as error:  # a damaged archive may raise anything
        raise ModelError(f"{path}: broken, or not a file of weights ({type(error).__name__}); {remedy}") from None
    return tensors if isinstance(tensors, dict) else {}
