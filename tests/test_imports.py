"""The order of the packages, cycles between modules, and what a bare import may cost.

ORDER lists the packages of `pix2pix`. A package imports only from packages on the lines above its own.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "pix2pix"

ORDER = """
    errors text
    system
    config
    data.io
    data.pairing
    data.encoding
    data.transforms
    data.loading
    data.checks
    data.preparation
    data
    synthetic
    networks.cpu
    networks
    losses
    model
    inference
    export
    metrics
    reports
    distributed
    training
    evaluation
    serve study demo
    cli
    __init__
    __main__
"""

RANK = {package: rank for rank, line in enumerate(ORDER.strip().splitlines()) for package in line.split()}

HEAVY = {"torch", "torchvision", "matplotlib", "numpy"}


def package_of(module: str) -> str:
    """'pix2pix.data.io.images' -> 'data.io', 'pix2pix.model.config' -> 'model', 'pix2pix' -> '__init__'."""
    names = module.split(".")[1:]
    known = [".".join(names[:length]) for length in (2, 1) if ".".join(names[:length]) in RANK]
    return known[0] if known else names[0] if names else "__init__"


def imported_modules(source: str, package: str) -> Iterator[tuple[int, str]]:
    """The line and the dotted name of every import, at any depth; `package` is where relative ones start.

    `from pix2pix.data import io` gives both `pix2pix.data` and `pix2pix.data.io`, since a name may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) + 1 - node.level] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            modules = {f"{base}.{alias.name}" if _is_module(f"{base}.{alias.name}") else base for alias in node.names}
            yield from ((node.lineno, name) for name in sorted(modules))


def _is_module(name: str) -> bool:
    place = PACKAGE.joinpath(*name.split(".")[1:])
    inside = ".".join(name.split(".")[1:])
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file() or inside in RANK


def forbidden_imports(source: str, path: str) -> list[str]:
    """What breaks the order in one file; `path` is relative to the package, as in 'data/io/images.py'."""
    parts = path.removesuffix(".py").split("/")
    own = ".".join(["pix2pix", *parts]).removesuffix(".__init__") if len(parts) > 1 else f"pix2pix.{parts[0]}"
    own_package = package_of(own)
    folder = ".".join(["pix2pix", *parts[:-1]])
    if own_package not in RANK:
        return [f"{path}: the package '{own_package}' has no place in the order"]
    found = []
    for line, module in imported_modules(source, folder):
        if module.split(".")[0] != "pix2pix":
            continue
        other = package_of(module)
        if other not in RANK:
            found.append(f"{path}:{line}: the package '{other}' has no place in the order")
        elif other != own_package and RANK[other] >= RANK[own_package]:
            found.append(f"{path}:{line}: '{own_package}' may not import from '{other}'")
    return found


def cycles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or by way of others."""
    found, done = [], set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append([*trail[trail.index(module) :], module])
        elif module not in done:
            for other in sorted(imports.get(module, ())):
                visit(other, [*trail, module])
            done.add(module)

    for module in sorted(imports):
        visit(module, [])
    return found


def package_imports() -> dict[str, set[str]]:
    """Every module of the package -> those of the package that it imports."""
    graph: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        package = ".".join(["pix2pix", *parts[:-1]])
        own = package if parts[-1] == "__init__" else ".".join(["pix2pix", *parts])
        imported = {name for _, name in imported_modules(file.read_text("utf-8"), package)}
        graph[own] = {name for name in imported if name.split(".")[0] == "pix2pix"} - {own}
    return graph


def test_packages_import_only_from_packages_above() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert files, f"no modules in {PACKAGE}"
    found = [
        message
        for file in files
        for message in forbidden_imports(file.read_text("utf-8"), file.relative_to(PACKAGE).as_posix())
    ]
    assert not found, "\n" + "\n".join(found)


def test_no_two_modules_import_each_other() -> None:
    """Inside a package as between packages; imports within functions count too."""
    found = cycles(package_imports())
    assert not found, "\n" + "\n".join(" -> ".join(cycle) for cycle in found)


def test_checker_finds_cycles() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert cycles({"a": {"b"}, "b": {"a"}}) == [["a", "b", "a"]]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("data/io/images.py", "import pix2pix.training.trainer"),
        ("data/io/images.py", "from pix2pix.model import save"),
        ("data/io/images.py", "from pix2pix import losses, config"),
        ("data/io/images.py", "from pix2pix import train, evaluate"),
        ("data/io/images.py", "import pix2pix"),
        ("data/io/images.py", "from pix2pix.data.loading import dataset"),
        ("data/io/images.py", "from pix2pix.data import loading"),
        ("data/io/images.py", "from ... import losses"),
        ("data/io/images.py", "from ...networks import generators"),
        ("data/__init__.py", "from ..networks import generators"),
        ("data/io/images.py", "from ...colours import red"),
        ("data/io/images.py", "def late():\n    from ...losses import l1"),
        ("data/io/images.py", "if TYPE_CHECKING:\n    from ...model import Model"),
        ("model/model.py", "from ..inference import translator"),
        ("model/model.py", "from .. import cli"),
        ("errors.py", "from .config import Data"),
        ("networks/cpu/winograd.py", "from pix2pix.networks.blocks import up"),
        ("cli/app.py", "from .. import train"),
        ("colours.py", ""),
    ],
)
def test_checker_flags_a_forbidden_import(path: str, source: str) -> None:
    assert len(forbidden_imports(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("data/io/images.py", "import numpy\nfrom torch import nn\nfrom pix2pix_peer import training"),
        ("data/pairing/pairs.py", "from . import pair\nfrom .pair import Pair\nfrom pix2pix.data.pairing import pair"),
        ("data/io/images.py", "from ... import config, errors\nfrom ...config.presets import paper"),
        ("data/loading/dataset.py", "from pix2pix.data.io import images"),
        ("training/step.py", "from pix2pix.losses import l1\nimport pix2pix.networks.generators as g"),
        ("cli/commands.py", "def demo():\n    from ..demo import run"),
        ("__init__.py", "from .training import train\nfrom pix2pix.cli import main"),
        ("__main__.py", "from .cli import main\nfrom pix2pix import train"),
    ],
)
def test_checker_passes_an_allowed_import(path: str, source: str) -> None:
    assert forbidden_imports(source, path) == []


@pytest.mark.parametrize(
    "arguments",
    [("-c", "import pix2pix"), ("-c", "import pix2pix.cli"), ("-m", "pix2pix", "--help")],
    ids=" ".join,
)
def test_start_is_light(arguments: tuple[str, ...]) -> None:
    """`--help` answers at once: nothing heavy is imported before a command needs it."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    # -X importtime writes "import time: SELF | CUMULATIVE | NAME" to stderr, one line a module.
    timed = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if line not in timed)
    imported = {line.rpartition("|")[2].strip() for line in timed}
    assert "pix2pix" in imported
    heavy = imported.intersection(HEAVY)
    assert not heavy


def test_training_is_lean(facades: Path, tmp_path: Path) -> None:
    """A training in one process carries neither torch's compiler nor the libraries that would bring it in."""
    words = ["train", str(facades), "--run", str(tmp_path / "run"), "--epochs", "1", "--base-channels", "2"]
    code = (
        "import sys; from pix2pix.cli import main; import pix2pix.training.train\n"
        "assert 'matplotlib' not in sys.modules, 'needed for drawing alone'\n"
        f"main({[*words, '--image-size', '32', '--device', 'cpu']!r})\n"
        "print(sorted({'torch._dynamo', 'torchvision', 'torchmetrics'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
