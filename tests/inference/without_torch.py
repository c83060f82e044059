"""Run by a process of its own: translate with exported files where neither torch nor other large packages exist.

    python without_torch.py FORBIDDEN_MODULES FOLDER

The named modules cannot be imported. For each folder in FOLDER, model.onnx
translates its images by the command line, into `out`, and its sources by Python, into `called`.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


class Hiding:
    """A finder of modules that does not find some, as if they were not installed."""

    def __init__(self, finder: Any, hidden: set[str]) -> None:
        self.finder, self.hidden = finder, hidden

    def find_spec(self, name: str, *place: object) -> object:
        return None if name.split(".")[0] in self.hidden else self.finder.find_spec(name, *place)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def run(*words: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, stdout and stderr."""
    from pix2pix.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def main() -> None:
    forbidden, place = set(sys.argv[1].split(",")), Path(sys.argv[2])
    sys.meta_path[:] = [Hiding(finder, forbidden) for finder in sys.meta_path]
    import numpy as np

    import pix2pix

    done: dict[str, object] = {}
    for folder in sorted(place.iterdir()):
        file = str(folder / "model.onnx")
        translator = pix2pix.Translator.from_pretrained(file, engine="onnxruntime")
        sources = [np.load(path) for path in sorted((folder / "sources").iterdir())]
        np.save(folder / "called.npy", translator(sources[0] if len(sources) == 1 else sources))
        parts = sorted(str(path) for path in (folder / "files").iterdir())
        command = ["translate", file, *parts, "--output", str(folder / "out"), "--engine", "onnxruntime"]
        done[folder.name] = [run(*command), run(*command), run("info", file, "--json")]
    done["folder"] = run("translate", str(place / sorted(done)[0]), str(place), "--output", str(place.parent / "none"))
    done["heavy"] = sorted({"torch", "scipy", "skimage", "matplotlib"} & sys.modules.keys())
    print(json.dumps(done))


if __name__ == "__main__":
    main()
