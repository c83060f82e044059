"""Nothing needs what Windows lacks, and outputs get no name that Windows would lose."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pix2pix.system.windows_names import explain_long_path, why_refused

PACKAGE = Path(__file__).parents[2] / "src" / "pix2pix"
MISSING_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "posix", "tty", "pty", "syslog")
MISSING_NAMES = {
    "os": "fork geteuid getuid getgid getpgid killpg mkfifo sched_getaffinity setsid statvfs uname O_NONBLOCK "
    "O_NOFOLLOW O_CLOEXEC O_DIRECTORY WNOHANG",
    "signal": "SIGHUP SIGUSR1 SIGUSR2 SIGKILL SIGALRM SIGPIPE SIGCHLD pthread_sigmask sigwait setitimer",
}
GUARDS = ("hasattr", "getattr", "sys.platform", "os.name", "suppress", "ImportError", "AttributeError")

IMPORT = """
import importlib, os, pkgutil, signal, sys
import {third_party}
for module in {modules}:
    sys.modules[module] = None
for module, names in ((os, {os}), (signal, {signal})):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.platform = "win32"  # by which the type checker, too, knows what is there
import pix2pix
for found in pkgutil.walk_packages(pix2pix.__path__, "pix2pix."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
THIRD_PARTY = (
    "asyncio, concurrent.futures.process, multiprocessing.shared_memory, socketserver, ssl, subprocess, tempfile, "
    "av, click, cyclopts, fastapi, httpx2, huggingface_hub, "
    "imagecodecs, onnx, onnxruntime, prometheus_client, jinja2, "
    "matplotlib.pyplot, pydantic, rich.progress, "
    "safetensors.torch, skimage.feature, skimage.registration, tifffile, torch.distributed, "
    "torch.distributed.elastic.multiprocessing.api, torch.distributed.launcher.api, torch.utils.data, "
    "torch.utils.tensorboard, torchmetrics, torchvision.transforms.v2, uvicorn, uvicorn.protocols.http.h11_impl"
)


def test_the_package_imports_without_what_windows_lacks() -> None:
    names = {module: text.split() for module, text in MISSING_NAMES.items()}
    code = IMPORT.format(third_party=THIRD_PARTY, modules=MISSING_MODULES, **names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]


def unguarded(source: str) -> Iterator[str]:
    """Yield the uses of names that Windows lacks, in functions and conditions that do not ask for them."""
    missing = {f"{module}.{name}" for module, names in MISSING_NAMES.items() for name in names.split()}
    nodes, lines = list(ast.walk(ast.parse(source))), source.splitlines()
    scopes = [
        range(node.lineno, (node.end_lineno or 0) + 1)
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.If | ast.IfExp)
    ]
    for node in nodes:
        found = set()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = {f"{node.value.id}.{node.attr}"} & missing
        elif isinstance(node, ast.Import):
            found = {alias.name for alias in node.names}.intersection(MISSING_MODULES)
        inside = [scope for scope in scopes if found and node.lineno in scope]
        if found and not any(guard in lines[at - 1] for scope in inside for at in scope for guard in GUARDS):
            yield f"line {node.lineno}: {min(found)}"


def test_what_windows_lacks_is_asked_for_first() -> None:
    found = {path.name: list(unguarded(path.read_text("utf-8"))) for path in PACKAGE.rglob("*.py")}
    assert {name: uses for name, uses in found.items() if uses} == {}
    assert list(unguarded("import os\ndef f():\n    return os.fork()")) == ["line 3: os.fork"]
    assert list(unguarded("import fcntl")) == ["line 1: fcntl"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("out/nul.png", "'nul.png' is the name of a device"),
        ("out/CON", "'CON' is the name of a device"),
        ("aux/1.png", "'aux' is the name of a device"),
        ("out/com1.tar.gz", "is the name of a device"),
        ("out/a .png/1.png", ""),
        ("out/a./1.png", "'a.' ends in a dot or a space"),
        ("out/1.png ", "ends in a dot or a space"),
        ("out/a:b.png", "holds ':'"),
        ("out/console.png", ""),
        ("../out/com10.png", ""),
    ],
)
def test_names_that_windows_would_lose(path: str, said: str) -> None:
    assert why_refused(Path(path)).startswith(said) if said.startswith("'") else said in why_refused(Path(path))
    assert bool(why_refused(Path(path))) == bool(said)


def test_long_paths_are_explained() -> None:
    assert explain_long_path(Path("a.png")) == ""
    assert "give a shorter --output" in explain_long_path(Path("a" * 300) / "b.png")
