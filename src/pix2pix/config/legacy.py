"""Convert settings of version 0.1 in files, and suggest the new names for what people type."""

from collections.abc import Mapping
from typing import Any

RENAMED = {"data.parts": "data.sources"}
"""Old name of a setting -> new name."""
REMOVED = {"data.cache_gigabytes": "decoded pairs are kept in memory only (--cache)"}
"""Removed settings -> reason. In files they are skipped."""
VALUES: dict[str, dict[Any, Any]] = {
    "data.cache": {True: "auto", False: "none", "disk": "auto"},
    "training.update_order": {"exact": "two-pass", "shared": "one-pass"},
}
"""Setting -> old value -> new value."""


def upgrade_settings(settings: Any) -> Any:
    """Convert nested plain values that version 0.1 wrote. Anything else is returned unchanged."""
    if not isinstance(settings, Mapping):
        return settings
    settings = _with_old_defaults(settings)
    return {section: _upgrade_section(section, values) for section, values in settings.items()}


def _with_old_defaults(settings: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Say what a run or model meant by settings that are younger than it: its stacks were read as channels."""
    data = settings.get("data")
    if not settings.get("provenance") or not isinstance(data, Mapping) or "planes" in data:
        return settings
    return {**settings, "data": {**data, "planes": "channels", "npy_axes": "YXC"}}


def _upgrade_section(section: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    result: dict[Any, Any] = {}
    for name, value in values.items():
        setting = f"{section}.{name}"
        if setting not in REMOVED:
            new_name = _field(RENAMED[setting]) if setting in RENAMED else name
            result[new_name] = _new_value(setting, value)
    return result


def suggest_name(name: str) -> str | None:
    """Return the new name of the old setting `name`, without section; None if it is not an old name."""
    return next((_field(new) for old, new in RENAMED.items() if _field(old) == name), None)


def explain_removal(name: str) -> str | None:
    """Return why the setting `name`, without section, was removed; None if it was not."""
    return next((reason for old, reason in REMOVED.items() if _field(old) == name), None)


def suggest_value(setting: str, value: Any) -> str | None:
    """Return the new word for an old value of `setting`; None if it is not an old value."""
    new = _new_value(setting, value)
    return None if new is value else new


def _new_value(setting: str, value: Any) -> Any:
    return VALUES.get(setting, {}).get(value, value) if isinstance(value, bool | str) else value


def _field(setting: str) -> str:
    return setting.rpartition(".")[2]
