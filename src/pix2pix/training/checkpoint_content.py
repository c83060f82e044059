"""The content of a checkpoint: read without trust, compared with the networks and optimisers that are to take it."""

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MAX_INDEX = 2**26  # bytes of the pickle that lists the tensors; that of the largest network has 0.1 MB
INDEX_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Byte", "Bool")),
}
"""All that the pickle of a checkpoint refers to; torch itself permits more, such as arrays of any size."""


def read_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint; its tensors stay in the file until they are copied. Raises ValueError or OSError."""
    try:
        _refuse_strange_archive(path)
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError:
        raise
    except Exception as error:  # a damaged archive may raise anything
        reason = str(error).strip() or type(error).__name__
        raise ValueError(f"not a checkpoint ({reason.splitlines()[0][:200]})") from None
    if not isinstance(saved, dict):
        raise ValueError("not a checkpoint (its content has no names)")
    return saved


def _refuse_strange_archive(path: Path) -> None:
    """Raise ValueError unless this is a plain archive whose pickle lists tensors and numbers, and nothing else."""
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{record.filename!r} is compressed")
            if record.filename.endswith("/data.pkl"):
                if record.file_size > MAX_INDEX:
                    raise ValueError(f"{record.filename!r} has {record.file_size:,} bytes")
                _refuse_other_globals(archive.read(record))


def _refuse_other_globals(index: bytes) -> None:
    for operation, argument, _ in pickletools.genops(index):
        if operation.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX") or operation.name.startswith("EXT"):
            raise ValueError("it makes objects that no checkpoint has")
        if operation.name == "GLOBAL" and argument not in INDEX_GLOBALS:
            raise ValueError(f"it refers to {str(argument)[:100]!r}")


# ---- comparison ------------------------------------------------------------------------------------------------


def refuse_misfit(saved: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise ValueError naming the first part that is missing, has another type or shape, or is not finite.

    `expected` holds the `state_dict` of each part. An optimiser that has not made a step may have no moments.
    """
    _refuse_other_names(saved, expected, "")
    for name, part in expected.items():
        if "param_groups" in part:
            _refuse_misfit_optimizer(saved[name], part, name)
        else:
            _compare(saved[name], part, name)
    if (bad := find_non_finite(saved)) is not None:
        raise ValueError(f"{bad} holds a number that is not finite")


def _refuse_misfit_optimizer(saved: Any, expected: Mapping[str, Any], name: str) -> None:
    _refuse_other_names(saved, expected, name)
    _compare(saved["state"], expected["state"] if saved["state"] else {}, f"{name}.state")
    groups = saved["param_groups"]
    if not (isinstance(groups, list) and len(groups) == 1 and isinstance(groups[0], dict)):
        raise ValueError(f"{name}.param_groups is not one group")
    for key in ("lr", "betas", "eps", "params"):
        own = expected["param_groups"][0][key]
        _compare(groups[0].get(key), list(own) if isinstance(own, tuple) else own, f"{name}.{key}")


def _compare(saved: Any, expected: Any, name: str) -> None:
    """Raise ValueError if two trees differ in names, or in types and shapes of their leaves."""
    match expected:
        case Mapping():
            _refuse_other_names(saved, expected, name)
            for key, value in expected.items():
                _compare(saved[key], value, f"{name}.{key}")
        case list():
            if not isinstance(saved, list | tuple) or len(saved) != len(expected):
                raise ValueError(f"{name} is not a list of {len(expected)}")
            for number, value in enumerate(expected):
                _compare(saved[number], value, f"{name}.{number}")
        case Tensor():
            if (found := _describe(saved)) != (wanted := _describe(expected)):
                raise ValueError(f"{name} is {found}, expected {wanted}")
        case _:
            if isinstance(saved, bool) or not isinstance(saved, int | float):
                raise ValueError(f"{name} is {_describe(saved)}, expected a number")


def _refuse_other_names(saved: Any, expected: Mapping[Any, Any], name: str) -> None:
    if not isinstance(saved, Mapping):
        raise ValueError(f"{name} is {_describe(saved)}, expected names")
    for key in [*expected, *saved]:
        if (key in expected) != (key in saved):
            what = "is missing" if key in expected else "is not part of this training"
            raise ValueError(f"{f'{name}.' if name else ''}{str(key)[:100]} {what}")


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    kind = "" if value.layout == torch.strided else f"{value.layout} "
    return f"{kind}{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def find_non_finite(parts: Mapping[str, Any]) -> str | None:
    """Return the name of the first tensor or number that is not finite; None if all are."""
    for name, value in leaves(parts):
        if isinstance(value, Tensor):
            # A sum is ten times as fast; it may overflow though all numbers are finite.
            if value.is_floating_point() and not (value.sum().isfinite() or value.isfinite().all()):
                return name
        elif isinstance(value, float) and not abs(value) < float("inf"):
            return name
    return None


def tensor_bytes(parts: Mapping[str, Any]) -> int:
    """Return the bytes of all tensors."""
    return sum(value.nbytes for _, value in leaves(parts) if isinstance(value, Tensor))


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors and numbers of nested dictionaries and lists, each with a dotted name."""
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = dict(enumerate(tree)).items()
    else:
        yield name, tree
        return
    for key, value in items:
        yield from leaves(value, f"{name}.{key}" if name else str(key))
