"""Colours are classes: found, kept apart by every resizing, kept in the model, and missed by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pix2pix.cli import main
from pix2pix.config import Data
from pix2pix.config.io import make_config
from pix2pix.data.encoding.labels import LabelEncoding
from pix2pix.data.encoding.prepared import prepare_data
from pix2pix.data.io import images
from pix2pix.data.loading.dataset import make_dataset
from pix2pix.data.pairing.pair import ImageRef, Pair
from pix2pix.data.transforms.augment import resize_nearest
from pix2pix.errors import ConfigError, DataError
from pix2pix.inference.translator import Translator

COLOURS = np.array([[0, 0, 0], [0, 0, 170], [255, 85, 0]], np.uint8)
NAMES = ("#000000", "#0000aa", "#ff5500")


def blocks(seed: int, height: int = 44, width: int = 36) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(H, W) indices of classes in blocks of about 4x4, every class in it."""
    small = np.random.default_rng(seed).integers(0, 3, (11, 9), dtype=np.uint8)
    small.flat[:3] = 0, 1, 2
    return resize_nearest(small[None], (height, width))[0]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Palette PNGs as sources, photos as targets; the last palette has its colours in another order."""
    for number in range(6):
        index = blocks(number)
        turned = number == 5
        picture = Image.fromarray(2 - index if turned else index)
        picture.putpalette((COLOURS[::-1] if turned else COLOURS).reshape(-1).tolist())
        (tmp_path / "data/A").mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / f"data/A/{number}.png")
        images.write(tmp_path / f"data/B/{number}.png", np.stack([index * 100, index * 20, 255 - index * 90], axis=2))
    return tmp_path / "data"


def test_classes_become_channels_and_stay_whole(data: Path) -> None:
    pairs = [Pair(str(n), ImageRef(data / f"A/{n}.png"), ImageRef(data / f"B/{n}.png")) for n in range(6)]
    settings = Data(image_size=(32, 48), source_kind="labels", cache="memory")
    prepared = prepare_data(settings, pairs)
    assert prepared.sources[0].values == LabelEncoding(NAMES)
    dataset = make_dataset(pairs, prepared, settings)
    for number in range(6):
        source, target, _ = dataset[0, number]
        assert source.shape == (3, 32, 48)
        assert target.shape == (3, 32, 48)
        assert set(source.unique().tolist()) == {-1, 1}
        assert (source.sum(dim=0) == -1).all()
        assert np.array_equal(source.argmax(dim=0).numpy(), resize_nearest(blocks(number)[None], (32, 48))[0])
        assert np.array_equal(dataset.draw_source(source), COLOURS[source.argmax(dim=0).numpy()])


def test_gray_values_are_classes(tmp_path: Path) -> None:
    values = np.array([[0, 7, 300], [300, 7, 0]], np.uint16)[..., None]
    images.write(tmp_path / "x.png", values)
    ref = ImageRef(tmp_path / "x.png")
    labels = prepare_data(Data(source_kind="labels"), [Pair("x", ref, ref)]).sources[0].values
    assert isinstance(labels, LabelEncoding)
    assert labels.classes == ("0", "7", "300")
    assert labels.to_indices(values, "x")[..., 0].tolist() == [[0, 1, 2], [2, 1, 0]]


def test_a_colour_that_is_no_class_is_named_with_its_place() -> None:
    labels = LabelEncoding(NAMES, tolerance=0)
    picture = COLOURS[blocks(0)]
    picture[3, 5] = 0, 3, 170
    with pytest.raises(DataError, match=r"x\.png: holds #0003aa at row 3, column 5, not one of the 3 classes"):
        labels.to_indices(picture, "x.png")
    assert np.array_equal(
        LabelEncoding(NAMES, tolerance=3).to_indices(picture, "x.png")[..., 0],
        labels.to_indices(COLOURS[blocks(0)], "")[..., 0],
    )
    with pytest.raises(DataError, match=r"has 1 channel of uint8, but its classes are colours"):
        labels.to_indices(picture[..., :1], "x.png")


def test_what_jpeg_has_blurred_needs_named_classes(tmp_path: Path) -> None:
    index = blocks(0, 88, 72)
    images.write(tmp_path / "x.jpg", COLOURS[index])
    noisy = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    images.write(tmp_path / "y.png", noisy)
    ref = ImageRef(tmp_path / "y.png")
    with pytest.raises(
        DataError, match=r"y\.png: with this file the sources have more than 256 colours.*--label-tolerance"
    ):
        prepare_data(Data(source_kind="labels"), [Pair("y", ref, ref)])
    found = LabelEncoding(NAMES, tolerance=442).to_indices(images.read(tmp_path / "x.jpg"), "x.jpg")[..., 0]
    assert (found == index).mean() > 0.95


def save_jpeg_masks(folder: Path, colours: np.ndarray, as_tiff: bool) -> list[Pair]:
    """Three maps whose classes are discs, with the noise of JPEG around them."""
    y, x = np.mgrid[:64, :64]
    refs = []
    for n in range(3):
        disc = ((y - 20 - 9 * n) ** 2 + (x - 30) ** 2 < 200).astype(int)
        refs.append(ImageRef(folder / f"{n}.{'tif' if as_tiff else 'jpg'}"))
        options = {"compression": "jpeg"} if as_tiff else {}
        Image.fromarray(colours[disc].astype(np.uint8)).save(refs[-1].path, quality=80, **options)
    return [Pair(str(n), ref, ref) for n, ref in enumerate(refs)]


@pytest.mark.parametrize("as_tiff", [False, True])
@pytest.mark.parametrize(("side", "flags"), [("source", "--source-labels {} --label-tolerance "),
                                             ("target", "--target-labels {} --target-label-tolerance ")])  # fmt: skip
def test_jpeg_noise_is_not_taken_for_classes(tmp_path: Path, side: str, flags: str, as_tiff: bool) -> None:
    pairs = save_jpeg_masks(tmp_path, np.array([0, 255]), as_tiff)
    with pytest.raises(DataError, match="JPEG mixes colours.*" + flags.format("0,255")) as refused:
        prepare_data(make_config({"data": {f"{side}_kind": "labels"}}).data, pairs)
    given = {f"{side}_labels": "0,255", f"{'target_' if side == 'target' else ''}label_tolerance": 0}
    name = next(name for name in given if name.endswith("tolerance"))
    with pytest.raises(DataError, match="JPEG mixes colours: train with --label-tolerance"):
        prepare_data(make_config({"data": {f"{side}_kind": "labels"} | given}).data, pairs).refuse_unknown_classes(
            pairs
        )
    data = make_config(
        {"data": {f"{side}_kind": "labels"} | given | {name: float(str(refused.value).split()[-1])}}
    ).data
    prepare_data(data, pairs).refuse_unknown_classes(pairs)
    begun = Data(source_kind="labels")
    assert len(prepare_data(begun, pairs, recorded=begun).sources[0].values.classes) > 2  # as earlier versions did


def test_too_many_classes_and_photos_say_what_is_the_matter(tmp_path: Path) -> None:
    images.write(tmp_path / "x.tif", (np.arange(64 * 64) % 300).reshape(64, 64, 1).astype(np.uint16))
    images.write(tmp_path / "x.jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name, said in (("x.tif", "256 classes are the most: unite some, or leave --source-kind out if they are a "
                                 "quantity$"), ("x.jpg", "leave --source-kind out if they are photos")):  # fmt: skip
        ref = ImageRef(tmp_path / name)
        with pytest.raises(DataError, match=said):
            prepare_data(Data(source_kind="labels"), [Pair("x", ref, ref)])


@pytest.mark.parametrize("names", ["#0000aa", "#0000aa,7", "#0000aa,#0000AA", "red,blue", "1.5,2"])
def test_names_of_classes_are_checked(names: str) -> None:
    with pytest.raises(ConfigError, match=r"source_labels.*expected"):
        make_config({"data": {"source_kind": "labels", "source_labels": names}})


def test_a_training_on_label_maps_from_the_command_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = data.parent / "run", data.parent / "out"
    flags = ["--image-size", "32", "--base-channels", "4", "--discriminator.patch-size", "16", "--epochs", "2",
             "--batch-size", "2", "--samples", "1", "--device", "cpu"]  # fmt: skip
    main(["train", str(data), "--run", str(run), "--source-kind", "labels", *flags])
    assert "3 classes #000000, #0000aa, #ff5500" in capsys.readouterr().err
    main(["evaluate", str(run), str(data), "--json"])
    assert 0 < json.loads(capsys.readouterr().out)["l1"] < 1
    main(["translate", str(run), str(data / "A"), "--output", str(out)])
    main(["data", "preview", str(data), "--augmented", "--source-kind", "labels", "--output", f"{out}.png"])
    translator = Translator.from_pretrained(run, device="cpu")
    written = images.read(out / "5.png")
    assert written.shape == (44, 36, 3)
    with Image.open(data / "A/5.png") as source:
        assert np.array_equal(np.array(translator(source)), written)
    assert np.array_equal(translator(images.read(data / "A/5.png")), written)

    images.write(data / "A/2.png", np.full((44, 36, 3), 9, np.uint8))
    with pytest.raises(SystemExit) as exit:
        main(["translate", str(run), str(data / "A/2.png"), "--output", str(out)])
    assert exit.value.code == 1
    assert "2.png: holds #090909 at row 0, column 0" in capsys.readouterr().err
