"""Render a template as one self-contained HTML page."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from pix2pix.data.io.arrays import Pixels
from pix2pix.metrics.perceptual import describe_missing
from pix2pix.metrics.pixel import MEASURES, OWN_UNITS
from pix2pix.text import LONG, format_duration

JPEG_BYTES = 50_000  # a larger PNG is embedded as JPEG
ALWAYS_SHOWN = ("l1", "psnr", "ssim")
SHOWN_FOR_CLASSES = ("mean_iou", "pixel_accuracy")
BASELINES = {
    "mean_target": "the mean training target, for every image",
    "mean_colour": "the mean colour of the training targets, everywhere",
    "source": "the source itself",
}


def render(page: str, **content: Any) -> str:
    """Render one of the templates `evaluation`, `run`, `compare` and `study`."""
    return _environment().get_template(f"{page}.html.j2").render(page=page, **content).strip() + "\n"


@cache
def _environment() -> Environment:
    """Make the environment of all templates, which keeps those that were compiled."""
    environment = Environment(
        loader=PackageLoader("pix2pix.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=format_number, interval=format_interval, duration=format_duration, data_uri=data_uri
    )
    environment.globals.update(
        measures=(*MEASURES, *OWN_UNITS),
        baseline_names=BASELINES,
        measured=_find_measured,
        describe_missing=describe_missing,
    )
    return environment


def format_number(value: float | None, unit: str = "") -> str:
    """Return `0.1234`, `21.35 dB`, `∞ dB`, or `–` for None and NaN."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        text = "∞" if value > 0 else "−∞"
    else:
        own = f"{value:,.0f}" if 1000 <= abs(value) < LONG else f"{value:.4g}"  # in the units of the files
        text = f"{value:.2f}" if unit in ("dB", "psnr") else own if unit == "own" else f"{value:.4f}"
        text = text.replace("-", "−")
    return f"{text} dB" if unit in ("dB", "psnr") else text


def format_interval(ends: Sequence[float] | None, unit: str = "") -> str:
    """Return `0.1200 to 0.1330`, or `–` for None."""
    if ends is None:
        return "–"
    low, high = (format_number(end, unit).removesuffix(" dB") for end in ends)
    return f"{low} to {high}"


def data_uri(pixels: Pixels, widest: int, jpeg_bytes: int = JPEG_BYTES) -> str:
    """Encode (H, W, 1 or 3) as a data URI, PNG or (if that is large) JPEG, at most `widest` pixels wide."""
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    if image.width > widest:
        image = image.resize((widest, max(1, round(widest * image.height / image.width))), Image.Resampling.LANCZOS)
    kind, data = "png", _encode(image, format="PNG")
    if len(data) > jpeg_bytes:
        kind, data = "jpeg", _encode(image, format="JPEG", quality=90, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def shown_metrics(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the metrics that every evaluation of this kind has."""
    return SHOWN_FOR_CLASSES if metrics.get("classes") else ALWAYS_SHOWN


def _find_measured(metrics: Mapping[str, Any]) -> list[str]:
    """Return the names of the image metrics in an evaluation."""
    names = (measure.name for measure in (*MEASURES, *OWN_UNITS))
    return [name for name in names if name in shown_metrics(metrics) or metrics.get(name) is not None]
