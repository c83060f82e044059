"""The models of a service: loaded, named and described."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pix2pix.errors import ConfigError
from pix2pix.model.onnx_model import is_onnx_name, require_torch
from pix2pix.serve.drawing import Drawing, choose_drawing
from pix2pix.serve.engine import Engine, Facts
from pix2pix.serve.examples import Example, find_examples
from pix2pix.serve.options import Options
from pix2pix.system.threads import choose_threads, describe_threads

Pictures = Mapping[str, bytes]
"""Name of a file, such as source.png -> its content."""


@dataclass(frozen=True)
class ServedModel:
    """A model under its name in addresses."""

    name: str
    engine: Engine
    description: Mapping[str, Any]
    """As `GET /v1/models` states it, but for the limits."""
    examples: Sequence[Pictures] = ()


def load_models(words: Sequence[str], options: Options, processes: int = 1) -> dict[str, ServedModel]:
    """Load models, each MODEL or NAME=MODEL. Raises ConfigError or ModelError."""
    return {name: _load(name, place, options, processes) for name, place in name_models(words).items()}


def name_models(words: Sequence[str]) -> dict[str, str]:
    """Return name -> MODEL for words MODEL or NAME=MODEL. Raises ConfigError for unfit and equal names."""
    named: dict[str, str] = {}
    for word in words:
        given, equals, place = word.partition("=")
        fits = re.fullmatch(r"[A-Za-z0-9._-]+", given)
        if equals and not fits and Path(place).exists() and not Path(word).exists():
            raise ConfigError(
                f"{word}: a name stands in addresses; expected letters from a to z, digits, `.`, `_` or `-`"
            )
        if not fits or not equals or Path(word).exists():
            given, place = "", word
        name = given or _name_of(place)
        if name in named:
            raise ConfigError(f"{word}: another model is called {name} too; name them, as in other={place}")
        named[name] = place
    return named


def _name_of(place: str) -> str:
    """Name a model by its folder, file or hub id, without what an address cannot hold."""
    path = Path(place.removeprefix("hf://"))
    path = path if path.name not in ("", ".", "..") else path.resolve()
    own = path.stem if path.suffix == ".onnx" else path.name
    if own == "model" and path.resolve().parent.name:
        own = path.resolve().parent.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", own).strip("-.") or "model"


def _load(name: str, place: str, options: Options, processes: int) -> ServedModel:
    engine, folder = load_engine(place, options, processes)
    facts = engine.facts
    examples = find_examples(folder, facts, options.examples)
    drawings = [
        choose_drawing(source, [example.sources[at] for example in examples], options.draw, options.palette)
        for at, source in enumerate(facts.sources)
    ]
    pictures = [example.files() for example in examples]
    return ServedModel(name, engine, describe(name, facts, drawings, examples), pictures)


def load_engine(place: str, options: Options, processes: int) -> tuple[Engine, Path]:
    """Load what computes a model; also return its folder, or its file. Raises ModelError."""
    if is_onnx_name(place):
        from pix2pix.inference.onnx_translator import OnnxTranslator
        from pix2pix.serve.translator_engine import TranslatorEngine

        threads = choose_threads("auto", processes)
        choices: dict[str, Any] = {"device": options.device, "precision": options.precision, "threads": threads}
        translator = OnnxTranslator.load(place, **choices)
        return TranslatorEngine(translator, describe_threads(threads, processes)), Path(place)
    require_torch(place)
    from pix2pix.model.hub import locate
    from pix2pix.serve.torch_engine import open_torch

    folder = locate(place)
    return open_torch(folder, options.device, options.precision, processes), folder


def describe(name: str, facts: Facts, drawings: Sequence[Drawing], examples: Sequence[Example]) -> dict[str, Any]:
    """Describe a model for programs and for the page."""
    kinds = {"labels": "label map", "lines": "drawing", "image": "picture"}
    target = "labels" if facts.is_labels else "image"
    sources = " and ".join(dict.fromkeys(kinds[drawing.kind] for drawing in drawings))
    prefix = f"/v1/models/{name}/examples"
    listed = [
        {
            **{file.removesuffix(".png"): f"{prefix}/{number}/{file}" for file in example.files()},
            "target": f"{prefix}/{number}/target.png" if example.target is not None else None,
        }
        for number, example in enumerate(examples)
    ]
    return {
        "name": name,
        "task": f"{sources} -> {kinds[target]}",
        "epoch": facts.epoch,
        "sources": [
            {"name": source.name, "channels": source.channels, "dtype": source.dtype, **drawing.describe()}
            for source, drawing in zip(facts.sources, drawings, strict=True)
        ],
        "target": {"channels": facts.channels, "dtype": facts.dtype, "kind": target},
        "image_size": list(facts.image_size),
        "size_multiple": facts.size_multiple,
        "noise": facts.noise,
        "examples": listed,
    }
