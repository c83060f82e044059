"""Flipped bits, truncation, zeroed pages and foreign content in checkpoints and models, loaded as the commands load.

Each damage is made alone, in the newest checkpoint or in the kept model of a finished training, and then undone. A
damaged checkpoint has to be named, and the one before it be taken; a damaged model has to be refused by name.
"""

import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pix2pix.errors import ModelError, RunError
from pix2pix.model import load_model, weights
from pix2pix.system import checked_json
from pix2pix.training import checkpoint_files
from pix2pix.training.checkpoint import find_checkpoint
from tests.reliability import runs

TITLE = "flipped bits, truncation and zeroed pages in checkpoints and models"
CHECKPOINT = ("checkpoints/state.pt", "checkpoints/state.json")
MODEL = ("model/generator.safetensors", "model/discriminator.safetensors", "model/config.json")
PAGE = 4096

Damage = Callable[[random.Random, bytes], bytes]


def flip(rng: random.Random, content: bytes) -> bytes:
    """Flip one bit."""
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def truncate(rng: random.Random, content: bytes) -> bytes:
    """Keep a beginning, of 0 bytes to all but one."""
    return content[: rng.randrange(len(content))]


def zero_page(rng: random.Random, content: bytes) -> bytes:
    """Zero a page that was not all zeros, as a file has that was given its length but not its data."""
    pages = [page for page in range(0, len(content), PAGE) if any(content[page : page + PAGE])]
    page = rng.choice(pages)
    return content[:page] + bytes(len(content[page : page + PAGE])) + content[page + PAGE :]


DAMAGES: dict[str, tuple[Damage, int]] = {"flips": (flip, 200), "truncations": (truncate, 40), "pages": (zero_page, 40)}
"""Name -> what is done to a file, and how often in the full check."""


def trained(work: Path) -> Path:
    """Train to the end with a checkpoint after each epoch; return the run."""
    data = runs.make_data(work / "data")
    words = runs.train_words(data, work / "run", "--epochs", "3", "--batch-size", "3")
    runs.train_to_end(words, work / "messages", save_each_epoch)
    return work / "run"


def save_each_epoch() -> None:
    from pix2pix.training import checkpoint

    checkpoint.seconds_between_saves = lambda *_: 0.0


@contextmanager
def damaged(path: Path, content: bytes) -> Iterator[None]:
    """Replace a file by one of other content within the block, as another inode: maps of the old one stay valid."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.write_bytes(content)
    try:
        yield
    finally:
        aside.replace(path)


def load(run: Path, name: str, older: int) -> str:
    """Load what a file belongs to; return how that ended."""
    if name in CHECKPOINT:
        try:
            saved = find_checkpoint(run / "checkpoints")
        except RunError:
            return "lost"
        if saved is None or saved.progress.step != older:
            return "undetected"
        return "fell back" if Path(name).name in saved.warning else "not named"
    try:
        load_model(run, discriminator=True)
    except ModelError as error:
        return "refused" if Path(name).name in str(error) else "not named"
    return "undetected"


def measure(run: Path, full: bool) -> str:
    """Damage each file in each way; return the figures. Raises AssertionError with them if anything went unnoticed."""
    rng = random.Random(6)
    older = find_checkpoint(run / "checkpoints")
    assert older is not None
    with damaged(run / CHECKPOINT[0], b""):
        previous = find_checkpoint(run / "checkpoints")
    assert previous is not None
    assert previous.progress.step < older.progress.step
    ended: Counter[str] = Counter()
    details = []
    for name in (*CHECKPOINT, *MODEL):
        content = (run / name).read_bytes()
        for kind, (damage, times) in DAMAGES.items():
            times = times if full else times // 10
            found: Counter[str] = Counter()
            for _ in range(times):
                with damaged(run / name, damage(rng, content)):
                    found[load(run, name, previous.progress.step)] += 1
            ended += found
            good = found["fell back"] + found["refused"]
            if good < times:
                details.append(f"{Path(name).name} {kind} {times - good} of {times} wrong ({dict(found)})")
    figures = (
        f"{ended['fell back']} of {sum((times if full else times // 10) for _, times in DAMAGES.values()) * 2} damaged "
        f"checkpoints fell back, {ended['refused']} damaged models refused, {ended['undetected']} undetected"
    )
    assert not details, f"{figures}: {'; '.join(details)}"
    return figures


# ---- content that is whole but not ours ------------------------------------------------------------------------


def forge(run: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change the content of the newest checkpoint, and make its description fit."""
    folder = run / "checkpoints"
    saved = torch.load(folder / "state.pt", weights_only=True)
    change(saved)
    progress = saved["progress"]
    checkpoint_files.begin_pair(folder, lambda file: torch.save(saved, file), progress, keep_newest=False)()


def poison(saved: dict[str, object]) -> None:
    runs_first(saved["generator"]).fill_(float("nan"))


def runs_first(part: object) -> torch.Tensor:
    assert isinstance(part, dict)
    return next(value for value in part.values() if value.is_floating_point())


FORGERIES: dict[str, Callable[[dict[str, object]], object]] = {
    "a missing network": lambda saved: saved.pop("discriminator"),
    "a missing optimiser": lambda saved: saved.pop("generator_optimizer"),
    "missing moments": lambda saved: saved["generator_optimizer"]["state"].pop(0),  # type: ignore[index]
    "another shape": lambda saved: saved["generator"].update(  # type: ignore[attr-defined]
        {next(iter(saved["generator"])): torch.zeros(3)}  # type: ignore[call-overload]
    ),
    "another type": lambda saved: saved["generator"].update(  # type: ignore[attr-defined]
        {key: value.double() for key, value in saved["generator"].items()}  # type: ignore[attr-defined]
    ),
    "40 GB in 4 bytes": lambda saved: saved["generator"].update(  # type: ignore[attr-defined]
        {next(iter(saved["generator"])): torch.zeros(1).expand(10**10)}  # type: ignore[call-overload]
    ),
    "text for a number": lambda saved: saved["progress"].update(epoch="two"),  # type: ignore[attr-defined]
    "an extra name": lambda saved: saved.update(extra=torch.zeros(1)),
    "not finite": poison,
}


def resume_damaged(work: Path, run: Path, full: bool) -> str:
    """Damage copies of a run, and give the command again: it warns once, and ends with the bits of the calm run."""
    changes: dict[str, Callable[[Path], object]] = {
        "a flipped bit": lambda copy: (copy / CHECKPOINT[0]).write_bytes(
            flip(random.Random(1), (copy / CHECKPOINT[0]).read_bytes())
        ),
        **{name: lambda copy, change=change: forge(copy, change) for name, change in FORGERIES.items()},  # type: ignore[misc]
    }
    words, wrong = ["--epochs", "3", "--batch-size", "3"], []
    for number, (name, change) in enumerate(changes.items()):
        if not full and name not in ("a flipped bit", "missing moments"):
            continue
        copy = work / f"copy_{number}"
        shutil.copytree(run, copy)
        change(copy)
        messages = work / f"messages_{number}"
        runs.train_to_end(runs.train_words(work / "data", copy, *words), messages, save_each_epoch)
        said = re.findall("^warning .*", messages.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if len(said) != 1 or "state.pt" not in said[0]:
            wrong.append(f"{name}: {len(said)} warnings")
        elif different := runs.run_differences(copy, run):
            wrong.append(f"{name}: other bits in {different[0]}")
        shutil.rmtree(copy)
    assert not wrong, "; ".join(wrong)
    return f"{len(changes) if full else 2} of as many resumed to the bits of the calm run with one warning"


def refuse_all_damaged(work: Path, run: Path) -> None:
    """Damage both checkpoints: the command ends with one sentence and removes nothing."""
    copy = work / "all"
    shutil.copytree(run, copy)
    for name in ("state.pt", "previous.pt"):
        (copy / "checkpoints" / name).write_bytes(bytes(5000))
    before = sorted(path.name for path in (copy / "checkpoints").iterdir())
    done = runs.call(runs.train_command(work / "data", copy, "--epochs", "3", "--batch-size", "3"))
    assert done.returncode == 1, done.stderr[-500:]
    assert "no checkpoint can be used (state.pt: damaged" in done.stderr, done.stderr[-500:]
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (copy / "checkpoints").iterdir()) == before


def check(work: Path, full: bool) -> str:
    run = trained(work)
    figures = measure(run, full)
    resumed = resume_damaged(work, run, full)
    refuse_all_damaged(work, run)
    return f"{figures}; {resumed}; both damaged: one sentence, exit 1, nothing removed"


def control(work: Path) -> str:
    """Load without verification: nothing but torch and safetensors looks at the bytes."""
    run = trained(work)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checked_json, "_fits", lambda *_: True)
        patch.setattr(
            checkpoint_files,
            "_find_state",
            lambda folder, candidate, _: folder / checkpoint_files.STATE_OF[candidate.path.name],
        )
        patch.setattr(weights, "sha256", lambda _: AnyDigest())
        return measure(run, full=False)


class AnyDigest(str):
    """Equal to every digest."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__
