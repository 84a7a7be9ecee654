"""TOML in and out: a file read strictly into plain fields, and the same fields written so that they read back equal."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inarch import files
from inarch.errors import ConfigError

CAP = 1 << 20  # bytes; a larger file is no recipe


def read_toml(path: Path) -> dict[str, Any]:
    """The fields of a TOML file, unchecked."""
    if not path.is_file():
        raise ConfigError(f"no recipe {path}; expected a TOML file such as those in recipes/")
    try:
        return tomllib.loads(files.read(path.resolve(), cap=CAP).decode("utf-8-sig").replace("\r\n", "\n"))
    except (ValueError, RecursionError) as problem:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"{path} is not valid TOML: {problem}") from None


def to_toml(fields: dict[str, Any]) -> str:
    """Flat fields, then one table per dict; ``None`` is left out, as TOML has no word for it."""
    flat = {key: value for key, value in fields.items() if not isinstance(value, dict) and value is not None}
    tables = {key: value for key, value in fields.items() if isinstance(value, dict) and value}
    return _lines(flat) + "".join(f"\n[{key}]\n{_lines(table)}" for key, table in tables.items())


def _lines(table: dict[str, Any]) -> str:
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in table.items() if value is not None)


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "a").replace("-", "a").isalnum() else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, Iterable) and not isinstance(value, dict):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise ConfigError(f"{value!r} cannot be written as TOML; expected text, a finite number, true, false or a list of them")


def _text(text: str) -> str:
    escaped = "".join(c if c.isprintable() and c not in '"\\' else _escape(c) for c in text)
    return f'"{escaped}"'


def _escape(c: str) -> str:
    return f"\\{c}" if c in '"\\' else f"\\U{ord(c):08x}"


__all__ = ["read_toml", "to_toml"]
