"""JSON as this library writes it, and as strictly as it reads it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from inarch.errors import Corrupt


def canonical(fields: dict[str, Any]) -> bytes:
    """The one way this library writes JSON: a reader may compare the bytes."""
    return (json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Strict JSON: UTF-8, one object, no duplicate key, no NaN or Infinity, no half character."""
    try:
        fields = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant,
                            parse_float=_finite_number)
        if b"\\u" in data:
            json.dumps(fields, ensure_ascii=False).encode()  # half of a surrogate pair is no character: no file could hold it again
    except (ValueError, RecursionError) as problem:
        raise Corrupt(f"{path} is not valid JSON ({problem}); restore it from where it was saved") from None
    if not isinstance(fields, dict):
        raise Corrupt(f"{path}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:30]} is too large")
    return number


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


__all__ = ["canonical", "parse_json"]
