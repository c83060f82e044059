"""A training that was interrupted and resumed equals an uninterrupted one, bit for bit.

Real signals reach forked processes at exact moments. Compared are both networks, both Adams, the moving average, the
progress that determines all randomness, the kept model, and metrics.csv without timing.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pix2pix.training import trainer
from pix2pix.training.validation import Validation
from tests.reliability import runs

TITLE = "resumed equals uninterrupted, bit for bit"
SECONDS = 900  # several times what it takes
STEPS = 16  # 4 epochs of 4
WORDS = (
    "--epochs", "4", "--batch-size", "3", "--discriminator-epochs", "1", "--ema", "0.9", "--schedule",
    "linear", "--photometric", "0.5", "--affine", "0.5", "--validate-every", "1",
)  # fmt: skip
CUTS: dict[str, tuple[int | str, ...]] = {
    "step 1": (1,),
    "mid-epoch": (6,),
    "end of the discriminator warm-up": (4,),
    "epoch end": (8,),
    "last step": (STEPS - 1,),
    "during validation": ("validation 2",),
    "twice in one epoch": (5, 6),
    "four times": (2, "validation 1", 7, 13),
}
"""Name -> steps, counted from the beginning, or validations, in which a signal comes."""
SMOKE = [("twice in one epoch", 0), ("during validation", 0), ("end of the discriminator warm-up", 1)]


def interrupt_at(cut: int | str, number: int, done: int) -> Callable[[], None]:
    """Return a function that makes this process signal itself in a step or a validation; `done` steps are behind."""

    def prepare() -> None:
        step, run, steps = trainer.train_step, Validation.run, [done]

        def counted(*words: Any, **options: Any) -> Any:
            steps[0] += 1
            if steps[0] == cut:
                os.kill(os.getpid(), number)
            return step(*words, **options)

        def validated(validation: Validation, epoch: int, *words: Any) -> dict[str, float]:
            if f"validation {epoch}" == cut:
                os.kill(os.getpid(), number)
            return run(validation, epoch, *words)

        trainer.train_step, Validation.run = counted, validated  # type: ignore[method-assign]

    return prepare


def steps_done(run: Path) -> int:
    return int(runs.saved_state(run)["progress"]["step"]) if (run / "checkpoints").exists() else 0


def train_in_pieces(words: list[str | Path], run: Path, cuts: tuple[int | str, ...], *first: Callable[[], None]) -> int:
    """Train with an interruption at each cut, then to the end; return the number of resumptions.

    `first` are called in every process after the first.
    """
    messages = run.with_suffix(".txt")
    for index, cut in enumerate(cuts):
        number = (signal.SIGTERM, signal.SIGINT)[index % 2]
        interrupt = interrupt_at(cut, number, steps_done(run))
        calls = (*(first if index else ()), interrupt)
        code = runs.end_of(runs.fork(words, messages, lambda calls=calls: [call() for call in calls]))
        if code != 128 + number:
            raise runs.Unexpected(f"exit {code} at {cut}: {messages.read_text(encoding='utf-8')[-1000:]}")
    runs.train_to_end(words, messages, lambda: [call() for call in first])
    return len(cuts)


def check(work: Path, full: bool) -> str:
    runs.warm_up()
    data = runs.make_data(work / "data")
    plan = [(cut, workers, "one-pass") for cut in CUTS for workers in (0, 1, 2)] if full else [
        (cut, workers, "one-pass") for cut, workers in SMOKE
    ]  # fmt: skip
    plan += [("mid-epoch", 0, "two-pass"), ("during validation", 0, "two-pass")] if full else []
    equal, resumed, different = 0, 0, list[str]()
    for order in dict.fromkeys(order for *_, order in plan):
        words = (*WORDS, "--update-order", order)
        calm = work / f"calm {order}"
        runs.train_to_end(runs.train_words(data, calm, *words), work / "messages", None)
        for cut, workers, own in plan:
            if own == order:
                run = work / f"{cut}, {workers} workers, {order}"
                command = runs.train_words(data, run, *words, "--workers", str(workers))
                resumed += train_in_pieces(command, run, CUTS[cut])
                found = runs.run_differences(run, calm)
                equal += not found
                different += [f"{run.name}: {len(found)} differences, such as {found[0]}"] if found else []
    figures = f"{equal} of {len(plan)} interrupted trainings equal, {resumed} resumptions"
    assert equal == len(plan), f"{figures}; {'; '.join(different)}"
    return figures


def control(work: Path) -> str:
    """After a resumption, dropout continues with whatever the process draws, as if the state of torch were lost."""

    def unseeded() -> None:
        trainer.seed_step = lambda *_: None

    runs.warm_up()
    data, calm, run = runs.make_data(work / "data"), work / "calm", work / "run"
    runs.train_to_end(runs.train_words(data, calm, *WORDS), work / "messages")
    train_in_pieces(runs.train_words(data, run, *WORDS), run, CUTS["mid-epoch"], unseeded)
    found = runs.run_differences(run, calm)
    assert not found, f"another dropout stream: {len(found)} differences"
    return "another dropout stream: 0 differences"
