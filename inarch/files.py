"""Reading and writing that loses nothing: atomic files, canonical JSON, verified safetensors. No pickle, ever."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import stat
import struct
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from inarch.errors import Corrupt, InarchError, Incomplete, Mismatch, StorageError, Unsafe
from inarch.strict_json import canonical, parse_json

HEADER_CAP = 1 << 20
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_OLD_PICKLE = re.compile(rb"\(*c\w")  # protocol 0 names what it will call
_OUTSIDE = re.compile(r"[\x00-\x1f\x7f\\:%~$]|(^|/)\.{0,2}(/|$)")  # `..`, a drive, a home, an escape
_KINDS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
          "C64": 8}
__all__ = [
    "canonical", "check_tensors", "finite", "header", "outside", "parse_json", "read", "read_sealed", "read_start", "refuse_pickle",
    "sha256", "sync_folder", "tensor_bytes", "tensors", "write",
]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(path: Path, *, cap: int = 1 << 34, sole: bool = False) -> bytes:
    """The bytes of a regular file inside its folder: a link, a folder, a device or a pipe is refused without blocking.

    ``sole``: a file that has another name too (a hard link) is refused as well.
    """
    with _regular(path) as (file, status):
        if sole:
            _refuse_other_name(path, status)
        if status.st_size > cap:
            raise Corrupt(f"{path} has {status.st_size} bytes; expected at most {cap}")
        return file.read()


def read_start(path: Path) -> bytes:
    """The first bytes of a regular file, as many as tell what it is."""
    with _regular(path) as (file, _):
        return file.read(9)


def read_sealed(path: Path, *, size: int, digest: str, most: int = 1 << 34) -> bytes:
    """The bytes of a safetensors file whose size and SHA-256 are known. ``most``: what it can have at most, whoever says its size.

    Nothing is read for which there would be no use: a file of another size is refused by its first bytes.
    """
    with _regular(path) as (file, status):
        _refuse_other_name(path, status)
        if status.st_size != size or size > most:
            start = file.read(9)
            refuse_pickle(start, path)
            if status.st_size != size:
                raise Corrupt(f"{path} has {status.st_size} bytes; expected {size}: cut, damaged or of another save; restore it")
            if len(start) > 8 and struct.unpack("<Q", start[:8])[0] > HEADER_CAP:
                raise Corrupt(f"{path}: its safetensors header claims more than {HEADER_CAP} bytes; the file is damaged")
            raise Mismatch(f"{path} has {size} bytes; this method on this backbone needs at most {most}")
        data = file.read(size)
    if len(data) != size or sha256(data) != digest:
        refuse_pickle(data[:9], path)
        raise Corrupt(f"{path}: {len(data)} bytes that are not the {size} bytes written (another SHA-256); restore the file")
    return data


@contextmanager
def _regular(path: Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except ValueError:
        raise Unsafe(f"{str(path)!r} is no name that a file can have (a NUL or half a character in it)") from None
    except OSError as problem:
        raise _unopened(path, problem) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Corrupt(f"{path} is not a regular file; expected one written by inarch")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file, status
    except OSError as problem:
        raise StorageError(f"{path}: {problem.strerror}; check the disk it is on") from None
    finally:
        os.close(descriptor)


def _refuse_other_name(path: Path, status: os.stat_result) -> None:
    if status.st_nlink > 1:
        raise Unsafe(f"{path} is a hard link: the same file has another name, outside this folder perhaps; copy the folder instead")


def _unopened(path: Path, problem: OSError) -> InarchError:
    if problem.errno == errno.ENOENT and path.parent.is_dir():
        return Incomplete(f"{path}: no such file; expected it beside the others of this checkpoint")
    if problem.errno == errno.ELOOP:
        return Unsafe(f"{path} is a symbolic link; expected a regular file inside its folder")
    if problem.errno == errno.ENXIO:  # a socket, or a device that is not there
        return Corrupt(f"{path} is not a regular file; expected one written by inarch")
    return StorageError(f"{path}: {problem.strerror}; check the path and its permissions")


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


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last: a rename is on disk only after this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_pickle(start: bytes, path: Path) -> None:
    """``Unsafe`` for what begins like a pickle or an archive. A header length may begin so too, but a brace follows it."""
    if len(start) > 8 and start[8:9] != b"{" and (start.startswith(_PICKLES) or _OLD_PICKLE.match(start)):
        raise Unsafe(f"{path} is a pickle or an archive, which could run code; expected safetensors. It was not opened")


def header(data: bytes, path: Path) -> Mapping[str, tuple[str, list[int]]]:
    """Tensor name -> (safetensors dtype, shape). Every byte after the header belongs to exactly one tensor, or the file is damaged."""
    refuse_pickle(data[:9], path)
    if len(data) < 8 or not 2 <= (length := struct.unpack("<Q", data[:8])[0]) <= min(HEADER_CAP, len(data) - 8):
        raise Corrupt(f"{path}: the safetensors header does not fit a file of {len(data)} bytes; the file is cut or damaged")
    return _entries(data[8 : 8 + length], len(data) - 8 - length, path)


@lru_cache(16)
def _entries(head: bytes, rest: int, path: Path) -> Mapping[str, tuple[str, list[int]]]:
    """What a header of these bytes says of the ``rest`` bytes behind it; it depends on nothing else, so it is worked out once."""
    fields = parse_json(head, path)
    fields.pop("__metadata__", None)
    end = 0
    for name, entry in sorted(fields.items(), key=lambda item: _offsets(item[1])):
        if outside(name):
            raise Unsafe(f"{path}: a tensor is named {name[:60]!r}, which looks like a path out of its folder")
        if not _whole(entry) or entry["data_offsets"][0] != end:
            raise Corrupt(f"{path}: the safetensors header places {name[:60]!r} where it cannot be ({str(entry)[:120]}); it is damaged")
        end = entry["data_offsets"][1]
    if end != rest:
        raise Corrupt(f"{path}: its tensors fill {end} bytes of {rest}; the file is cut or damaged")
    return {name: (entry["dtype"], entry["shape"]) for name, entry in fields.items()}


def outside(name: str) -> bool:
    """Whether a name that a file tells could be taken for a path out of its folder."""
    return _OUTSIDE.search(name) is not None


def _offsets(entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends, for the order; (-1, -1) for an entry that is none."""
    found = entry.get("data_offsets") if isinstance(entry, dict) else None
    return tuple(found) if isinstance(found, list) and list(map(type, found)) == [int, int] else (-1, -1)  # type: ignore[return-value]


def _whole(entry: Any) -> bool:
    """dtype, shape and offsets, and nothing else; as many bytes as dtype and shape ask for."""
    if _offsets(entry) == (-1, -1) or entry.keys() != {"dtype", "shape", "data_offsets"} or not isinstance(entry["shape"], list):
        return False
    size = _BYTES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    begin, end = entry["data_offsets"]
    return size is not None and all(type(n) is int and n >= 0 for n in entry["shape"]) and end - begin == size * math.prod(entry["shape"])


def check_tensors(found: Mapping[str, tuple[str, list[int]]], expected: dict[str, list[int]], path: Path) -> None:
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


def tensors(data: bytes, path: Path, expected: dict[str, list[int]] | None = None) -> dict[str, Tensor]:
    """All tensors of verified bytes, of the ``expected`` names and shapes where they are known; every value must be finite."""
    there = header(data, path)
    if expected is not None:
        check_tensors(there, expected, path)
    try:
        found = parse_tensors(data)
    except SafetensorError as problem:
        raise Corrupt(f"{path}: {problem}; the file is damaged") from None
    for name, tensor in found.items():
        if not finite(tensor):
            bad = int((~torch.isfinite(tensor)).sum())
            raise Corrupt(f"{path}: {name} holds {bad} values that are not finite (of {math.prod(tensor.shape)})")
    return found


def finite(tensor: Tensor) -> bool:
    """Whether every value is a number. One that is none spoils the sum; a sum may also be too large, and then each is looked at."""
    return not tensor.is_floating_point() or math.isfinite(float(tensor.sum())) or bool(torch.isfinite(tensor).all())
