"""The name of a published set, or the address of an archive of pairs -> a complete folder that `train` reads.

What has arrived waits in OUTPUT.download, from where the same command goes on. If one address fails, the next is tried.
"""

import json
import os
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
from pix2pix.data.preparation.archive import Progress, extract
from pix2pix.data.preparation.catalog import CATALOG, PublishedSet, addresses_of, published_set
from pix2pix.data.preparation.transfer import Patience, TransferError, fetch
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.files import lock_folder, sha256, write_folder_atomically, write_text
from pix2pix.system.signals import raise_interrupted

RECORD = "download.json"


@dataclass(frozen=True)
class Downloaded:
    """A set of pairs on disk."""

    path: Path
    new: bool
    """False if it was there already."""
    record: dict[str, Any]
    """Content of `download.json`: address, bytes, SHA-256, files, pairs, origin."""
    note: str = ""
    """Why no pairs are found in it; empty if there are some."""


@dataclass(frozen=True)
class _Request:
    name: str
    output: Path
    urls: tuple[str, ...]
    local: Path | None
    """The archive itself, where it is a file of this machine."""
    size: int | None
    sha256: str | None
    about: PublishedSet | None


def download(
    name: str | None,
    output: Path | None = None,
    *,
    url: str | None = None,
    digest: str | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Downloaded:
    """Fetch and extract a published set by its name, or the archive at `url` (http, https, file, or a path).

    `digest` is the archive's SHA-256, if known. Raises ConfigError for a name, address or output that is not accepted,
    DataError if no address gives the archive; what has arrived of it is kept.
    """
    request = _make_request(name, output, url, digest)
    existing = _find_existing(request)
    if existing is not None:
        return existing
    if request.local is not None:
        _verify(request.local, request)
        return _extract(request.local, str(request.local), request, progress)
    store = request.output.with_name(f"{request.output.name}.download")
    store.mkdir(parents=True, exist_ok=True)
    with lock_folder(store):
        try:
            with raise_interrupted(store):
                done = _try_addresses(request, store, patience or Patience(), progress)
        finally:
            with suppress(OSError):
                store.rmdir()  # if nothing has arrived
        shutil.rmtree(store)
    return done


# ---- what is asked for -------------------------------------------------------------------------------------------


def _make_request(name: str | None, output: Path | None, url: str | None, digest: str | None) -> _Request:
    """Check the arguments of `download`. Raises ConfigError, DataError."""
    if name is None and url is None:
        sets = ", ".join(f"{name} ({about.about})" for name, about in CATALOG.items())
        raise ConfigError(f"say what to download: {sets}, or --url ADDRESS of another archive")
    if output is not None and output.name in ("", ".."):
        raise ConfigError(f"--output {output}: expected a folder by its own name, which will be made")
    if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise ConfigError(f"--sha256 {digest}: expected 64 hexadecimal digits")
    local = None if url is None else _find_local(url)
    about = published_set(str(name)) if url is None else CATALOG.get(name or "")
    if name is None:
        name = re.sub(r"(\.tar\.gz|\.tgz|\.zip)$", "", unquote(urlsplit(str(url)).path).rstrip("/").rpartition("/")[2])
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"{name!r} is no name for a set: letters, digits, dots, - and _; give one before --url")
    digest = digest.lower() if digest else None
    if url is None:
        assert about is not None
        return _Request(name, output or Path(name), addresses_of(name), None, about.size, digest or about.sha256, about)
    return _Request(name, output or Path(name), (url,), local, None, digest, about)


def _find_local(url: str) -> Path | None:
    """Return the file that an address names; None for one on the network. Raises ConfigError, DataError."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"--url {url}: is no address ({error})") from None
    if parts.scheme in ("http", "https"):
        if not parts.hostname:
            raise ConfigError(f"--url {url}: names no host")
        return None
    if "://" in url and parts.scheme != "file":
        raise ConfigError(f"--url {url}: expected an address with http, https or file, or a path")
    path = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(url)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a .tar.gz or .zip archive")
    return path


def _find_existing(request: _Request) -> Downloaded | None:
    """Return the set that an earlier call made; None if the output is free. Raises ConfigError for other content."""
    output = request.output
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    record = None
    with suppress(OSError, ValueError):
        record = json.loads((output / RECORD).read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ConfigError(f"{output}: holds something else than a downloaded set; choose another --output")
    same_archive = request.sha256 in (None, record.get("sha256"))
    same_origin = record.get("from") in (*request.urls, str(request.local))
    if record.get("name") != request.name or not same_origin or not same_archive:
        raise ConfigError(f"{output}: holds {record.get('name')} from {record.get('from')}; choose another --output")
    return Downloaded(output, False, record)


# ---- archives ----------------------------------------------------------------------------------------------------


def _try_addresses(request: _Request, store: Path, patience: Patience, progress: Progress | None) -> Downloaded:
    """Fetch, verify and extract from the first address that gives the archive. Raises DataError if none does."""
    reasons: dict[str, list[str]] = {}
    for url in request.urls:
        try:
            part = fetch(url, store, size=request.size, patience=patience, progress=progress)
        except TransferError as error:
            reasons.setdefault(str(error), []).append(url)
            continue
        try:
            _verify(part.path, request)
            return _extract(part.path, url, request, progress)
        except DataError as error:
            part.drop()
            reasons.setdefault(str(error).removeprefix(f"{part.path}: "), []).append(url)
    kept = f"; what has arrived is kept in {store}, and the same command goes on" if any(store.iterdir()) else ""
    listed = "; ".join(f"{', '.join(urls)}: {reason}" for reason, urls in reasons.items())
    raise DataError(
        f"{request.name} could not be downloaded ({listed}){kept}; or fetch it by hand, and give the file: "
        f"pix2pix data download {request.name} --url FILE"
    )


def _verify(archive: Path, request: _Request) -> None:
    size = archive.stat().st_size
    if request.size is not None and size != request.size:
        raise DataError(f"{archive}: has {size:,} bytes, expected {request.size:,}")
    if request.sha256 is not None and (found := sha256(archive)) != request.sha256:
        raise DataError(f"{archive}: has the SHA-256 {found}, expected {request.sha256}")


def _extract(archive: Path, origin: str, request: _Request, progress: Progress | None) -> Downloaded:
    with write_folder_atomically(request.output) as folder:
        extracted = extract(archive, folder, progress)
        _unwrap(folder)
        pairs, note = _count_pairs(folder, request.output)
        record = {
            "name": request.name,
            "from": origin,
            "bytes": archive.stat().st_size,
            "sha256": sha256(archive),
            "files": extracted.files,
            "hidden_files_left_out": extracted.hidden,
            "pairs": pairs,
        }
        if (about := request.about) is not None:
            record |= {"sides": about.sides, "direction": about.direction, "origin": about.origin}
        write_text(folder / RECORD, json.dumps(record, indent=1))
    return Downloaded(request.output, True, record, note)


def _unwrap(folder: Path) -> None:
    """Move the set to the top where the archive holds nothing but one folder with it."""
    layout = {*SPLITS, *"AB", *(split + side for split in SPLITS for side in "AB")}
    while [entry.is_dir() and entry.name not in layout for entry in folder.iterdir()] == [True]:
        (inner,) = folder.iterdir()
        moved = folder.with_name(f"{folder.name}.moved")
        shutil.rmtree(moved, ignore_errors=True)
        os.replace(inner, moved)
        folder.rmdir()
        os.replace(moved, folder)


def _count_pairs(folder: Path, output: Path) -> tuple[dict[str, int], str]:
    """Pairs in each split, and why there are none, naming the folder by its name to come."""
    try:
        found = find_pairs(Data(path=str(folder), val_fraction=0, test_fraction=0))
    except (DataError, ConfigError) as error:
        return {}, str(error).replace(str(folder), str(output))
    return {split: len(pairs) for split, pairs in found.splits.items()}, ""
