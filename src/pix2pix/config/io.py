"""Read, merge, check and write settings: layers, YAML, flat names, errors in one sentence."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pix2pix.config.bounded_yaml import YamlError, parse_yaml
from pix2pix.config.config import Config, Settings
from pix2pix.config.data import SourceSettings
from pix2pix.config.legacy import explain_removal, suggest_name, suggest_value, upgrade_settings
from pix2pix.errors import ConfigError
from pix2pix.system.reading import read_text
from pix2pix.text import escape_unprintable

EXPECTED = {
    **dict.fromkeys(("int_parsing", "int_parsing_size", "int_type", "int_from_float"), "expected a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "expected a number"),
    "finite_number": "expected a finite number",
    **dict.fromkeys(("bool_parsing", "bool_type"), "expected true or false"),
    "string_type": "expected text",
    "literal_error": "expected {expected}",
    "greater_than": "expected a number above {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected a number below {lt}",
    "less_than_equal": "expected {le:,} or less",
    "string_too_long": "expected {max_length:,} characters or fewer",
    "too_long": "expected {max_length:,} items or fewer",
}
"""Type of an error of pydantic -> what was expected. Other errors keep pydantic's message."""


def merge_settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; a later layer overrides an earlier one.

    Raises ConfigError for a single value in place of a section, which a later layer would hide.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            key = str(name)  # YAML reads the number of a source as a number
            below = result.get(key)
            if isinstance(value, Mapping) and isinstance(below, Mapping):
                value = merge_settings(below, value)
            elif isinstance(value, Mapping) and below is not None:
                raise ConfigError(f"{key}: expected settings by name below it, not {_show(below)}")
            result[key] = value
    return result


def make_config(values: Mapping[str, Any], origin: str = "the settings") -> Config:
    """Check nested plain values. Raises ConfigError with one sentence on the first error."""
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explain(error)}") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of settings, of this version or 0.1. Raises ConfigError naming the file."""
    try:
        values = parse_yaml(read_text(Path(path)))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file; `--print-config` writes one to start from") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as a configuration ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read as a configuration ({error})") from None
    except YamlError as error:
        raise ConfigError(f"{path}, {error}") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # a date that does not exist, a list as a name
        where = getattr(error, "problem_mark", None)
        raise ConfigError(f"{path}: not valid YAML{f' at line {where.line + 1}' if where else ''}") from None
    if not isinstance(values or {}, dict):
        raise ConfigError(f"{path}: expected sections such as `training:` with settings below them")
    return upgrade_settings(values or {})


def to_yaml(config: Config) -> str:
    """Write settings as YAML that `read_yaml` and `make_config` read back unchanged."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def explain(error: ValidationError, root: type[BaseModel] = Settings) -> str:
    """Put the first error into one sentence: the field, what was expected, and the nearest known name.

    `root` is the model that was validated.
    """
    first, *others = error.errors(include_url=False)
    field = _field(first["loc"])
    if first["type"] == "extra_forbidden":
        return f"there is no setting `{field}`{_suggestion(first['loc'], root)}"
    if first["type"] in ("model_type", "dict_type"):
        return f"{field or 'the settings'}: expected settings by name below it, not {_show(first['input'])}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{field}: {message}" if field and field not in message else message
    new = suggest_value(field, first["input"])
    more = "" if new is None else f"; did you mean {new!r}?"
    if first["type"] in EXPECTED:  # a setting of several types, such as "auto" or a number, has an error for each
        same = (one for one in [first, *others] if one["type"] in EXPECTED and _field(one["loc"]) == field)
        message = f"expected {' or '.join(dict.fromkeys(map(_expected, same)))}"
    return f"{field} = {_show(first['input'])}: {message[0].lower()}{message[1:]}{more}"


def _field(location: tuple[int | str, ...]) -> str:
    """Return the name of a setting, without pydantic's words for its types."""
    kinds = ("function", "tuple", "literal", "constrained")
    parts = [str(part)[:100] for part in location if part not in ("int", "float", "str")]
    return escape_unprintable(".".join(part for part in parts if not part.startswith(kinds)))


def _expected(error: Any) -> str:
    limits = {name: _as_whole(limit) for name, limit in error.get("ctx", {}).items()}
    return EXPECTED[error["type"]].removeprefix("expected ").format(**limits)


def _as_whole(limit: Any) -> Any:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _show(value: Any) -> str:
    """Return a value as Python writes it, cut to a length for a message."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text):,} characters)"


def _suggestion(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    *section, name = (str(part) for part in location)
    for part in section:
        if part.isdecimal():  # of a source
            continue
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        inner = SourceSettings if part == "sources" else inner
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ""
        model = inner
    near = difflib.get_close_matches(name, model.model_fields, n=1)
    return f"; did you mean `{'.'.join([*section, near[0]])}`?" if near else f"; known: {', '.join(model.model_fields)}"


def nest_settings(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings with flat names (`epochs`, `base_channels`) into their sections. Raises ConfigError.

    `base_channels` is set in both networks. Other settings that both have must be given by section.
    """
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        if name in Settings.model_fields:
            nested = merge_settings(nested, {name: value})
        else:
            for section in _sections_with(name):
                nested = merge_settings(nested, {section: {name: value}})
    return nested


def _sections_with(name: str) -> list[str]:
    if name == "base_channels":
        return ["generator", "discriminator"]
    sections = ("data", "augment", "loss", "optimizer", "training")
    known = {setting: section for section in sections for setting in _fields(section)}
    if name not in known:
        if reason := explain_removal(name):
            raise ConfigError(f"there is no setting `{name}` any more: {reason}")
        if new := suggest_name(name):
            raise ConfigError(f"there is no setting `{name}`; did you mean `{new}`?")
        near = difflib.get_close_matches(name, [*known, *Settings.model_fields, "base_channels"], n=1)
        raise ConfigError(f"there is no setting `{name}`{f'; did you mean `{near[0]}`?' if near else ''}")
    return [known[name]]


def _fields(section: str) -> list[str]:
    model = Settings.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return list(model.model_fields)
