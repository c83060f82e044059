"""Files from strangers: models, checkpoints, settings, images, archives and servers that try to run, write or hang."""

import gzip
import io
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch

from tests.reliability import runs
from tests.untrained import untrained

TITLE = "hostile models, settings, archives and servers: nothing runs, nothing is written outside"
COMMAND_SECONDS = 60.0  # of a command, on a busy machine
MEGABYTES = 1500.0  # of a command; torch and the images alone take 400 to 600
CANARY = "canary"
OUTSIDE = "outside"


class Payload:
    """What a pickle runs when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.canary),)


def hostile_pickle(work: Path) -> bytes:
    return pickle.dumps(Payload(work / CANARY))


def hostile_checkpoint(work: Path) -> bytes:
    data = io.BytesIO()
    torch.save({"generator": Payload(work / CANARY)}, data)
    return data.getvalue()


def hostile_array(work: Path) -> bytes:
    data = io.BytesIO()
    np.save(data, np.array([Payload(work / CANARY)], dtype=object), allow_pickle=True)
    return data.getvalue()


def hostile_archive(name: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    return data.getvalue()


def header(entries: object, length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


HEADERS = {
    "40 GB": header({"a": {"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4 * 10**10]}}),
    "length 2^62": header({}, 2**62),
}
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
YAML = {
    "aliases": LAUGHS,
    "nesting": "a: " + "[" * 200_000,
    "object": "a: !!python/object/apply:os.mkdir [canary]\n",
    "huge width": "generator: {base_channels: 100000}\n",
}


# ---- cases: a name and the words of a command that must refuse ---------------------------------------------------


def model_folder(folder: Path) -> Path:
    """Write a small model."""
    untrained({"data": {"image_size": 64}}, scale=None).save(folder)
    return folder


def model_cases(work: Path) -> Iterator[tuple[str, list[str]]]:
    good = model_folder(work / "model")
    card = json.loads((good / "config.json").read_text(encoding="utf-8")) | {"checksum": None}
    wide = {**card, "config": {**card["config"], "generator": {"base_channels": 1024, "depth": 6}}}
    weights = {"a pickle": hostile_pickle(work), "a checkpoint": hostile_checkpoint(work), **HEADERS}
    cards = {
        "1024 channels": wide,
        "scale 1e300": {**card, "scale": [1e300, 1.0]},
        "epoch 10^30": {**card, "epoch": 10**30},
    }
    changes = {
        **{f"weights: {name}": ("generator.safetensors", content) for name, content in weights.items()},
        **{f"card: {name}": ("config.json", json.dumps(content).encode()) for name, content in cards.items()},
        "card: nesting": ("config.json", b"[" * 500_000),
        "card: a pipe": ("config.json", None),
        "weights: a pipe": ("generator.safetensors", None),
    }
    for number, (name, (file, content)) in enumerate(changes.items()):
        folder = work / f"model-{number}"
        shutil.copytree(good, folder)
        (folder / file).unlink()
        os.mkfifo(folder / file) if content is None else (folder / file).write_bytes(content)
        yield name, ["info", str(folder)]


def settings_cases(work: Path, data: Path) -> Iterator[tuple[str, list[str]]]:
    for name, text in YAML.items():
        (work / f"{name}.yaml").write_text(text, encoding="utf-8")
        yield f"YAML: {name}", ["train", str(data), "--config", str(work / f"{name}.yaml"), "--run", str(work / "run")]
    os.mkfifo(work / "pipe.yaml")
    yield "YAML: a pipe", ["train", str(data), "--config", str(work / "pipe.yaml"), "--run", str(work / "run")]


def file_cases(work: Path) -> Iterator[tuple[str, list[str]]]:
    for side in "AB":
        (work / "arrays" / side / "train").mkdir(parents=True)
        (work / "arrays" / side / "train" / "1.npy").write_bytes(hostile_array(work))
    yield "image: a pickled array", ["data", "check", str(work / "arrays")]
    (work / "pairs").mkdir()
    os.mkfifo(work / "pairs" / "pairs.csv")
    yield "manifest: a pipe", ["data", "check", str(work / "pairs" / "pairs.csv")]
    names = {"up": f"set/../../{OUTSIDE}", "absolute": str(work / OUTSIDE), "backslash": f"..\\{OUTSIDE}"}
    for name, member in names.items():
        (work / f"{name}.tar.gz").write_bytes(hostile_archive(member))
        words = [
            "data",
            "download",
            "set",
            "--url",
            str(work / f"{name}.tar.gz"),
            "--output",
            str(work / "sets" / name),
        ]
        yield f"archive: {name}", words
    bomb = gzip.compress(bytes(300 * 2**20), 1)
    (work / "bomb.tar.gz").write_bytes(bomb)
    yield (
        "archive: bomb",
        ["data", "download", "set", "--url", str(work / "bomb.tar.gz"), "--output", str(work / "sets/b")],
    )


def resume_hostile_run(work: Path, data: Path) -> None:
    """Resume a run folder from others, whose checkpoints are hostile; an older checkpoint may take their place."""
    words = runs.train_command(data, work / "mine", "--epochs", "1")
    runs.call(words)
    for path in (work / "mine" / "checkpoints").glob("*.pt"):
        path.write_bytes(hostile_checkpoint(work))
    for path in (work / "mine" / "checkpoints").glob("*.json"):
        path.unlink()
    done = runs.call(words)
    assert "Traceback" not in done.stderr, done.stderr[-500:]


def server_cases(work: Path, address: str) -> Iterator[tuple[str, list[str]]]:
    for name in ("encoded", "up"):
        output = str(work / "sets" / f"served-{name}")
        yield f"server: {name}", ["data", "download", "set", "--url", f"{address}/{name}.tar.gz", "--output", output]
    yield (
        "server: plain http",
        ["data", "download", "set", "--url", "http://192.0.2.1/a.zip", "--output", str(work / "s")],
    )


# ---- measuring ---------------------------------------------------------------------------------------------------


def refuse(words: list[str], work: Path) -> tuple[float, float]:
    """Run a command that must fail with one sentence; return seconds and megabytes. Raises AssertionError."""
    began = time.monotonic()
    process = subprocess.Popen(
        runs.command(*words), stdout=subprocess.DEVNULL, stderr=(work / "talk").open("wb"), cwd=work, text=True
    )
    timer = threading.Timer(COMMAND_SECONDS, process.send_signal, (signal.SIGKILL,))
    timer.start()
    _, status, use = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    talk = (work / "talk").read_text(encoding="utf-8", errors="replace")
    seconds, megabytes = time.monotonic() - began, use.ru_maxrss / 1024
    assert process.returncode in (1, 2), f"{words}: exit code {process.returncode}, {talk[-500:]}"
    assert "Traceback" not in talk, f"{words}: {talk[-500:]}"
    assert megabytes < MEGABYTES, f"{words}: {megabytes:.0f} MB"
    return seconds, megabytes


def assert_untouched(work: Path) -> None:
    """Raise AssertionError if a payload ran, or an archive wrote outside its folder."""
    ran = [str(path) for path in work.rglob(CANARY)]
    outside = [str(path) for path in (*work.rglob(f"*{OUTSIDE}*"), *work.parent.glob(f"*{OUTSIDE}*"))]
    assert not ran + outside, f"{len(ran)} payloads were executed, {len(outside)} files were written outside"


@contextmanager
def lying_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if "encoded" in self.path:
                self.send_header("Content-Encoding", "gzip")
                body = gzip.compress(bytes(10**6))
            else:
                body = hostile_archive(f"../../{OUTSIDE}")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def check(work: Path, full: bool) -> str:
    work = work / "inner"  # what leaves a set by `..` stays in the work folder
    work.mkdir()
    data = runs.make_data(work / "data")
    with lying_server() as address:
        cases = [*model_cases(work), *settings_cases(work, data), *file_cases(work), *server_cases(work, address)]
        if full:
            resume_hostile_run(work, data)
        else:
            few = ("weights: a checkpoint", "card: 1024 channels", "YAML: aliases", "archive: up")
            cases = [case for case in cases if case[0] in few]
        uses = [refuse(words, work) for _, words in cases]
    assert_untouched(work)
    seconds, megabytes = (max(column) for column in zip(*uses, strict=True))
    return (
        f"{len(cases)} of {len(cases)} refused in one sentence, 0 payloads run, 0 files outside; "
        f"at most {seconds:.1f} s and {megabytes:.0f} MB"
    )


def control(work: Path) -> str:
    """The same files, opened as many programs do: plain torch.load, and tarfile's own extraction."""
    inner = work / "inner"
    inner.mkdir()
    torch.load(io.BytesIO(hostile_checkpoint(inner)), weights_only=False)
    with tarfile.open(fileobj=io.BytesIO(hostile_archive(f"../{OUTSIDE}"))) as tar:
        tar.extractall(inner)
    assert_untouched(inner)
    return "nothing ran"
