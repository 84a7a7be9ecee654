"""``open_store``: which kind of store is at a path, found by what lies there; several stores as one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from inarch.data.images import shown
from inarch.errors import DataError, Incomplete, Mismatch
from inarch.features import hdf5
from inarch.features.foreign import READERS, FolderStore, GroupStore
from inarch.features.sealed import INDEX, ROWS, SINGLE, UNFINISHED, open_folder, open_single
from inarch.features.store import FeatureStore

HDF5 = (".h5", ".hdf5")
KINDS = ("a folder that `inarch features` wrote, a folder of <img_id>.h5 or of <clip>.npz files, or one .h5 file of "
         "<img_id>/features")

Place = str | os.PathLike[str]


def open_store(path: Place | Sequence[Place], *, width: int | None = None) -> FeatureStore:
    """The features at ``path``; several paths are one store, where the first that has an id gives its features.

    ``width`` is what the model reads: another one is refused here, before any work.

    >>> open_store("datasets/COCO/clip_features/data_clip_RN101_att", width=2048)
    FolderStore(datasets/COCO/clip_features/data_clip_RN101_att: 49 x 2048)
    """
    places = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not places:
        raise DataError("no feature store was named; expected one path or more")
    stores = [_open(Path(os.path.expanduser(place))) for place in places]
    found = stores[0] if len(stores) == 1 else JoinedStore(stores)
    if width is not None and found.width != width:
        made = f", made by {found.origin['tower']}," if "tower" in found.origin else ""
        raise Mismatch(f"{shown(found.path)}: features are {found.width} wide{made} and the model reads {width}; extract them with the "
                       f"tower it was set up for, or set it up for {found.width}")
    return found


def _open(path: Path) -> FeatureStore:
    if path.is_file() and path.suffix.lower() in HDF5:
        return open_single(path) if hdf5.is_ours(path) else GroupStore(path)
    if not path.is_dir():
        raise DataError(f"{shown(path)}: {'a file of unknown kind' if path.exists() else 'there is nothing'}; expected {KINDS}")
    if (path / INDEX).is_file():
        return open_folder(path)
    if (path / SINGLE).is_file() and hdf5.is_ours(path / SINGLE):
        return open_single(path / SINGLE)
    if (path / UNFINISHED).is_file() or (path / ROWS).is_file():
        raise Incomplete(f"{shown(path)}: rows or {INDEX} are still missing; run the `inarch features` command that "
                         "began it again")
    return FolderStore(path, _first(path))


def _first(folder: Path) -> Path:
    """The first file of features in a folder of others, by name."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        found = {suffix: [name for name in names if name.endswith(suffix) and not name.startswith(".")] for suffix in READERS}
        kinds = [suffix for suffix in found if found[suffix]]
        if len(kinds) > 1:
            raise DataError(f"{shown(place)}: both {' and '.join(kinds)} files; keep features of one kind in it")
        if kinds:
            return Path(place, min(found[kinds[0]]))
    raise DataError(f"{shown(folder)}: no features in it; expected {KINDS}")


class JoinedStore(FeatureStore):
    """Several stores of one shape as one; the first that has an id gives its features."""

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        self.stores, first = tuple(stores), stores[0]
        self.path, self.tokens, self.width, self.origin = first.path, first.tokens, first.width, first.origin
        for other in stores[1:]:
            if (other.tokens, other.width) != (first.tokens, first.width):
                raise Mismatch(f"{shown(other.path)}: {other.tokens} x {other.width} features, those of {shown(first.path)} are "
                               f"{first.tokens} x {first.width}; extract both with one tower")
            seen, found = first.origin.get("fingerprint"), other.origin.get("fingerprint")
            if seen and found and seen != found:
                raise Mismatch(f"{shown(other.path)}: made by {other.origin.get('tower')}, those of {shown(first.path)} by "
                               f"{first.origin.get('tower')}; extract both with one tower")

    @cached_property
    def ids(self) -> Sequence[str]:
        return tuple(dict.fromkeys(image for store in self.stores for image in store.ids))

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256("".join(store.sha256 for store in self.stores).encode()).hexdigest()

    def __contains__(self, image: object) -> bool:
        return any(image in store for store in self.stores)

    def row(self, image: str) -> np.ndarray:
        for store in self.stores:
            if image in store:
                return store.row(image)
        raise self.unknown(image)
