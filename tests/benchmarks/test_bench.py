"""The benchmark: its counts against the paper's figures, its reference against the method, its words and ways out."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import bench, limits, record, scaling, training
from benchmarks.__main__ import main
from benchmarks.conditions import Conditions, collect_pairs
from benchmarks.flops import step_work
from benchmarks.limits import Limits
from benchmarks.profile import profile_step
from benchmarks.reference import Reference, ReferencePairs, ReferencePatchGAN, ReferenceUNet, copy_weights
from benchmarks.rows import Row, table
from benchmarks.scaling import BESIDE, growth_row
from benchmarks.timing import Timing, faster, interleaved
from benchmarks.worker import Who, Worker
from pix2pix.config import Config, Generator, Loss, Optimizer, resolved_depth
from pix2pix.config.presets import choose_settings
from pix2pix.errors import RunError
from pix2pix.model import build_networks
from pix2pix.training.optimizers import make_adam
from pix2pix.training.step import TrainState, train_step

TINY = ("--quick", "--image-size", "32", "--base-channels", "4", "--threads", "1")


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, one repetition, and limits measured on what fits into a cache: what they are does not matter here."""
    _shorten(monkeypatch)


def _shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(Conditions, "rounds", lambda self, full: 1)
    monkeypatch.setattr(limits, "QUICK_SIDES", (128,))
    monkeypatch.setattr(limits, "QUICK_FLOATS", 2**16)
    monkeypatch.setattr(scaling, "QUICK_SHAPES", {256: (1, 2)})
    monkeypatch.setattr(training, "BATCHES", (4,))


SECTIONS = ["training", "run", "inference", "loading", "scaling"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """What the benchmarks of all sections print to stdout and stderr, bf16 included, and their plot."""
    plot, out, err = tmp_path_factory.mktemp("bench") / "growth.png", io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        _shorten(patch)
        main([*TINY, "--only", ",".join(SECTIONS), "--bf16", "--json", "--plot", str(plot)])
    return out.getvalue(), err.getvalue(), plot


def settings(size: int = 256, batch: int = 1, base: int = 64, order: str = "two-pass", **sections: Any) -> Config:
    channels = {"source_channels": 3, "target_channels": 3}
    width = {"base_channels": base}
    return choose_settings(
        None,
        None,
        None,
        {
            "data": {"image_size": size, **channels},
            "generator": {**width, **sections},
            "discriminator": width,
            "training": {"batch_size": batch, "update_order": order},
        },
    )


# ---- counting --------------------------------------------------------------------------------------------------


def test_multiply_adds_are_the_published_ones() -> None:
    work = step_work(settings())
    assert work.generator_forward / 2e9 == pytest.approx(6.05, abs=0.005)
    assert work.discriminator_forward / 2e9 == pytest.approx(3.20, abs=0.005)


@pytest.mark.parametrize(("size", "batch", "gflop"), [(256, 1, 86.9), (256, 4, 347.8), (128, 1, 21.2), (512, 1, 352.0)])
def test_a_step_is_counted(size: int, batch: int, gflop: float) -> None:
    assert step_work(settings(size, batch)).flop / 1e9 == pytest.approx(gflop, rel=0.002)


def test_a_step_is_counted_by_parts() -> None:
    work = step_work(settings())
    parts = (work.generator_forward, work.discriminator, work.generator_update)
    assert [round(part / 1e9, 1) for part in parts] == [12.1, 38.0, 36.9]
    shared = step_work(settings(order="one-pass"))
    assert work.flop - shared.flop == work.discriminator_forward
    assert work.adam_bytes == pytest.approx(28 * (54_413_955 + 2_768_705), rel=1e-3)
    assert work.floor(100e9, 10e9) == pytest.approx(work.flop / 100e9 + work.adam_bytes / 10e9)


@pytest.mark.parametrize("size", [32, 64, 256])
def test_counted_networks_have_the_layers_of_ours(size: int) -> None:
    reference = Reference(depth=resolved_depth(Generator(), (size, size)), base=4)
    counted = reference.generator, reference.discriminator
    for ours, theirs in zip(build_networks(settings(size, base=4)), counted, strict=True):
        kernels = [[weights.numel() for weights in one.parameters() if weights.ndim == 4] for one in (ours, theirs)]
        assert kernels[0] == kernels[1]


# ---- the reference ---------------------------------------------------------------------------------------------


def test_reference_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        networks = ReferenceUNet(), ReferenceUNet(depth=7), ReferencePatchGAN()
    counts = [sum(weights.numel() for weights in network.parameters()) for network in networks]
    assert counts == [54_413_955, 41_828_995, 2_768_705]


def test_reference_trains_by_the_method() -> None:
    """Five updates of the same weights on the same pairs, in float64, where rounding hides nothing."""
    torch.manual_seed(3)
    config = settings(64, 2, base=4, dropout=0.0)
    generator, discriminator = (network.double().train() for network in build_networks(config))
    reference = Reference(depth=6, base=4, dropout=0.0)
    for theirs, ours in ((reference.generator, generator), (reference.discriminator, discriminator)):
        copy_weights(theirs.double(), ours)
    adams = [make_adam(network, Optimizer()) for network in (generator, discriminator)]
    state = TrainState(generator, discriminator, *adams)

    for _ in range(5):
        source, target = torch.rand(2, 2, 3, 64, 64, dtype=torch.float64).mul(2).sub(1)
        usual = reference.step(source, target)
        terms = train_step(state, source, target, Loss(), backward=torch.Tensor.backward)
        for name, value in usual.items():
            assert terms[name].item() == pytest.approx(value.item(), rel=1e-7)
    for theirs, ours in ((reference.generator, generator), (reference.discriminator, discriminator)):
        # Weights alone: D's running averages, which training never uses, depend on whether it sees target or output
        # first, and there the usual code differs.
        for left, right in zip(theirs.parameters(), ours.parameters(), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-8)


def test_reference_pairs_share_one_draw(tmp_path: Path) -> None:
    """Two equal halves stay equal, whatever is drawn, and fill [-1, 1]."""
    ramp = Image.linear_gradient("L").resize((64, 64)).rotate(30).convert("RGB")
    both = Image.new("RGB", (128, 64))
    both.paste(ramp, (0, 0))
    both.paste(ramp, (64, 0))
    both.save(tmp_path / "pair.png")
    pairs = ReferencePairs([tmp_path / "pair.png"], image_size=64)
    drawn = [pairs[0] for _ in range(8)]
    assert all(torch.equal(left, right) and left.shape == (3, 64, 64) for left, right in drawn)
    assert len({left.sum().item() for left, _ in drawn}) > 1
    assert -1 <= drawn[0][0].min() < drawn[0][0].max() <= 1


# ---- measuring -------------------------------------------------------------------------------------------------


def test_tasks_take_turns() -> None:
    calls: list[str] = []
    tasks: dict[str, Callable[[], object]] = {name: lambda name=name: calls.append(name) for name in "ab"}
    timings = interleaved(tasks, 2)
    assert "".join(calls) == "baabba"
    assert [len(timing.seconds) for timing in timings.values()] == [2, 2]


def test_ratio_of_medians() -> None:
    ratio = faster(Timing((1.0, 1.0, 4.0)), Timing((2.0, 3.0, 40.0)))
    assert ratio.value == 3.0
    assert ratio.low < ratio.value < ratio.high


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({"value": 1.3, "must": 1.25}, "reached"),
        ({"value": 1.2, "must": 1.25}, "missed"),
        ({"value": 0.2, "must": 0.3, "at_most": True}, "reached"),
        ({"value": 0.4, "must": 0.3, "at_most": True}, "missed"),
        ({"value": 0.4}, "-"),
        ({"must": 2.0, "note": "why"}, "not measured: why"),
    ],
)
def test_verdicts(row: dict[str, Any], verdict: str) -> None:
    assert Row(section="s", work="w", **row).verdict == verdict


def test_table_is_aligned() -> None:
    rows = [Row(section="a", work="short", ours="1 ms", value=1.5, must=1.2), Row(section="b", work="a longer name")]
    head, _, first, _, second = table(rows).splitlines()
    assert head.index("verdict") == first.index("reached") == second.index("not measured")
    assert first.index("1.50 x") + len("1.50 x") == head.index("ratio") + len("ratio")


def test_growth_finds_the_most_expensive_pixel(tmp_path: Path) -> None:
    conditions = Conditions(pairs=tmp_path, scratch=tmp_path)
    straight = {}
    for pace, (size, batch) in enumerate(((256, 1), (256, 4), (512, 2)), start=1):  # the machine slows down meanwhile
        straight[f"{size} px, batch {batch}"] = (pace * size**2 * batch / 1e6,)
        straight[f"{size} px, batch {batch}{BESIDE}"] = (pace * 256**2 / 1e6,)
    row = growth_row(straight, conditions)
    assert row.value == pytest.approx(1.0)
    assert "^1.00" in row.note
    row = growth_row(straight | {"512 px, batch 2": (3.0,)}, conditions)  # 1.57 in proportion
    assert (row.ours, row.verdict) == ("512 px x 2", "missed")


def entry(value: float, **changes: Any) -> dict[str, Any]:
    row = Row(section="training", work="a step", value=value, must=1.25, raw={"ours": (1.0,)})
    return {
        "format": 1,
        "date": "2026-11-25T00:00:00+00:00",
        "machine": {"processor": "a processor", "threads": 2},
        "settings": {"judged": True, "quick": False},
        "limits": {"fp32": 2e11, "bf16": None, "bandwidth": 2e10},
        "rows": [row.to_json()],
        "seconds": 1.0,
        "complete": True,
    } | changes


def test_benchmarks_are_recorded(tmp_path: Path) -> None:
    history, page, bench = (tmp_path / name for name in ("history.jsonl", "page.md", "bench.json"))
    page.write_text(f"before\n{record.BEGIN}\n{record.END}\nafter\n")
    for value in (1.0, 1.5, 1.5):  # the last one is recorded already
        bench.write_text(json.dumps(entry(value)))
        record.main([str(bench), "--commit", "abc", "--history", str(history), "--page", str(page)])
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    assert [line["rows"][0]["verdict"] for line in lines] == ["missed", "reached"]
    assert "raw" not in lines[0]["rows"][0]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| a step | ≥ 1.25 x | 1.00 x, missed | 1.50 x, reached |" in text


def test_sections_measured_one_by_one_are_joined() -> None:
    other = Row(section="memory", work="peak", value=1.0).to_json()
    first = record.entry_of(entry(1.0), "abc")
    second = record.entry_of(entry(1.0, rows=[other], limits={"fp32": 3e11, "bf16": None, "bandwidth": 1e10}), "abc")
    whole = record.joined([first, second])
    assert [row["work"] for row in whole["rows"]] == ["a step", "peak"]
    assert (whole["limits"]["fp32"], whole["limits"]["bandwidth"], whole["seconds"]) == (3e11, 2e10, 2.0)
    with pytest.raises(ValueError, match="twice"):
        record.joined([first, first])
    with pytest.raises(ValueError, match="different machines"):
        record.joined([first, record.entry_of(entry(1.0, machine={"processor": "another"}), "abc")])


@pytest.mark.parametrize("broken", [[], entry(1.0, complete=False), entry(1.0, rows=[]), entry(1.0, limits=None)])
def test_only_whole_benchmarks_are_recorded(broken: Any, tmp_path: Path) -> None:
    history, page, bench = (tmp_path / name for name in ("history.jsonl", "page.md", "bench.json"))
    page.write_text(f"{record.BEGIN}\n{record.END}\n")
    bench.write_text(json.dumps(broken))
    with pytest.raises(SystemExit, match="cannot be recorded"):
        record.main([str(bench), "--commit", "abc", "--history", str(history), "--page", str(page)])
    assert not history.exists()
    assert "|" not in page.read_text()


# ---- the command --------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(list(words))
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_bench(measured: tuple[str, str, Path]) -> None:
    out, err, plot = measured
    assert "this will take about" in err
    found = json.loads(out)
    assert (found["complete"], found["machine"]["threads"]) == (True, 1)
    assert list(dict.fromkeys(row["section"] for row in found["rows"])) == SECTIONS
    for row in found["rows"]:
        assert row["value"] > 0, row["work"]
        assert row["must"] is None, "targets are for 256 px and 64 channels"
    assert found["limits"]["fp32"] > 1e9
    with Image.open(plot) as image:
        assert (image.format, image.width > 500) == ("PNG", True)


class Clock:
    """In place of a process that trains."""

    def __init__(self, who: Who, task: dict[str, Any]) -> None:
        pass

    def __enter__(self) -> "Clock":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self) -> float:
        return 0.1


def test_without_bf16_the_same_rows_are_named(
    capsys: pytest.CaptureFixture[str], measured: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is lost, and only those of bf16 are not measured."""
    monkeypatch.setattr(training, "Worker", Clock)
    monkeypatch.setattr(bench, "choose_precision", lambda *_: "32")
    code, out, err = run(capsys, *TINY, "--only", "training,inference", "--json")
    assert code == 0, err
    works = []
    for printed, bf16 in ((measured[0], True), (out, False)):
        found = [row for row in json.loads(printed)["rows"] if row["section"] in ("training", "inference")]
        assert all((row["value"] is not None) == (bf16 or "bf16" not in row["work"]) for row in found)
        works.append({row["work"] for row in found if row["must"] is None and "8 images" not in row["work"]})
    assert works[0] == works[1]


def test_bench_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *TINY, "--only", "startup")
    assert code == 0, err
    assert "pix2pix --help" in out
    assert "matrix multiply" in out


def test_interrupted_bench_shows_what_is_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch: list[Path] = []

    def rows(conditions: Conditions) -> Any:
        scratch.append(conditions.scratch)
        yield Row(section="loading", work="one row", value=1.0)
        raise KeyboardInterrupt

    section = bench.SECTIONS["loading"]._replace(rows=rows)
    monkeypatch.setitem(bench.SECTIONS, "loading", section)
    code, out, err = run(capsys, *TINY, "--only", "loading,scaling", "--json")
    assert code == 130, err
    found = json.loads(out)
    assert ([row["work"] for row in found["rows"]], found["complete"]) == (["one row"], False)
    assert not scratch[0].exists()


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["--only", "trainings"], 2, "--only trainings: no section of that name; known: training, run"),
        (["--image-size", "100"], 2, "--image-size 100: expected a power of two from 32"),
        (["--base-channels", "0"], 2, "--base-channels 0: expected 1 or more"),
        (["--threads", "0"], 2, "--threads 0: expected 1 or more"),
        (["--only", "loading", "--plot", "x.png"], 2, "`scaling`"),
        (["--profile", "--only", "loading"], 2, "leave --only out"),
        (["--data", "nowhere"], 1, "nowhere: no such folder"),
    ],
)
def test_misuse(capsys: pytest.CaptureFixture[str], words: list[str], code: int, reason: str) -> None:
    ended, out, err = run(capsys, *words)
    assert (ended, out) == (code, "")
    assert reason in err.splitlines()[-1]


def test_profile_accounts_for_the_step(tmp_path: Path) -> None:
    collect_pairs(None, tmp_path / "pairs", train=2, val=1, size=32)
    conditions = Conditions(
        image_size=32,
        base_channels=4,
        quick=True,
        pairs=tmp_path / "pairs",
        scratch=tmp_path,
    )
    profile = profile_step(conditions, Limits(fp32=1e11, bf16=None, bandwidth=1e10, bandwidths={}, matrices={}))
    flop = step_work(settings(32, base=4, order="one-pass")).flop
    assert sum(part.flop for part in profile.parts) == pytest.approx(flop)
    assert all(part.seconds > 0 for part in profile.parts[:-1])
    assert sum(part.seconds for part in profile.parts) == pytest.approx(profile.seconds)
    assert "D forward, 2 x" in profile.to_text()
    names = {operation.name for operation in profile.operations}
    assert any("convolution" in name or name == "aten::mm" for name in names)


@pytest.mark.parametrize("who", ["train", "nobody"])  # the others are measured above
def test_a_process_of_its_own_does_a_step_when_told_to(who: Who, tmp_path: Path) -> None:
    collect_pairs(None, tmp_path / "pairs", train=2, val=1, size=32)
    conditions = Conditions(
        image_size=32,
        base_channels=4,
        pairs=tmp_path / "pairs",
        scratch=tmp_path,
    )
    with Worker(who, conditions.task(batch=2, precision="32", order="two-pass")) as worker:
        assert 0 < worker.step() < 60
        assert worker.peak() > 100e6
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    conditions = Conditions(pairs=tmp_path / "none", scratch=tmp_path)
    with Worker("ours", conditions.task()) as worker, pytest.raises(RunError, match=r"ours.*none"):
        worker.step()
