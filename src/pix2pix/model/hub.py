"""Find the folder of a model by name: a run, a model folder, or a download from the Hugging Face hub."""

from pathlib import Path

from pix2pix.errors import ModelError
from pix2pix.model.model_config import CONFIG
from pix2pix.model.weights import DISCRIMINATOR, GENERATOR


def locate(name: str | Path) -> Path:
    """Return the folder with `config.json`: `name` itself, its `model/`, or a download from the hub.

    Raises ModelError.
    """
    path = Path(name)
    for folder in (path / "model", path):
        if (folder / CONFIG).exists():
            return folder
    if path.exists():
        what = "a run that has no model yet" if (path / "config.yaml").exists() else "not a model or run folder"
        raise ModelError(f"{path}: {what}; expected {CONFIG} and {GENERATOR} in it or in its `model/`")
    if str(name).count("/") == 1 and not str(name).startswith((".", "/", "~", "runs/")):
        return _download(str(name))
    raise ModelError(f"{path}: no such model; give a run folder, a model folder or a hub id such as `owner/name`")


def _download(repository: str) -> Path:
    """Download a model of the hub into the hub's cache; HF_HOME and HF_HUB_OFFLINE are honoured."""
    from huggingface_hub import snapshot_download  # slow to import, and needed for hub ids only

    try:
        files = [CONFIG, GENERATOR, DISCRIMINATOR]
        folder = Path(snapshot_download(repository, allow_patterns=files))
    except Exception as error:  # the client of the hub raises many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{repository}: there is no such folder, and no such model on the hub ({reason}); "
            "check the path, or the network"
        ) from None
    if not (folder / CONFIG).exists():
        raise ModelError(f"{repository}: the hub repository has no {CONFIG}, so it is not a pix2pix model")
    return folder
