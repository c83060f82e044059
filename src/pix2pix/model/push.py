"""Publish a model folder on the Hugging Face hub: only a model's own files, in one commit."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import TypeAdapter, ValidationError

from pix2pix.config.fields import License
from pix2pix.errors import ConfigError, ModelError
from pix2pix.model.card import README, SAMPLES
from pix2pix.model.card_file import is_edited, make_card
from pix2pix.model.facts import EVALUATION, read_evaluations
from pix2pix.model.hub import MOST_READS, explain_hub_error, hide_progress_bars, identify, locate, parse_repository
from pix2pix.model.model import load_model
from pix2pix.model.model_config import CONFIG, ModelConfig, read_model_config, write_model_config
from pix2pix.model.weights import DISCRIMINATOR, GENERATOR
from pix2pix.system.files import write_text
from pix2pix.text import escape_unprintable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ONNX = "model.onnx"
PUBLISHED = (CONFIG, GENERATOR, DISCRIMINATOR, README, SAMPLES, EVALUATION, ONNX)
"""Every file that a push writes or removes in a repository."""


class Published(NamedTuple):
    """Where a model was published."""

    url: str
    files: tuple[str, ...]
    private: bool
    updated: bool
    """Whether the repository held a model before."""
    notes: tuple[str, ...] = ()


def push(
    model: str | Path,
    hub_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str | None = None,
    license: str | None = None,
    discriminator: bool = True,
    samples: bool = True,
) -> Published:
    """Publish a run folder, a model folder or a hub id as the repository `hub_id` of the hub.

    Every file is checked first, and all arrive in one commit or none does. The card is made anew, unless it was edited.
    `token` is by default that of this machine (`HF_TOKEN`, `hf auth login`). `license` replaces that of the training.
    `discriminator` and `samples` choose whether D and the picture of the card are published. Raises ConfigError or
    ModelError.
    """
    repository = _parse_target(hub_id)
    try:
        chosen = None if license is None else TypeAdapter(License).validate_python(license)
    except ValidationError as error:
        raise ConfigError(f"--license: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    folder = locate(model) if Path(model).exists() else None  # what is wrong with it counts first; the hub asks later
    token = _find_token(repository, token)
    folder = folder or locate(model)
    with tempfile.TemporaryDirectory(prefix="pix2pix-push-") as place:
        staged = Path(place)
        left_out = {*(() if discriminator else (DISCRIMINATOR,)), *(() if samples else (SAMPLES,))}
        try:
            notes = _stage(folder, staged, left_out, repository, chosen)
        except ModelError as error:  # of the copy, which nobody knows
            raise ModelError(str(error).replace(str(staged), escape_unprintable(folder))) from None
        return _publish(staged, repository, token, private, message or "Publish a pix2pix model", notes)


def _parse_target(hub_id: str) -> str:
    """Return `owner/name`. Raises ConfigError."""
    found = parse_repository(hub_id)
    if found is None:
        raise ConfigError(f"{escape_unprintable(hub_id)}: not a hub id; expected owner/name, such as ada/facades")
    if found.revision is not None:
        raise ConfigError(f"{hub_id}: a push makes a new revision; give {found.name} alone")
    return found.name


def _find_token(repository: str, token: str | None) -> str:
    """Return the token to use. Raises ModelError without one, and where the hub must not be asked."""
    from huggingface_hub import constants, get_token  # slow to import

    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{repository}: HF_HUB_OFFLINE is set, so nothing is published; unset it and try again")
    if (found := token or get_token()) is None:
        raise ModelError(
            f"{repository}: publishing needs a token with write access; run `hf auth login`, or set HF_TOKEN"
        )
    return found


def _stage(folder: Path, staged: Path, left_out: set[str], repository: str, license_: str | None) -> tuple[str, ...]:
    """Copy what is published, so that a training cannot change it meanwhile, and check it. Returns notes."""
    for _ in range(MOST_READS):
        before = identify(folder)
        for name in set(PUBLISHED) - left_out:
            (staged / name).unlink(missing_ok=True)
            with suppress(FileNotFoundError, IsADirectoryError):
                shutil.copyfile(folder / name, staged / name)
        if identify(folder) == before:
            break
    load_model(staged, discriminator=True)  # compares every file with its SHA-256
    model_config, notes = read_model_config(staged / CONFIG), []
    if not read_evaluations(staged, model_config.sha256.get(GENERATOR)):  # of other weights
        (staged / EVALUATION).unlink(missing_ok=True)
    _refuse_stale(folder / ONNX, staged / ONNX, model_config)
    if (edited := is_edited(staged)) and license_ is not None:
        raise ConfigError(
            f"{folder / README}: edited, so --license is not written into it; write `license: {license_}` between its "
            "lines `---`, or remove the file to have it made anew"
        )
    if license_ is not None or not model_config.sha256.keys() <= {path.name for path in staged.iterdir()}:
        model_config = _rewrite(staged, model_config, license_)
    if edited:
        notes.append(f"{folder / README} was edited, or is of an earlier version: it is published as it is")
    else:
        write_text(staged / README, make_card(staged, model_config, name=repository))
    if (staged / SAMPLES).exists():
        notes.append(f"{SAMPLES} shows images of your data; --no-samples leaves it out")
    return tuple(notes)


def _refuse_stale(path: Path, staged: Path, model_config: ModelConfig) -> None:
    """Raise ModelError for an exported file that does not name these weights, as every exported file does."""
    digest = model_config.sha256.get(GENERATOR)
    if staged.exists() and (digest is None or digest.encode() not in staged.read_bytes()):
        raise ModelError(f"{path}: was not exported from these weights; export it again, or move it away")


def _rewrite(staged: Path, model_config: ModelConfig, license_: str | None) -> ModelConfig:
    """Write config.json with a licence, and with the SHA-256 of the files that are published only."""
    settings = model_config.settings
    if license_ is not None:
        training = settings.training.model_copy(update={"license": license_})
        settings = settings.model_copy(update={"training": training})
    digests = {name: digest for name, digest in model_config.sha256.items() if (staged / name).exists()}
    changed = model_config.model_copy(update={"settings": settings, "sha256": digests})
    write_model_config(staged / CONFIG, changed, digests)
    return changed


# ---- the hub ---------------------------------------------------------------------------------------------------


def _publish(
    staged: Path, repository: str, token: str, private: bool, message: str, notes: tuple[str, ...]
) -> Published:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    hide_progress_bars()
    api = HfApi(token=token, library_name="pix2pix")
    files = tuple(name for name in PUBLISHED if (staged / name).exists())
    try:
        there, is_private = _open_repository(api, repository, private)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(staged / name)) for name in files
        ]
        # What an earlier push left of other weights.
        operations += [CommitOperationDelete(path_in_repo=name) for name in PUBLISHED if name in there - {*files}]
        api.create_commit(repository, operations, commit_message=message)
    except ModelError:
        raise
    except Exception as error:  # the client of the hub raises many kinds
        raise ModelError(f"{repository}: not published ({explain_hub_error(error)})") from None
    return Published(f"{api.endpoint}/{repository}", files, is_private, GENERATOR in there, notes)


def _open_repository(api: "HfApi", repository: str, private: bool) -> tuple[set[str], bool]:
    """Return the files of a repository and whether it is private, after making it if it is not there.

    Raises ModelError for one that holds something else, or that everybody may see against `private`.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repository, timeout=20)
    except RepositoryNotFoundError:
        api.create_repo(repository, private=private or None)
        return set(), private
    names = {file.rfilename for file in info.siblings or ()}
    if GENERATOR not in names and names - {".gitattributes", README}:
        other = escape_unprintable(sorted(names - {".gitattributes", README})[0])
        raise ModelError(
            f"{repository}: exists on the hub and holds something else than a pix2pix model ({other}); "
            "choose another name"
        )
    if private and not info.private:
        raise ModelError(
            f"{repository}: exists on the hub and is public; make it private there first, or leave --private out"
        )
    return names, bool(info.private)


def weights_digest(folder: Path) -> str | None:
    """Return the SHA-256 of the generator that a model folder records; None in models of version 0.1."""
    return read_model_config(folder / CONFIG).sha256.get(GENERATOR)
