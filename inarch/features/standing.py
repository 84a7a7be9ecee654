"""What an output folder already is: empty, begun, finished, or something else that must not be touched.

    unfinished.json    the plan, from the first row on until the seal
    rows.sha256        32 bytes per row that is there, in order
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from inarch import files
from inarch.data.images import shown
from inarch.data.table import Problem
from inarch.errors import ConfigError, InarchError, StorageError
from inarch.features import hdf5
from inarch.features.opening import open_store
from inarch.features.plan import DIGEST, Plan, differences, digest, parse
from inarch.features.sealed import INDEX, ROWS, SINGLE, UNFINISHED, SealedStore
from inarch.features.sinks import Sink, halves
from inarch.features.survey import Tell, silent
from inarch.training.lock import LOCK


def make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise StorageError(f"{shown(folder)}: {problem.strerror}; choose a folder that can be written") from None


def is_sealed(folder: Path) -> bool:
    if (folder / INDEX).is_file():
        return True
    return (folder / SINGLE).is_file() and hdf5.is_ours(folder / SINGLE) and any(hdf5.read_layout(folder / SINGLE)[3])


def agreed(folder: Path, wish: Plan, on_bad_image: str) -> Plan | None:
    """The plan that the folder already follows, if it is this one; None for an empty folder; anything else is refused."""
    old = _plan(folder)
    if old is None:
        others = sorted({path.name for path in folder.iterdir()} - {LOCK, *halves(folder)})
        if others:
            raise ConfigError(f"{shown(folder)} holds something else (first: {shown(others[0])}); choose an empty or new folder")
        return None
    wrong = differences(old, wish)
    if old.skipped and on_bad_image == "refuse":
        wrong.append(f"{len(old.skipped)} bad images left out (first: {old.skipped[0][0]}) where on_bad_image is 'refuse'")
    if wrong:
        raise ConfigError(f"{shown(folder)} holds other features: {'; '.join(wrong)}; choose another folder, or remove that one")
    return old


def _plan(folder: Path) -> Plan | None:
    if is_sealed(folder):
        store = open_store(folder)
        assert isinstance(store, SealedStore)
        return store.plan
    path = folder / UNFINISHED
    return parse(files.read(path), path) if path.is_file() else None


def begin(folder: Path, wish: Plan, bad: dict[str, Problem]) -> Plan:
    """``wish`` without the bad images, noted in the folder once there is room for it."""
    plan = dataclasses.replace(wish, ids=tuple(image for image in wish.ids if image not in bad),
                               skipped=tuple((image, problem.reason) for image, problem in bad.items()))
    needed, free = plan.row_bytes * len(plan.ids), shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(f"{shown(folder)}: the features need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; make room or "
                           "choose another disk")
    files.write(folder / UNFINISHED, plan.to_bytes())
    return plan


class Journal:
    """The digests of the rows that are there."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ROWS

    def digests(self) -> bytes:
        return self.path.read_bytes() if self.path.is_file() else b""

    def add(self, digests: bytes) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(digests)
        except OSError as problem:
            raise StorageError(f"{shown(self.path)}: {problem.strerror}; make room and run the same command again") from None

    def proved(self, sink: Sink, batch: int, tell: Tell) -> int:
        """How many rows of whole batches are surely there; what is noted beyond them is forgotten."""
        noted, count = self.digests(), 0
        total = min(len(noted) // DIGEST, len(sink.plan.ids))
        while count < total and _is_row(sink, count, noted[count * DIGEST : (count + 1) * DIGEST]):
            count += 1
            tell("proving what is there", count, total)
        if count < len(sink.plan.ids):
            count -= count % batch
        with self.path.open("ab") as file:
            file.truncate(count * DIGEST)
            os.fsync(file.fileno())
        return count


def fill(sink: Sink, journal: Journal, pieces: Iterable[np.ndarray], done: int = 0, tell: Tell = silent) -> None:
    """``pieces`` as rows ``done`` and on, each noted after it is written; then the seal."""
    for rows in pieces:
        sink.write(done, rows)
        journal.add(b"".join(map(digest, rows)))
        done += len(rows)
        tell("features", done, len(sink.plan.ids))
    sink.seal(journal.digests())


def _is_row(sink: Sink, number: int, expected: bytes) -> bool:
    try:
        return digest(sink.read(number)) == expected
    except (InarchError, OSError):
        return False
