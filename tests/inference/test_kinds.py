"""What Python programs hand over to a Translator is taken rightly: floating numbers, batches, lists, other channels."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pix2pix.config.io import make_config
from pix2pix.errors import ModelError
from pix2pix.inference.translator import Translator
from pix2pix.model import Model
from tests.inference.small_models import make_model, noise

PIXELS = noise(20, 45, 3)
GRAY = np.repeat(noise(20, 45, 1), 3, axis=2)


@cache
def translator() -> Translator:
    return Translator(make_model())


def show(given: Any, **choices: Any) -> Any:
    return translator()(given, **choices)


def first(pixels: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def laid_over(pixels: NDArray[np.uint8], opacity: NDArray[np.uint8], behind: float) -> NDArray[np.uint8]:
    share = opacity[..., None] / 255
    return np.rint(pixels * share + behind * (1 - share)).astype(np.uint8)


OPACITY = noise(20, 45)
RGBA = np.dstack([PIXELS, OPACITY])
PALETTE = Image.fromarray(PIXELS).quantize(16)

SAME: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "0 to 1": (lambda: show(PIXELS / 255, floats=(0, 1)), lambda: (show(PIXELS / 127.5 - 1) + 1) / 2),
    "0 to 255": (
        lambda: show(PIXELS.astype(np.float32), floats=(0, 255)),
        lambda: (show(PIXELS / 127.5 - 1) + 1) * 127.5,
    ),
    "tensor of 0 to 1": (
        lambda: show(first(PIXELS) / 255, floats=(0, 1)),
        lambda: (show(first(PIXELS) / 127.5 - 1) + 1) / 2,
    ),
    "big-endian": (
        lambda: show((PIXELS / 127.5 - 1).astype(">f4")), lambda: show((PIXELS / 127.5 - 1).astype(np.float32)),
    ),
    "mirrored": (lambda: show(PIXELS[..., ::-1]), lambda: show(PIXELS[..., ::-1].copy())),
    "batch of arrays": (lambda: show(np.stack([PIXELS, GRAY])), lambda: np.stack([show(PIXELS), show(GRAY)])),
    "list": (lambda: show([PIXELS, GRAY[:7]]), lambda: [show(PIXELS), show(GRAY[:7])]),
    "list of PIL": (lambda: show([Image.fromarray(PIXELS)] * 2), lambda: [show(Image.fromarray(PIXELS))] * 2),
    "gray": (lambda: show(GRAY[..., 0]), lambda: show(GRAY)),
    "gray PIL": (lambda: show(Image.fromarray(GRAY[..., 0])), lambda: show(Image.fromarray(GRAY))),
    "gray tensor": (lambda: show(first(GRAY[..., :1])), lambda: show(first(GRAY))),
    "gray floats": (
        lambda: show(GRAY[..., :1] / 255, floats=(0, 1)), lambda: show(GRAY / 255, floats=(0, 1)),
    ),
    "palette": (lambda: show(PALETTE), lambda: show(PALETTE.convert("RGB"))),
    "transparent PIL": (
        lambda: show(Image.fromarray(RGBA)), lambda: show(Image.fromarray(laid_over(PIXELS, OPACITY, 255))),
    ),
    "transparent array": (lambda: show(RGBA), lambda: show(laid_over(PIXELS, OPACITY, 255))),
    "transparent gray": (
        lambda: show(np.dstack([GRAY[..., 0], OPACITY])), lambda: show(laid_over(GRAY, OPACITY, 255)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SAME)
def test_what_is_handed_over_is_taken_rightly(what: str) -> None:
    found, expected = (make() for make in SAME[what])
    assert type(found) is type(expected)
    if not isinstance(found, list):
        found, expected = [found], [expected]
    for one, other in zip(found, expected, strict=True):
        assert np.ptp(np.asarray(other).astype(float)) > 0.05, "a flat image proves nothing"
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=2e-3 if what == "0 to 255" else 1e-5)


def test_each_conversion_is_said_once_and_may_be_refused(caplog: pytest.LogCaptureFixture) -> None:
    fresh = Translator(make_model(), background="black")
    for _ in range(2):
        shown = fresh(RGBA)
    assert np.array_equal(shown, show(laid_over(PIXELS, OPACITY, 0)))
    assert [record.getMessage() for record in caplog.records] == [
        "transparent pixels were laid over black; strict=True refuses such images"
    ]
    strict = Translator(make_model(), strict=True)
    opaque = np.dstack([PIXELS, np.full_like(OPACITY, 255)])
    assert np.array_equal(strict(opaque), show(PIXELS)), "nothing is lost, so nothing is refused"
    for image in (RGBA, GRAY[..., 0], Image.fromarray(GRAY[..., 0])):
        with pytest.raises(ModelError, match="leave strict out"):
            strict(image)


def high_depth_model(dtype: str) -> Model:
    values = {"image_size": 32, "source_channels": 1, "target_channels": 1, "source_type": dtype, "target_type": dtype}
    bounds = (0.0, 4095.0)
    data = make_config({"data": values | {"source_range": bounds, "target_range": bounds}}).data
    model = make_model(1, 1)
    return Model(
        model.generator,
        None,
        model.config.model_copy(update={"settings": model.config.settings.model_copy(update={"data": data})}),
    )


@pytest.mark.parametrize(("dtype", "mode"), [("uint16", "I;16"), ("float32", "F")])
def test_pil_holds_16_bits_and_floats(dtype: str, mode: str) -> None:
    translating = Translator(high_depth_model(dtype))
    values = (noise(33, 40).astype(dtype) * 16).astype(dtype)
    shown = translating(Image.fromarray(values))
    assert shown.mode == mode
    assert np.array_equal(np.asarray(shown), translating(values))
    assert np.array_equal(translating(values.astype(np.dtype(dtype).newbyteorder(">"))), translating(values))


def test_threads_get_the_bytes_of_one_thread() -> None:
    """Whichever image comes first to a new translator."""
    given = [noise(*size, 3) for size in ((64, 64), (64, 96), (50, 70), (128, 64))] * 4
    expected = [show(image) for image in given]
    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(Translator(make_model()), given), expected, strict=True):
            assert np.array_equal(found, right)
