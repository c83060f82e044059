"""The order of the house, and what a bare import may cost.

A room is a top-level module or package of `pix2pix`. It imports only from rooms on the lines above its own.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "pix2pix"

ORDER = """
    errors files fields
    config
    settings presets
    machine
    data networks losses
    model
    inference
    evaluation
    training
    serve study demo bench
    cli
    __init__
    __main__
"""
NEIGHBOURS = {("presets", "settings")}  # (importer, imported): all that may pass within a line

RANK = {room: rank for rank, line in enumerate(ORDER.strip().splitlines()) for room in line.split()}

HEAVY = {"torch", "torchvision", "matplotlib", "numpy"}


def room_of(module: str) -> str:
    """'pix2pix.data.images' -> 'data', and 'pix2pix' -> '__init__', where the public names live."""
    return module.split(".")[1] if "." in module else "__init__"


def imported_modules(source: str, package: str) -> Iterator[tuple[int, str]]:
    """The line and the dotted name of every import, at any depth; `package` is where relative ones start."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) + 1 - node.level] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            # `from pix2pix import model` names the room only among what it imports.
            rooms = RANK if base == "pix2pix" else {}
            names = {f"{base}.{alias.name}" if alias.name in rooms else base for alias in node.names}
            yield from ((node.lineno, name) for name in sorted(names))


def forbidden_imports(source: str, path: str) -> list[str]:
    """What breaks the order in one file; `path` is relative to the package, as in 'data/images.py'."""
    parts = path.removesuffix(".py").split("/")
    room = parts[0]
    package = ".".join(["pix2pix", *parts[:-1]])
    if room not in RANK:
        return [f"{path}: the room '{room}' has no place in the order"]
    found = []
    for line, module in imported_modules(source, package):
        if module.split(".")[0] != "pix2pix":
            continue
        other = room_of(module)
        if other not in RANK:
            found.append(f"{path}:{line}: the room '{other}' has no place in the order")
        elif other != room and RANK[other] >= RANK[room] and (room, other) not in NEIGHBOURS:
            found.append(f"{path}:{line}: '{room}' may not import from '{other}'")
    return found


def test_rooms_import_only_from_rooms_above() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert files, f"no modules in {PACKAGE}"
    found = [
        message
        for file in files
        for message in forbidden_imports(file.read_text("utf-8"), file.relative_to(PACKAGE).as_posix())
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("data/images.py", "import pix2pix.training.loop"),
        ("data/images.py", "from pix2pix.model import save"),
        ("data/images.py", "from pix2pix import losses, config"),
        ("data/images.py", "from pix2pix import train, evaluate"),
        ("data/images.py", "import pix2pix"),
        ("data/images.py", "from .. import losses"),
        ("data/images.py", "from ..networks import generators"),
        ("data/__init__.py", "from ..networks import generators"),
        ("data/images.py", "from ..colours import red"),
        ("data/images.py", "def late():\n    from ..losses import l1"),
        ("data/images.py", "if TYPE_CHECKING:\n    from ..model import Model"),
        ("model.py", "from .inference import translate"),
        ("model.py", "from . import cli"),
        ("config.py", "from .presets import paper"),
        ("errors.py", "from .config import Data"),
        ("demo.py", "from .bench import measure"),
        ("cli/app.py", "from .. import train"),
        ("colours.py", ""),
    ],
)
def test_checker_flags_a_forbidden_import(path: str, source: str) -> None:
    assert len(forbidden_imports(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("data/images.py", "import numpy\nfrom torch import nn\nfrom pix2pix_peer import training"),
        ("data/images.py", "from . import pairs\nfrom .pairs import Pair\nfrom pix2pix.data import pairs"),
        ("data/images.py", "from .. import config, errors\nfrom ..presets import paper"),
        ("data/__init__.py", "from . import pairs\nfrom .pairs import Pair"),
        ("presets.py", "from .config import Training\nfrom .settings import merged"),
        ("training/step.py", "from pix2pix.losses import l1\nimport pix2pix.networks.generators as g"),
        ("cli/verbs.py", "def demo():\n    from ..demo import run"),
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
    """`--help` answers at once: nothing heavy is imported before a verb needs it."""
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
        "print(sorted({'torch._dynamo', 'torchvision', 'torchmetrics', 'lightning_fabric'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
