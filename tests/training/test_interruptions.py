"""What was trained is saved after a signal and after an error between two updates, and what is said is so."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pix2pix.errors import DataError, Interrupted, RunError
from pix2pix.training import trainer as loop
from tests.reliability.runs import metrics, run_differences, saved_state
from tests.training.test_training import NO_STOP, trainer

SETTINGS: dict[str, Any] = {"training": {"epochs": 2, "samples": 0}, "data": {"cache": "none"}}


@pytest.fixture(scope="module")
def calm(facades: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calm") / "run"
    trainer(facades, folder, **SETTINGS).fit(NO_STOP)
    return folder


def ends_with(going: loop.Trainer, kind: type[BaseException], stop: Callable[[], int | None] = NO_STOP) -> str:
    """Train to an error of this kind, and return its sentence."""
    try:
        going.fit(stop)
    except kind as error:
        return str(error)
    raise AssertionError("no error")


def test_a_pair_that_is_spoilt_loses_nothing(facades: Path, calm: Path, tmp_path: Path) -> None:
    own, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(facades, own)
    going = trainer(own, run, **SETTINGS)
    index = going.loader._sampler._order()[4]  # in the third batch of the first epoch
    path = going.loader.dataset.pairs[index].source.path
    kept = path.with_suffix(".kept")
    path.rename(kept)
    said = ends_with(going, DataError)
    assert str(path) in said
    assert "until step 2 is saved: put the file back" in said
    kept.rename(path)
    again = trainer(own, run, **SETTINGS)
    assert again.progress.step == 2
    again.fit(NO_STOP)
    assert run_differences(calm, run) == []


def test_a_signal_does_not_wait_for_the_validation(
    facades: Path, calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, signals = tmp_path / "run", list[int]()
    going = trainer(facades, run, **SETTINGS)
    assert going.validation is not None
    score = going.validation._score

    def score_and_stop(*words: Any) -> Any:
        signals.append(15)
        return score(*words)

    monkeypatch.setattr(going.validation, "_score", score_and_stop)
    with pytest.raises(Interrupted):
        going.fit(lambda: signals[0] if signals else None)
    assert not (run / "model").exists(), "the epoch's end is left to the next run"
    trainer(facades, run, **SETTINGS).fit(NO_STOP)
    assert run_differences(calm, run) == []


def test_an_error_within_an_update_saves_nothing(
    facades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, step, calls = trainer(facades, tmp_path / "run", **SETTINGS), loop.train_step, list[int]()

    def fail_at_third(*words: Any, **options: Any) -> dict[str, torch.Tensor]:
        calls.append(1)
        terms = step(*words, **options)
        if len(calls) == 3:
            raise MemoryError
        return terms

    monkeypatch.setattr(loop, "train_step", fail_at_third)
    ends_with(going, MemoryError)
    assert saved_state(tmp_path / "run")["progress"]["step"] == 0


def test_a_folder_that_is_gone_is_never_said_to_be_saved(facades: Path, tmp_path: Path) -> None:
    run, calls = tmp_path / "run", list[int]()
    going = trainer(facades, run, **SETTINGS)

    def stop() -> int | None:
        calls.append(1)
        if len(calls) == 2:
            run.rename(tmp_path / "moved")
        return 15 if len(calls) == 2 else None

    said = ends_with(going, RunError, stop)
    assert said.startswith(f"{run}: was removed or renamed")
    assert not run.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("what", ["metrics.csv", "tensorboard"])
def test_full_logs_name_their_file(facades: Path, calm: Path, tmp_path: Path, what: str) -> None:
    run = tmp_path / "run"
    going = trainer(facades, run, **SETTINGS)
    (path,) = (run / what).iterdir() if what == "tensorboard" else [run / what]
    kept = path.read_bytes()
    path.unlink()
    path.symlink_to("/dev/full")
    said = ends_with(going, OSError)
    assert str(path) in said
    assert "is saved" in said
    path.unlink()
    path.write_bytes(kept)
    trainer(facades, run, **SETTINGS).fit(NO_STOP)
    assert metrics(run) == metrics(calm)
    assert run_differences(calm, run) == []


def test_a_row_that_does_not_fit_leaves_whole_rows(facades: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    run = tmp_path / "run"
    going = trainer(facades, run, **SETTINGS)
    header = (run / "metrics.csv").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (header + 10, before[1]))
    try:
        with pytest.raises(OSError, match=r"metrics\.csv"):
            going.writer.write_metrics("train", {"g_l1": 0.5}, loop.Speed(0.1, 1, 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (run / "metrics.csv").stat().st_size == header


def test_events_can_be_read_by_tensorboard(calm: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(calm / "tensorboard"))
    events.Reload()
    read = [(event.step, event.value) for event in events.Scalars("g_l1/train")]
    written = [(int(row["step"]), float(row["g_l1"])) for row in metrics(calm) if row["split"] == "train"]
    assert [step for step, _ in read] == [step for step, _ in written]
    assert [value for _, value in read] == pytest.approx([value for _, value in written], rel=1e-5)
