"""Parse YAML that others may have written: plain values only, and limits on what aliases and nesting come to."""

from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 20
MAX_VALUES = 200_000
"""Values and names, each counted wherever an alias repeats it."""
MAX_WORD = 4096
"""Characters of one value or name, such as a path."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same rules; the library in C is faster


class YamlError(ValueError):
    """Why a text is not taken as YAML, with its line."""

    def __init__(self, event: yaml.Event, reason: str) -> None:
        mark = event.start_mark
        super().__init__(f"line {mark.line + 1}: {reason}" if mark is not None else reason)


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    anchor: str | None
    is_mapping: bool
    size: int = 1  # values in it, with those that aliases repeat
    children: int = 0
    names: set[str] = field(default_factory=set)


def parse_yaml(text: str) -> Any:
    """Return the only document of a text as plain values.

    Raises YamlError for a name that stands twice in a mapping and for too much nesting or repetition, yaml.YAMLError
    for other text, ValueError for a value that does not exist, such as the date 2020-02-30.
    """
    _check(text)
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _check(text: str) -> None:
    """Follow the events of the parser, which builds nothing. Raises YamlError, yaml.YAMLError."""
    open_nodes: list[_Open] = []
    sizes: dict[str, int] = {}  # of complete anchors
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_nodes) == MAX_DEPTH:
                raise YamlError(event, f"nested more than {MAX_DEPTH} levels deep")
            open_nodes.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = open_nodes.pop()
            _add(event, done.anchor, done.size, open_nodes, sizes)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise YamlError(event, f"the alias *{event.anchor} has no complete anchor before it")
            _add(event, None, sizes[event.anchor], open_nodes, sizes)
        elif isinstance(event, yaml.ScalarEvent):
            _check_scalar(event, open_nodes)
            _add(event, event.anchor, 1, open_nodes, sizes)


def _check_scalar(event: yaml.ScalarEvent, open_nodes: list[_Open]) -> None:
    if len(event.value) > MAX_WORD:
        raise YamlError(event, f"a value has more than {MAX_WORD:,} characters")
    inside = open_nodes[-1] if open_nodes else None
    if inside is not None and inside.is_mapping and inside.children % 2 == 0:  # a name; its value follows
        if event.value in inside.names:
            raise YamlError(event, f"{event.value[:100]!r} stands twice in one section; keep one of them")
        inside.names.add(event.value)


def _add(event: yaml.Event, anchor: str | None, size: int, open_nodes: list[_Open], sizes: dict[str, int]) -> None:
    """Count a complete node in the node around it, and remember the size of its anchor."""
    if anchor is not None:
        sizes[anchor] = size
    if open_nodes:
        open_nodes[-1].size += size
        open_nodes[-1].children += 1
        if open_nodes[-1].size > MAX_VALUES:
            raise YamlError(event, f"aliases and lists come to more than {MAX_VALUES:,} values")
