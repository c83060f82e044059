"""One picture goes through one model by every way that there is, and comes out the same."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pix2pix import Translator
from pix2pix.cli import main
from tests.serve.browser.models import save_models
from tests.serve.browser.pages import Drawn
from tests.serve.browser.pictures import COLOURS, SIZE, as_png, label_map, photo
from tests.serve.browser.static import serve_folder

Pixels = NDArray[np.uint8]
Open = Callable[..., Drawn]
STORED = {"labels": ("32", "int8"), "photo": ("16",)}
"""Kind of model -> precisions of the weights that its static folders hold."""
PICTURES = {"labels": (label_map(0), label_map(1)), "photo": (photo(0, 51, 70), photo(0, 51, 70)[::-1])}
"""Kind of model -> the picture, and another one, of an odd size where it is no label map."""
PIXELS_SHOWN = """() => {
  const image = document.querySelector("#output");
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
}"""


class Error(NamedTuple):
    """Largest and mean difference of two pictures, in 8-bit values."""

    most: float
    mean: float


EXACT = Error(0, 0)
ROUNDING = Error(1, 0.05)
"""Of another runtime with the same float32 weights."""
OTHER_PICTURE = 1.5
"""An export states the mean error of pictures that it draws; that of another may be so many times as large."""


@dataclass(frozen=True)
class Ways:
    """What the commands wrote, and where they serve it."""

    folder: Path
    service: str
    static: str

    def stated(self, kind: str, precision: str) -> Error:
        """Return what the export of a page has stated: rounding for float32, else a mean error."""
        if precision == "32":
            return ROUNDING
        (model,) = json.loads((self.folder / f"www/{kind}/{precision}/models.json").read_text())["models"]
        return Error(255, OTHER_PICTURE * max(one["mean"] for one in model["differences"]))


@pytest.fixture(scope="module")
def ways(browser: object, runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """Translate, export and serve the models by the commands."""
    folder = tmp_path_factory.mktemp("ways")
    save_models(folder, COLOURS, SIZE)
    save_models(folder / "others", COLOURS, SIZE, seed=1)
    for kind, pictures in PICTURES.items():
        model, sources = folder / kind, [folder / f"{kind}-{name}.png" for name in ("picture", "another")]
        for path, picture in zip(sources, pictures, strict=True):
            path.write_bytes(as_png(picture))
        run("export", model, "--output", f"{model}.onnx")
        run("translate", model, *sources, "--output", folder / "by-folder", "--device", "cpu")
        run("translate", f"{model}.onnx", *sources, "--output", folder / "by-file", "--engine", "onnxruntime")
        run("translate", folder / "others" / kind, sources[0], "--output", folder / "by-others", "--device", "cpu")
        for precision in STORED[kind]:
            words = ("--format", "web", "--precision", precision, "--onnxruntime-web", runtime)
            run("export", model, "--output", folder / "www" / kind / precision, *words)
    served = [word for kind in PICTURES for word in (folder / kind, f"{kind}-file={folder / kind}.onnx")]
    with running(*served) as service, serve_folder(folder / "www") as static:
        yield Ways(folder, service, static)


def run(*words: object) -> None:
    """Run a command; it must succeed."""
    main([str(word) for word in words])


@contextmanager
def running(*models: object) -> Iterator[str]:
    """Run `pix2pix serve` within the block; yield its address."""
    words = [sys.executable, "-m", "pix2pix", "serve", *map(str, models), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)  # after SIGTERM it would wait a second for proxies
        assert process.wait(60) == 0


def read(path: Path) -> Pixels:
    return np.asarray(Image.open(path))


def post(address: str, source: Path) -> Pixels:
    """Send a file as curl does; return the picture that comes back."""
    answer = httpx2.post(address, content=source.read_bytes(), headers={"Content-Type": "image/png"}, timeout=60)
    return np.asarray(Image.open(io.BytesIO(answer.raise_for_status().content)))


def give(drawn: Drawn, source: Path) -> Pixels:
    """Choose a file on a page; return the pixels of the output that is shown, which are those of its file."""
    drawn.wait_for_output(lambda: drawn.give(source.name, source.read_bytes()))
    saved = np.asarray(Image.open(io.BytesIO(drawn.output())))
    shown = np.array(drawn.page.evaluate(PIXELS_SHOWN), np.uint8).reshape(*saved.shape[:2], 4)[..., :3]
    assert np.array_equal(shown, saved)
    return shown


def measure(output: Pixels, expected: Pixels) -> Error:
    error = np.abs(output.astype(int) - expected)
    return Error(float(error.max()), float(error.mean()))


@pytest.mark.parametrize("kind", PICTURES)
def test_one_picture_is_the_same_by_every_way(ways: Ways, open_page: Open, kind: str) -> None:
    folder, source = ways.folder, ways.folder / f"{kind}-picture.png"
    expected, by_file = read(folder / "by-folder" / source.name), read(folder / "by-file" / source.name)
    translator = Translator.from_pretrained(folder / kind, device="cpu")
    found = {
        "Python": (np.asarray(translator(Image.open(source))), EXACT),
        "POST": (post(f"{ways.service}/v1/models/{kind}/translate", source), EXACT),
        "the served page": (give(open_page(ways.service, kind), source), EXACT),
        "translate of the file": (by_file, ROUNDING),
        "POST to the file": (post(f"{ways.service}/v1/models/{kind}-file/translate", source), ROUNDING),
    }
    assert np.array_equal(found["POST to the file"][0], by_file)
    for precision in STORED[kind]:
        output = give(open_page(f"{ways.static}/{kind}/{precision}", local=True), source)
        found[f"a page of {precision}"] = (output, ways.stated(kind, precision))
    errors = {way: (measure(output, expected), most) for way, (output, most) in found.items()}
    assert all(error <= most for error, most in errors.values()), errors

    # The control: the output for another picture, and that of another model, are far outside of all that is allowed.
    others = read(folder / "by-folder" / f"{kind}-another.png"), read(folder / "by-others" / source.name)
    for other in others:
        error = measure(other, expected)
        assert min(error) > 3 * max(most.mean for _, most in errors.values()), error
