"""TOML in and out: a file read strictly into plain fields, and the same fields written so that they read back equal."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inarch import files
from inarch.errors import ConfigError, Corrupt

CAP = 1 << 16  # bytes; a larger file is no recipe
OTHERS = {".yaml": "YAML", ".yml": "YAML", ".json": "JSON", ".ini": "INI", ".py": "Python"}
DEPTH = 8  # dots in one key: tomllib needs 20 seconds for a file of 64 KiB that is one dotted key
_NOT_KEYS = re.compile(r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL)
_KEYS = re.compile(r"[\w\-. \t]+")


def read_toml(path: Path) -> dict[str, Any]:
    """The fields of a TOML file, unchecked. No other format is read, whatever is in it."""
    if path.suffix.lower() in OTHERS:
        raise ConfigError(f"{path}: {OTHERS[path.suffix.lower()]} is not read; write the recipe as TOML, as those in recipes/")
    if not path.is_file():
        raise ConfigError(f"no recipe {path}; expected a TOML file such as those in recipes/")
    try:
        text = files.read(path.resolve(), cap=CAP).decode("utf-8-sig").replace("\r\n", "\n")
        _refuse_deep(text)
        return tomllib.loads(text)
    except Corrupt as problem:  # too large
        raise ConfigError(f"{problem}; is it a recipe?") from None
    except (ValueError, RecursionError) as problem:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"{path} is not valid TOML: {problem}") from None


def _refuse_deep(text: str) -> None:
    deepest = max((words.count(".") for words in _KEYS.findall(_NOT_KEYS.sub("s", text))), default=0)
    if deepest > DEPTH:
        raise ValueError(f"a key of {deepest + 1} parts with dots between; a recipe has at most 2")


def to_toml(fields: dict[str, Any]) -> str:
    """Flat fields, then one table per dict; ``None`` is left out, as TOML has no word for it. What is written can be read again."""
    flat = {key: value for key, value in fields.items() if not isinstance(value, dict) and value is not None}
    tables = {key: value for key, value in fields.items() if isinstance(value, dict) and value}
    text = _lines(flat) + "".join(f"\n[{key}]\n{_lines(table)}" for key, table in tables.items())
    if len(text.encode()) > CAP:
        raise ConfigError(f"these fields fill {len(text.encode()):,} bytes of TOML; at most {CAP:,} are read again: shorten a list")
    return text


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
