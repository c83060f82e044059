"""Make flags of the command line from sections of settings.

A command takes sections as keyword arguments. `with_flags` replaces their types by models that define the flag of each
field. Fields that are in none of the tables below become flags of the same name and type.
"""

from collections.abc import Callable
from functools import cache
from types import NoneType
from typing import Annotated, Any, get_args

from cyclopts import Group, Parameter
from pydantic import BeforeValidator, Field, create_model
from pydantic.fields import FieldInfo

from pix2pix.config.config import Settings
from pix2pix.config.data import Augment, Data, Make, SourceSettings
from pix2pix.config.evaluation import EvaluateOptions
from pix2pix.config.fields import ChannelChoice, Fill, LabelNames, LoadSize, MaskValue, Size, Text, ValueRange, Words
from pix2pix.config.io import merge_settings, nest_settings
from pix2pix.config.section import Section

Json = Annotated[bool, Parameter(name="--json", negative=())]
"""Print JSON for programs to stdout."""


def _show_size(size: Any) -> str:
    if size is None or isinstance(size, str):
        return size or "derived"
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


_ONE_WORD = Parameter(n_tokens=1, accepts_keys=False, negative=())
_NUMBERS = Parameter(n_tokens=1, accepts_keys=False, negative=(), allow_leading_hyphen=True, metavar="VALUES")
_SIZE = Parameter(n_tokens=1, accepts_keys=False, negative=(), show_default=_show_size, metavar="N|HxW")
_REPEATED = Parameter(negative=())
_HIDDEN = Parameter(parse=False)

BY_TYPE: list[tuple[Any, Parameter]] = [
    (Size, _SIZE),
    (LoadSize, _SIZE),
    (ValueRange, _NUMBERS),
    (MaskValue, _NUMBERS),
    (Fill, _NUMBERS),
    (LabelNames, _ONE_WORD),
    (Words, _REPEATED),
]
"""Type of a field -> definition of its flag."""

BY_FIELD = {
    "Data.path": _HIDDEN,  # the argument DATA
    "Data.resize_source": Parameter(negative=()),
    "Data.skip_bad": Parameter(negative=()),
    "Data.source_type": _HIDDEN,
    "Data.target_type": _HIDDEN,
    "SourceSettings.type": _HIDDEN,
    "Make.size": Parameter(n_tokens=1, accepts_keys=False, negative=(), show_default=False, metavar="N|HxW"),
    "Generator.dropout_layers": Parameter(consume_multiple=True, negative=()),
    "Optimizer.betas": Parameter(negative=()),
    "Settings.provenance": _HIDDEN,
    "Training.from_model": Parameter(name="--from", negative=()),
    "EvaluateOptions.full_size": Parameter(negative=()),
    "EvaluateOptions.segmenter": Parameter(negative=()),
    "EvaluateOptions.weights": Parameter(negative=(), show_default=False),
}
"""Single field -> definition of its flag."""

GROUPS = {
    "data": Group("Data", sort_key=1),
    "augment": Group("Augmentation", sort_key=2),
    "training": Group("Training", sort_key=3),
    "generator": Group("Generator", sort_key=4),
    "discriminator": Group("Discriminator", sort_key=5),
    "loss": Group("Loss", sort_key=6),
    "optimizer": Group("Optimizer", sort_key=7),
}
"""Sections of the settings -> the heading of their flags."""
PREFIXED = {"generator", "discriminator"}
"""Sections whose flags begin with the name of the section: `--generator.depth`."""
ALONE = {
    Data: Group("Data"),
    Augment: Group("Augmentation"),
    Make: Group("Pairs"),
    EvaluateOptions: Group("Evaluation"),
    Settings: None,
}
"""Section that a command may take by itself -> the heading of its flags."""
TEXTS = (Text, Words, ChannelChoice)
"""Types of which `none` may be a value."""


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the sections among a command's arguments by models with flags."""
    for name, hint in command.__annotations__.items():
        section = next((part for part in (hint, *get_args(hint)) if part in ALONE), None)
        if section is not None:
            model = flags_of(section)
            group = ALONE[section]
            parameter = Parameter(name="*", group=group) if group else Parameter(name="*")
            command.__annotations__[name] = Annotated[model if hint is section else model | None, parameter]
    return command


def given(settings: Section | None, base_channels: int | None = None) -> dict[str, Any]:
    """Return the nested settings that were given by flags; `--base-channels` sets the width of both networks."""
    both = {} if base_channels is None else nest_settings({"base_channels": base_channels})
    return merge_settings(both, {} if settings is None else settings.model_dump(exclude_unset=True))


@cache
def flags_of(section: type[Section]) -> type[Section]:
    """Return a model with the same fields, checks and help, annotated with the definitions of its flags."""
    fields: Any = {name: _field(section, name, field) for name, field in section.model_fields.items()}
    return create_model(section.__name__, __base__=section, **fields)


def _field(section: type[Section], name: str, field: FieldInfo) -> tuple[Any, Any]:
    inner = field.annotation
    unsettable = _is_unsettable(section, inner)
    hint: Any = _annotated(inner, [*field.metadata, BeforeValidator(_read_none)] if unsettable else field.metadata)
    if isinstance(inner, type) and issubclass(inner, Section):
        hint = Annotated[flags_of(inner), Parameter(name=None if name in PREFIXED else "*", group=GROUPS[name])]
        return hint, flags_of(inner)()
    if inner == dict[str, SourceSettings]:
        hint = _annotated(dict[str, flags_of(SourceSettings)], field.metadata)  # type: ignore[misc]
    parameter = _parameter(section, name, field.annotation, hint)
    if parameter is not None:
        hint = Annotated[hint, parameter]
    description = " ".join((field.description or "").split()) + (" `none` unsets it." if unsettable else "")
    if field.default_factory is not None:
        return hint, Field(default_factory=field.default_factory, description=description)
    return hint, Field(field.default, description=description)


def _is_unsettable(section: type[Section], hint: Any) -> bool:
    """Return whether a preset or a file may give a setting that `none` takes back."""
    parts = get_args(hint)
    return section not in (Make, EvaluateOptions) and NoneType in parts and not any(text in parts for text in TEXTS)


def _read_none(word: Any) -> Any:
    return None if word in ("none", ["none"], ("none",)) else word


def _annotated(hint: Any, metadata: list[Any]) -> Any:
    return Annotated[tuple([hint, *metadata])] if metadata else hint


def _parameter(section: type[Section], name: str, *hints: Any) -> Parameter | None:
    single = BY_FIELD.get(f"{section.__name__}.{name}")
    if single is not None:
        return single
    kinds = [kind for hint in hints for kind in (hint, *get_args(hint))]
    return next((parameter for kind, parameter in BY_TYPE if kind in kinds), None)
