"""Stores that ``inarch features`` wrote: the index is proved by the seal, every row by its SHA-256 when it is first read.

    memmap     features.npy [n, tokens, width]     rows.sha256     index.json
    hdf5       features.h5, which stands alone
    h5-files   ID.h5 with dataset ID/features, the published layout     rows.sha256     index.json
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from inarch import files
from inarch.data.images import shown
from inarch.errors import Corrupt, Incomplete, StorageError
from inarch.features import hdf5
from inarch.features.plan import DIGEST, DTYPES, Plan, digest, numbers, parse
from inarch.features.store import FeatureStore

INDEX, UNFINISHED, ROWS = "index.json", "unfinished.json", "rows.sha256"
ARRAY, SINGLE = "features.npy", "features.h5"
ReadRow = Callable[[int], np.ndarray]  # number of a row -> [tokens, width]


class Strip:
    """Rows one after another in a file, from byte ``offset`` on; mapped when first read, and again in a copy or another process."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, int, int], dtype: str) -> None:
        self.path, self.offset, self.shape, self.dtype = path, offset, shape, np.dtype(DTYPES[dtype])
        self.row_bytes = shape[1] * shape[2] * self.dtype.itemsize
        self.end = offset + shape[0] * self.row_bytes

    def __call__(self, number: int) -> np.ndarray:
        return self._mapped[number]

    @cached_property
    def _mapped(self) -> np.ndarray:
        found = os.path.getsize(self.path) if self.path.is_file() else 0
        if found < self.end:
            raise Corrupt(f"{shown(self.path)}: {found} bytes; expected {self.end}, it is cut or missing: restore or extract it again")
        return np.memmap(self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_mapped"}  # a pickled map would be a copy of the file

    def write(self, first: int, rows: np.ndarray) -> None:
        try:
            with self.path.open("r+b") as file:
                file.seek(self.offset + first * self.row_bytes)
                file.write(np.ascontiguousarray(rows, self.dtype).data)
        except OSError as problem:
            raise StorageError(f"{shown(self.path)}: {problem.strerror}; rows before {first} are kept: make room and run the same "
                               "command again") from None


class Pieces:
    """A file per row, in the published layout."""

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self.folder, self.ids = folder, ids

    def __call__(self, number: int) -> np.ndarray:
        return read_piece(self.path(number), self.ids[number])

    def path(self, number: int) -> Path:
        return self.folder / f"{self.ids[number]}.h5"


def read_piece(path: Path, image: str) -> np.ndarray:
    """[tokens, width] of one image's own file."""
    name = f"{image}/features"
    with hdf5.opened(path) as file:
        return hdf5.small(hdf5.member(file, name), f"{shown(path)}: {name}")


def npy_head(shape: tuple[int, int, int], dtype: str) -> bytes:
    """The first bytes of a ``.npy`` file of this array; its rows follow."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": DTYPES[dtype], "fortran_order": False, "shape": shape})
    return head.getvalue()


class SealedStore(FeatureStore):
    """Rows by number; each is proved once per process."""

    def __init__(self, path: Path, plan: Plan, digests: bytes, read: ReadRow) -> None:
        self.path, self.plan, self.digests, self.read = path, plan, digests, read
        self.tokens, self.width, self.origin = plan.tokens, plan.width, plan.origin
        self._numbers = {image: number for number, image in enumerate(plan.ids)}
        self._proved = np.zeros(len(plan.ids), bool)

    @property
    def ids(self) -> Sequence[str]:
        return self.plan.ids

    @cached_property
    def sha256(self) -> str:
        return self.plan.content(self.digests)

    def __contains__(self, image: object) -> bool:
        return image in self._numbers

    def row(self, image: str) -> np.ndarray:
        if image not in self._numbers:
            raise self.unknown(image)
        number = self._numbers[image]
        found = self.read(number)
        if not self._proved[number]:
            self._prove(number, found)
        return numbers(found, self.plan.dtype)

    def _prove(self, number: int, found: np.ndarray) -> None:
        if digest(found) != self.digests[number * DIGEST : (number + 1) * DIGEST]:
            raise Corrupt(f"{shown(self.path)}: the features of {self.ids[number]!r} are not those that were written; "
                          "extract them again into another folder")
        self._proved[number] = True


def write_index(folder: Path, plan: Plan, digests: bytes) -> None:
    fields = files.parse_json(plan.to_bytes(), folder / INDEX)
    files.write(folder / INDEX, files.canonical(fields | {"seal": plan.seal(digests)}))


def read_index(folder: Path) -> tuple[Plan, bytes]:
    """(plan, digests) of a finished folder."""
    data = files.read(folder / INDEX)
    fields = files.parse_json(data, folder / INDEX)
    whole, seal = data == files.canonical(fields), fields.pop("seal", None)
    found = parse(files.canonical(fields), folder / INDEX)
    digests = files.read(folder / ROWS)
    if not whole or len(digests) != DIGEST * len(found.ids) or found.seal(digests) != seal:
        raise Corrupt(f"{shown(folder)}: {INDEX} and {ROWS} are not those that were written together; extract the features again")
    return found, digests


def open_folder(folder: Path) -> SealedStore:
    """A finished folder with ``index.json``."""
    found, digests = read_index(folder)
    if found.kind == "h5-files":
        return SealedStore(folder, found, digests, Pieces(folder, found.ids))
    head = npy_head(found.shape, found.dtype)
    if _first_bytes(folder / ARRAY, len(head)) != head:
        raise Corrupt(f"{shown(folder / ARRAY)}: its header is not that of {found.dtype} {found.shape}; restore or extract it again")
    return SealedStore(folder, found, digests, Strip(folder / ARRAY, len(head), found.shape, found.dtype))


def _first_bytes(path: Path, count: int) -> bytes:
    if not path.is_file():
        raise Incomplete(f"{shown(path)}: no such file; expected it beside {INDEX}")
    with path.open("rb") as file:
        return file.read(count)


def open_single(path: Path) -> SealedStore:
    """A finished ``features.h5`` of ours."""
    found, layout, digests, seal = hdf5.read_layout(path)
    if not any(seal):
        raise Incomplete(f"{shown(path)}: rows are still missing; run the `inarch features` command that began it again")
    if bytes.fromhex(found.seal(digests)) != seal:
        raise Corrupt(f"{shown(path)}: plan and digests are not those that were written together; extract the features again")
    return SealedStore(path, found, digests, Strip(path, layout.features, found.shape, found.dtype))
