"""Download a published set, or any archive of pairs, into a complete folder that `train` reads.

A partial download is kept in OUTPUT.download; the same command continues it. If one address fails, the next is tried.
"""

import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from pix2pix.config import Data
from pix2pix.data.pairing.pair import SPLITS
from pix2pix.data.pairing.pairs import find_pairs
from pix2pix.data.preparation.archive import extract
from pix2pix.data.preparation.catalog import CATALOG, PublishedSet, addresses_of, find_set
from pix2pix.data.preparation.transfer import PartialFile, TransferError, fetch, is_open_to_all
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.files import sha256, write_text
from pix2pix.system.folders import write_folder_atomically
from pix2pix.system.locks import lock_folder
from pix2pix.system.progress import OnNamedProgress
from pix2pix.system.reading import read_json
from pix2pix.system.signals import raise_interrupted

RECORD = "download.json"


@dataclass(frozen=True)
class Downloaded:
    """A set of pairs on disk."""

    path: Path
    new: bool
    """False if it existed before."""
    record: dict[str, Any]
    """Content of `download.json`: address, bytes, SHA-256, files, pairs, origin."""
    note: str = ""
    """Why it has no pairs; empty if it has some."""


@dataclass(frozen=True)
class _Request:
    name: str
    output: Path
    urls: tuple[str, ...]
    local: Path | None  # the archive, if it is a file on this machine
    size: int | None
    sha256: str | None
    published: PublishedSet | None


def download(
    name: str | None,
    output: Path | None = None,
    *,
    url: str | None = None,
    digest: str | None = None,
    progress: OnNamedProgress | None = None,
) -> Downloaded:
    """Fetch and extract a published set by its name, or the archive at `url` (http, https, file, or a path).

    `digest` is the archive's SHA-256, if known. Raises ConfigError for an invalid name, address or output, and
    DataError if no address gives the archive; a partial download is kept.
    """
    request = _make_request(name, output, url, digest)
    if not _is_free(request.output):
        return _read_existing(request)
    if request.local is not None:
        return _unpack(request.local, str(request.local), request, progress)
    store = request.output.with_name(f"{request.output.name}.download")
    is_ours = not store.exists() or any(store.iterdir())  # an empty folder of others stays
    store.mkdir(parents=True, exist_ok=True)
    with lock_folder(store), raise_interrupted(store):
        try:
            return _try_addresses(request, store, progress)
        finally:
            with suppress(OSError):  # fails if it is not empty
                if is_ours:
                    store.rmdir()


def _make_request(name: str | None, output: Path | None, url: str | None, digest: str | None) -> _Request:
    """Check the arguments of `download`. Raises ConfigError, DataError."""
    if name is None and url is None:
        sets = ", ".join(f"{name} ({published.rounded_size})" for name, published in CATALOG.items())
        raise ConfigError(f"give the name of a set ({sets}), or --url ADDRESS of another archive")
    if output is not None and output.name in ("", ".."):
        raise ConfigError(f"--output {output}: expected the name of a folder to create")
    if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise ConfigError(f"--sha256 {digest}: expected 64 hexadecimal digits")
    digest = digest.lower() if digest else None
    if url is None:
        name = str(name)
        found = find_set(name)
        return _Request(name, output or Path(name), addresses_of(name), None, found.size, digest or found.sha256, found)
    local = _find_local(url)
    if name is None:
        name = re.sub(r"(\.tar\.gz|\.tgz|\.zip)$", "", unquote(urlsplit(url).path).rpartition("/")[2])
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"{name!r} is not a name for a set: use letters, digits, dots, - and _ before --url")
    if local is None and digest is None and is_open_to_all(url):
        raise ConfigError(f"--url {url}: anyone on the way can change plain http; give https, or also --sha256 DIGEST")
    return _Request(name, output or Path(name), (url,), local, None, digest, CATALOG.get(name))


def _find_local(url: str) -> Path | None:
    """Return the file that an address names; None for one on the network. Raises ConfigError, DataError."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"--url {url}: is not an address ({error})") from None
    if parts.scheme in ("http", "https") and parts.hostname:
        return None
    if "://" in url and parts.scheme != "file":
        raise ConfigError(f"--url {url}: expected an address with http, https or file and a host, or a path")
    path = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(url)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a .tar.gz or .zip archive")
    return path


def _is_free(output: Path) -> bool:
    return not output.exists() or (output.is_dir() and not any(output.iterdir()))


def _read_existing(request: _Request) -> Downloaded:
    """Return the set that an earlier call made. Raises ConfigError if the output holds anything else."""
    output, record = request.output, None
    with suppress(OSError, ValueError):
        record = read_json(output / RECORD)
    if not isinstance(record, dict):
        raise ConfigError(f"{output}: holds files that are not a downloaded set; choose another --output")
    same_archive = request.sha256 in (None, record.get("sha256"))
    same_origin = record.get("from") in (*request.urls, str(request.local))
    if record.get("name") != request.name or not same_origin or not same_archive:
        raise ConfigError(f"{output}: holds {record.get('name')} from {record.get('from')}; choose another --output")
    return Downloaded(output, False, record)


def _try_addresses(request: _Request, store: Path, progress: OnNamedProgress | None) -> Downloaded:
    """Fetch, verify and unpack from the first address that gives the archive. Raises DataError if none does."""
    reasons = []
    for url in request.urls:
        part = PartialFile(store, url)
        try:
            fetch(part, progress, size=request.size, hash_known=request.sha256 is not None)
            downloaded = _unpack(part.path, url, request, progress)
        except TransferError as error:
            reasons.append(f"{url}: {error}")
        except DataError as error:  # not the expected archive
            part.remove()
            reasons.append(f"{url}: {str(error).removeprefix(f'{part.path}: ')}")
        else:
            for each in request.urls:
                PartialFile(store, each).remove()
            return downloaded
    hint = f"; {store} keeps the partial download: run the same command again to continue"
    kept = hint if any(store.iterdir()) else ""
    raise DataError(
        f"{request.name} could not be downloaded ({'; '.join(reasons)}){kept}; or download it yourself and give the "
        f"file: pix2pix data download {request.name} --url FILE"
    )


def _unpack(archive: Path, origin: str, request: _Request, progress: OnNamedProgress | None) -> Downloaded:
    """Verify and extract an archive into the output folder. Raises DataError, ConfigError if the output is in use."""
    size, digest = archive.stat().st_size, sha256(archive)
    if request.size not in (None, size):
        raise DataError(f"{archive}: has {size:,} bytes, expected {request.size:,}")
    if request.sha256 not in (None, digest):
        raise DataError(f"{archive}: has the SHA-256 {digest}, expected {request.sha256}")
    with write_folder_atomically(request.output) as folder:
        files, hidden = extract(archive, folder / ".unpacked", progress)
        _unwrap(folder / ".unpacked", folder)
        pairs, note = _count_pairs(folder, request.output)
        record = {"name": request.name, "from": origin, "bytes": size, "sha256": digest}
        record |= {"files": files, "hidden_files_left_out": hidden, "pairs": pairs}
        if (published := request.published) is not None:
            record |= {"sides": published.sides, "direction": published.direction, "origin": published.origin}
        write_text(folder / RECORD, json.dumps(record, indent=1))
        if not _is_free(request.output):
            raise ConfigError(f"{request.output}: is in use since the download began; choose another --output")
    return Downloaded(request.output, True, record, note)


def _unwrap(unpacked: Path, folder: Path) -> None:
    """Move the set into `folder`, without enclosing folders that contain nothing else."""
    layout = {*SPLITS, *"AB", *(split + side for split in SPLITS for side in "AB")}
    top = unpacked
    while [entry.is_dir() and entry.name not in layout for entry in top.iterdir()] == [True]:
        (top,) = top.iterdir()
    for entry in top.iterdir():
        entry.rename(folder / entry.name)
    shutil.rmtree(unpacked)


def _count_pairs(folder: Path, output: Path) -> tuple[dict[str, int], str]:
    """Return the number of pairs in each split, and why there are none; the message names the final folder."""
    try:
        found = find_pairs(Data(path=str(folder), val_fraction=0, test_fraction=0))
    except (DataError, ConfigError) as error:
        return {}, str(error).replace(str(folder), str(output))
    return {split: len(pairs) for split, pairs in found.splits.items()}, ""
