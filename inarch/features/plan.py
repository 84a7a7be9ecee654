"""What is in a store, said before the first row is written, and what seals it after the last.

    row i       features of image ids[i], [tokens, width] of dtype
    digests     SHA-256 of every row's bytes, 32 n bytes in order
    seal        SHA-256(plan as JSON, digests): one changed bit anywhere and the store is refused
    content     SHA-256(dtype, shape, ids, digests): the same whatever the kind of store; stands beside every result
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inarch import files
from inarch.errors import Corrupt, Mismatch

FORMAT = 1
DIGEST = 32
KINDS = ("memmap", "hdf5", "h5-files")
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
DTYPES = {"float16": "<f2", "bfloat16": "<u2", "float32": "<f4", "float64": "<f8"}  # as numpy has them, little-endian; of bfloat16 the bits


@dataclass(frozen=True)
class Plan:
    """``images`` is the SHA-256 over every image's id and bytes; ``origin`` what ``Eyes.origin`` says; ``skipped`` bad images."""

    kind: str
    dtype: str
    tokens: int
    width: int
    ids: tuple[str, ...]
    images: str
    origin: dict[str, Any]
    skipped: tuple[tuple[str, str], ...] = ()
    format: int = field(default=FORMAT)

    def to_bytes(self) -> bytes:
        return files.canonical(dataclasses.asdict(self))

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.ids), self.tokens, self.width

    @property
    def row_bytes(self) -> int:
        return self.tokens * self.width * BYTES[self.dtype]

    def seal(self, digests: bytes) -> str:
        return hashlib.sha256(self.to_bytes() + digests).hexdigest()

    def content(self, digests: bytes) -> str:
        return hashlib.sha256(json.dumps([self.dtype, self.tokens, self.width, self.ids]).encode() + digests).hexdigest()


def parse(data: bytes, where: Path) -> Plan:
    """The plan in ``data``; ``Mismatch`` for a later format, ``Corrupt`` for anything that no extraction wrote."""
    fields = files.parse_json(data, where)
    found = fields.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise Mismatch(f"{where}: features of format {found}; this inarch reads up to {FORMAT}, install a newer one")
    wanted = {f.name for f in dataclasses.fields(Plan)}
    if fields.keys() != wanted:
        odd = ", ".join(sorted(fields.keys() ^ wanted)[:5])
        raise Corrupt(f"{where}: keys differ from a feature store's ({odd}); extract the features again")
    ids, skipped = fields["ids"], fields["skipped"]
    if not (_texts(ids) and ids and all(isinstance(fields[key], int) and fields[key] > 0 for key in ("tokens", "width"))
            and fields["kind"] in KINDS and fields["dtype"] in BYTES and isinstance(fields["origin"], dict)
            and isinstance(fields["images"], str) and isinstance(skipped, list) and all(_texts(pair) for pair in skipped)):
        raise Corrupt(f"{where}: values differ from a feature store's; extract the features again")
    return Plan(**fields | {"ids": tuple(ids), "skipped": tuple((name, reason) for name, reason in skipped)})


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def differences(old: Plan, new: Plan) -> list[str]:
    """Why rows of ``old`` are not those that ``new`` asks for, one phrase each."""
    found = [f"{key} {getattr(old, key)} for {getattr(new, key)}" for key in ("kind", "dtype") if getattr(old, key) != getattr(new, key)]
    if old.origin.get("fingerprint") != new.origin["fingerprint"]:
        found.append(f"tower {_tower(old)} for {_tower(new)}")
    before, now = _rule(old), _rule(new)
    found += [f"{key} {before.get(key)} for {now.get(key)}" for key in sorted(before | now) if before.get(key) != now.get(key)]
    if old.shape[1:] != new.shape[1:]:
        found.append(f"{old.tokens} x {old.width} features for {new.tokens} x {new.width}")
    return found + _images(old, new)


def _rule(plan: Plan) -> dict[str, Any]:
    """The preprocessing as JSON has it: lists, not tuples."""
    found = json.loads(json.dumps(plan.origin.get("preprocess")))
    return found if isinstance(found, dict) else {}


def _tower(plan: Plan) -> str:
    return f"{plan.origin.get('tower')} ({str(plan.origin.get('fingerprint'))[:12]})"


def _images(old: Plan, new: Plan) -> list[str]:
    if old.images == new.images:
        return []
    had, has = known(old), known(new)
    found = [_some("images are gone", had - has), _some("images are new", has - had)]
    return [phrase for phrase in found if phrase] or ["images of the same names with other bytes"]


def known(plan: Plan) -> set[str]:
    return set(plan.ids) | {name for name, _ in plan.skipped}


def _some(what: str, names: set[str]) -> str:
    return f"{len(names)} {what} (first: {min(names)})" if names else ""


def stored(rows: Tensor, dtype: str) -> np.ndarray:
    """``rows`` as they lie in a file of ``dtype``."""
    found = rows.to(getattr(torch, dtype)).cpu()
    return np.ascontiguousarray((found.view(torch.int16) if dtype == "bfloat16" else found).numpy().view(DTYPES[dtype]))


def numbers(row: np.ndarray, dtype: str) -> np.ndarray:
    """What lies in a file of ``dtype``, as floating-point numbers."""
    return (row.astype("<u4") << 16).view("<f4") if dtype == "bfloat16" else row


def digest(row: Any) -> bytes:
    """SHA-256 of the bytes of one row, a contiguous array."""
    return hashlib.sha256(row).digest()
