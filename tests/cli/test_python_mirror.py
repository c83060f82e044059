"""Python's functions take what the commands take: the same names, the same defaults."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

import pix2pix
from pix2pix.config.section import Section

OF_THE_TERMINAL = {"json_", "print_config", "dry_run"}
"""What a command prints in place of returning it."""
OF_PYTHON = {"progress", "tile_progress"}


def arguments_of(function: Callable[..., Any]) -> tuple[dict[str, Any], set[str], bool]:
    """Return the arguments with their defaults, the fields of sections among them, and whether any name is taken."""
    single: dict[str, Any] = {}
    fields: set[str] = set()
    open_ended = False
    for name, argument in inspect.signature(function).parameters.items():
        hints = (argument.annotation, *get_args(argument.annotation))
        parts = [part for hint in hints for part in (hint, *get_args(hint))]
        section = next((part for part in parts if isinstance(part, type) and issubclass(part, Section)), None)
        if section is not None:
            fields |= set(section.model_fields)
        elif argument.kind is argument.VAR_KEYWORD:
            open_ended = True
        elif argument.kind is argument.VAR_POSITIONAL:
            single[name] = inspect.Parameter.empty
        else:
            single[name] = argument.default
    return single, fields, open_ended


def plain(default: Any) -> Any:
    """Return a default as both sides may write it."""
    if isinstance(default, Path):
        return str(default)
    return None if default in ((), []) else default


@pytest.mark.parametrize("name", ["demo", "train", "evaluate", "translate", "push", "compare", "convert"])
def test_names_and_defaults_are_those_of_the_command(name: str) -> None:
    command, fields, _ = arguments_of(getattr(import_module(f"pix2pix.cli.commands.{name}"), name))
    function, _, open_ended = arguments_of(getattr(pix2pix, name))
    for argument, default in command.items():
        if argument in OF_THE_TERMINAL:
            continue
        assert argument in function or open_ended, argument
        if argument in function:
            assert plain(function[argument]) == plain(default), argument
    assert set(function) - set(command) - fields <= OF_PYTHON
    assert open_ended or not fields
