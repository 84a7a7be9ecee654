"""HDF5 through h5py: features of one image, and files whose arrays lie at fixed places, so that rows are written and read without it.

    features [n, tokens, width]   rows_sha256 uint8 [n, 32]   seal uint8 [32]   plan uint8 [k], JSON   ids [n], text

Once the file is laid out nothing of its structure changes: rows go to their places, and a process killed at any point leaves a
file that opens. A seal of zeros says that rows are still missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inarch.data.images import shown
from inarch.errors import Corrupt, Mismatch, Unsafe, need
from inarch.features.plan import DIGEST, DTYPES, Plan, parse

MAX_BYTES = 1 << 30  # of what is read at once; a larger one is a damaged header, not the features of an image
DAMAGED = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a file of ours lie, in bytes."""

    features: int
    digests: int
    seal: int


def library() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise need("h5py", "vl") from error
    return h5py


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file for reading; what h5py raises inside means that the file is damaged."""
    h5py = library()
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except DAMAGED as error:
        reason = " ".join(str(error).split())
        raise Corrupt(f"{shown(path)}: not a whole HDF5 file of features ({reason}); fetch or extract it again") from error


def member(file: Any, name: str) -> Any:
    """The dataset ``name``, stored in this very file; ``Unsafe`` where the name leads elsewhere."""
    h5py, group = library(), file
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink | None):
            raise Unsafe(f"{shown(file.filename)}: {name} is a link; expected the features themselves, copy them into the file")
        group = group[part]
    if not isinstance(group, h5py.Dataset):
        raise TypeError(f"{name} is a group, expected a dataset")
    if group.is_virtual or group.external:
        raise Unsafe(f"{shown(file.filename)}: {name} lies in another file; copy it into this one")
    return group


def small(dataset: Any, where: str) -> np.ndarray:
    """All of ``dataset``, unless it says that it is huge."""
    if dataset.size is None or dataset.size * dataset.dtype.itemsize > MAX_BYTES:
        raise Mismatch(f"{where}: {dataset.dtype} {dataset.shape}; expected at most {MAX_BYTES >> 20} MiB")
    return np.asarray(dataset[()])


def write_one(path: Path, name: str, features: np.ndarray) -> None:
    """The published layout: a file per image, renamed into place when it is whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with library().File(temporary, "w") as file:
        file.create_dataset(name, data=features)
    os.replace(temporary, path)


def lay_out(path: Path, plan: Plan) -> None:
    """A file of ours with every array at its place and no row in it."""
    h5py, temporary = library(), path.with_name(f".{path.name}.tmp")
    with h5py.File(temporary, "w") as file:
        file.create_dataset("ids", data=list(plan.ids), dtype=h5py.string_dtype())
        file.create_dataset("plan", data=np.frombuffer(plan.to_bytes(), np.uint8))
        file.create_dataset("seal", data=np.zeros(DIGEST, np.uint8))
        for name, shape, kind in (("rows_sha256", (len(plan.ids), DIGEST), "u1"), ("features", plan.shape, DTYPES[plan.dtype])):
            _reserve(h5py, file, name, shape, kind)
    os.replace(temporary, path)


def _reserve(h5py: Any, file: Any, name: str, shape: tuple[int, ...], kind: str) -> None:
    """A contiguous dataset that has its place at once and is not filled: h5py's own call decides that at the first write."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)  # the same features make the same bytes, whenever they are written
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), h5py.h5s.create_simple(shape), settings)


def is_ours(path: Path) -> bool:
    with opened(path) as file:
        return {"features", "rows_sha256", "seal", "plan", "ids"} <= file.keys()


def read_layout(path: Path) -> tuple[Plan, Layout, bytes, bytes]:
    """(plan, places, digests, seal) of a file of ours."""
    with opened(path) as file:
        plan = parse(small(member(file, "plan"), shown(path)).tobytes(), path)
        rows, digests, seal = (member(file, name) for name in ("features", "rows_sha256", "seal"))
        places = [dataset.id.get_offset() for dataset in (rows, digests, seal)]
        if rows.shape != plan.shape or rows.dtype != np.dtype(DTYPES[plan.dtype]) or None in places:
            raise Corrupt(f"{shown(path)}: features are {rows.dtype} {rows.shape}; the plan beside them says {plan.dtype} {plan.shape}")
        return plan, Layout(*places), small(digests, shown(path)).tobytes(), small(seal, shown(path)).tobytes()
