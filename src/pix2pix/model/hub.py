"""Find the folder of a model by name: a run, a model folder, or a download from the Hugging Face hub."""

import difflib
import functools
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from pix2pix.errors import ModelError
from pix2pix.model.facts import EVALUATION
from pix2pix.model.model_config import CONFIG
from pix2pix.model.onnx_model import is_onnx_name
from pix2pix.model.weights import DISCRIMINATOR, GENERATOR
from pix2pix.system.reading import SMALL
from pix2pix.text import escape_unprintable

PREFIX = "hf://"
"""Before the name of a model of the hub, it says that no path is meant."""
MAX_BYTES = {CONFIG: SMALL, EVALUATION: SMALL, GENERATOR: 8 * 2**30, DISCRIMINATOR: 8 * 2**30}
"""File of a model -> the largest size that is downloaded."""
MOST_READS = 20
"""Times that a model is read which a training replaces meanwhile; it does so once in an epoch."""
_NAME = r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}"
_REPOSITORY = re.compile(rf"(hf://)?(?P<name>{_NAME})(@(?P<revision>\w[\w./-]{{0,200}}))?", re.ASCII)
_FILE = re.compile(r"\.(safetensors|json|ya?ml|pth?|ckpt|onnx|zip|gz|csv|png|jpe?g|tiff?)$", re.IGNORECASE)


class Repository(NamedTuple):
    """A repository of the hub, and the branch, tag or commit that was asked for."""

    name: str
    revision: str | None

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


def parse_repository(name: str | Path) -> Repository | None:
    """Read `owner/name`, `owner/name@revision`, both with or without `hf://`; None for anything else."""
    found = _REPOSITORY.fullmatch(str(name))
    return None if found is None or ".." in str(name) else Repository(found["name"], found["revision"])


def locate(name: str | Path) -> Path:
    """Return the folder with `config.json`: `name` itself, its `model/`, or a download from the hub.

    The hub is asked only for `hf://owner/name`, and for an `owner/name` that resembles nothing in this folder; a line
    on stderr says so first. `@revision` may follow either. Raises ModelError.
    """
    path, shown = Path(name), escape_unprintable(name)
    if not str(name):
        raise ModelError("the name of the model is empty; give a run folder, a model folder or a hub id")
    if is_onnx_name(name) and path.exists():
        raise ModelError(
            f"{shown}: is an exported file, which `translate`, `info` and `serve` take; give the "
            "run or model folder that it was exported from"
        )
    if path.suffix.lower() in (".pth", ".pt") and path.is_file():
        raise ModelError(
            f"{shown}: is no model folder; `pix2pix convert {shown} --output MODEL` makes one of a file of "
            "pytorch-CycleGAN-and-pix2pix"
        )
    # The last two are there if the machine stopped while a model was replaced, until a training puts them back.
    before = (path / ".model.previous", path.with_name(f".{path.name}.previous")) if path.name else ()
    for folder in (path / "model", path, *before):
        if (folder / CONFIG).exists():
            return folder
    if path.exists() or path.is_symlink():
        raise ModelError(f"{shown}: {_explain_existing(path)}")
    if (repository := parse_repository(name)) is not None:
        if str(name).startswith(PREFIX):
            return _download(repository, maybe_path=False)
        near = _find_similar(Path(repository.name))
        if near is None:
            return _download(repository, maybe_path=True)
        raise ModelError(f"{shown}: no such model here{near}; only {PREFIX}{repository} asks the hub for it")
    raise ModelError(f"{shown}: {_explain_missing(str(name))}")


def identify(folder: Path) -> tuple[int, int] | None:
    """Return what differs between a model in a folder and the one that a training puts in its place."""
    try:
        facts = (folder / CONFIG).stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def _explain_existing(path: Path) -> str:
    """Say what is there in place of a model."""
    if not path.exists():
        return f"is a link to {escape_unprintable(os.readlink(path))}, which is not there"
    run = (path / "config.yaml").exists()
    what = "a run without a model" if run else "not a model or run folder"
    advice = "; its `train` command makes one" if run else ""
    if inside := sorted(path.glob(f"*/{CONFIG}")):
        advice = f"; give one of the models in it, such as {escape_unprintable(inside[-1].parent)}"
    return f"{what}; expected {CONFIG} and {GENERATOR} in it or in its `model/`{advice}"


def _explain_missing(name: str) -> str:
    """Say why there is no model of a name that is no hub id, and what to give."""
    if address := re.match(r"https?://(?:huggingface\.co/(.*))?", name):
        found = parse_repository("/".join((address[1] or "").split("/")[:2]))
        advice = f"give {found}, its hub id" if found else "download the model first"
        return f"is an address, which is not read; {advice}"
    return "no such model; give a run folder, a model folder or a hub id such as `owner/name`"


def _find_similar(path: Path) -> str | None:
    """Return what shows that `path`, of two parts, was meant as a path here, as a hint; None if nothing does.

    A mistyped path is the user's own affair, which nobody else should get to know.
    """
    first, last = path.parts
    if Path("runs", last).exists():
        return f" (did you mean {Path('runs', last)}?)"
    if Path(first).exists():
        return f", though {first} exists"
    if first.lower() in ("runs", "models", "checkpoints", "data", "datasets", "output", "outputs"):
        return f", nor a folder {first}"
    if _FILE.search(last):
        return ", and it looks like a file"
    try:
        folders = [entry.name for entry in os.scandir() if entry.is_dir()]
    except OSError:
        folders = []
    near = difflib.get_close_matches(first, [*folders, "runs"], n=1, cutoff=0.7)
    return f" (did you mean {Path(near[0], last)}?)" if near else None


@functools.cache  # one question for each model and process
def _download(repository: Repository, maybe_path: bool) -> Path:
    """Download the files of a model into the hub's cache; HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are honoured."""
    from huggingface_hub import constants, snapshot_download  # slow to import, and needed for hub ids only

    hide_progress_bars()
    try:
        reached = True
        if not constants.HF_HUB_OFFLINE:
            print(f"{repository}: asking {constants.ENDPOINT} for this model", file=sys.stderr)
            reached = _check_sizes(repository)
        patterns = list(MAX_BYTES)
        folder = Path(snapshot_download(repository.name, revision=repository.revision, allow_patterns=patterns))
        if not reached:
            kept = f"the copy in {folder}, which may be older, is used"
            print(f"{repository}: {constants.ENDPOINT} did not answer; {kept}", file=sys.stderr)
    except ModelError:
        raise
    except Exception as error:  # the client of the hub raises many kinds
        no_folder = "there is no such folder, and " if maybe_path else ""
        reason = explain_hub_error(error)
        raise ModelError(f"{repository}: {no_folder}the hub did not give this model ({reason})") from None
    if not (folder / CONFIG).exists():
        raise ModelError(f"{repository}: the hub repository has no {CONFIG}, so it is not a pix2pix model")
    return folder


def hide_progress_bars() -> None:
    """Tell the client of the hub to draw no bars where nobody watches them."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()


def _check_sizes(repository: Repository) -> bool:
    """Raise ModelError for files that are too large, and what the client raises for a repository that is not there.

    If the hub cannot be reached, nothing is checked, and False is returned.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info: Any = HfApi().model_info(repository.name, revision=repository.revision, files_metadata=True, timeout=20)
    except HfHubHTTPError:
        raise
    except Exception:  # no network, or a server that does not speak the language of the hub
        return False
    for file in info.siblings or ():
        limit = MAX_BYTES.get(file.rfilename)
        if limit is not None and (file.size or 0) > limit:
            raise ModelError(
                f"{repository}: {file.rfilename} has {file.size:,} bytes on the hub, more than the {limit:,} that are "
                "downloaded; download it yourself and give its folder"
            )
    return True


_BY_STATUS = {
    401: "the token is not valid; run `hf auth login` again, or set HF_TOKEN",
    403: "the token has no permission there; use one with write access to the owner's models",
    404: "there is no such repository, or the token cannot see it; check the name, and the token of a private model",
    409: "a repository of this name is there already, and the token cannot see it; choose another name",
    429: "too many requests; try again later",
}
"""Status of the hub's answer -> what it means and what to do."""


def explain_hub_error(error: BaseException) -> str:
    """Say in a few words what the client of the hub has raised, and what to do."""
    import httpx2
    from huggingface_hub import constants, errors

    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and the cache does not hold it; unset it to ask the hub"
    for one in causes:
        if isinstance(one, errors.GatedRepoError):
            return "its owner must allow access first; ask on its page on the hub"
        if isinstance(one, errors.RevisionNotFoundError):
            return "there is no such revision; give a branch, a tag or a commit, or leave @ and what follows out"
        if isinstance(one, errors.RepositoryNotFoundError):
            return _BY_STATUS[404]
        if isinstance(one, errors.HfHubHTTPError):
            status, said = one.response.status_code, _first_line(one.server_message or "")
            if status >= 500:
                return f"the hub failed with status {status}; try again later"
            return _BY_STATUS.get(status) or f"status {status}{f': {said}' if said else ''}"
    if any(isinstance(one, httpx2.TransportError | errors.LocalEntryNotFoundError | ConnectionError) for one in causes):
        return f"{constants.ENDPOINT} could not be reached, or the connection was lost; check the network and try again"
    return _first_line(str(error)) or type(error).__name__


def _first_line(text: str) -> str:
    return escape_unprintable((text.strip().splitlines() or [""])[0][:300])
