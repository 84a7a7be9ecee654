"""Where an extraction puts its rows: each kind is laid out once, takes rows in order, gives them back for proof, and is sealed.

Every step may be repeated: a process killed anywhere leaves what the next one can go on from.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from inarch import files
from inarch.data.images import shown
from inarch.errors import StorageError
from inarch.features import hdf5
from inarch.features.plan import DTYPES, Plan
from inarch.features.sealed import ARRAY, ROWS, SINGLE, UNFINISHED, Pieces, Strip, npy_head, write_index


class Sink(ABC):
    """Rows of ``plan`` in ``folder``."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.lay_out()

    @abstractmethod
    def lay_out(self) -> None:
        """Make what is not there yet; leave what is."""

    @abstractmethod
    def write(self, first: int, rows: np.ndarray) -> None:
        """``rows`` [k, tokens, width] as rows ``first`` and on."""

    @abstractmethod
    def read(self, number: int) -> np.ndarray:
        """What was written as this row."""

    @abstractmethod
    def seal(self, digests: bytes) -> None:
        """Make all of it last, and say so in the file or folder itself."""


class ArraySink(Sink):
    """``features.npy``, at its full size from the start (the disk gives space when rows come)."""

    def lay_out(self) -> None:
        head, path = npy_head(self.plan.shape, self.plan.dtype), self.folder / ARRAY
        self.strip = Strip(path, len(head), self.plan.shape, self.plan.dtype)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.write(head)
            file.truncate(self.strip.end)

    def write(self, first: int, rows: np.ndarray) -> None:
        self.strip.write(first, rows)

    def read(self, number: int) -> np.ndarray:
        return self.strip(number)

    def seal(self, digests: bytes) -> None:
        _sync(self.folder / ARRAY)
        write_index(self.folder, self.plan, digests)


class SingleSink(Sink):
    """``features.h5``, which stands alone once it is sealed."""

    def lay_out(self) -> None:
        self.path = self.folder / SINGLE
        if not self.path.exists():
            hdf5.lay_out(self.path, self.plan)
        _, self.layout, _, _ = hdf5.read_layout(self.path)
        self.strip = Strip(self.path, self.layout.features, self.plan.shape, self.plan.dtype)

    def write(self, first: int, rows: np.ndarray) -> None:
        self.strip.write(first, rows)

    def read(self, number: int) -> np.ndarray:
        return self.strip(number)

    def seal(self, digests: bytes) -> None:
        _put(self.path, self.layout.digests, digests)
        _put(self.path, self.layout.seal, bytes.fromhex(self.plan.seal(digests)))


class PieceSink(Sink):
    """A file per image, as the published features are."""

    def lay_out(self) -> None:
        self.pieces = Pieces(self.folder, self.plan.ids)
        for place in sorted({self.pieces.path(number).parent for number in range(len(self.plan.ids))}):
            place.mkdir(parents=True, exist_ok=True)

    def write(self, first: int, rows: np.ndarray) -> None:
        for number, row in enumerate(rows, start=first):
            path = self.pieces.path(number)
            try:
                hdf5.write_one(path, f"{self.plan.ids[number]}/features", np.ascontiguousarray(row, DTYPES[self.plan.dtype]))
            except OSError as problem:
                raise StorageError(f"{shown(path)}: {problem}; make room and run the same command again") from None

    def read(self, number: int) -> np.ndarray:
        return self.pieces(number)

    def seal(self, digests: bytes) -> None:
        for path in {self.pieces.path(number).parent for number in range(len(self.plan.ids))}:
            files.sync_folder(path)
        write_index(self.folder, self.plan, digests)


SINKS: dict[str, type[Sink]] = {"memmap": ArraySink, "hdf5": SingleSink, "h5-files": PieceSink}


def halves(folder: Path) -> list[str]:
    """Files that a process was killed over before it could rename them into place."""
    return [path.name for path in folder.glob(".*.tmp")]


def clear(folder: Path, kind: str) -> None:
    """Remove what only an unfinished store needs, the note that it is unfinished first."""
    (folder / UNFINISHED).unlink(missing_ok=True)
    for name in halves(folder):
        (folder / name).unlink()
    if kind == "hdf5":
        (folder / ROWS).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _put(path: Path, offset: int, data: bytes) -> None:
    """Bytes in their place, on disk before anything else is written."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

