"""Settings as version 0.1 wrote them in, the same in today's words out; and today's word for an old one."""

from collections.abc import Mapping
from typing import Any

RENAMED = {"data.parts": "data.sources"}
"""Settings by another name today."""
REMOVED = {"data.cache_gigabytes": "decoded pairs are no longer kept on disk; --cache says memory or none"}
"""Settings that nothing needs any more, and why; files that have them are read without them."""
VALUES: dict[str, dict[Any, Any]] = {
    "data.cache": {True: "auto", False: "none", "disk": "auto"},
    "training.update_order": {"exact": "two-pass", "shared": "one-pass"},
}
"""Values by another name today."""


def current(settings: Any) -> Any:
    """Translate settings of version 0.1, nested plain values from a file, into today's words. Others stay."""
    if not isinstance(settings, Mapping):
        return settings
    return {section: _section(section, values) for section, values in settings.items()}


def _section(section: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    result: dict[Any, Any] = {}
    for name, value in values.items():
        setting = f"{section}.{name}"
        if setting not in REMOVED:
            known = VALUES.get(setting, {})
            result[RENAMED.get(setting, setting).rpartition(".")[2]] = (
                known[value] if isinstance(value, bool | str) and value in known else value
            )
    return result
