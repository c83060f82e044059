"""Figures that are not drawn, which would take longer than a training of a test: their texts alone are kept."""

import html
import io
from typing import IO, Any

from PIL import Image

from pix2pix.reports import curves

MAKE_FIGURE = curves._make_figure
WRITTEN = ("set_title", "set_xlabel", "set_ylabel", "text")
"""Methods of axes and figures whose arguments are shown."""


class BlankFigure:
    """Stand in for a figure, its axes and all their parts: takes any call, and collects titles, texts and labels."""

    def __init__(self, size: tuple[float, float] = (1, 1), name: str = "", texts: list[str] | None = None) -> None:
        self._name, self._texts = name, [] if texts is None else texts

    def __getattr__(self, name: str) -> "BlankFigure":
        return BlankFigure(name=name, texts=self._texts)

    def __getitem__(self, key: Any) -> "BlankFigure":
        return self

    def __len__(self) -> int:
        return 0

    def __call__(self, *words: Any, label: str = "", **_: Any) -> "BlankFigure":
        if self._name in WRITTEN:
            self._texts += [word for word in words if isinstance(word, str)]
        self._texts += [label] if label else []
        return self

    def savefig(self, file: IO[Any], *, format: str, **_: Any) -> None:
        """Write the texts as SVG, or one pixel as PNG."""
        if format == "svg":
            texts = "".join(f"<text>{html.escape(text)}</text>" for text in self._texts)
            file.write(f'<svg viewBox="0 0 1 1">{texts}</svg>')
        else:
            content = io.BytesIO()
            Image.new("RGB", (1, 1)).save(content, format)
            file.write(content.getvalue())
