"""No translation replaces what no translation wrote; the same command does only what is missing."""

import errno
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pix2pix.data.io import images
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference import outputs
from pix2pix.inference.jobs import Job
from pix2pix.inference.outputs import refuse_collisions
from pix2pix.inference.pipeline import Options, Translated, translate_files
from pix2pix.inference.record import NAME, Record
from pix2pix.inference.translator import Translator
from pix2pix.system import files
from pix2pix.system.folded_names import find_folded, folds_names
from tests.inference.small_models import make_model, noise


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator(make_model())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        images.write(tmp_path / f"photos/{number}.png", noise(9 + number, 12, 3))
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the record."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


OVERWRITE = Options(overwrite=True)

# ---- what stands there -----------------------------------------------------------------------------------------


def foreign_picture(path: Path) -> None:
    images.write(path, noise(3, 3, 3))


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_text(path: Path) -> None:
    path.with_name("text").write_text("mine")
    path.symlink_to("text")


@pytest.mark.parametrize("make", [foreign_picture, dangling_link, link_to_text, lambda path: path.write_text("mine")])
def test_a_file_that_no_translation_wrote_is_not_replaced(
    translator: Translator, photos: Path, out: Path, make: Callable[[Path], None]
) -> None:
    out.mkdir()
    make(out / "1.png")
    before, link = contents(out), (out / "1.png").is_symlink()
    with pytest.raises(DataError, match=rf"{out}/1\.png: exists, and no translation wrote it.*--overwrite"):
        translate_files(translator, [photos], out)
    assert contents(out) == before, "neither it nor another output is written"
    assert (out / "1.png").is_symlink() == link
    assert len(translate_files(translator, [photos], out, OVERWRITE).written) == 3
    assert images.read(out / "1.png").shape == (10, 12, 3)
    assert not (out / "1.png").is_symlink()
    assert contents(out).get("text", b"mine") == b"mine", "a link is replaced, not what it leads to"


def test_a_refusal_names_the_files(translator: Translator, photos: Path, out: Path) -> None:
    for number in range(3):
        images.write(out / f"{number}.png", noise(3, 3, 3))
    with pytest.raises(
        DataError, match=r"holds 3 files that no translation wrote as they are: 0\.png, 1\.png, 2\.png;"
    ):
        translate_files(translator, [photos], out)


def test_nothing_of_the_input_folder_is_replaced(translator: Translator, tmp_path: Path) -> None:
    """Not the inputs, whatever is wrong with them, nor files that are not inputs."""
    photos = tmp_path / "photos"
    images.write(photos / "a.png", noise(5, 5, 3))
    (photos / "broken.png").write_bytes(b"")
    inner = photos / "photos"
    inner.mkdir()
    (inner / "broken.png").write_bytes(b"also broken")
    images.write(tmp_path / "photos/.hidden/a.png", noise(4, 4, 3))
    before = contents(photos)
    for output in (photos, inner.parent, photos / ".." / "photos"):
        with pytest.raises(ConfigError, match=r"would replace .*, an input; choose another --output"):
            translate_files(translator, [photos], output, OVERWRITE)
    with pytest.raises(DataError, match=r"\.hidden/a\.png: exists, and no translation wrote it"):
        translate_files(translator, [photos / "a.png"], photos / ".hidden")
    assert contents(photos) == before


@pytest.mark.parametrize("link", ["folder", "hard link", "file"])
def test_an_output_that_leads_to_an_input_is_refused(
    translator: Translator, photos: Path, out: Path, link: str
) -> None:
    if link == "folder":
        out.symlink_to(photos)
    else:
        out.mkdir()
        make = os.link if link == "hard link" else os.symlink
        make(photos / "1.png", out / "0.png")
    before = contents(photos)
    with pytest.raises(ConfigError, match=r"would replace .*\.png, an input"):
        translate_files(translator, [photos], out, OVERWRITE)
    assert contents(photos) == before


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.png", "A.PNG"), ("é.png", unicodedata.normalize("NFD", "é.png")), ("Straße/x.png", "STRASSE/x.png")],
)
@pytest.mark.parametrize("folds", [True, False])
def test_names_that_some_file_systems_take_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, folds: bool
) -> None:
    jobs = [Job((tmp_path / name,), Path(name)) for name in (first, second)]
    monkeypatch.setattr(outputs, "folds_names", lambda _: folds)
    if folds:
        with pytest.raises(DataError, match="would both become"):
            refuse_collisions(jobs, tmp_path)
    else:
        refuse_collisions(jobs, tmp_path)
    monkeypatch.setattr("pix2pix.system.folded_names.folds_names", lambda _: folds)
    assert find_folded([first, "x", second], tmp_path) == ((first, second) if folds else None)


def refuse(*_: Any, **__: Any) -> None:
    raise PermissionError


def test_the_file_system_is_asked_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").touch()
    here = not (tmp_path / "X").exists()
    assert folds_names(tmp_path / "new/folder") is not here
    assert names(tuple(tmp_path.iterdir())) == ["x"]
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    assert folds_names(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    assert folds_names(tmp_path), "in doubt"


# ---- the same command again ------------------------------------------------------------------------------------


def counts(result: Translated) -> tuple[int, int, int, int]:
    return len(result.already), len(result.written), len(result.edited), len(result.failed)


def test_only_what_is_missing_is_done(translator: Translator, photos: Path, out: Path) -> None:
    assert counts(translate_files(translator, [photos], out)) == (0, 3, 0, 0)
    calm = contents(out)
    (out / "1.png").unlink()
    again = translate_files(translator, [photos], out)
    assert (names(again.already), names(again.written)) == (["0.png", "2.png"], ["1.png"])
    assert contents(out) == calm
    assert counts(translate_files(translator, [photos], out, OVERWRITE)) == (0, 3, 0, 0)


def test_other_sources_models_and_settings_are_done_again(translator: Translator, photos: Path, out: Path) -> None:
    translate_files(translator, [photos], out)
    images.write(photos / "1.png", noise(10, 13, 3)[:, :12])
    assert names(translate_files(translator, [photos], out).written) == ["1.png"]
    other = Translator(make_model(statistics="running"))
    assert counts(translate_files(other, [photos], out)) == (0, 3, 0, 0)
    weights = make_model(statistics="running")
    next(iter(weights.generator.parameters())).data[0] += 1e-3
    assert counts(translate_files(Translator(weights), [photos], out)) == (0, 3, 0, 0)
    assert counts(translate_files(Translator(weights), [photos], out)) == (3, 0, 0, 0)
    assert counts(translate_files(Translator(weights, precision="bf16"), [photos], out)) == (0, 3, 0, 0)


def test_copies_with_new_times_are_the_same_files(translator: Translator, photos: Path, out: Path) -> None:
    translate_files(translator, [photos], out)
    for path in [*photos.iterdir(), *out.glob("*.png")]:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    assert counts(translate_files(translator, [photos], out)) == (3, 0, 0, 0)


def test_a_source_replaced_by_one_of_its_size_and_time_is_noticed(
    translator: Translator, tmp_path: Path, out: Path
) -> None:
    for name in ("a.bmp", "b.bmp"):
        images.write(tmp_path / "in" / name, noise(8, 8 if name < "b" else 9, 3)[:, :8])
        os.utime(tmp_path / "in" / name, (1, 1))
    translate_files(translator, [tmp_path / "in"], out)
    (tmp_path / "in/b.bmp").replace(tmp_path / "in/a.bmp")
    assert counts(translate_files(translator, [tmp_path / "in"], out)) == (0, 1, 0, 0)


def test_an_edited_output_stays(translator: Translator, photos: Path, out: Path) -> None:
    translate_files(translator, [photos], out)
    foreign_picture(out / "1.png")
    edited = (out / "1.png").read_bytes()
    result = translate_files(translator, [photos], out)
    assert counts(result) == (2, 0, 1, 0)
    images.write(photos / "1.png", noise(7, 7, 3))
    with pytest.raises(DataError, match=r"1\.png: exists, and no translation wrote it as it is"):
        translate_files(translator, [photos], out)
    assert (out / "1.png").read_bytes() == edited
    assert counts(translate_files(translator, [photos], out, OVERWRITE)) == (0, 3, 0, 0)


def test_dropout_repeats_by_seed_whatever_was_done_before(photos: Path, out: Path, tmp_path: Path) -> None:
    noisy, seeded = Translator(make_model(), dropout=True), Options(seed=5)
    translate_files(noisy, [photos], out, seeded)
    whole = contents(out)
    (out / "1.png").unlink()
    assert counts(translate_files(noisy, [photos], out, seeded)) == (2, 1, 0, 0)
    assert contents(out) == whole, "its noise does not depend on the images before it"
    assert counts(translate_files(noisy, [photos], out, Options(seed=6))) == (0, 3, 0, 0)
    assert contents(out) != whole
    assert counts(translate_files(noisy, [photos], out)) == (0, 3, 0, 0)
    assert counts(translate_files(noisy, [photos], out)) == (0, 3, 0, 0), "without a seed each run draws anew"


# ---- the record ------------------------------------------------------------------------------------------------


def test_a_torn_or_foreign_line_is_skipped(translator: Translator, photos: Path, out: Path) -> None:
    translate_files(translator, [photos], out)
    lines = (out / NAME).read_bytes().splitlines(keepends=True)
    odd = [b"[]\n", b"\xff\n", b'["1.png", 1, 2, 3]\n', b"{}\n", b"[" * 100_000 + b"\n"]
    (out / NAME).write_bytes(b"".join([*odd, *lines])[:-20])  # killed while it wrote the last one
    result = translate_files(translator, [photos / "0.png", photos / "1.png"], out)
    assert counts(result) == (2, 0, 0, 0)
    translate_files(translator, [photos], out, OVERWRITE)
    assert counts(translate_files(translator, [photos], out)) == (3, 0, 0, 0), "the next line is whole"


def test_an_output_without_its_line_never_stands(
    translator: Translator, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the moment of a kill: the line is there before the name."""
    seen: list[str] = []
    replace = os.replace

    def look(old: Any, new: Any) -> None:
        seen.append(Path(new).name)
        recorded = Record(out).entries(Path(new).relative_to(out))
        assert recorded
        assert recorded[-1].output.fits(Path(old))
        replace(old, new)

    monkeypatch.setattr(os, "replace", look)
    assert counts(translate_files(translator, [photos], out)) == (0, 3, 0, 0)
    assert len(seen) == 3


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.symlink_to("x"), os.mkfifo])
def test_a_record_that_is_no_file_is_refused(
    translator: Translator, photos: Path, out: Path, make: Callable[[Path], None]
) -> None:
    out.mkdir()
    make(out / NAME)
    with pytest.raises(DataError, match=rf"{NAME}: is no regular file"):
        translate_files(translator, [photos], out)


def test_what_another_process_writes_meanwhile_stays(
    translator: Translator, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translate = Translator.translate

    def interfere(self: Translator, source: Any) -> Any:
        (out / "1.png").write_bytes(b"theirs")
        return translate(self, source)

    out.mkdir()
    monkeypatch.setattr(Translator, "translate", interfere)
    result = translate_files(translator, [photos], out, Options(batch_size=1))
    ((path, reason),) = result.failed
    assert path == photos / "1.png"
    assert "another process wrote it in the meantime" in reason
    assert (out / "1.png").read_bytes() == b"theirs"


def test_leftovers_of_a_killed_process_go(translator: Translator, photos: Path, out: Path) -> None:
    out.mkdir()
    (out / ".1.png.99999.partial").write_bytes(b"half")
    (out / ".mine.99999.partial").write_bytes(b"not of an output")
    translate_files(translator, [photos], out)
    assert {name for name in contents(out) if name.startswith(".")} == {".mine.99999.partial"}


# ---- outputs that cannot be written ----------------------------------------------------------------------------


def test_one_output_that_cannot_be_written_does_not_end_the_others(
    translator: Translator, photos: Path, out: Path
) -> None:
    (out / "1.png").mkdir(parents=True)
    images.write(photos / "deep/x.png", noise(9, 9, 3))
    (out / "deep").write_bytes(b"a file in place of a folder")
    for options in (Options(), OVERWRITE):
        result = translate_files(translator, [photos], out, options)
        reasons = {path.name: reason for path, reason in result.failed}
        assert set(reasons) == {"1.png", "x.png"}
        assert all("cannot be written" in reason and str(out) in reason for reason in reasons.values())
    assert set(contents(out)) == {"0.png", "2.png", "deep"}


@pytest.mark.parametrize("name", ["x" * 245, "ä" * 125, "x" * 251])
def test_long_names_are_written(translator: Translator, tmp_path: Path, out: Path, name: str) -> None:
    images.write(tmp_path / "in" / f"{name}.png", noise(8, 8, 3))
    assert counts(translate_files(translator, [tmp_path / "in"], out)) == (0, 1, 0, 0)
    assert set(contents(out)) == {f"{name}.png"}


def test_a_full_disk_ends_the_command_and_the_next_continues(
    translator: Translator, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(image: Image.Image, file: Any, **options: Any) -> None:
        if image.height == 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(image, file, **options)

    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", fill)
    with pytest.raises(DataError, match=r"1\.png: cannot be written \(No space left.*1 output .*run it again to cont"):
        translate_files(translator, [photos], out, Options(batch_size=1))
    monkeypatch.undo()
    assert {name for name in contents(out) if "partial" in name} == set()
    result = translate_files(translator, [photos], out)
    assert len(result.already) >= 1
    assert set(contents(out)) == {"0.png", "1.png", "2.png"}


def test_a_model_that_is_not_finite_is_reported(photos: Path, out: Path) -> None:
    model = make_model()
    next(iter(model.generator.parameters())).data.fill_(float("nan"))
    result = translate_files(Translator(model), [photos], out)
    assert counts(result) == (0, 0, 0, 3)
    assert all("the model gives no image for it" in reason for _, reason in result.failed)


def test_the_temporary_name_is_the_one_that_is_cleaned(tmp_path: Path) -> None:
    """The pattern in `remove_leftovers` above is what `begin_to_write` makes."""
    found: list[Path] = []
    files.begin_to_write(tmp_path / "1.png", lambda _: None, found.append)()
    assert found == [tmp_path / f".1.png.{os.getpid()}.partial"]
