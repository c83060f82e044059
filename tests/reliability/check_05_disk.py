"""Disks that are full, folders that are gone and pairs that are spoilt while a training runs."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.reliability import runs
from tests.reliability.check_04_signals import _fork, _need_linux, _number, _slowly

TITLE = "a full disk, a removed folder, a spoilt pair while a training runs"
SECONDS = 300
WORDS = ("--epochs", "4", "--batch-size", "2", "--seed", "5", "--cache", "none")


def check(work: Path, full: bool) -> str:
    _need_linux()
    runs.warm_up()
    data = runs.make_data(work / "data")
    calm = work / "calm"
    runs.train_to_end(runs.train_words(data, calm, *WORDS), work / "calm.txt")
    mended = {"metrics.csv": _full_log, "a training pair": _spoil_pair}
    if full:
        mended |= {"TensorBoard events": _full_events}
    for what, spoil in mended.items():
        _mended(work / what.replace(" ", "-"), data, calm, what, spoil)
    gone = [_gone(work / "gone", data, rename=False), *([_gone(work / "moved", data, rename=True)] if full else [])]
    return (
        f"{', '.join(mended)}: {len(mended)} of {len(mended)} named and saved, then bitwise equal; folder gone: "
        f"{len(gone)} of {len(gone)} said so, made nothing anew"
    )


def control(work: Path) -> str:
    """A plain torch.save under the final name leaves a stub when the disk takes no more."""
    path = work / "state.pt"
    process = multiprocessing.get_context("fork").Process(target=_save_plainly, args=(path,))
    process.start()
    process.join()
    try:
        torch.load(path, weights_only=True)
    except Exception as error:
        raise AssertionError(
            f"plain torch.save left {path.stat().st_size} bytes that do not load ({type(error).__name__})"
        ) from None
    return "the file loads"


def _save_plainly(path: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        torch.save({"weights": torch.zeros(100_000)}, path)
    except Exception:
        os._exit(1)


def _mended(
    place: Path, data: Path, calm: Path, what: str, spoil: Callable[[Path, Path], Callable[[], object]]
) -> None:
    """Spoil something in mid-training: exit 1 with a sentence, all steps saved. Mend it: the bits of the calm run."""
    place.mkdir()
    own = place / "data"
    shutil.copytree(data, own)
    run, messages = place / "run", place / "said.txt"
    words = runs.train_words(own, run, *WORDS)
    process = _fork(words, messages, _slowly)
    runs.wait_until(lambda: (run / "metrics.csv").exists() and len(runs.metrics(run)) >= 2, what="an epoch")
    mend = spoil(own, run)
    code = runs.end_of(process)
    said = messages.read_text(encoding="utf-8")
    last = said.splitlines()[-1]
    assert (code, said.count("Traceback")) == (1, 0), f"{what}: exit {code}, {said[-600:]}"
    found = [last.startswith("pix2pix: "), str(place) in last, "partial" not in last, "is saved" in last]
    assert all(found), f"{what}: {last!r}"
    mend()
    runs.train_to_end(words, place / "resumed.txt")
    different = runs.run_differences(calm, run)
    assert not different, f"{what}: resumed, the run differs in {different[:3]}"


def _full_log(data: Path, run: Path) -> Callable[[], object]:
    return _fill(run / "metrics.csv")


def _full_events(data: Path, run: Path) -> Callable[[], object]:
    return _fill(next((run / "tensorboard").iterdir()))


def _fill(path: Path) -> Callable[[], object]:
    """Let a file lead to a device that is always full."""
    kept, link = path.with_name("kept"), path.with_name("link")
    shutil.copy(path, kept)
    link.symlink_to("/dev/full")
    link.replace(path)
    return lambda: kept.replace(path)


def _spoil_pair(data: Path, run: Path) -> Callable[[], object]:
    path = next((data / "train").iterdir())
    kept, status = path.read_bytes(), path.stat()
    path.write_bytes(kept[:200])

    def mend() -> None:
        path.write_bytes(kept)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return mend


def _gone(place: Path, data: Path, *, rename: bool) -> str:
    """Remove or rename the run folder in mid-training, then send SIGTERM: nothing is said to be saved, nothing made."""
    place.mkdir()
    run, messages = place / "run", place / "said.txt"
    process = _fork(runs.train_words(data, run, "--epochs", "500"), messages, _slowly)
    runs.wait_until(lambda: (run / "metrics.csv").exists() and len(runs.metrics(run)) >= 2, what="an epoch")
    run.rename(place / "other")
    if not rename:
        shutil.rmtree(place / "other")
    time.sleep(0.02)
    os.kill(_number(process), signal.SIGTERM)
    code = runs.end_of(process)
    said = messages.read_text(encoding="utf-8")
    last = said.splitlines()[-1]
    assert (code, said.count("Traceback")) == (1, 0), f"folder gone: exit {code}, {said[-600:]}"
    assert ("saved in" in last, str(run) in last) == (False, True), f"folder gone: {last!r}"
    assert not run.exists(), "the folder was made anew"
    return last
