"""Stop signals at random moments of trainings: exit codes, what is saved, orphans, and the time to the exit."""

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pix2pix.training import train, trainer
from tests.reliability import NotRun, runs

TITLE = "SIGINT, SIGTERM, SIGHUP and SIGUSR1 at random moments; second signals; killed loader processes"
SECONDS = 600
KINDS = tuple(getattr(signal, name, 0) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"))
WORDS = ("--epochs", "6", "--batch-size", "2", "--seed", "5", "--cache", "none")
RESUME = "run the same command again"


def check(work: Path, full: bool) -> str:
    _need_linux()
    runs.warm_up()
    data = runs.make_data(work / "data")
    calm = work / "calm"
    runs.train_to_end(runs.train_words(data, calm, *WORDS), work / "calm.txt")
    rng, tally, seconds = random.Random(4), Counter[str](), list[float]()
    wanted, turns = (48, 6) if full else (2, 3)
    workers = 0
    while (sent := sum(tally[kind] for kind in ("saved", "early"))) < wanted:
        run = work / f"run{workers}-{sent}"
        words = runs.train_words(data, run, *WORDS, "--workers", str(workers % 3))
        _disturb(words, run, turns, rng, tally, seconds)
        different = runs.run_differences(calm, run)
        assert not different, f"after signals the run differs from the calm one in {different[:3]}"
        tally["runs"] += 1
        workers += 1
    ended = _second_signal(work, data)
    figures = [
        f"{tally['saved']} signals saved, {tally['early']} came outside the training",
        f"{tally['runs']} runs bitwise equal, 0 orphans",
        f"signal to exit {sorted(seconds)[len(seconds) // 2]:.2f} s (median), {max(seconds):.2f} s (most)",
        f"a second signal of another kind ends after {ended:.2f} s",
    ]
    if full:
        figures += [_killed_loader(work, data, calm), _processes(work, data)]
    return "; ".join(figures)


def control(work: Path) -> str:
    """Without handlers, the code is another one and what was trained since the last save is lost."""
    _need_linux()
    runs.warm_up()
    data = runs.make_data(work / "data")

    def without_handlers() -> None:
        @contextlib.contextmanager
        def nothing(*_: Any, **__: Any) -> Iterator[Callable[[], None]]:
            for number in KINDS:
                signal.signal(number, signal.SIG_DFL)
            yield lambda: None

        train.note_stop_signals = nothing  # type: ignore[assignment]

    run = work / "run"
    process = _fork(runs.train_words(data, run, "--epochs", "500"), work / "said.txt", without_handlers)
    runs.wait_until(lambda: len(runs.metrics(run)) > 3 if (run / "metrics.csv").exists() else False)
    os.kill(_number(process), signal.SIGTERM)
    code = runs.end_of(process)
    saved = (work / "said.txt").read_text(encoding="utf-8").count("interrupted and saved")
    assert (code, saved) == (143, 1), f"without handlers: exit {code}, said to be saved {saved} times"
    return f"exit {code}"


def _disturb(
    words: list[str | Path], run: Path, turns: int, rng: random.Random, tally: Counter[str], seconds: list[float]
) -> None:
    """Repeat a training, and send it a signal at a random moment each time, until it ends by itself."""
    for turn in range(turns):
        messages = run.with_name(f"{run.name}-{turn}.txt")
        process = _fork(words, messages)
        _wait_for_start(process, run, messages, trains=rng.random() < 0.8)
        time.sleep(rng.uniform(0, 0.5))
        kind, to_group = rng.choice(KINDS), rng.random() < 0.5
        below = runs.children(_number(process))
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):  # it has ended
            (os.killpg if to_group else os.kill)(_number(process), kind)
        code = runs.end_of(process)
        took = time.monotonic() - began
        said = messages.read_text(encoding="utf-8", errors="replace")
        _no_orphans(below)
        if code == 0:
            return
        assert code == 128 + kind, f"{signal.Signals(kind).name}: exit {code}, said {said[-400:]!r}"
        last = said.splitlines()[-1]
        whole = (last.startswith("pix2pix: interrupted"), RESUME in last)
        assert whole == (True, True), f"{signal.Signals(kind).name}: {last!r}"
        assert "Traceback" not in said, said[-800:]
        if "interrupted and saved" in last:
            tally["saved"] += 1
            if kind != signal.SIGINT:  # after Ctrl-C the report is drawn
                seconds.append(took)
        else:
            tally["early"] += 1
    runs.train_to_end(words, run.with_name(f"{run.name}-end.txt"))


def _wait_for_start(process: BaseProcess, run: Path, messages: Path, *, trains: bool) -> None:
    """Wait until a command runs, or until it `trains`."""
    anew = not (run / "checkpoints" / "state.json").exists()
    runs.wait_until(messages.exists, what="the start")

    def has_begun() -> bool:
        begun = (run / "checkpoints" / "state.json").exists() if anew else "resuming from" in messages.read_text()
        return begun or not process.is_alive()

    if trains:
        runs.wait_until(has_begun, what="the training")


def _second_signal(work: Path, data: Path) -> float:
    """Send SIGHUP, then SIGTERM, to a training whose update never ends. Return the seconds to the exit."""

    def endless() -> None:
        trainer.train_step = lambda *_, **__: time.sleep(600)  # type: ignore[assignment,return-value]

    messages = work / "second.txt"
    process = _fork(runs.train_words(data, work / "second"), messages, endless)
    runs.wait_until(lambda: (work / "second" / "checkpoints" / "state.pt").exists(), what="the first save")
    time.sleep(1)
    os.kill(_number(process), signal.SIGHUP)
    time.sleep(1)
    assert process.is_alive(), "the first signal ended an update in progress"
    began = time.monotonic()
    os.kill(_number(process), signal.SIGTERM)
    code = runs.end_of(process, 20)
    assert code == 143, f"second signal: exit {code}"
    return time.monotonic() - began


def _killed_loader(work: Path, data: Path, calm: Path) -> str:
    """Kill a loader process: the training goes on, and ends with the bits of the calm one."""
    run, messages = work / "loader", work / "loader.txt"
    process = _fork(runs.train_words(data, run, *WORDS, "--workers", "2"), messages, _slowly)
    workers = runs.wait_until(lambda: runs.children(_number(process)), what="loader processes")
    time.sleep(0.5)
    os.kill(workers[0], signal.SIGKILL)
    code = runs.end_of(process)
    said = messages.read_text(encoding="utf-8")
    assert (code, said.count("started anew")) == (0, 1), f"killed loader: exit {code}, {said[-500:]}"
    different = runs.run_differences(calm, run)
    assert not different, f"after a killed loader the run differs in {different[:3]}"
    return "a killed loader process is replaced, bitwise equal"


def _processes(work: Path, data: Path) -> str:
    """Stop a training of two processes, started as users do."""
    run = work / "two"
    words = runs.train_command(data, run, "--epochs", "500", "--devices", "2")
    with runs.started(words, start_new_session=True) as process:
        runs.wait_until(lambda: (run / "checkpoints" / "state.pt").exists(), timeout=120, what="the first save")
        time.sleep(2)
        below = runs.children(process.pid)
        began = time.monotonic()
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGUSR1, said[-500:]
    took = time.monotonic() - began
    _no_orphans(below)
    assert "interrupted and saved" in said, said[-500:]
    return f"--devices 2 exits after {took:.2f} s"


def _slowly() -> None:
    """Let each update take longer, so that there is time to interfere."""
    step = trainer.train_step

    def slow(*words: Any, **options: Any) -> Any:
        time.sleep(0.05)
        return step(*words, **options)

    trainer.train_step = slow


def _fork(words: Sequence[str | Path], messages: Path, prepare: Callable[[], object] = lambda: None) -> BaseProcess:
    """Start the command line with its handlers in a fork, as the leader of a process group."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(words, messages, prepare))
    process.start()
    return process


def _run(words: Sequence[str | Path], messages: Path, prepare: Callable[[], object]) -> None:
    from pix2pix.cli.main import main
    from pix2pix.system.signals import raise_interrupted

    descriptor = os.open(messages.with_suffix(".new"), os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False, encoding="utf-8") for stream in (1, 2))
    os.setsid()
    prepare()
    for number in KINDS[1:]:
        signal.signal(number, signal.SIG_DFL)
    try:
        with raise_interrupted():
            messages.with_suffix(".new").rename(messages)  # from here on signals are handled
            main([str(word) for word in words])
    except KeyboardInterrupt as interrupt:  # between here and the handlers of `main`
        print(f"pix2pix: {interrupt}", file=sys.stderr)
        sys.exit(128 + getattr(interrupt, "signal", signal.SIGINT))


def _no_orphans(numbers: Sequence[int]) -> None:
    """Raise AssertionError if a process still lives a moment after the training has ended."""
    time.sleep(0.3 if numbers else 0)
    left = [number for number in numbers if runs.is_alive(number)]
    assert not left, f"{len(left)} orphans"


def _number(process: BaseProcess) -> int:
    assert process.pid is not None
    return process.pid


def _need_linux() -> None:
    if not sys.platform.startswith("linux"):
        raise NotRun("processes are listed by /proc")
