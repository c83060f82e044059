"""An HTML page as a browser would read it."""

import re
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """What a browser would load or run, and whether every element is closed."""

    VOID = ("meta", "img", "br", "hr", "link", "input", "wbr")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "srcset")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def check_self_contained(self, allowed: tuple[str, ...] = ()) -> None:
        assert self.source.startswith("<!DOCTYPE html>")
        assert self.open == []
        assert self.tags.isdisjoint({"script", "link", "iframe", "object", "embed"})
        outside = [link for link in self.links if not link.startswith(("data:image/", "#"))]
        assert outside == list(allowed)
        assert not re.search(r"@import|url\((?!#)", self.source)
