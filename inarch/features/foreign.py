"""Stores that others wrote: nothing proves their values, so every row is looked at each time it is read.

    a folder of <img_id>.h5     dataset <img_id>/features [tokens, width]      (VL-T5, VL-Adapter, VL-PET)
    a folder of <clip>.npz      features [frames, width]                       (VALUE), brought to 64 frames
    one HDF5 file               <img_id>/features for every image              (VL-T5)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from inarch.data.images import shown
from inarch.errors import Mismatch
from inarch.features import hdf5
from inarch.features.frames import read_clip
from inarch.features.sealed import read_piece
from inarch.features.store import FeatureStore, inside, same_shape, sound

ReadFile = Callable[[Path, str], np.ndarray]  # (file, id) -> [tokens, width]
READERS: dict[str, ReadFile] = {".h5": read_piece, ".npz": lambda path, _: read_clip(path)}


class FolderStore(FeatureStore):
    """A file per image or clip, below ``path``; ``first`` of them says how many tokens of which width all have."""

    def __init__(self, path: Path, first: Path) -> None:
        self.path, self.suffix, self.origin = path, first.suffix, {}
        self.tokens, self.width = self._read(first, self._id(first)).shape

    @cached_property
    def ids(self) -> Sequence[str]:
        return tuple(sorted(self._id(path) for path in self.path.rglob(f"*{self.suffix}") if not path.name.startswith(".")))

    @cached_property
    def sha256(self) -> str:
        return listing((image, os.path.getsize(self._file(image))) for image in self.ids)

    def __contains__(self, image: object) -> bool:
        return inside(image) and self._file(str(image)).is_file()

    def row(self, image: str) -> np.ndarray:
        if image not in self:
            raise self.unknown(image)
        return same_shape(self._read(self._file(image), image), self.tokens, self.width, shown(self._file(image)))

    def _read(self, file: Path, image: str) -> np.ndarray:
        return sound(READERS[self.suffix](file, image), shown(file))

    def _file(self, image: str) -> Path:
        return self.path / f"{image}{self.suffix}"

    def _id(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix().removesuffix(self.suffix)


class GroupStore(FeatureStore):
    """One HDF5 file with a group per image."""

    def __init__(self, path: Path) -> None:
        self.path, self.origin = path, {}
        with hdf5.opened(path) as file:
            self._ids = tuple(file.keys())
        if not self._ids:
            raise Mismatch(f"{shown(path)}: empty; expected a dataset <img_id>/features for every image")
        self._known = frozenset(self._ids)
        self.tokens, self.width = self._read(self._ids[0]).shape

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    @cached_property
    def sha256(self) -> str:
        return listing([(self.path.name, os.path.getsize(self.path)), *((image, 0) for image in self._ids)])

    def __contains__(self, image: object) -> bool:
        return image in self._known

    def row(self, image: str) -> np.ndarray:
        if image not in self._known:
            raise self.unknown(image)
        return same_shape(self._read(image), self.tokens, self.width, f"{shown(self.path)}: {image}")

    def _read(self, image: str) -> np.ndarray:
        return sound(read_piece(self.path, image), f"{shown(self.path)}: {image}")


def listing(names: Iterable[tuple[str, int]]) -> str:
    """SHA-256 over names and sizes."""
    total = hashlib.sha256()
    for name, size in names:
        total.update(os.fsencode(name) + b"\0" + size.to_bytes(8, "little"))
    return total.hexdigest()
