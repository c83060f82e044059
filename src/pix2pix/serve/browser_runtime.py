"""onnxruntime-web, which runs a model inside a browser: from the npm package, of one version and checked."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from pix2pix.config.data import Data
from pix2pix.data.io.file_facts import cache_folder
from pix2pix.errors import ConfigError, DataError
from pix2pix.system.folders import write_folder_atomically

VERSION = "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the package's archive, as the registry states it."""
PACKAGE = f"onnxruntime-web@{VERSION}"
ENGINES = {
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
"""Engine -> its module, the module that module loads, and the program; a browser loads those of one engine."""
FILES = sorted({name for names in ENGINES.values() for name in names})
SECONDS = 600


def find_runtime(given: Path | None) -> Path:
    """Return a folder with FILES: the one given, or that of the cache, downloaded by npm if it is not there yet.

    Raises ConfigError for a folder without them, and if they cannot be had.
    """
    if given is not None:
        folder = given / "dist" if (given / "dist").is_dir() else given
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise ConfigError(f"--onnxruntime-web {given}: holds no {missing[0]}; expected the package {PACKAGE}")
        return folder
    cache = cache_folder(Data())
    if cache is None:
        raise ConfigError("there is no home folder to keep onnxruntime-web in; name it: --onnxruntime-web DIR")
    folder = cache / f"onnxruntime-web-{VERSION}"
    if not all((folder / name).is_file() for name in FILES):
        _download(folder)
    return folder


def _download(folder: Path) -> None:
    """Download the package with npm, check it, and take FILES out. Raises ConfigError."""
    otherwise = f"or unpack {PACKAGE} elsewhere and name its folder: --onnxruntime-web DIR"
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(
            f"the page needs the npm package {PACKAGE}, and npm is not installed; install it, {otherwise}"
        )
    with tempfile.TemporaryDirectory() as place:
        command = [npm, "pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination", place]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=SECONDS, cwd=place)
            archive = next(Path(place).glob("*.tgz"))
        except (subprocess.SubprocessError, OSError, StopIteration):
            raise ConfigError(f"npm cannot download {PACKAGE}; connect to the network, {otherwise}") from None
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != INTEGRITY:
            raise DataError(f"{PACKAGE}: the download is not the package that was published; nothing is taken from it")
        with tarfile.open(archive) as package, write_folder_atomically(folder, FILES) as new:
            for name in FILES:
                content = package.extractfile(f"package/dist/{name}")
                assert content is not None  # the digest says so
                (new / name).write_bytes(content.read())
