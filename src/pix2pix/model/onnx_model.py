"""A model in an exported file, `model.onnx`: read and checked without a runtime and without torch."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pix2pix.errors import ModelError
from pix2pix.model.model_config import ModelConfig, Present, check_model_config
from pix2pix.model.onnx_fields import read_fields
from pix2pix.model.signature import Signature
from pix2pix.system.reading import SMALL, parse_json, read_bytes
from pix2pix.text import escape_unprintable

FORMAT = "1"
"""Version of the names and meanings of the fields in a file."""
CHECKSUM = "pix2pix.checksum"
"""SHA-256 of the file without these digits."""
FORMS = {"size_multiple": re.compile("[1-9][0-9]{0,4}"), "precision": re.compile("32|16|int8")}
"""How the texts of fields look."""
MAX_BYTES = 2**31 - 1
"""ONNX files are no larger."""


def is_onnx_name(name: str | Path) -> bool:
    """Return whether a model is named as an exported file is."""
    return str(name).lower().endswith(".onnx") and "://" not in str(name) and not Path(name).is_dir()


def require_torch(name: str | Path) -> None:
    """Raise ModelError where a model folder cannot be loaded, since torch is not installed."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        shown = escape_unprintable(name)
        raise ModelError(
            f"{shown}: models are computed by torch, which is not installed: pip install torch torchvision, or give an "
            "exported file, such as model.onnx"
        ) from None


@dataclass(frozen=True)
class OnnxModel(Signature):
    """An exported file in memory."""

    path: Path
    content: bytes = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)
    """Without the prefix `pix2pix.`."""
    config: ModelConfig
    present: Present = "auto"

    @property
    def size_multiple(self) -> int:
        return int(self.metadata["size_multiple"])

    @property
    def precision(self) -> str:
        """Arithmetic in the file: 32, 16 or int8."""
        return self.metadata.get("precision", "32")

    def weight_bytes(self) -> Iterator[bytes]:
        yield self.metadata["checksum"].encode()


def load_onnx(name: str | Path) -> OnnxModel:
    """Read an exported file and check that it is complete and all in itself. Raises ModelError."""
    path, shown = Path(name), escape_unprintable(name)
    try:
        content = read_bytes(path, MAX_BYTES)
    except FileNotFoundError:
        raise ModelError(f"{shown}: no such file; `pix2pix export MODEL --output FILE.onnx` writes one") from None
    except OSError as error:
        raise ModelError(f"{shown}: cannot be read ({error.strerror or error})") from None
    try:
        fields = read_fields(content)
    except ValueError as error:
        raise ModelError(f"{shown}: cannot be used, since {error}; copy it again, or export the model again") from None
    metadata = {key.removeprefix("pix2pix."): text for key, text in fields.items() if key.startswith("pix2pix.")}
    _check_origin(shown, metadata, content)
    if len(metadata["config.json"]) > SMALL:
        raise ModelError(f"{shown}: its configuration has more than {SMALL:,} characters, too many for one")
    try:
        values = parse_json(metadata["config.json"])
    except ValueError as error:
        raise ModelError(f"{shown}: its configuration cannot be read ({error})") from None
    return OnnxModel(path, content, metadata, check_model_config(values, path))


def _check_origin(shown: str, metadata: Mapping[str, str], content: bytes) -> None:
    """Raise ModelError for a file that `pix2pix export` of this version has not written as it is."""
    if "format" not in metadata:
        raise ModelError(
            f"{shown}: is an ONNX file, but `pix2pix export` did not write it: nothing in it says how its input is made"
        )
    if metadata["format"] != FORMAT:
        version = escape_unprintable(metadata["format"][:20])
        raise ModelError(
            f"{shown}: has format {version} of exported files, and this version of pix2pix reads {FORMAT}: upgrade it"
        )
    missing = [name for name in ("checksum", "config.json", "size_multiple") if name not in metadata]
    odd = [] if missing else [name for name, form in FORMS.items() if not form.fullmatch(metadata.get(name, "32"))]
    if missing or odd:
        what = (*missing, *odd)[0]
        raise ModelError(f"{shown}: its field pix2pix.{what} is missing or means nothing; export the model again")
    if not checksum_fits(content, metadata["checksum"]):
        raise ModelError(f"{shown}: does not fit its checksum: it was damaged or edited; copy or export it again")


def checksum_fits(content: bytes, checksum: str) -> bool:
    """Return whether the bytes of a file fit the checksum in its fields."""
    if len(checksum) != 64:
        return False
    head, digits, tail = content.partition(checksum.encode())
    return digits != b"" and hashlib.sha256(head + tail).hexdigest() == checksum


def describe_onnx(name: str | Path) -> dict[str, Any]:
    """List the facts of an exported file for `pix2pix info`. Raises ModelError."""
    model = load_onnx(name)
    config = model.config.settings
    return {
        "file": str(model.path),
        "pix2pix": model.config.pix2pix,
        "bytes": len(model.content),
        "checksum": model.metadata["checksum"],
        "precision": model.precision,
        "generator": config.generator.kind,
        "depth": config.generator.depth,
        "upsampling": config.generator.upsampling,
        **model.describe(),
        "sources": _read(model, "sources"),
        "target": next(iter(_read(model, "target")), {}),
        "epoch": model.config.epoch,
        "validation": model.config.validation,
        "license": config.training.license,
        "differences": _read(model, "differences"),
        "speeds": _read(model, "speeds"),
        "not_refused": model.metadata.get("not_refused", ""),
    }


def _read(model: OnnxModel, name: str) -> list[dict[str, Any]]:
    """Read a field that is an object or a list of objects; an unreadable one is empty."""
    try:
        values = parse_json(model.metadata.get(name, "[]"))
    except ValueError:
        return []
    values = [values] if isinstance(values, dict) else values
    return values if isinstance(values, list) and all(isinstance(one, dict) for one in values) else []
