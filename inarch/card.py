"""The card of an adapter folder, ``adapter.json``: its fields, each of its kind, and the seal that shows any change.

    format 1    0.1.0    the fields below that ``_SINCE`` does not name
    format 2    0.1.0    and ``needs``, the oldest inarch that reads the file; ``architecture``; ``source`` in the fingerprint
A reader knows every format up to its own and refuses a later one; what changes the meaning of a field makes a new format. The seal,
``format`` and ``needs`` are the same in all of them, so that a damaged file is never taken for one of a later format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from inarch import files
from inarch.errors import Corrupt, Incomplete, Mismatch, Unsafe
from inarch.fingerprint import WIDTHS

FORMAT, NEEDS = 2, "0.1.0"
CARD = "adapter.json"
GUEST = "guest.json"  # of an adapter that another library wrote beside it
CARD_CAP = 4 << 20
_WEIGHTS = re.compile(r"adapter-[0-9a-f]{12}\.safetensors")
_SEAL = re.compile(rb'\n "digest": "([0-9a-f]{64})",(?=\n)')
_VERSION = re.compile(r"\d+(\.\d+){1,3}")
_SINCE = {"needs": 2, "architecture": 2}


def weights_name(digest: str) -> str:
    return f"adapter-{digest[:12]}.safetensors"


def sealed(card: dict[str, Any]) -> bytes:
    """The bytes of ``adapter.json``: the fields, and the digest of the file without the line that holds it."""
    return files.canonical(card | {"digest": files.sha256(files.canonical(card))})


def adapter_in(folder: Path) -> Path:
    """The folder itself, or that of the adapter in a run folder."""
    inner = folder / "adapter"
    return inner if (inner / CARD).is_file() and not (folder / CARD).exists() else folder


def read_card(folder: Path) -> dict[str, Any]:
    """The verified card of a folder, without its digest; raises ``Incomplete``, ``Corrupt``, ``Mismatch`` (format) or ``Unsafe``."""
    path = folder / CARD
    if not folder.is_dir():
        raise Incomplete(f"{str(folder)!r} is not a folder; expected one written by inarch.save, with {CARD} in it")
    _refuse_guest(folder)
    card = unsealed(path, _refuse_other_format)
    if not isinstance(card["weights"], str) or not _WEIGHTS.fullmatch(card["weights"]):
        raise Unsafe(f"{path}: weights file {str(card['weights'])[:60]!r} is none that inarch names, and could lie outside the folder; "
                     "expected adapter-<12 hexadecimal digits>.safetensors")
    check(card, path)
    return card


def unsealed(path: Path, check_format: Callable[[dict[str, Any], Path], None] = lambda card, path: None) -> dict[str, Any]:
    """The fields of a sealed card without their digest; raises ``Incomplete``, ``Corrupt`` or ``Unsafe`` unless they are as written."""
    data = files.read(path, cap=CARD_CAP, sole=True)
    _verify(data, path, check_format)
    card: dict[str, Any] = json.loads(data)
    del card["digest"]
    return card


@lru_cache(16)
def _verify(data: bytes, path: Path, check_format: Callable[[dict[str, Any], Path], None]) -> None:
    """Raise unless these bytes are a card as it was written. It depends on them alone: what was found good is only compared again."""
    card = files.parse_json(data, path)
    seal = _SEAL.search(data)
    if seal is None or files.sha256(data[: seal.start()] + data[seal.end() :]) != seal[1].decode():
        raise Corrupt(f"{path} was changed after it was written (its digest does not fit); restore the file")
    check_format(card, path)
    if files.canonical(card) != data:
        raise Corrupt(f"{path} is not written as inarch writes JSON (docs/format.md); restore the file")


def _refuse_guest(folder: Path) -> None:
    for place in (folder, folder / "adapter"):
        if (place / GUEST).is_file():
            raise Mismatch(f"{place} holds an adapter of PEFT, whose own verbs read it: PeftModel.from_pretrained(base, {str(place)!r}), "
                           "and merge_and_unload() to fold it; here inarch evaluate and predict read its run")


def _refuse_other_format(card: dict[str, Any], path: Path) -> None:
    number = card.get("format")
    if type(number) is int and number > FORMAT:
        needs = card.get("needs")
        cure = f"it needs inarch >= {needs}" if isinstance(needs, str) and _VERSION.fullmatch(needs) else "upgrade inarch"
        raise Mismatch(f"{path}: format {number} is newer than this inarch reads ({FORMAT}); {cure}")
    if type(number) is not int or number < 1:
        raise Corrupt(f"{path}: format {str(number)[:60]!r}; expected a whole number; the file is not as inarch wrote it")
    known = {name for name in KINDS if _SINCE.get(name, 1) <= number}
    if card.keys() != known:
        raise Corrupt(f"{path}: unexpected or missing: {', '.join(sorted(card.keys() ^ known))[:200]}; the file is not as inarch wrote it")


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


def _words(value: Any) -> bool:
    return _fields(value) and all(map(_text, value.values()))


def _version(value: Any) -> bool:
    return _text(value) and _VERSION.fullmatch(value) is not None


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "format": ("a whole number", _size), "method": ("a text", _text), "config": ("an object", _fields),
    "thaw": ("a list of texts, each once", _texts), "head": ("null, or [outputs, inputs]", _head),
    "thawed": ("a list of texts, each once", _texts), "fingerprint": ("an object of digests", _digests), "backbone": ("a text", _text),
    "extra": ("an object", _fields), "weights": ("a text", _text), "bytes": ("a whole number", _size), "sha256": ("a text", _text),
    "digest": ("a text", _text), "needs": ("a version", _version), "architecture": ("an object of texts", _words),
}


def check(card: dict[str, Any], path: Path) -> None:
    """Raise ``Corrupt``, naming the field, unless every one that is there holds what its kind says."""
    for name, value in card.items():
        expected, fits = KINDS[name]
        if not fits(value):
            raise Corrupt(f"{path}: {name}={str(value)[:60]!r}; expected {expected}; the file is not as inarch wrote it")


__all__ = ["CARD", "CARD_CAP", "FORMAT", "GUEST", "NEEDS", "adapter_in", "check", "read_card", "sealed", "unsealed", "weights_name"]
