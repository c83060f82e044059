"""The command line: what it takes, what it says and where, and how every bad input ends in one sentence."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pytest
import yaml
from cyclopts import App

from pix2pix.cli import main
from pix2pix.cli.app import app
from pix2pix.cli.overview import COMMANDS, DATA_COMMANDS
from pix2pix.cli.public_options import PUBLIC_OPTIONS
from pix2pix.data.io import images
from pix2pix.data.io.arrays import Pixels
from pix2pix.errors import DataError
from pix2pix.system.reading import parse_json
from pix2pix.system.threads import describe_threads

TINY = {
    "--direction": "BtoA", "--image-size": "32", "--base-channels": "4", "--discriminator.patch-size": "16",
    "--epochs": "1", "--batch-size": "2", "--device": "cpu", "--precision": "32", "--samples": "1",
}  # fmt: skip


def tiny(more: str = "") -> list[str]:
    """The flags of a training of a second, and others in their place or beside them."""
    words = more.split()
    kept = [word for flag, value in TINY.items() if flag not in words for word in (flag, value)]
    return [*kept, *words]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The program in this process, started in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Outcome:
        capsys.readouterr()
        code: Any = None
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return Outcome(code or 0, *capsys.readouterr())

    return call


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def noise(height: int = 40, width: int = 40, channels: int = 3) -> Pixels:
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), dtype=np.uint8)


# ---- bad input: one sentence, nothing written -------------------------------------------------------------------


def sides(root: Path, count: int = 4) -> Path:
    """Pairs in folders A and B."""
    for side in "AB":
        for number in range(count):
            images.write(root / side / f"{number}.png", noise())
    return root


class Bad(NamedTuple):
    """A command that must fail: its words, its exit code, and what its sentence must hold."""

    words: list[object]
    code: int
    named: list[object]


Case = Callable[[Path, Path], Bad]
"""(a folder to spoil things in, a good run) -> the command."""


def train(data: object, code: int, *named: object, flags: str = "") -> Bad:
    return Bad(["train", data, *tiny(flags), "--run", "new"], code, list(named))


def lonely(root: Path, _: Path) -> Bad:
    (sides(root) / "B/2.png").unlink()
    return train(root, 1, root / "A/2.png", "no pair", "add the missing halves")


def no_b(root: Path, _: Path) -> Bad:
    shutil.rmtree(sides(root) / "B")
    return train(root, 1, root, "a folder A but no B")


def unequal(root: Path, _: Path) -> Bad:
    images.write(sides(root) / "B/1.png", noise(41))
    return train(root, 1, root / "A/1.png", root / "B/1.png", "40x40", "41x40", "one size")


def unreadable(root: Path, _: Path) -> Bad:
    victim = sides(root) / "A/3.png"
    victim.write_bytes(victim.read_bytes()[:-200])
    return train(root, 1, victim, "cannot be read as an image")


def no_image(root: Path, _: Path) -> Bad:
    (sides(root) / "A/3.png").write_text("no image")
    (root / "A/2.png").write_text("nor this")
    return train(root, 1, root / "A/2.png", "1 more file has problems", "`pix2pix data check`")


def mixed_channels(root: Path, _: Path) -> Bad:
    images.write(sides(root) / "A/1.png", noise(channels=1))
    return train(root, 1, root / "A/1.png", "has 1 channel", "--source-channels", flags="--direction AtoB")


def odd_width(root: Path, _: Path) -> Bad:
    images.write(root / "train/1.png", noise(width=41))
    return train(root, 1, root / "train/1.png", "41 pixels wide", "even width")


def settings_file(text: str, *named: object, flags: str = "") -> Case:
    def case(root: Path, _: Path) -> Bad:
        (root / "settings.yaml").write_text(text, encoding="utf-8")
        words = f"--config {root / 'settings.yaml'} --run new {flags}".split()
        return Bad(["train", sides(root / "data"), *words], 2, [root / "settings.yaml", *named])

    return case


def not_a_run(root: Path, _: Path) -> Bad:
    (root / "letters").mkdir()
    (root / "letters/dear.txt").write_text("keep me")
    words = ["train", sides(root / "data"), *tiny(), "--run", root / "letters", "--overwrite"]
    return Bad(words, 2, [root / "letters", "not a run folder"])


TRAIN: dict[str, Case] = {
    "no data": lambda root, run: Bad(["train"], 2, ["DATA", "--source DIR --target DIR"]),
    "missing folder": lambda root, run: train(root / "nowhere", 1, root / "nowhere", "no such folder"),
    "missing source": lambda root, run: Bad(
        f"train --source {root}/x --target {root}/y --run new".split(), 1, [root / "x", "no such folder"]
    ),
    "source without target": lambda root, run: Bad(f"train --source {root} --run new".split(), 2, ["data.target"]),
    "no pairs": lambda root, run: train(root, 1, root, "no known layout of pairs", "expected train|val|test/"),
    "A without B": lonely,
    "folder A without B": no_b,
    "unequal sizes": unequal,
    "truncated image": unreadable,
    "no image": no_image,
    "mixed channels": mixed_channels,
    "odd width": odd_width,
    "too small for the depth": lambda root, run: train(
        sides(root), 2, "data.image_size 32x32", "generator.depth 6", "64 pixels", flags="--generator.depth 6"
    ),
    "not a multiple": lambda root, run: train(sides(root), 2, "100x100", "--generator.depth", flags="--image-size 100"),
    "too small for the patches": lambda root, run: train(
        sides(root), 2, "discriminator.patch_size 286", flags="--discriminator.patch-size 286"
    ),
    "unknown preset": lambda root, run: train(root, 2, "`slide`", "did you mean `slides`?", flags="--preset slide"),
    "unlike any preset": lambda root, run: train(root, 2, "known: slides, paper", flags="--preset zzz"),
    "unknown flag": lambda root, run: train(root, 2, "--epoch.", "Did you mean --epochs?", flags="--epoch 3"),
    "unknown field of a section": lambda root, run: train(
        root, 2, "--generator.dept", "Did you mean --generator.depth?", flags="--generator.dept 3"
    ),
    "an option of the public code": lambda root, run: train(
        root, 2, "--lambda_L1; instead: `--l1-weight`", flags="--lambda_L1 3"
    ),
    "a flag unlike any other": lambda root, run: train(root, 2, "Unknown option: --zebra. See", flags="--zebra 3"),
    "an option of 0.1": lambda root, run: train(
        root, 2, "--parts.2.range", "Did you mean --sources.2.range?", flags="--parts.2.range 0,1"
    ),
    "an option of 0.1 that is gone": lambda root, run: train(
        root, 2, "no option --cache-gigabytes any more", "in memory", flags="--cache-gigabytes 3"
    ),
    "a word of 0.1": lambda root, run: train(
        root, 2, "training.update_order", "'exact'", "did you mean 'two-pass'?", flags="--update-order exact"
    ),
    "unknown choice": lambda root, run: train(
        root, 2, "data.direction", "'AtB'", "'AtoB' or 'BtoA'", flags="--direction AtB"
    ),
    "out of range": lambda root, run: train(
        root, 2, "training.epochs", "'0'", "expected 1 or more", flags="--epochs 0"
    ),
    "not a size": lambda root, run: train(root, 2, "data.image_size", "256x512", flags="--image-size big"),
    "absent device": lambda root, run: train(sides(root), 2, "device mps", "--device auto", flags="--device mps"),
    "too many words": lambda root, run: train(root, 2, "`more` is a word too many", flags="more"),
    "a size in two words": lambda root, run: train(root, 2, "a size is one word", flags="--image-size 32 32"),
    "missing file of settings": lambda root, run: train(
        root, 2, root / "no.yaml", "no such", flags=f"--config {root}/no.yaml"
    ),
    "unknown field in YAML": settings_file("training:\n  epoch: 3\n", "`training.epoch`", "`training.epochs`?"),
    "unknown section in YAML": settings_file("trainin:\n  epochs: 3\n", "`trainin`", "`training`?"),
    "unknown field with a preset": settings_file("loss:\n  l1: 3\n", "loss.l1", flags="--preset paper"),
    "wrong type in YAML": settings_file(
        "training:\n  epochs: many\n", "training.epochs", "'many'", "expected a whole number"
    ),
    "wrong shape in YAML": settings_file("training: 3\n", "training: expected settings by name below it, not 3"),
    "a list as YAML": settings_file("- epochs\n", "expected sections"),
    "no YAML at all": settings_file("training: {epochs: 3\n", "not valid YAML at line 2"),
    "not text": settings_file("\0", "not valid YAML"),
    "not a run folder": not_a_run,
}


def with_model(spoil: Callable[[Path], object], code: int, *named: str, verb: str = "info") -> Case:
    """A copy of the good model, spoiled; `named` begins with the file in it that the sentence names."""

    def case(root: Path, run: Path) -> Bad:
        model = root / "model"
        shutil.copytree(run / "model", model)
        spoil(model)
        images.write(root / "in.png", noise())
        words = {"info": ["info", model], "translate": ["translate", model, root / "in.png", "--output", "new"]}
        return Bad(words[verb], code, [model / named[0], *named[1:]])

    return case


def cut(name: str, to: int) -> Callable[[Path], object]:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:to])


def card(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def spoil(model: Path) -> None:
        values = json.loads((model / "config.json").read_text("utf-8"))
        del values["checksum"]
        change(values)
        (model / "config.json").write_text(json.dumps(values), encoding="utf-8")

    return spoil


def text(content: str) -> Callable[[Path], object]:
    return lambda model: (model / "config.json").write_text(content, encoding="utf-8")


WEIGHTS, CARD = "generator.safetensors", "config.json"

MODEL: dict[str, Case] = {
    "no model": lambda root, run: Bad(["info", root / "nowhere"], 1, [root / "nowhere", "no such model"]),
    "no model folder": lambda root, run: Bad(["info", root], 1, [root, "not a model or run folder", CARD]),
    "no such hub id": lambda root, run: Bad(["info", "nobody/nothing"], 1, ["nobody/nothing", "hub"]),
    "no generator": with_model(lambda model: (model / WEIGHTS).unlink(), 1, WEIGHTS, "missing"),
    "no generator to translate with": with_model(
        lambda model: (model / WEIGHTS).unlink(), 1, WEIGHTS, "missing", verb="translate"
    ),
    "empty generator": with_model(cut(WEIGHTS, 0), 1, WEIGHTS, "broken"),
    "truncated generator": with_model(cut(WEIGHTS, -100), 1, WEIGHTS, "broken", verb="translate"),
    "truncated header": with_model(cut(WEIGHTS, 100), 1, WEIGHTS, "broken"),
    "truncated discriminator": with_model(cut("discriminator.safetensors", -1), 1, "discriminator.safetensors"),
    "no card": with_model(lambda model: (model / CARD).unlink(), 1, "", CARD),
    "empty card": with_model(text(""), 1, CARD, "cannot be read"),
    "truncated card": with_model(cut(CARD, 200), 1, CARD, "cannot be read", verb="translate"),
    "binary card": with_model(lambda model: (model / CARD).write_bytes(b"\xff\0"), 1, CARD, "cannot be read"),
    "bottomless card": with_model(text("[" * 100_000), 1, CARD, "cannot be read"),
    "a list as card": with_model(text("[]"), 1, CARD, "not a model configuration"),
    "null as card": with_model(text("null"), 1, CARD, "not a model configuration"),
    "another program's card": with_model(text('{"architectures": ["GPT2"]}'), 1, CARD, "not a model configuration"),
    "a card of tomorrow": with_model(card(lambda values: values.update(format=2)), 1, CARD, "format = 2"),
    "unknown statistics": with_model(
        card(lambda values: values.update(norm_statistics="batch")), 1, CARD, "norm_statistics"
    ),
    "impossible scale": with_model(card(lambda values: values.update(scale=[1, 1e300])), 1, CARD, "scale"),
    "open channels": with_model(
        card(lambda values: values["config"]["data"].update(source_channels=None)), 1, CARD, "source_channels"
    ),
    "unknown setting": with_model(
        card(lambda values: values["config"]["training"].update(epoch=3)), 1, CARD, "training.epoch"
    ),
    "other channels": with_model(
        card(lambda values: values["config"]["data"].update(source_channels=1)), 1, WEIGHTS, "does not fit"
    ),
    "other width": with_model(
        card(lambda values: values["config"]["generator"].update(base_channels=8)), 1, WEIGHTS, "does not fit"
    ),
    "other depth": with_model(
        card(lambda values: values["config"]["generator"].update(depth=4)), 1, WEIGHTS, "only one of the two"
    ),
    "other network": with_model(
        card(lambda values: values["config"]["generator"].update(kind="resnet")), 1, WEIGHTS, "only one of the two"
    ),
}


def translate(root: Path, run: Path, *inputs: object, code: int, named: list[object], flags: str = "") -> Bad:
    return Bad(["translate", run, *inputs, "--output", "new", *flags.split()], code, named)


def gray_input(root: Path, run: Path) -> Bad:
    images.write(root / "gray.png", noise(channels=1))
    named = [root / "gray.png", "1 channel", "translates 3", "strict"]
    return translate(root, run, root / "gray.png", code=1, named=named, flags="--strict")


def broken_input(root: Path, run: Path) -> Bad:
    (root / "broken.png").write_bytes(b"no image")
    return translate(root, run, root / "broken.png", code=1, named=[root / "broken.png", "cannot be read"])


def output_is_a_file(root: Path, run: Path) -> Bad:
    images.write(root / "in.png", noise())
    (root / "out").write_text("keep me")
    return Bad(["translate", run, root / "in.png", "--output", root / "out"], 2, [root / "out"])


def an_image(root: Path) -> Path:
    images.write(root / "in.png", noise())
    return root / "in.png"


def evaluated(root: Path, run: Path, *flags: str, code: int = 1, named: list[object]) -> Bad:
    return Bad(["evaluate", run, sides(root), *flags, "--output", "new"], code, named)


def link(path: Path, to: str) -> Path:
    path.symlink_to(to)
    return path


def empty(*words: object) -> Case:
    """An unset variable of the shell leaves an empty word, which as a path would mean the current folder."""
    return lambda root, run: Bad(list(words), 2, ["is empty: ", "variable of the shell"])


LINKS: dict[str, Case] = {
    "a model that is a link to nothing": lambda root, run: Bad(
        ["info", link(root / "a", "gone")], 1, [root / "a", "is a link to gone, which is not there"]
    ),
    "a run that is a link to nothing": lambda root, run: Bad(
        ["train", sides(root), *tiny(), "--run", link(root / "r", "gone")], 1, [root / "r", "a link to gone"]
    ),
    "outputs behind a link to nothing": lambda root, run: Bad(
        ["translate", run, an_image(root), "--output", link(root / "o", "gone") / "x"], 1, ["o is a link to gone"]
    ),
    "data that are a link to itself": lambda root, run: Bad(
        ["train", link(root / "loop", "loop"), *tiny()], 1, [root / "loop"]
    ),
    "a run that is a link to itself": lambda root, run: Bad(
        ["train", sides(root), *tiny(), "--run", link(root / "loop", "loop")], 1, [root / "loop"]
    ),
    "a compared run that is a link to itself": lambda root, run: Bad(
        ["compare", run, link(root / "loop", "loop")], 1, [root / "loop"]
    ),
}
"""Where a link leads is found out at the first use of a name."""

EMPTY: dict[str, Case] = {
    "empty data": empty("train", ""),
    "empty run": empty("train", "pairs", "--run="),
    "empty model": empty("info", ""),
    "empty input": empty("translate", "runs/x", "", "--output", "new"),
    "empty output": empty("translate", "runs/x", "in.png", "--output", ""),
}

USE: dict[str, Case] = {
    "unknown verb": lambda root, run: Bad(["translat"], 2, ["translat", 'Did you mean "translate"?', "evaluate"]),
    "another unknown verb": lambda root, run: Bad(["evalute", run], 2, ['Did you mean "evaluate"?']),
    "a command of 0.1": lambda root, run: Bad(["bench", "--quick"], 2, ["`bench`", "`make bench`"]),
    "a command of the public code": lambda root, run: Bad(["test", "--name", "x"], 2, ["`test`", "pix2pix translate"]),
    "unknown verb of data": lambda root, run: Bad(["data", "chek", root], 2, ['Did you mean "check"?']),
    "no model named": lambda root, run: Bad(["info"], 2, ["MODEL"]),
    "no output named": lambda root, run: Bad(["translate", run, root], 2, ["--output"]),
    "missing picture": lambda root, run: translate(
        root, run, root / "no.png", code=1, named=[root / "no.png", "no such file or folder"]
    ),
    "device as picture": lambda root, run: translate(
        root, run, "/dev/null", code=1, named=["/dev/null: no regular file or folder"]
    ),
    "device as pairs": lambda root, run: Bad(
        ["data", "check", "/dev/null"],
        1,
        ["/dev/null: cannot be read (Not a directory); expected a folder of image pairs"],
    ),
    "folder without pictures": lambda root, run: translate(root, run, root, code=1, named=[root, "no images"]),
    "wrong channels": gray_input,
    "broken picture": broken_input,
    "an output that is a file": output_is_a_file,
    "an input as output": lambda root, run: Bad(
        ["translate", run, an_image(root), "--output", root], 2, ["would replace", "choose another --output"]
    ),
    "no colour": lambda root, run: translate(
        root, run, root, code=2, named=["--background whit"], flags="--background whit"
    ),
    "no batch": lambda root, run: translate(root, run, root, code=2, named=["--batch-size 0"], flags="--batch-size 0"),
    "no shard": lambda root, run: translate(root, run, root, code=2, named=["--shard 3/2", "i/n"], flags="--shard 3/2"),
    "one sample": lambda root, run: translate(
        root, run, root, code=2, named=["--uncertainty", "--samples 16"], flags="--samples 1 --uncertainty"
    ),
    "too large a seed": lambda root, run: translate(
        root, run, root, code=2, named=["--seed 1000"], flags=f"--seed 1{'0' * 30}"
    ),
    "absent device": lambda root, run: translate(root, run, root, code=2, named=["mps"], flags="--device mps"),
    "missing split": lambda root, run: evaluated(
        root, run, "--split", "tset", named=["`tset`", "train (", "test (", "--split"]
    ),
    "evaluation of nothing": lambda root, run: Bad(
        ["evaluate", run, root / "no", "--output", "new"], 1, [root / "no", "no such folder"]
    ),
    "check of nothing": lambda root, run: Bad(["data", "check", root / "no"], 1, [root / "no", "no such folder"]),
    "check with a training's flag": lambda root, run: Bad(["data", "check", root, "--epochs", "3"], 2, ["--epochs"]),
}


BAD = TRAIN | MODEL | LINKS | EMPTY | USE


@pytest.mark.parametrize("case", list(BAD.values()), ids=list(BAD))
def test_bad_input_ends_in_one_sentence_and_writes_nothing(case: Case, cli: Cli, run: Path, tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    words, code, named = case(tmp_path / "things", run)
    before, run_before = files_in(tmp_path), files_in(run)
    outcome = cli(*words)
    assert (outcome.code, outcome.out) == (code, "")
    assert "Traceback" not in outcome.err
    *talk, sentence = outcome.err.splitlines()
    assert sentence.startswith("pix2pix: ")
    assert not [line for line in talk if line.startswith("pix2pix: ")]
    for part in named:
        assert str(part) in sentence
    assert files_in(tmp_path) == before
    assert files_in(run) == run_before


def test_outputs_that_are_there_are_counted_in_the_singular_too(cli: Cli, run: Path, tmp_path: Path) -> None:
    images.write(tmp_path / "in/a.png", noise())
    words = ("translate", run, tmp_path / "in", "--output", tmp_path / "out", "--device", "cpu")
    cli(*words)
    assert "1 was there already, 0 translated into" in cli(*words).err


FREE, ELSEWHERE = "free some space and run the same command again", "give a folder that can be written, with --output"


@pytest.mark.parametrize(("code", "picture", "said"), [(28, False, FREE), (28, True, FREE), (30, False, ELSEWHERE)])
def test_a_disk_that_takes_nothing_ends_in_what_to_do(
    code: int, picture: bool, said: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(code, "No space left on device", "run/state.pt")

    def fail(*_: object, **__: object) -> NoReturn:
        if picture:
            raise DataError("run/state.pt: No space left on device") from full
        raise full

    monkeypatch.setattr("pix2pix.training.train.train_with", fail)
    outcome = cli("train", tmp_path)
    assert outcome.code == 1
    assert outcome.err.startswith(f"pix2pix: run/state.pt: No space left on device; {said}")


def test_several_failures_are_all_named(cli: Cli, run: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"no image")
    images.write(tmp_path / "in/c.png", noise())
    outcome = cli("translate", run, "in", "--output", "out")
    assert outcome.code == 1
    assert all(f"in/{name}: cannot be read" in outcome.err for name in ("a.png", "b.png"))
    assert outcome.err.splitlines()[-1].startswith("pix2pix: 2 of the images")
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["c.png"]


# ---- settings --------------------------------------------------------------------------------------------------


def printed(cli: Cli, *words: object) -> dict[str, Any]:
    outcome = cli("train", *words, "--print-config")
    assert (outcome.code, outcome.err) == (0, "")
    return dict(yaml.safe_load(outcome.out))


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--preset", "slides"],
        ["--preset", "junyanz", "--image-size", "64x128", "--cache", "none", "--workers", "2", "--betas", "0.4", "0.9"],
        ["--generator.kind", "resnet", "--discriminator.patch-size", "16", "--source-channels", "1", "--ema", "0.9"],
        ["--direction", "BtoA", "--load-size", "300", "--l2-weight", "3", "--patience", "4", "--base-channels", "8"],
    ],
    ids=" ".join,
)
def test_print_config_is_taken_back(cli: Cli, tmp_path: Path, flags: list[str]) -> None:
    """Whether on its own or beside the preset it came from."""
    first = cli("train", "pairs", *flags, "--print-config")
    assert first.code == 0
    (tmp_path / "settings.yaml").write_text(first.out, encoding="utf-8")
    assert cli("train", "--config", "settings.yaml", "--print-config") == first
    assert cli("train", "pairs", "--config", "settings.yaml", "--preset", "paper", "--print-config") == first
    assert list(tmp_path.iterdir()) == [tmp_path / "settings.yaml"]


def test_flags_win_over_the_file_and_the_file_over_the_preset(cli: Cli, tmp_path: Path) -> None:
    layer = {"training": {"epochs": 70, "batch_size": 3}, "data": {"path": "theirs"}, "generator": {"depth": 4}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(layer), encoding="utf-8")
    values = printed(cli, "mine", "--preset", "slides", "--config", "settings.yaml", "--epochs", "90")
    assert values["training"]["epochs"] == 90  # the flag's, over 70 and the preset's 300
    assert values["training"]["batch_size"] == 3  # the file's, over the preset's 4
    assert values["training"]["discriminator_epochs"] == 50  # the preset's
    assert values["generator"]["depth"] == 4
    assert values["data"]["path"] == "mine"
    nothing = [word for flag in ("--ema-images", "--generator.depth", "--source-range") for word in (flag, "none")]
    unset = printed(cli, "mine", "--preset", "modern", "--config", "settings.yaml", *nothing)
    assert unset["training"]["ema_images"] is unset["generator"]["depth"] is unset["data"]["source_range"] is None
    widths = printed(cli, "mine", "--base-channels", "16", "--generator.base-channels", "32")
    assert (widths["generator"]["base_channels"], widths["discriminator"]["base_channels"]) == (32, 16)


def test_the_presets_are_the_published_recipes(cli: Cli) -> None:
    table = {}
    for name in ("slides", "paper", "junyanz"):
        values = printed(cli, "pairs", "--preset", name)
        training = values["training"]
        table[name] = (
            *(training[field] for field in ("batch_size", "epochs", "discriminator_epochs")),
            values["optimizer"]["schedule"],
            values["augment"]["flip"],
        )
        assert values["optimizer"]["learning_rate"] == 2e-4
        assert values["loss"]["l1_weight"] == 100
        assert values["augment"]["jitter"]
    assert table == {
        "slides": (4, 300, 50, "constant", False),
        "paper": (1, 200, 0, "constant", True),
        "junyanz": (1, 200, 0, "linear", True),
    }
    assert printed(cli, "pairs") == printed(cli, "pairs", "--preset", "paper")


FLAGS = """
    --run --preset --config --base-channels --overwrite --print-config --dry-run
    --source --target --source-pattern --target-pattern --layout --exif --resize-source --skip-bad --direction
    --image-size --source-channels --target-channels --source-range --target-range
    --source-from --target-from --planes --npy-axes
    --source-kind --source-labels --label-tolerance --target-kind --target-labels --target-label-tolerance
    --mask-value --nodata --source-fill --sources
    --val-fraction --test-fraction --split-seed --cache --cache-dir --workers
    --jitter --load-size --flip --vertical-flip --rotate90 --affine --affine-degrees --affine-scale
    --photometric --photometric-strength
    --generator.kind --generator.depth --generator.base-channels --generator.norm --generator.bottleneck-norm
    --generator.dropout --generator.dropout-layers --generator.upsampling --generator.bottleneck-size
    --generator.blocks --generator.bias --discriminator.bias --from
    --discriminator.patch-size --discriminator.base-channels --discriminator.norm --discriminator.conditional
    --discriminator.spectral-norm --discriminator.scales --feature-matching-weight
    --discriminator.kind --discriminator.augment --discriminator.augment-probability --perceptual-weight
    --adversarial --adversarial-weight --l1-weight --l2-weight --cross-entropy-weight --discriminator-weight
    --learning-rate --betas --schedule
    --epochs --batch-size --discriminator-epochs --ema --norm-statistics --best-by --validate-every --patience --samples
    --crops-per-image --crop-foreground --crop-background --validation-images --validation-perceptual
    --seed --device --precision --threads --devices --nodes --sync-norm --rank-timeout --update-order --convolutions
    --keep-every --ema-images --reconstruction-first --discriminator-learning-rate --warmup-images --license
"""


def test_the_flags_of_train_are_these() -> None:
    flags = {
        name
        for argument in app["train"].assemble_argument_collection()
        if argument.parse and argument.show
        for name in argument.names
        if name.startswith("--") and name not in argument.negatives
    }
    assert flags == set(FLAGS.split())


def test_options_of_the_public_code_lead_to_flags_that_exist() -> None:
    flags = {*FLAGS.split(), "--output", "--split"}
    for option, words in PUBLIC_OPTIONS.items():
        assert f"--{option.replace('_', '-')}" not in FLAGS.split(), option
        assert set(re.findall(r"--[a-z0-9.-]+", words)) <= flags, option


# ---- a run's life ----------------------------------------------------------------------------------------------


def test_a_run_is_finished_resumed_refused_and_replaced(cli: Cli, facades: Path, tmp_path: Path) -> None:
    command = ["train", facades, "--run", "mine"]
    run = tmp_path / "mine"
    dry = cli(*command, *tiny(), "--dry-run")
    assert (dry.code, dry.out) == (0, "")
    assert "10 train, 3 val, 3 test" in dry.err
    assert not list(tmp_path.iterdir())

    first = cli(*command, *tiny())
    assert (first.code, first.out) == (0, "mine\n")
    assert "kept epoch 1 of 1" in first.err
    weights = (run / "model/generator.safetensors").read_bytes()

    again = cli(*command, *tiny())
    assert (again.code, again.out) == (0, "mine\n")
    assert "epoch 1" in again.err
    assert (run / "model/generator.safetensors").read_bytes() == weights

    longer = cli(*command, *tiny("--epochs 2"))
    assert longer.code == 0
    assert "resuming from epoch 1" in longer.err
    assert json.loads((run / "checkpoints/state.json").read_text("utf-8"))["epoch"] == 2

    before = files_in(run)
    for flags, field in (
        ("--l1-weight 10", "loss.l1_weight was 100.0, now 10.0"),
        ("--seed 5", "training.seed"),
    ):
        other = cli(*command, *tiny(flags))
        assert (other.code, other.out) == (2, "")
        sentence = other.err.splitlines()[-1]
        assert sentence.startswith("pix2pix: mine: ")
        assert field in sentence
        assert "--overwrite" in sentence
        assert files_in(run) == before

    replaced = cli(*command, *tiny("--l1-weight 10"), "--overwrite")
    assert (replaced.code, replaced.out) == (0, "mine\n")
    assert yaml.safe_load((run / "config.yaml").read_text("utf-8"))["loss"]["l1_weight"] == 10
    assert json.loads((run / "checkpoints/state.json").read_text("utf-8"))["epoch"] == 1


def test_overwrite_removes_only_what_a_run_wrote(cli: Cli, facades: Path, tmp_path: Path) -> None:
    """A project with a file `config.yaml` is no run, and what people keep in a run's folder is theirs."""
    project = tmp_path / "project"
    shutil.copytree(facades, project / "data")
    (project / "config.yaml").write_text("training: {epochs: 1}\n", "utf-8")
    (project / "model").mkdir()
    (project / "model" / "thesis.txt").write_text("years of work", "utf-8")
    before = files_in(project)
    for data, words in ((project / "data", "holds the data"), (facades, "not a run folder")):
        refused = cli("train", data, *tiny(), "--config", project / "config.yaml", "--run", project, "--overwrite")
        assert (refused.code, refused.out) == (2, "")
        assert words in refused.err
        assert files_in(project) == before

    run = tmp_path / "mine"
    assert cli("train", facades, *tiny(), "--run", run).code == 0
    (run / "notes.txt").write_text("keep me", "utf-8")
    shutil.copytree(facades, run / "pairs")
    linked = tmp_path / "linked"
    linked.symlink_to(run / "pairs")
    manifest = tmp_path / "pairs.csv"
    rows = [f"{path},{path}" for path in sorted((run / "pairs" / "train").iterdir())]
    manifest.write_text("\n".join(["source,target", *rows]), "utf-8")
    for data in (run / "pairs", linked, manifest):
        flags = tiny().copy() if data is not manifest else tiny()[2:]  # a manifest says which side is the source
        inside = cli("train", data, *flags, "--run", run, "--overwrite")
        assert inside.code == 2
        assert "holds the data" in inside.err
    assert cli("train", facades, *tiny("--l1-weight 10"), "--run", run, "--overwrite").code == 0
    assert (run / "notes.txt").read_text("utf-8") == "keep me"
    assert len(files_in(run / "pairs")) == len(files_in(facades))


def test_a_folder_of_a_training_that_was_killed_at_once_is_used(cli: Cli, facades: Path, tmp_path: Path) -> None:
    """Between its marker and its settings, a killed training has written nothing else."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".pix2pix-run").write_text("", "utf-8")
    (folder / ".config.yaml.123.partial").write_text("data:", "utf-8")
    assert cli("train", facades, *tiny(), "--run", folder).code == 0
    assert (folder / "model" / "config.json").exists()


# ---- results on stdout, talk on stderr -------------------------------------------------------------------------


def test_json_is_all_that_goes_to_stdout(cli: Cli, run: Path, facades: Path, tmp_path: Path) -> None:
    info = cli("info", run, "--json")
    assert (info.code, info.err) == (0, "")
    facts = parse_json(info.out)
    assert facts["channels"] == "3 -> 3"
    assert facts["depth"] == 5

    measured = cli("evaluate", run, facades, "--output", "out", "--device", "cpu", "--json")
    assert measured.code == 0
    assert parse_json(measured.out) == parse_json((tmp_path / "out/metrics.json").read_text("utf-8"))

    look = cli("data", "check", facades, "--json")
    assert (look.code, look.err) == (0, "")
    assert parse_json(look.out)["counts"] == {"train": 10, "val": 3, "test": 3}
    assert parse_json(look.out)["train_refuses"] is None
    refused = cli("data", "check", facades, "--target-kind", "labels", "--direction", "BtoA", "--json")
    assert refused.code == 1
    assert parse_json(refused.out)["ok"]
    assert "--target-kind out if they are" in parse_json(refused.out)["train_refuses"]

    (sides(tmp_path / "pairs") / "B/1.png").unlink()
    problem = cli("data", "check", "pairs", "--json")
    assert problem.code == 1
    report = parse_json(problem.out)
    assert not report["ok"]
    assert report["unmatched"] == [{"path": "pairs/A/1.png", "reason": "has no partner 1 in pairs/B"}]
    assert cli("data", "check", "pairs").code == 1

    drawn = cli("data", "preview", facades, "--output", "sheet.png", "--count", 2, "--augmented", "--preset=slides")
    assert (drawn.code, drawn.out) == (0, "sheet.png\n")
    assert drawn.err.count("\n") == 2
    assert images.read(tmp_path / "sheet.png").shape[1] > 6 * 128


def test_pairs_from_photos(cli: Cli, tmp_path: Path) -> None:
    for number in range(4):
        images.write(tmp_path / f"photos/{number}.png", noise())
    (tmp_path / "photos/bad.jpg").write_bytes(b"")
    (tmp_path / "photos/raw.nef").write_bytes(b"")
    made = cli("data", "make", "photos", "--kind", "edges", "--output", "pairs", "--size", "32x40")
    assert (made.code, made.out) == (1, "pairs\n")
    said = made.err.splitlines()
    assert said[0].startswith("no pair: photos/bad.jpg: ")
    assert said[1] == "ignored: 1 of a format that is not read: convert it to PNG or TIFF: photos/raw.nef"
    assert said[2].startswith("4 new pairs, 4 in all (train ")
    assert said[3] == "pix2pix: 1 of the photos could not be used; they are listed above"
    assert parse_json(cli("data", "check", "pairs", "--json").out)["sizes"] == {"32x40": 4}
    other = cli("data", "make", "photos", "--kind", "edges", "--output", "pairs", "--size", "32")
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "pairs: was made with --size 32x40, not 32" in other.err
    assert cli("data", "make", "photos", "--kind", "edges", "--output", "new", "--sigma", "0").code == 2
    assert cli("data", "make", "photos", "--kind", "edge", "--output", "new").code == 2


def test_what_people_read_without_json(cli: Cli, run: Path, facades: Path, tmp_path: Path) -> None:
    facts = dict(line.split(maxsplit=1) for line in cli("info", run).out.splitlines())
    assert facts["depth"] == "5"
    assert facts["image_size"] == "32x32"
    assert re.search(r", l1 0\.\d{4}, .*, psnr \d\d\.\d\d, ", facts["validation"])
    assert (facts["norm_statistics"], facts["engine"].rpartition(", ")[2]) == (
        "running", "batch norm folded into the convolutions",
    )  # fmt: skip
    measured = cli("evaluate", run, facades, "--output", "out", "--device", "cpu")
    rows = measured.out.splitlines()
    names = ("g_adversarial", "g_l1", "d_real", "d_fake", "l1", "psnr", "ssim", "st_lpips", "kid_vgg", "mae", "rmse")
    assert rows[0].split()[-3:] == ["to", "mean_target", "source"]
    metrics = parse_json((tmp_path / "out/metrics.json").read_text("utf-8"))
    assert [row.split()[:2] for row in rows[1:-1]] == [[name, f"{metrics[name]:.4f}"] for name in names]
    assert max(map(len, rows)) <= 80
    assert rows[-1] == "out/report.html"

    images.write(tmp_path / "in/small.png", noise(7, 50))
    words = ("--device", "cpu", "--dropout", "--seed", "1", "--threads", "1")
    done = cli("translate", run, "in", "--output", "translated", *words)
    assert (done.code, done.out) == (0, "")
    note, count = done.err.splitlines()
    assert note.startswith("note: resized 1 image of 7x50 (HxW) to 32x229 for the model")
    assert count == f"1 translated into translated (cpu, {describe_threads(1)})"
    assert images.read(tmp_path / "translated/small.png").shape == (7, 50, 3)


@pytest.mark.parametrize(
    ("words", "parser", "commands"),
    [([], app, COMMANDS), (["data"], app["data"], DATA_COMMANDS)],
    ids=["pix2pix", "data"],
)
def test_help_names_every_command(cli: Cli, words: list[str], parser: App, commands: dict[str, str]) -> None:
    """The overview is a table of its own: it must say what the parser and the commands' own pages say."""
    pages = {cli(*words, *flags).out for flags in ([], ["--help"], ["-h"])}
    assert len(pages) == 1
    page = " ".join(pages.pop().split())
    assert set(commands) == set(parser) - {"--help", "-h", "--version"}
    for name, summary in commands.items():
        assert f" {name} {summary}" in page
        own = cli(*words, name, "--help")
        assert own.code == 0
        assert summary in " ".join(own.out.split())
        if name != "data":
            assert summary == str(parser[name].default_command.__doc__).splitlines()[0]


def test_the_process_itself(tmp_path: Path) -> None:
    """The same through a shell's eyes: the module runs, and its exit code and streams are the ones above."""
    command = [sys.executable, "-m", "pix2pix"]
    for words, code in ((["--help"], 0), (["train", "nowhere"], 1), (["train", "--epochs", "x"], 2)):
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == code
        assert bool(done.stdout) == (code == 0)
        assert bool(done.stderr) == (code != 0)
        assert done.stderr.count("\n") == (code != 0)
    assert not list(tmp_path.iterdir())


def test_data_after_a_list_is_not_its_end(cli: Cli) -> None:
    outcome = cli("study", "losses", "--seeds", "0", "1", "facades")
    assert outcome.code == 2
    assert "if facades is DATA, put it before --seeds, as in `pix2pix study losses DATA --seeds 0 1`" in outcome.err
