"""The fields of an adapter's card, each of its kind: what a reader may rely on before it looks at one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inarch.errors import Corrupt
from inarch.fingerprint import WIDTHS


def _text(value: Any) -> bool:
    return type(value) is str


def _texts(value: Any) -> bool:
    return type(value) is list and all(map(_text, value)) and len(set(value)) == len(value)


def _size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _fields(value: Any) -> bool:
    return type(value) is dict


def _head(value: Any) -> bool:
    return value is None or (type(value) is list and len(value) == 2 and all(_size(n) and n > 0 for n in value))


def _digests(value: Any) -> bool:
    return _fields(value) and value.keys() >= {*WIDTHS, "shapes", "dtype"} and all(map(_text, value.values()))


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "format": ("a whole number", _size), "method": ("a text", _text), "config": ("an object", _fields),
    "thaw": ("a list of texts, each once", _texts), "head": ("null, or [outputs, inputs]", _head),
    "thawed": ("a list of texts, each once", _texts), "fingerprint": ("an object of digests", _digests), "backbone": ("a text", _text),
    "extra": ("an object", _fields), "weights": ("a text", _text), "bytes": ("a whole number", _size), "sha256": ("a text", _text),
    "digest": ("a text", _text),
}


def check(card: dict[str, Any], path: Path) -> None:
    """Raise ``Corrupt``, naming the field, unless every one that is there holds what its kind says."""
    for name, value in card.items():
        expected, fits = KINDS[name]
        if not fits(value):
            raise Corrupt(f"{path}: {name}={str(value)[:60]!r}; expected {expected}; the file is not as inarch wrote it")


__all__ = ["KINDS", "check"]
