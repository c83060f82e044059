"""Runs side by side: what is said of them against their own files, and of runs that cannot be compared."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from html_page import Page
from PIL import Image

import pix2pix
from pix2pix.cli import main
from pix2pix.config.io import merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.errors import ConfigError, ModelError
from pix2pix.evaluation.compare_images import draw_differences
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.evaluation.run_records import read_run
from pix2pix.reports.advice import describe_comparison
from pix2pix.reports.curves import read_metrics
from pix2pix.training.train import train_with


@pytest.fixture(scope="module")
def two(run: Path, facades: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of the usual loss and one without D, both evaluated; tests only read them."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(run, folder / "usual")
    settings = merge_settings(TINY, {"loss": {"adversarial_weight": 0}})
    train_with(choose_settings(facades, None, None, settings), folder / "plain")
    for name in ("usual", "plain"):
        evaluate(folder / name, facades, device="cpu")
    return folder / "usual", folder / "plain"


def copies(two: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    for run in two:
        shutil.copytree(run, folder / run.name)
    return folder / "usual", folder / "plain"


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def measured(run: Path, metric: str) -> list[float]:
    with (run / "evaluation/test/per_image.csv").open(encoding="utf-8", newline="") as file:
        return [float(row[metric]) for row in csv.DictReader(file)]


def test_two_runs_against_their_own_files(two: tuple[Path, Path], tmp_path: Path) -> None:
    done = pix2pix.compare(*two, output=tmp_path, device="cpu")
    results = done.results
    assert list(results["runs"]) == ["usual", "plain"]
    assert results["differences"] == {
        "loss.adversarial_weight": {"usual": 1.0, "plain": 0.0},
        "training.best_by": {"usual": "last", "plain": "l1"},
    }
    assert (results["notes"], results["same_data"]) == ([], True)
    assert results["runs"]["usual"]["parameters"]["discriminator"] > 0
    assert results["runs"]["plain"]["parameters"]["discriminator"] is None
    for metric, better in (("l1", min), ("psnr", max), ("ssim", max)):
        rows = {run.name: [row for row in read_metrics(run / "metrics.csv") if row.split == "val"] for run in two}
        best = {name: better(row.values[metric] for row in own) for name, own in rows.items()}
        row = results["validation"][metric]
        assert {name: one["value"] for name, one in row["values"].items()} == best
        assert best[row["best"]] == better(best.values())
        test = results["evaluations"]["test"]["metrics"][metric]
        means = {run.name: float(np.mean(measured(run, metric))) for run in two}
        assert test["values"] == pytest.approx(means, rel=1e-4)
        assert means[test["best"]] == better(means.values())
        (difference,) = test["against"].values()
        assert abs(difference["difference"]) == pytest.approx(
            abs(means["usual"] - means["plain"]), abs=1e-5 * means["usual"]
        )
        low, high = difference["interval"]
        assert low <= difference["difference"] <= high
        assert difference["clear"] is None  # too few images
    assert any("too few to conclude anything" in said for said in results["findings"])
    assert not any("is best by" in said for said in results["findings"])
    assert done.page == tmp_path / "compare.html"
    page = Page(done.page)
    page.check_self_contained()
    cards = page.source.count('class="card"')
    assert 1 <= cards <= 4
    pictures = sum(link.startswith("data:image/") for link in page.links)
    assert pictures == 1 + cards * (2 * 2 + 2 * 4) + 3 * (2 + 2)  # legend, where they differ most, the same inputs
    for words in (
        "Where the runs differ most",
        "differ in 2 settings",
        "loss.adversarial_weight",
        "Best by validation:",
        "1/2 is chance",
    ):
        assert words in page.text
    assert ["usual" in svg and "plain" in svg for svg in page.source.split("<svg")[1:]].count(True) >= 4
    assert page.source.count("log 2 = chance") == 3
    assert json.loads((tmp_path / "compare.json").read_text("utf-8")) == json.loads(json.dumps(results))


def test_differences_are_taken_image_by_image(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Images differ far more than the runs do, and yet the runs are told apart."""
    runs = copies(two, tmp_path)
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.1, 0.5, 40)
    for run, worse in zip(runs, (0.0, 0.01), strict=True):
        values = hard + worse + rng.normal(size=40) * 0.003
        rows = "".join(f"{n},{value:.6g}\n" for n, value in enumerate(values))
        (run / "evaluation/test/per_image.csv").write_text(f"name,l1\n{rows}")
        path = run / "evaluation/test/metrics.json"
        metrics = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(metrics | {"l1": float(values.mean()), "images": 40}))
    results = pix2pix.compare(*runs).results
    row = results["evaluations"]["test"]["metrics"]["l1"]
    low, high = row["against"]["plain"]["interval"]
    assert row["best"] == "usual"
    assert -0.014 < low < -0.01 < high < -0.006
    assert any("On 40 test images usual is best by l1" in said and "more than" in said for said in results["findings"])
    for run in runs:  # a target that is one hole counts for nothing, and two perfect copies have no interval
        with (run / "evaluation/test/per_image.csv").open("a") as file:
            file.write("hole,nan\n")
    again = pix2pix.compare(*runs).results["evaluations"]["test"]["metrics"]["l1"]["against"]["plain"]
    assert again["interval"] == pytest.approx((low, high))
    for run in runs:
        changed(run / "evaluation/test/per_image.csv", "hole,nan", "copy,inf")
    assert (
        pix2pix.compare(*runs).results["evaluations"]["test"]["metrics"]["l1"]["against"]["plain"]["interval"] is None
    )
    changed(runs[1] / "evaluation/test/per_image.csv", "\n7,", "\nseven,")
    other = pix2pix.compare(*runs).results
    assert "different images" in other["evaluations"]["test"]["not_paired"]
    assert other["evaluations"]["test"]["metrics"]["l1"]["best"] is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("data_fingerprint: ", "data_fingerprint: f", "trained on different data (usual; plain)"),
        ("image_size: 32", "image_size: 64", "at different sizes (usual 32, plain 64)"),
        ("direction: BtoA", "direction: AtoB", "in different directions"),
    ],
)
def test_runs_that_did_not_do_the_same(two: tuple[Path, Path], tmp_path: Path, old: str, new: str, words: str) -> None:
    runs = copies(two, tmp_path)
    changed(runs[1] / "config.yaml", "load_size: 36", "load_size: 72")
    changed(runs[1] / "config.yaml", old, new)
    done = pix2pix.compare(*runs, output=tmp_path / "out", device="cpu")
    assert words in done.results["notes"][0]
    assert words in done.results["findings"][0]
    assert all(row["best"] is None and len(row["values"]) == 2 for row in done.results["validation"].values())
    assert words in Page(tmp_path / "out/compare.html").text


def test_a_run_that_is_being_trained(two: tuple[Path, Path], tmp_path: Path) -> None:
    usual, plain = copies(two, tmp_path)
    runs = usual, plain.rename(tmp_path / "target")  # as a column is called, too
    changed(runs[0] / "config.yaml", "epochs: 2", "epochs: 9")
    state = runs[0] / "checkpoints/state.json"
    changed(state, '"finished": true', '"finished": false')
    with (runs[0] / "metrics.csv").open("a") as file:
        file.write("15,3,30,tr")
    shutil.rmtree(runs[0] / "model")
    done = pix2pix.compare(*runs, output=tmp_path / "out", device="cpu")
    assert done.results["runs"]["usual"]["state"] == "unfinished"
    assert any("usual has done 2 of 9 epochs" in said for said in done.results["findings"])
    page = Page(tmp_path / "out/compare.html")
    assert "No model yet: usual." in page.text
    assert "None are shown, as usual has no model yet." in page.text
    assert sum(link.startswith("data:image/") for link in page.links) == 3 * (2 + 1)


def test_an_evaluation_of_version_0_1_is_read(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Its diagnostics were called health."""
    runs = copies(two, tmp_path)
    expected = pix2pix.compare(*runs).results["evaluations"]
    for run in runs:
        changed(run / "evaluation/test/metrics.json", '"diagnostics": {', '"health": {')
    assert pix2pix.compare(*runs).results["evaluations"] == expected
    assert expected["test"]["metrics"]["gradient_ratio"]["values"].keys() == {"usual", "plain"}


def test_an_evaluation_of_an_older_model_is_marked(two: tuple[Path, Path], tmp_path: Path) -> None:
    runs = copies(two, tmp_path)
    path = runs[0] / "evaluation/test/metrics.json"
    metrics = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(metrics | {"epoch": metrics["epoch"] - 1}))
    done = pix2pix.compare(*runs, output=tmp_path / "out", device="cpu")
    sentence = f"Measured on epoch {metrics['epoch'] - 1}; the model is now epoch {metrics['epoch']}: run"
    assert list(done.results["evaluations"]["test"]["outdated"]) == ["usual"]
    assert [said for said in done.results["findings"] if sentence in said]
    assert f"usual: {sentence}" in Page(tmp_path / "out/compare.html").text


def test_fid_of_different_networks_is_not_compared(two: tuple[Path, Path], tmp_path: Path) -> None:
    runs = copies(two, tmp_path)
    for networks, best in ((("Textures", "Textures"), "plain"), (("Textures", None), None)):
        for run, fid, network in zip(runs, (3.0, 2.0), networks, strict=True):
            path = run / "evaluation/test/metrics.json"
            metrics = json.loads(path.read_text("utf-8"))
            path.write_text(json.dumps(metrics | {"fid": fid, "features": network}))
        assert pix2pix.compare(*runs).results["evaluations"]["test"]["metrics"]["fid"]["best"] == best


def test_outputs_that_do_not_fit_their_numbers_are_not_shown(two: tuple[Path, Path], tmp_path: Path) -> None:
    runs = copies(two, tmp_path)
    records = [read_run(run, run.name) for run in runs]
    shown = draw_differences(records, "test")
    assert (shown.note, shown.images) == ("", 3)
    for one in shown.differences:
        for name, values in one.values.items():
            place = [row.name for row in sorted((runs[0] / "evaluation/test/outputs").iterdir())].index(
                f"{one.name}.png"
            )
            assert values == pytest.approx({run.name: measured(run, name)[place] for run in runs})
            apart = [abs(a - b) for a, b in zip(measured(runs[0], name), measured(runs[1], name), strict=True)]
            assert apart[place] == max(apart)
    output = runs[1] / "evaluation/test/outputs" / f"{shown.differences[0].name}.png"
    with Image.open(output) as image:
        size = image.size
    Image.new("RGB", size, "red").save(output)
    assert f"{output} and its target do not give the measured l1" in draw_differences(records, "test").note
    output.unlink()
    assert (
        draw_differences(records, "test").note
        == f"None are shown, as {output} is missing: run `pix2pix evaluate` again."
    )


def test_data_that_are_gone(two: tuple[Path, Path], tmp_path: Path) -> None:
    runs = copies(two, tmp_path)
    for run in runs:
        text = (run / "config.yaml").read_text("utf-8")
        path = next(line for line in text.splitlines() if line.startswith("  path: "))
        changed(run / "config.yaml", path, f"  path: {tmp_path / 'nowhere'}")
    page = Page(pix2pix.compare(*runs, output=tmp_path / "out", device="cpu").page or Path())
    assert "the pairs cannot be found" in page.text
    assert not any(link.startswith("data:image/") for link in page.links)


def empty(run: Path) -> Path:
    (run / "metrics.csv").write_text((run / "metrics.csv").read_text().splitlines()[0] + "\n")
    return run


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda run: None, ConfigError, "two runs or more"),
        (lambda run: run / "model" / "..", ConfigError, "given twice"),
        (lambda run: run / "model", ModelError, "a model folder, without curves; give its run folder"),
        (lambda run: run / "absent", ModelError, "no such run folder"),
        (lambda run: run / "samples", ModelError, "not a run folder"),
        (lambda run: empty(Path(shutil.copytree(run, run.parent / "empty"))), ModelError, "no epoch has been finished"),
    ],
)
def test_refusals(
    two: tuple[Path, Path], tmp_path: Path, make: Callable[[Path], Path | None], kind: Any, words: str
) -> None:
    run, _ = copies(two, tmp_path)
    other = make(run)
    with pytest.raises(kind, match=words):
        pix2pix.compare(*filter(None, (run, other)), output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_from_the_command_line(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["compare", *map(str, two), "--json"])
    results = json.loads(capsys.readouterr().out)
    assert not list(tmp_path.iterdir())
    main(["compare", *map(str, two), "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [*(f"- {finding}" for finding in results["findings"]), "runs/compare/compare.html"]


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ({"data.path": {}, "provenance.torch": {}}, "settings that matter are the same"),
        ({"training.seed": {}}, "in the seed alone"),
        ({"training.seed": {}, "loss.l1_weight": {}}, "in loss.l1_weight and in the seed:"),
        ({"training.batch_size": {}, "training.norm_statistics": {}}, "in training.batch_size:"),
        ({"loss.l1_weight": {}, "loss.l2_weight": {}}, "in 2 settings: loss.l1_weight and loss.l2_weight. So no"),
        (
            {"loss.l1_weight": {}, "training.batch_size": {}, "training.norm_statistics": {}, "data.path": {}},
            "in 2 settings: loss.l1_weight and training.batch_size (the others in the table, 2, follow from these",
        ),
    ],
)
def test_what_a_difference_may_be_laid_to(differences: Any, words: str) -> None:
    empty = {"runs": {}, "notes": [], "validation": {}, "evaluations": {}, "same_data": True}
    assert words in " ".join(describe_comparison(empty | {"differences": differences}))
