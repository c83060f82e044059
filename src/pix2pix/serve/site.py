"""Write a folder of static files: the page with the model inside the browser."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pix2pix.errors import ConfigError, ModelError
from pix2pix.export.onnx import require_packages
from pix2pix.serve.browser_runtime import ENGINES, FILES, find_runtime
from pix2pix.system.folders import write_folder_atomically
from pix2pix.text import format_count

if TYPE_CHECKING:
    from pix2pix.export.compare import Difference
    from pix2pix.serve.served import ServedModel

Precision = Literal["32", "16", "int8"]
PAGE = Path(__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
LIMITS = {"bytes": 50_000_000, "pixels": 2**21}
"""Of a picture, as the network sees it: the memory of WebAssembly ends at 4 GB."""
MARK = "models.json"
FROM_DISK = "Loading. Opened from a disk, this page needs a server: <code>python -m http.server</code> in its folder."
FOLDERS = ("page", "onnxruntime", "examples", "models")


@dataclass(frozen=True)
class Site:
    """A folder that was written."""

    path: Path
    precision: Precision
    bytes: int
    download: Mapping[str, int]
    """Engine -> bytes that a browser loads at its first visit."""
    differences: "tuple[Difference, ...]"


def export_site(
    model: str | Path,
    *,
    output: str | Path,
    precision: Precision = "16",
    draw: Literal["auto", "labels", "lines", "image"] = "auto",
    palette: str | Path | None = None,
    examples: str | Path | None = None,
    onnxruntime_web: str | Path | None = None,
    overwrite: bool = False,
) -> Site:
    """Write the page and a model as static files, for any web server and any path of it; nothing else is needed.

    `precision` is that of the stored weights; the arithmetic is that of float32. Raises ConfigError, or ModelError
    for a model whose pictures a browser cannot hold.
    """
    folder = Path(output)
    _refuse(folder, overwrite=overwrite)
    runtime = find_runtime(None if onnxruntime_web is None else Path(onnxruntime_web))
    from pix2pix.serve.options import Options
    from pix2pix.serve.served import load_models

    options = Options(device="cpu", draw=draw, palette=_path(palette), examples=_path(examples))
    ((name, served),) = load_models([str(model)], options).items()
    _refuse_wide(served)
    content, differences = _make_onnx(served, precision)
    files = {f"page/{path.name}": path.read_bytes() for path in sorted(PAGE.iterdir()) if path.name != "index.html"}
    files |= {_place(file): (runtime / file).read_bytes() for file in FILES}
    files |= {
        f"examples/{number}/{file}": picture
        for number, pictures in enumerate(served.examples)
        for file, picture in pictures.items()
    }
    files |= {f"models/{name}.onnx": content, "index.html": _index().encode()}
    described = _describe(served, files, precision, differences)
    files[MARK] = json.dumps({"models": [described]}, indent=1).encode()
    with write_folder_atomically(folder, {*files, *_earlier(folder)}) as new:
        for place, one in files.items():
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            (new / place).write_bytes(one)
    program = {engine: len(files[_place(names[2])]) for engine, names in ENGINES.items()}
    download = {engine: len(content) + count for engine, count in program.items()}
    return Site(folder, precision, sum(map(len, files.values())), download, differences)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _refuse(folder: Path, *, overwrite: bool) -> None:
    """Raise ConfigError for a folder that holds something else, and for missing packages."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder}: is a file; expected the name of a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise ConfigError(f"--output {folder}: is not empty; give another name, or --overwrite to replace a page")
        if not (folder / MARK).is_file():
            raise ConfigError(f"--output {folder}: holds files that are no exported page; give another name")
    require_packages()


def _refuse_wide(served: "ServedModel") -> None:
    """Raise ModelError for values that a browser does not read or show."""
    facts = served.engine.facts
    images = [(source.name, source.dtype, source.channels) for source in facts.sources]
    for name, dtype, channels in [*images, ("target", facts.dtype, facts.channels)]:
        if dtype != "uint8" or channels not in (1, 3):
            raise ModelError(
                f"--format web: the {name} has {format_count(channels, 'channel')} of {dtype}, and a "
                f"browser reads and shows 8-bit gray and colour alone; use pix2pix serve, or export it as .onnx"
            )


def _make_onnx(served: "ServedModel", precision: Precision) -> "tuple[bytes, tuple[Difference, ...]]":
    """Return the ONNX file, and how its outputs differ from the model's. Raises ModelError if they do by a fault."""
    from pix2pix.export.compact import store_weights
    from pix2pix.export.compare import LIMITS as FAULTS
    from pix2pix.export.compare import check_sizes, find_difference
    from pix2pix.export.engines import open_onnxruntime
    from pix2pix.export.example_images import draw_sources
    from pix2pix.export.translator_graph import build_graph
    from pix2pix.inference.translator import Translator
    from pix2pix.serve.translator_engine import TranslatorEngine

    assert isinstance(served.engine, TranslatorEngine)
    translator = served.engine.translator
    if not isinstance(translator, Translator):
        raise ModelError(f"{served.name}: is an exported file; give the run or model folder that it was exported from")
    graph = build_graph(translator.model, real="float32")  # WebGPU's build of onnxruntime has no float64
    content = store_weights(graph, precision).SerializeToString()
    run = open_onnxruntime(content)
    sources = [draw_sources(translator.model.sources, size) for size in check_sizes(translator.model)]
    differences = tuple(find_difference(run, translator, one) for one in sources)
    for one in differences:
        if not one.is_within(FAULTS[precision]):
            raise ModelError(
                f"--precision {precision}: the page would not translate as the model does: at {one.height}x{one.width} "
                f"{one.describe_mean()}; use a higher precision"
            )
    return content, differences


def _index() -> str:
    """Return the page's index.html with the model in the browser, and a policy where no server sends one."""
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    replaced = {
        '<meta name="backend" content="http">': '<meta name="backend" content="onnx">',
        "The output appears here.": FROM_DISK,  # until a script replaces it; from a disk none runs
        '<meta charset="utf-8">': f'<meta charset="utf-8">\n  {policy}',
    }
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new, 1)
    return text


def _describe(
    served: "ServedModel", files: Mapping[str, bytes], precision: Precision, differences: "Sequence[Difference]"
) -> dict[str, Any]:
    """Describe the model as `GET /v1/models` does, with addresses in the folder, sizes and digests."""
    prefix = f"/v1/models/{served.name}/"
    examples = [
        {file: place and place.removeprefix(prefix) for file, place in example.items()}
        for example in served.description["examples"]
    ]
    runtime = {
        engine: {
            "module": _place(module),
            "glue": _place(glue),
            "wasm": _file(_place(program), files),
        }
        for engine, (module, glue, program) in ENGINES.items()
    }
    return {
        **served.description,
        "noise": False,  # an exported model has no dropout
        "examples": examples,
        "limits": {**LIMITS, "smallest": served.engine.seen_size((1, 1))},
        "precision": precision,
        "differences": [asdict(one) for one in differences],
        "file": _file(f"models/{served.name}.onnx", files),
        "runtime": runtime,
    }


def _place(file: str) -> str:
    """Return where a file of the runtime lies; modules as .js, since not every server knows .mjs as JavaScript."""
    return f"onnxruntime/{file.removesuffix('.mjs')}{'.js' if file.endswith('.mjs') else ''}"


def _file(place: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {"path": place, "bytes": len(files[place]), "sha256": hashlib.sha256(files[place]).hexdigest()}


def _earlier(folder: Path) -> Iterator[str]:
    """List the files that an earlier export wrote here; what others put beside them stays."""
    for name in FOLDERS:
        yield from (str(path.relative_to(folder)) for path in (folder / name).rglob("*") if path.is_file())
