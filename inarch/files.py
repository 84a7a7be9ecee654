"""Reading and writing that loses nothing: atomic files, canonical JSON, verified safetensors. No pickle, ever."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import struct
import uuid
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from inarch.errors import Corrupt, Incomplete, Mismatch, StorageError, Unsafe

HEADER_CAP = 1 << 20
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_KINDS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
__all__ = [
    "canonical", "check_tensors", "header", "make_folder", "parse_json", "read", "sha256", "sweep", "sync_folder", "tensor_bytes", "tensors",
    "write",
]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def canonical(fields: dict[str, Any]) -> bytes:
    """The one way this library writes JSON: a reader may compare the bytes."""
    return (json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read(path: Path, *, cap: int = 1 << 34) -> bytes:
    """The bytes of a regular file inside its folder: a link, a folder, a device or a pipe is refused without blocking."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Incomplete(f"{path}: no such file; expected it beside the others of this checkpoint") from None
    except ValueError:
        raise Unsafe(f"{str(path)!r} is no name that a file can have (a NUL or half a character in it)") from None
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise Unsafe(f"{path} is a symbolic link; expected a regular file inside its folder") from None
        raise StorageError(f"{path}: {problem.strerror}; check the path and its permissions") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Corrupt(f"{path} is not a regular file; expected one written by inarch")
        if status.st_size > cap:
            raise Corrupt(f"{path} has {status.st_size} bytes; expected at most {cap}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes) -> None:
    """Write beside the target, sync, and rename over it: a reader sees the old bytes or the new ones, never half."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{path}: {problem.strerror}; nothing that was there has been changed") from None


def make_folder(folder: Path) -> None:
    """The folder, and those above it that are missing; the name of each is synced, or a power loss might take the whole tree."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sweep(folder: Path, name: str) -> None:
    """Remove what a process killed inside ``write`` of files of this name (a pattern) has left."""
    for path in folder.glob(f".{name}.*.tmp"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last: a rename is on disk only after this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Strict JSON: UTF-8, one object, no duplicate key, no NaN or Infinity, no half character."""
    try:
        fields = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
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


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def header(data: bytes, path: Path) -> dict[str, tuple[str, list[int]]]:
    """Tensor name -> (safetensors dtype, shape), checked against the file's length before anything is allocated."""
    if data.startswith(_PICKLES) and data[8:9] != b"{":  # a header length may begin like a pickle
        raise Unsafe(f"{path} is a pickle or an archive, which could run code; expected safetensors. It was not opened")
    if len(data) < 8 or not 2 <= (length := struct.unpack("<Q", data[:8])[0]) <= min(HEADER_CAP, len(data) - 8):
        raise Corrupt(f"{path}: the safetensors header does not fit a file of {len(data)} bytes; the file is cut or damaged")
    fields = parse_json(data[8 : 8 + length], path)
    fields.pop("__metadata__", None)
    try:
        return {name: (entry["dtype"], [int(n) for n in entry["shape"]]) for name, entry in fields.items()}
    except (TypeError, KeyError, ValueError):
        raise Corrupt(f"{path}: the safetensors header lacks dtype or shape; the file is damaged") from None


def check_tensors(found: dict[str, tuple[str, list[int]]], expected: dict[str, list[int]], path: Path) -> None:
    """The sets of names are equal, and every shape and dtype fits; raises ``Mismatch``, naming up to ten keys."""
    for word, keys in (("missing", expected.keys() - found.keys()), ("unexpected", found.keys() - expected.keys())):
        if keys:
            raise Mismatch(f"{path}: {len(keys)} {word} tensors: {', '.join(sorted(keys)[:10])}; expected exactly "
                           f"{len(expected)} for this method and backbone")
    for name, (kind, shape) in found.items():
        if shape != expected[name]:
            raise Mismatch(f"{path}: {name} has shape {shape}, this method on this backbone expects {expected[name]}")
        if kind not in _KINDS:
            raise Mismatch(f"{path}: {name} has dtype {kind}; expected a floating-point type ({', '.join(_KINDS)})")


def tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    """All tensors of verified bytes; every value must be finite."""
    try:
        found = parse_tensors(data)
    except SafetensorError as problem:
        raise Corrupt(f"{path}: {problem}; the file is damaged") from None
    for name, tensor in found.items():
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if bad:
            raise Corrupt(f"{path}: {name} holds {bad} values that are not finite (of {math.prod(tensor.shape)})")
    return found
