"""One process per run folder: ``.lock`` names who is at work; a dead owner's lock is recognised and taken over.

The owner is known by host, pid and the process's start time, so that a pid given to another process later frees the lock.
Reading and writing the file happen under ``flock``, which lasts microseconds and cannot be left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from inarch.errors import ConfigError, StorageError

LOCK = ".lock"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder's lock; ``ConfigError`` when a living process holds it."""
    me = {"host": socket.gethostname(), "pid": os.getpid(), "started": started(os.getpid())}
    _take(run / LOCK, me)
    try:
        yield
    finally:
        _release(run / LOCK, me)


def started(pid: int) -> float | None:
    """When the process began, in seconds since the epoch; None when there is no such process."""
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def alive(owner: dict[str, Any]) -> bool:
    """Whether the owner may still be at work; on another host nobody can tell, so it counts as alive."""
    if owner.get("host") != socket.gethostname():
        return True
    now = started(int(owner.get("pid", -1)))
    return now is not None and abs(now - float(owner.get("started") or 0)) < 1


def _take(path: Path, me: dict[str, Any]) -> None:
    with _held(path) as file:
        owner = _owner(file)
        if owner and alive(owner):
            who = f"process {owner.get('pid')} on {owner.get('host')}"
            raise ConfigError(f"{path.parent} is in use by {who}; wait for it or choose another --out "
                              f"(if it is surely gone, delete {path})")
        _put(file, json.dumps(me).encode())


def _release(path: Path, me: dict[str, Any]) -> None:
    """Empty the file rather than remove it: a waiting process may already have it open."""
    if not path.exists():
        return
    with _held(path) as file:
        if _owner(file) == me:
            _put(file, b"")


def _owner(file: BinaryIO) -> dict[str, Any] | None:
    """Who wrote the file; None for an empty one, or for bytes that no living process writes."""
    try:
        found = json.loads(file.read(4096) or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _put(file: BinaryIO, data: bytes) -> None:
    file.seek(0)
    file.truncate()
    file.write(data)
    file.flush()


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as problem:
        raise StorageError(f"{path}: {problem.strerror}; choose a run folder that can be written") from None
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
