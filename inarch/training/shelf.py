"""Where rows of frozen nets are kept: in memory for one run, or in a folder, memory-mapped, where later runs find them again.

    FOLDER/<key>/   features.npy, rows.sha256, index.json: a sealed store as ``inarch features`` writes it
    key = SHA-256(data, images, view, preprocessing, every frozen number, place of the cut, precision, dtype, device, torch)
What has another key lies beside it, so a folder serves any number of runs. A store appears in one rename: whoever is killed, or
loses the race to write it, leaves nothing that is read.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor, nn

from inarch import files, folders, roles
from inarch.data.images import shown
from inarch.errors import CheckpointError, ConfigError, Corrupt, StorageError
from inarch.features import standing
from inarch.features.plan import BYTES, Plan, stored
from inarch.features.sealed import SealedStore, open_folder
from inarch.features.sinks import ArraySink, clear
from inarch.packed import plain
from inarch.tasks.task import Tick
from inarch.training.cut import Cut
from inarch.training.feed import ImageFeed, Rows
from inarch.training.machine import largest, main_first
from inarch.training.score import collected
from inarch.width import WIDTHS

YOUNG = 60  # seconds
CAP = 1 << 30  # bytes kept in memory; a constant, so that no run depends on what else the machine is doing


@dataclass(frozen=True)
class Memory:
    """``dtype``: of the rows kept; None: as they are computed."""

    batch: int
    dtype: str | None = None

    def check_room(self, cut: Cut, images: int) -> None:
        """A vector per image, as a head reads it, is never too much; the tokens of all of them may be."""
        needed = cut.sample[:1].numel() * _dtype(self.dtype, cut).itemsize * images
        if cut.sample.dim() > 2 and needed > CAP:
            raise ConfigError(f"what is kept of {images} images fills {needed:,} bytes, in memory at most {CAP:,}; name a cache_folder")

    def rows(self, engine: Any, feed: ImageFeed, cut: Cut, tick: Tick | None) -> Rows:
        return torch.cat(list(_pieces(engine, feed, self.batch, cut, _dtype(self.dtype, cut), tick)))


@dataclass(frozen=True)
class Folder:
    """``about``: what decides the pixels and the net, apart from what the model's own numbers say."""

    folder: Path
    batch: int
    about: dict[str, Any]
    model: nn.Module
    dtype: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        return frozen_numbers(self.model)

    def check_room(self, cut: Cut, images: int) -> None:
        """A disk is asked for every store, before its first row."""

    def rows(self, engine: Any, feed: ImageFeed, cut: Cut, tick: Tick | None) -> Rows:
        plan = self._plan(feed, cut)
        place = self.folder / plan.origin["key"]
        with main_first(engine):
            if engine.process_index == 0:
                self._sweep(place)
        if largest(engine, int(not place.is_dir())):
            self._write(engine, place, plan, feed, cut, tick)
            return StoredRows(open_folder(place), cut.sample.shape[1:])
        found = StoredRows(open_folder(place), cut.sample.shape[1:])
        with torch.no_grad():
            _refuse_others(found, cut.below(feed.first(self.batch).to(engine.device)), place)
        return found

    def _plan(self, feed: ImageFeed, cut: Cut) -> Plan:
        dtype = str(_dtype(self.dtype, cut)).removeprefix("torch.")
        width = cut.sample.shape[-1]
        tokens = cut.sample[0].numel() // width
        origin = self.about | {
            "place": cut.place, "fingerprint": self.fingerprint, "dtype": dtype, "view": feed.view, "torch": torch.__version__,
            "device": cut.sample.device.type, "preprocess": feed.images.transform.preprocess.to_json(), "shape": [*cut.sample.shape[1:]],
        }
        names = hashlib.sha256(files.canonical({"names": feed.table.names})).hexdigest()
        key = hashlib.sha256(files.canonical(origin | {"images": names, "count": len(feed)})).hexdigest()
        ids = tuple(map(str, range(len(feed))))
        return Plan("memmap", dtype, tokens, width, ids, names, origin | {"key": key[:16]})

    def _sweep(self, place: Path) -> None:
        """Make the folder; remove what killed processes left, and a store that cannot be opened: it is made again."""
        standing.make(self.folder)
        for draft in self.folder.glob(".*.tmp"):
            with suppress(StorageError, OSError), folders.alone(draft):
                if time.time() - draft.stat().st_mtime > YOUNG:  # a younger one may be about to be locked
                    shutil.rmtree(draft)
        if place.is_dir():
            try:
                open_folder(place)
            except CheckpointError:
                shutil.rmtree(place)

    def _write(self, engine: Any, place: Path, plan: Plan, feed: ImageFeed, cut: Cut, tick: Tick | None) -> None:
        pieces = _pieces(engine, feed, self.batch, cut, getattr(torch, plan.dtype), tick)
        with main_first(engine):
            try:
                if engine.process_index == 0:
                    self._fill(place, plan, pieces)
            finally:  # every process computes its part of every batch, whatever becomes of it
                for _ in pieces:
                    pass

    def _fill(self, place: Path, plan: Plan, pieces: Iterator[Tensor]) -> None:
        draft = place.with_name(f".{place.name}.{uuid4().hex[:8]}.tmp")
        folders.make_folder(draft)
        with folders.alone(draft):
            try:
                standing.begin(draft, plan, {})
                rows = (stored(piece.reshape(len(piece), plan.tokens, plan.width), plan.dtype) for piece in pieces)
                standing.fill(ArraySink(draft, plan), standing.Journal(draft), rows)
                clear(draft, plan.kind)
                with suppress(OSError):  # another process was faster
                    draft.rename(place)
                    files.sync_folder(self.folder)
            except StorageError as problem:
                raise StorageError(f"cache_folder: {problem}; nothing of this store was kept, another cache_folder may have room") from None
            finally:
                shutil.rmtree(draft, ignore_errors=True)


class StoredRows:
    """Rows in a sealed store; each is proved when it is first read."""

    def __init__(self, store: SealedStore, shape: torch.Size) -> None:
        self.store, self.shape = store, shape

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, rows: Any) -> Tensor:
        try:
            found = np.stack([self.store.row(str(int(k))) for k in rows])
        except Corrupt as problem:
            raise Corrupt(f"{problem} (a cache: remove {shown(self.store.path)}, and the next run makes it again)") from None
        return torch.from_numpy(found).reshape(-1, *self.shape)


def frozen_numbers(model: nn.Module) -> str:
    """SHA-256 over every number of the base that does not train, by its role or name; heads apart, they are drawn anew for every run."""
    named, total = roles.canonical(model), hashlib.sha256()
    for name, tensor in sorted({**dict(model.named_parameters()), **dict(model.named_buffers())}.items()):
        role = named.get(name, name)
        if tensor.requires_grad or role.startswith("head") or name.startswith("inarch."):
            continue
        total.update(f"{role}{tuple(tensor.shape)}{tensor.dtype}".encode())
        for part in plain(tensor.detach()):
            total.update(part.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _pieces(engine: Any, feed: ImageFeed, batch: int, cut: Cut, dtype: torch.dtype, tick: Tick | None) -> Iterator[Tensor]:
    """Rows of ``feed`` in ``dtype``, batch by batch; every one must be a number in it."""
    for piece in collected(engine, feed, batch, lambda pixels: cut.below(pixels).to(dtype), tick):
        if not torch.isfinite(piece).all():
            raise ConfigError(f"rows before the {cut.place} hold what is no number in {str(dtype).removeprefix('torch.')}; "
                              "use cache_dtype='bf16' or 'fp32'")
        yield piece


def _dtype(wish: str | None, cut: Cut) -> torch.dtype:
    return cut.dtype if wish is None else WIDTHS[wish]


def _refuse_others(found: StoredRows, sample: Tensor, place: Path) -> None:
    """What is stored of the first images must be what the net says of them now."""
    dtype = getattr(torch, found.store.plan.dtype)
    expected = sample.to(dtype).cpu().double()
    close = {2: 1e-2, 4: 1e-4, 8: 1e-8}[BYTES[found.store.plan.dtype]]
    if not torch.allclose(found[range(len(sample))].double(), expected, rtol=close, atol=close * float(expected.abs().max())):
        raise Corrupt(f"{shown(place)} does not hold what this net says of these images; remove it, and the next run makes it again")
