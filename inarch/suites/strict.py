"""What every TOML file of this package is held to: known keys, each of its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from inarch.errors import ConfigError, nearest

WORDS: dict[type, str] = {str: "a text", int: "a whole number", list: "a list", dict: "a table"}


def typed(where: str, fields: Any, keys: Mapping[str, type]) -> None:
    """``ConfigError`` at the first key of ``fields`` that is unknown, with the nearest, or of another type."""
    if not isinstance(fields, dict):
        raise ConfigError(f"{where} is {fields!r}; expected a table of {', '.join(keys)}")
    known(where, fields, keys)
    for key, value in fields.items():
        if type(value) is not keys[key]:
            raise ConfigError(f"{where}: {key} is {value!r}; expected {WORDS[keys[key]]}")


def known(where: str, found: Iterable[str], keys: Iterable[str]) -> None:
    keys = [*keys]
    for key in found:
        if key not in keys:
            raise ConfigError(f"{where}: unknown key {key!r}; {nearest(key, keys)}")
