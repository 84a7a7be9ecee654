"""Folders that several files are written into: made so that they last, written by one process at a time, swept of what a kill left."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inarch.errors import StorageError
from inarch.files import sync_folder


def make_folder(folder: Path) -> None:
    """The folder, and those above it that are missing; the name of each is synced, or a power loss might take the whole tree."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sweep(folder: Path, name: str) -> None:
    """Remove what a process killed inside ``write`` of files of this name (a pattern) has left."""
    for path in folder.glob(f".{name}.*.tmp"):
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove what nobody needs any more; where that is not allowed, it stays."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While this process writes several files there, another that wants to is refused; one that dies leaves nothing behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"{folder}: another process is saving there; nothing was written, choose another folder") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)
