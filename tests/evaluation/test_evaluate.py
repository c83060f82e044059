"""The numbers of an evaluation, against the same computed by other means from the files and the saved weights."""

import csv
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from numpy.typing import NDArray
from PIL import Image

import pix2pix
from pix2pix.cli import main
from pix2pix.config.evaluation import EvaluateOptions
from pix2pix.config.io import make_config, merge_settings
from pix2pix.config.presets import choose_settings
from pix2pix.data.io import images
from pix2pix.errors import ConfigError, DataError
from pix2pix.evaluation.evaluate import evaluate
from pix2pix.evaluation.write import to_json
from pix2pix.metrics.pixel import ACCURACIES
from pix2pix.model import Model, build_networks, load_model, make_model_config
from pix2pix.reports.curves import read_metrics
from pix2pix.synthetic.facades import make_facades
from pix2pix.system.reading import parse_json
from pix2pix.training.train import train_with

SIZE = 40  # of the facades and of the networks here: nothing is resized
FOUR = ("g_adversarial", "g_l1", "d_real", "d_fake")
PICTURES = ("g_l1", "g_l2", "l1", "l2", "psnr", "ssim")
OWN = ("mae", "rmse")
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the facades' own size, with a discriminator that has opinions."""
    return save_model(tmp_path_factory.mktemp("models") / "native")


def save_model(folder: Path, data: Any = None, channels: int = 3, **loss: Any) -> Path:
    counts = {"source_channels": channels, "target_channels": channels}
    size = {"data": {"image_size": SIZE, **counts}, "generator": {"depth": 3}}
    config = make_config(merge_settings(TINY, size, {"loss": loss, "data": data or {}}))
    torch.manual_seed(0)
    generator, discriminator = build_networks(config)
    with torch.no_grad():
        for weights in [*generator.parameters(), *discriminator.parameters()]:
            if weights.ndim == 4:
                weights.mul_(5)
    card = make_model_config(config, "image", (1.0, 1.0), converts=False, epoch=1, validation={})
    Model(generator, discriminator, card).save(folder)
    return folder


def halves(path: Path) -> tuple[Array, Array]:
    """A side-by-side facade -> its labels, which are the source of BtoA, and its photo, (H, W, C) in [-1, 1]."""
    pixels = np.asarray(Image.open(path)).astype(np.float64) / 255 * 2 - 1
    return pixels[:, SIZE:], pixels[:, :SIZE]


def split_of(data: Path, split: str) -> dict[str, tuple[Array, Array]]:
    return {path.stem: halves(path) for path in sorted((data / split).iterdir())}


def picture_metrics(output: Array, target: Array) -> dict[str, float]:
    """As the definitions say, but for SSIM."""
    g_l1, g_l2 = float(np.abs(output - target).mean()), float(((output - target) ** 2).mean())
    return {"g_l1": g_l1, "g_l2": g_l2, "l1": g_l1 / 2, "l2": g_l2 / 4, "psnr": float(10 * np.log10(4 / g_l2))}


def ssim(output: Array, target: Array) -> float:
    """Wang et al. 2004 on pictures from black 0 to white 1, over windows of 11x11 around every pixel."""
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2

    def mean(x: Array) -> Array:
        padded = np.pad(x, [(5, 5), (5, 5), (0, 0)], mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, (11, 11), axis=(0, 1))
        return np.asarray((views * window).sum(axis=(-2, -1)))

    output, target = (output + 1) / 2, (target + 1) / 2
    x, y = mean(output), mean(target)
    xx, yy, xy = mean(output**2) - x**2, mean(target**2) - y**2, mean(output * target) - x * y
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * x * y + c1) * (2 * xy + c2) / ((x**2 + y**2 + c1) * (xx + yy + c2))).mean())


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def tensor(picture: Array) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "per_image.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---- the numbers -----------------------------------------------------------------------------------------------


def test_every_number_against_its_definition(model: Path, facades: Path, tmp_path: Path) -> None:
    result = evaluate(model, facades, output=tmp_path, device="cpu")
    loaded = load_model(model, discriminator=True)
    assert loaded.discriminator is not None
    expected: dict[str, dict[str, float]] = {}
    for name, (source, target) in split_of(facades, "test").items():
        with torch.no_grad():
            output = loaded.generator(tensor(source))
            real = loaded.discriminator(tensor(source), tensor(target)).maps[0].double().numpy()
            fake = loaded.discriminator(tensor(source), output).maps[0].double().numpy()
        expected[name] = picture_metrics(output[0].permute(1, 2, 0).double().numpy(), target) | {
            "g_adversarial": float(np.logaddexp(0, -fake).mean()),  # -log D(x, G(x))
            "d_real": float(np.logaddexp(0, -real).mean()),  # -log D(x, y)
            "d_fake": float(np.logaddexp(0, fake).mean()),  # -log(1 - D(x, G(x)))
            "d_real_accuracy": float((real > 0).mean()),
            "d_fake_accuracy": float((fake < 0).mean()),
        }
        written = np.asarray(Image.open(tmp_path / "outputs" / f"{name}.png"))
        assert np.abs(written / 255 * 2 - 1 - output[0].permute(1, 2, 0).numpy()).max() <= 1 / 255 + 1e-6

    rows = {row.pop("name"): row for row in rows_of(tmp_path)}
    assert rows.keys() == expected.keys()
    for name, values in expected.items():
        assert {metric: float(rows[name][metric]) for metric in values} == pytest.approx(values, rel=1e-4)
    assert len({values["d_real"] for values in expected.values()}) == 3, "equal answers prove nothing"

    metrics = parse_json((tmp_path / "metrics.json").read_text("utf-8"))
    assert metrics == parse_json(to_json(result.metrics))
    means = mean_of(list(expected.values()))
    assert means.keys() == {*FOUR, *ACCURACIES, *PICTURES} - {"ssim"}
    assert {name: metrics[name] for name in means} == pytest.approx(means, rel=1e-4)
    assert metrics["ssim"] == pytest.approx(np.mean([float(row["ssim"]) for row in rows.values()]), rel=1e-4)
    assert metrics["mae"] == pytest.approx(255 * metrics["l1"])
    assert metrics["images"] == 3
    assert metrics["split"] == "test"


def test_baselines_against_their_definitions(model: Path, facades: Path, tmp_path: Path) -> None:
    metrics = evaluate(model, facades, output=tmp_path, device="cpu").metrics
    baselines = metrics["baselines"]
    mean = np.mean([target for _, target in split_of(facades, "train").values()], axis=0)
    pairs = split_of(facades, "test").values()
    expected = {
        "mean_target": mean_of([picture_metrics(mean, target) for _, target in pairs]),
        "source": mean_of([picture_metrics(source, target) for source, target in pairs]),
    }
    assert baselines.keys() == expected.keys()
    for name, values in expected.items():
        assert {metric: baselines[name][metric] for metric in values} == pytest.approx(values, rel=1e-4)
        assert baselines[name].keys() == {*PICTURES, *OWN}
        for metric, (low, high) in metrics["baseline_differences"][name].items():
            assert low <= metrics[metric] - baselines[name][metric] <= high


@pytest.mark.parametrize(
    ("dtype", "bounds", "rounding"),
    [
        ("uint16", ((95.0, 4095.0),), 0.5),
        ("float32", ((0.0, 10.0), (-100.0, 300.0)), 1e-3),
        ("float32", ((-1e30, 1e30),), 1e-3),
    ],
)
def test_errors_in_the_targets_own_units(
    dtype: str, bounds: tuple[tuple[float, float], ...], rounding: float, tmp_path: Path
) -> None:
    """From the written outputs and the targets' files, which both hold such units."""
    channels, rng = len(bounds), np.random.default_rng(0)
    suffix = ".png" if dtype == "uint16" else ".npy"
    for number in range(3):
        low, high = np.array(bounds).T
        target = low + rng.random((SIZE, SIZE, channels)) * (high - low)
        images.write(tmp_path / f"data/B/test/{number}{suffix}", target.astype(dtype))
        images.write(tmp_path / f"data/A/test/{number}{suffix}", target.astype(dtype))
    data = {"source_type": dtype, "target_type": dtype, "source_range": bounds, "target_range": bounds}
    model = save_model(tmp_path / "model", data=data | {"direction": "AtoB"}, channels=channels)
    metrics = evaluate(model, tmp_path / "data", output=tmp_path / "out", device="cpu").metrics
    written = sorted((tmp_path / "out/outputs").iterdir())
    given = sorted((tmp_path / "data/B/test").iterdir())
    pairs = [
        (images.read(output).astype(np.float64), images.read(target).astype(np.float64))
        for output, target in zip(written, given, strict=True)
    ]
    mae = [np.abs(output - target).mean() for output, target in pairs]
    rmse = [np.sqrt(((output - target) ** 2).mean()) for output, target in pairs]
    rows = rows_of(tmp_path / "out")
    assert [float(row["mae"]) for row in rows] == pytest.approx(mae, abs=rounding, rel=1e-5)
    assert [float(row["rmse"]) for row in rows] == pytest.approx(rmse, abs=rounding, rel=1e-5)
    assert metrics["mae"] == pytest.approx(np.mean(mae), abs=rounding, rel=1e-5)
    assert metrics["rmse"] > metrics["mae"] > (100 if dtype == "uint16" else 10)
    assert all(math.isfinite(metrics[name]) for name in PICTURES)
    assert metrics["baselines"]["source"]["rmse"] == 0
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert f"Own units: {dtype}" in page
    assert f"{metrics['mae']:.4g}" in page


def test_ssim_is_that_of_the_literature(model: Path, facades: Path, tmp_path: Path) -> None:
    metrics = evaluate(model, facades, output=tmp_path, device="cpu").metrics
    expected = np.mean([ssim(source, target) for source, target in split_of(facades, "test").values()])
    assert metrics["baselines"]["source"]["ssim"] == pytest.approx(expected, rel=1e-3)


def test_validation_of_the_training_is_an_evaluation(run: Path, facades: Path, tmp_path: Path) -> None:
    """The kept model, measured on the same split, gives the numbers that picked it."""
    metrics = evaluate(run, facades, split="val", output=tmp_path, device="cpu").metrics
    card = load_model(run).config
    assert card.validation
    assert {name: metrics[name] for name in card.validation} == pytest.approx(card.validation, rel=1e-4)
    assert metrics["epoch"] == card.epoch


def test_a_carved_split_is_the_trainings(facades: Path, tmp_path: Path) -> None:
    data = tmp_path / "flat"
    shutil.copytree(facades / "train", data)
    own = {"data": {"split_seed": 3, "val_fraction": 0.3, "test_fraction": 0.2}, "training": {"epochs": 1}}
    run = train_with(choose_settings(data, None, None, merge_settings(TINY, own)), tmp_path / "run")
    metrics = evaluate(run.path, data, split="val", output=tmp_path / "val", device="cpu").metrics
    assert (metrics["notes"], metrics["images"]) == (
        ["there is no folder for val: it was taken from train (seed 3)"],
        3,
    )
    validation = load_model(run.path).config.validation
    assert {name: metrics[name] for name in validation} == pytest.approx(validation, rel=1e-4)
    test = evaluate(run.path, data, output=tmp_path / "test", device="cpu").metrics
    assert test["images"] == 2
    names = [{row["name"] for row in rows_of(tmp_path / split)} for split in ("val", "test")]
    assert not names[0] & names[1]


def test_dropout_is_another_measurement_that_repeats(run: Path, facades: Path, tmp_path: Path) -> None:
    plain, first, second = (
        evaluate(run, facades, output=tmp_path, device="cpu", dropout=dropout).metrics
        for dropout in (False, True, True)
    )
    assert first == second
    assert first["dropout"]
    assert first["g_l1"] != plain["g_l1"]


def test_nothing_that_is_chosen_has_seen_the_test_split(facades: Path, tmp_path: Path) -> None:
    """Two sets alike but for their test pictures give one training: the same epochs, stop, choice and weights."""
    other = tmp_path / "other"
    shutil.copytree(facades, other)
    for path in (other / "test").iterdir():
        images.write(path, 255 - images.read(path))
    settings = merge_settings(TINY, {"training": {"epochs": 4, "best_by": "psnr", "patience": 2, "samples": 0}})
    runs = [
        train_with(choose_settings(data, None, None, settings), tmp_path / f"run-{data.name}")
        for data in (facades, other)
    ]
    first, second = (
        [(row.split, row.epoch, row.values) for row in read_metrics(run.path / "metrics.csv")] for run in runs
    )
    assert first == second
    assert {row[0] for row in first} == {"train", "val"}
    weights = [(run.path / "model" / "generator.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]
    measured = [
        evaluate(run.path, data, device="cpu").metrics["l1"] for run, data in zip(runs, (facades, other), strict=True)
    ]
    assert measured[0] != measured[1], "the splits were not alike"


def test_an_interrupted_evaluation_leaves_no_older_numbers(run: Path, facades: Path, tmp_path: Path) -> None:
    first = evaluate(run, facades, output=tmp_path, device="cpu").metrics

    def stopped(done: int, count: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(run, facades, output=tmp_path, device="cpu", dropout=True, progress=stopped)
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", ".pix2pix-files"}
    assert evaluate(run, facades, output=tmp_path, device="cpu").metrics == first


# ---- the files -------------------------------------------------------------------------------------------------


def test_an_evaluation_goes_into_its_run(run: Path, facades: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "report.html").unlink()
    seen: list[tuple[int, int]] = []
    result = evaluate(copy, facades, device="cpu", progress=lambda done, count, _: seen.append((done, count)))
    assert result.path == copy / "evaluation" / "test"
    assert {path.name for path in result.path.iterdir()} == {
        "metrics.json",
        "per_image.csv",
        "report.html",
        "outputs",
        ".pix2pix-files",
    }
    assert seen == [(1, 3), (2, 3), (3, 3)]
    metrics = parse_json((result.path / "metrics.json").read_text("utf-8"))
    promised = {*FOUR, *PICTURES, "images", "split", "baselines", "notes", "norm_statistics", "direction", "epoch"}
    assert promised <= metrics.keys()
    assert all(math.isfinite(metrics[name]) for name in (*FOUR, *PICTURES))
    for page in (result.path / "report.html", copy / "report.html"):
        text = page.read_text("utf-8")
        assert f"{metrics['psnr']:.2f}" in text
        assert "data:image/png;base64," in text
        assert "Generator: L1 term" in text
    for name, row in zip(sorted(path.stem for path in (facades / "test").iterdir()), rows_of(result.path), strict=True):
        assert row["name"] == name


def test_a_copy_has_an_infinite_psnr_and_strict_json(model: Path, facades: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for path in (facades / "test").iterdir():
        half = images.read(path, "left")
        images.write(data / "test" / path.name, np.concatenate([half, half], axis=1))
    result = evaluate(model, data, output=tmp_path / "out", device="cpu")
    assert result.metrics["baselines"] == {
        "source": {"g_l1": 0, "g_l2": 0, "l1": 0, "l2": 0, "psnr": math.inf, "ssim": 1, "mae": 0, "rmse": 0}
    }
    metrics = parse_json((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert metrics["baselines"]["source"]["psnr"] is None
    assert "∞" in (tmp_path / "out" / "report.html").read_text("utf-8")


def without_discriminator(folder: Path) -> Path:
    (save_model(folder) / "discriminator.safetensors").unlink()
    return folder


@pytest.mark.parametrize("make", [without_discriminator, lambda folder: save_model(folder, adversarial_weight=0)])
def test_no_discriminator_no_numbers_of_its(make: Callable[[Path], Path], facades: Path, tmp_path: Path) -> None:
    """Neither of one that is absent nor of one that the objective never trained."""
    evaluate(make(tmp_path / "model"), facades, output=tmp_path / "out", device="cpu")
    metrics = parse_json((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert [metrics[name] for name in ("g_adversarial", "d_real", "d_fake")] == [None] * 3
    assert all(math.isfinite(metrics[name]) for name in PICTURES)
    assert set(rows_of(tmp_path / "out")[0]) == {"name", *PICTURES, "st_lpips", *OWN}
    assert (tmp_path / "out" / "report.html").exists()


def test_manifests_and_named_folders_say_themselves_which_side_is_the_source(
    model: Path, facades: Path, tmp_path: Path
) -> None:
    """A model trained BtoA is measured on such sources and targets as they are."""
    lines = ["source,target,split"]
    for path in sorted((facades / "test").iterdir()):
        for side, half in (("source", "right"), ("target", "left")):
            for place in (f"{side}/test", f"named/test/{side}"):
                images.write(tmp_path / place / path.name, images.read(path, half))  # type: ignore[arg-type]
        lines.append(f"source/test/{path.name},target/test/{path.name},test")
    (tmp_path / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    expected = evaluate(model, facades, output=tmp_path / "expected", device="cpu").metrics
    folders = {name: str(tmp_path / name) for name in ("source", "target")}
    places: list[dict[str, Any]] = [
        {"data": tmp_path},
        {"data": tmp_path / "pairs.csv"},
        {"data": tmp_path / "named"},
        folders,
    ]
    for place in places:
        metrics = evaluate(model, **place, output=tmp_path / "out", device="cpu").metrics
        assert {name: metrics[name] for name in FOUR} == {name: expected[name] for name in FOUR}


# ---- refusals: one sentence, nothing written -------------------------------------------------------------------


def test_options_are_those_of_the_command_line(model: Path, facades: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in EvaluateOptions.model_fields)
    with pytest.raises(ConfigError, match=r"`splt`; did you mean `split`\?"):
        evaluate(model, facades, splt="val")
    with pytest.raises(ConfigError, match="device"):
        evaluate(model, facades, device="gpu")


def test_a_missing_split_names_those_there_are(model: Path, facades: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split `tset`, only train \(10 pairs\), val \(3 pairs\), test \(3 pai"):
        evaluate(model, facades, split="tset", output=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_broken_or_lonely_image_is_named_before_anything_is_written(
    model: Path, facades: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    make_facades(broken, train=2, val=1, test=6, size=SIZE)
    victim = sorted((broken / "test").iterdir())[-1]
    victim.write_bytes(victim.read_bytes()[:300])
    lonely = tmp_path / "lonely"
    for name in ("A/test/1.png", "B/test/1.png", "A/test/2.png"):
        images.write(lonely / name, np.zeros((SIZE, SIZE, 3), np.uint8))
    for data, named in ((broken, victim), (lonely, lonely / "A/test/2.png")):
        with pytest.raises(DataError, match=str(named)):
            evaluate(model, data, output=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


# ---- pairs in another layout than the training's -----------------------------------------------------------------


def test_patterns_of_the_training_are_of_its_folders(tmp_path: Path) -> None:
    """The same pictures by pattern, as a manifest, as two folders and by other patterns give the same numbers."""
    rng = np.random.default_rng(0)
    pairs = {f"{n}": [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in "ab"] for n in range(9)}
    for name, (source, target) in pairs.items():
        split = "train" if int(name) < 4 else "val" if name == "4" else "test"
        for place, picture in (
            (f"told/{split}/{name}_in.png", source),
            (f"told/{split}/{name}_out.png", target),
            (f"folders/A/{split}/{name}.png", source),
            (f"folders/B/{split}/{name}.png", target),
            (f"other/{split}/x-{name}.png", source),
            (f"other/{split}/y-{name}.png", target),
            (f"wide/{split}/{name}.png", np.concatenate([source, target], axis=1)),
        ):
            images.write(tmp_path / place, picture)
    lines = [f"told/test/{name}_in.png,told/test/{name}_out.png,test" for name in pairs if int(name) > 4]
    (tmp_path / "list.csv").write_text("source,target,split\n" + "\n".join(lines) + "\n")
    naming = {"direction": "AtoB", "source_pattern": "{id}_in.png", "target_pattern": "{id}_out.png"}
    settings = merge_settings(TINY, {"data": naming, "training": {"epochs": 1, "samples": 0}})
    trained = train_with(choose_settings(tmp_path / "told", None, None, settings), tmp_path / "run").path
    expected = evaluate(trained, tmp_path / "told").metrics
    for place, choices in (
        ("list.csv", {}),
        ("folders", {}),
        ("wide", {}),
        ("other", {"source_pattern": "x-{id}.png", "target_pattern": "y-{id}.png"}),
    ):
        found = evaluate(trained, tmp_path / place, **choices).metrics
        assert (found["l1"], found["ssim"], found["images"]) == (expected["l1"], expected["ssim"], 4)
        said = any("no names fit the patterns of the training" in note for note in found["notes"])
        assert said == (place in ("folders", "wide"))
    with pytest.raises(DataError, match=r"no files fit \{id\}_in\.png"):
        evaluate(trained, tmp_path / "other")  # nothing is guessed where names suggest other patterns
    with pytest.raises(ConfigError, match="is not a pattern; write"):
        evaluate(trained, tmp_path / "other", source_pattern="x.png")


def test_files_of_others_are_not_replaced(run: Path, facades: Path, tmp_path: Path) -> None:
    for name in ("metrics.json", "outputs/0002.png"):
        own = tmp_path / name.split("/")[0] / name
        own.parent.mkdir(parents=True)
        own.write_text('{"mine": 1}')
        folder = tmp_path / name.split("/")[0]
        with pytest.raises(ConfigError, match="exists, and pix2pix did not write it"):
            evaluate(run, facades, output=folder, device="cpu")
        assert [path.read_text() for path in folder.rglob("*") if path.is_file()] == ['{"mine": 1}']


def test_files_of_others_in_a_run_are_not_replaced(run: Path, facades: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    own = copy / "evaluation" / "test" / "report.html"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(ConfigError, match="exists, and pix2pix did not write it"):
        evaluate(copy, facades, device="cpu")
    assert own.read_text() == "mine"


def test_a_report_beside_a_model_that_is_no_run_stays(run: Path, facades: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1")
    (tmp_path / "report.html").write_text("mine")
    shutil.copytree(run / "model", tmp_path / "model")
    evaluate(tmp_path / "model", facades, output=tmp_path / "evaluation" / "x", device="cpu")
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_set_turned_on_one_side_by_exif_is_named_or_taken_as_stored(model: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for side, options in (("B", {"exif": exif}), ("A", {}), ("plain", {})):
        folder = tmp_path / "set/test" / side if side in "AB" else tmp_path / side
        folder.mkdir(parents=True)
        values = np.random.default_rng(side == "A").integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(values).save(folder / "1.png", **options)
    stored = save_model(tmp_path / "stored", {"exif": "ignore"})
    with pytest.raises(DataError, match=r"is turned by EXIF orientation 6, .*--exif apply .*--exif ignore"):
        evaluate(model, tmp_path / "set", output=tmp_path / "no")
    own = evaluate(stored, tmp_path / "set", output=tmp_path / "own").metrics
    asked = evaluate(model, tmp_path / "set", output=tmp_path / "asked", exif="ignore").metrics
    assert own["psnr"] == asked["psnr"]
    translated = tmp_path / "out/1.png"
    assert (
        main(["translate", str(stored), str(tmp_path / "set/test/B/1.png"), "--output", str(tmp_path / "out")]) is None
    )
    translator = pix2pix.Translator.from_pretrained(stored)
    wanted = np.asarray(translator(Image.open(tmp_path / "plain/1.png")))
    assert np.array_equal(np.asarray(Image.open(translated)), wanted)
    assert np.array_equal(np.asarray(translator(Image.open(tmp_path / "set/test/B/1.png"))), wanted)


def test_outputs_that_would_be_one_file_are_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "A"):
        make_facades(tmp_path / f"made {name}", train=1, val=0, test=0, size=SIZE)
        (tmp_path / "set/test").mkdir(parents=True, exist_ok=True)
        shutil.copy(next((tmp_path / f"made {name}/train").iterdir()), tmp_path / f"set/test/{name}.png")
    monkeypatch.setattr("pix2pix.system.folded_names.folds_names", lambda _: True)
    with pytest.raises(DataError, match=r"outputs/A\.png and outputs/a\.png would be one file"):
        evaluate(model, tmp_path / "set", output=tmp_path / "out")
