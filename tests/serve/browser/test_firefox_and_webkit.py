"""Both pages in Firefox and in WebKit, the engine of Safari."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from pix2pix import Translator
from pix2pix.data.io import images
from pix2pix.serve.site import export_site
from tests.serve.browser.conftest import REQUIRED, SHOTS
from tests.serve.browser.engines import Engine, as_array, find_firefox, firefox, has_webkit, webkit
from tests.serve.browser.pictures import SIZE, as_png, encode, photo
from tests.serve.browser.static import Isolated, serve_folder

DECODE = """
  const { decode } = await import(new URL("page/files.js", document.baseURI));
  const blob = new Blob([Uint8Array.from(atob(given[0]), (c) => c.charCodeAt(0))], { type: given[1] });
  const { raster, message } = await decode(blob, "It", null).catch((problem) => problem);
  return message ?? [raster.height, raster.width, btoa(String.fromCharCode(...new Uint8Array(raster.data.buffer)))];"""


@pytest.fixture(scope="module", params=["Firefox", "WebKit"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    run, there = {"Firefox": (firefox, find_firefox()), "WebKit": (webkit, has_webkit())}[request.param]
    if not there:
        (pytest.fail if REQUIRED else pytest.skip)(f"no {request.param}")
    with run() as engine:
        yield engine


@pytest.fixture(scope="module")
def static(models: dict[str, Path], runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("www")
    export_site(models["labels"], output=folder / "some/where", precision="32", onnxruntime_web=runtime)
    with serve_folder(folder, Isolated) as address:
        yield f"{address}/some/where/"


@pytest.mark.parametrize("kind", ["served", "static"])
def test_what_is_drawn_is_translated(
    engine: Engine, address: str, static: str, models: dict[str, Path], request: pytest.FixtureRequest, kind: str
) -> None:
    engine.visit(f"{address}/#labels" if kind == "served" else static)
    expected = engine.pixels("#canvas").copy()
    for pointer, tool, (left, top), (right, bottom) in (
        ("mouse", "rectangle", (40, 50), (30, 20)),
        ("touch", "rectangle", (3, 4), (12, 9)),
    ):
        engine.run("document.querySelector(`[value=${given[0]}]`).click()", tool)
        engine.run("document.querySelectorAll('#palette input')[3].click()")
        before = engine.run("return document.querySelector('#output').src")
        engine.drag(
            pointer, "#canvas", *(((x + 0.5) / SIZE, (y + 0.5) / SIZE) for x, y in ((left, top), (right, bottom)))
        )
        rows, columns = (slice(min(ends), max(ends) + 1) for ends in ((top, bottom), (left, right)))
        expected[rows, columns] = (255, 80, 0)
        engine.wait(f"document.querySelector('#output').src !== '{before}'")
        engine.wait_for_output()
        assert np.array_equal(engine.pixels("#canvas"), expected)
    output = Translator.from_pretrained(models["labels"], device="cpu")(expected)
    error = np.abs(engine.pixels("#output").astype(int) - output)
    assert error.max() <= (0 if kind == "served" else 1)

    if kind == "static":  # Firefox can hang with threads, and WebKit on Linux has none
        assert engine.run(
            "return crossOriginIsolated && document.querySelector('#note').innerText.includes('one thread')"
        )

    engine.run("document.querySelector('[name=view][value=source]').click()")
    engine.wait("document.querySelector('#split').checkVisibility()")
    engine.drag("mouse", "#split", (0.1, 0.5))
    assert engine.run("return Number(document.querySelector('#split').value)") == pytest.approx(10, abs=1)
    engine.shoot(SHOTS / f"{request.node.name}.png")
    assert not engine.complaints()


def test_files_are_read_as_the_model_reads_them(engine: Engine, static: str, tmp_path: Path) -> None:
    engine.visit(static)
    values, sides = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8), photo(0, 40, 60)
    png = as_png(values)
    content = {
        "png": png,
        "jpeg": encode(sides, "JPEG"),
        "gamma.png": png.replace(png[:33], png[:33] + GAMMA),
        "profile.png": save(values, "PNG"),
        "profile.jpeg": save(sides, "JPEG"),
        "profile.webp": save(values, "WEBP", lossless=True),
        **{f"turned.{kind.lower()}": encode(sides, kind, turned=True) for kind in ("PNG", "JPEG", "WEBP")},
    }
    for name, file in content.items():
        path = tmp_path / name
        path.write_bytes(file)
        read = engine.run(DECODE, base64.b64encode(file).decode(), f"image/{name.rpartition('.')[2]}")
        assert isinstance(read, list), (name, read)
        assert np.array_equal(as_array((read[0], read[1], read[2])), images.read(path)), name
    changed = bytearray(png)
    changed[len(png) // 2] ^= 1
    damaged = {"png": bytes(changed), "jpeg": content["jpeg"][:-200], "webp": encode(sides, "WEBP")[:-20]}
    for kind, file in {**damaged, "PNG": png[:-200]}.items():
        read = engine.run(DECODE, base64.b64encode(file).decode(), f"image/{kind.lower()}")
        assert read == "The picture cannot be read: It is damaged or not whole. Choose another file.", kind
    assert not engine.complaints()


GAMMA = bytes.fromhex("00000004 67414d41 000186a0 31e8965f")
"""The part of a PNG that says that its values are linear."""


def save(values: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", kind: str, **choices: bool) -> bytes:
    """Encode a picture with the profile of a space whose red is the green of sRGB."""
    content = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")
    Image.fromarray(values).save(content, kind, icc_profile=profile, **choices)
    return content.getvalue()
