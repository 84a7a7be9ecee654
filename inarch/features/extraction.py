"""Grid features of every image, by a frozen tower, into a store: resumable, proved, sealed last.

    hash the images -> (all there: nothing to do) -> look at every image -> plan -> for each batch: decode, tower, rows, digests -> seal

A row's SHA-256 is noted after the row. A later start proves the rows that are noted and goes on at the first batch that is not
whole, so that the result is the uninterrupted one, bit for bit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from inarch.backbones.eyes import Eyes
from inarch.data.images import open_image
from inarch.data.transforms import Transform
from inarch.errors import ConfigError, DataError, nearest
from inarch.features import hdf5, standing, survey
from inarch.features.opening import open_store
from inarch.features.plan import Plan, stored
from inarch.features.sinks import SINKS, clear
from inarch.features.store import FeatureStore, inside
from inarch.features.survey import Image, Tell, silent
from inarch.training.lock import locked

Kind = Literal["memmap", "hdf5", "h5-files"]
Dtype = Literal["float16", "bfloat16", "float32"]
OnBadImage = Literal["refuse", "skip"]
AHEAD = 2  # batches that are decoded while the tower is at work


@dataclass(frozen=True)
class Extraction:
    """What was done: ``rows`` now, ``before`` earlier; the bad images left out; the store, open."""

    store: FeatureStore
    rows: int
    before: int
    skipped: tuple[tuple[str, str], ...]
    seconds: float


def extract(images: Mapping[str, Image], eyes: Eyes, out: str | Path, *, kind: Kind = "memmap", dtype: Dtype = "float16",
            batch_size: int = 32, on_bad_image: OnBadImage = "refuse", tell: Tell = silent) -> Extraction:
    """Features of ``images`` (id -> path, or uint8 array) in the folder ``out``; the same call again goes on, or does nothing.

    ``tell(what, done, total)`` is called all along. The work may be stopped at any point and by any means.
    """
    _check(images, kind, dtype, batch_size, on_bad_image)
    folder, began = Path(out), time.perf_counter()
    standing.make(folder)
    with locked(folder):
        wish = Plan(kind, dtype, eyes.tokens, eyes.width, tuple(sorted(images)), survey.fingerprint(images, tell), eyes.origin())
        plan = standing.agreed(folder, wish, on_bad_image)
        if plan is None:
            bad = survey.bad_images(images, tell)
            survey.refuse(bad, len(images), on_bad_image)
            plan = standing.begin(folder, wish, bad)
        before = len(plan.ids) if standing.is_sealed(folder) else _extract(folder, plan, images, eyes, batch_size, tell)
        clear(folder, kind)
    return Extraction(open_store(folder), len(plan.ids) - before, before, plan.skipped, time.perf_counter() - began)


def _check(images: Mapping[str, Image], kind: str, dtype: str, batch_size: int, on_bad_image: str) -> None:
    choices = {"kind": (kind, SINKS), "dtype": (dtype, get_args(Dtype)), "on_bad_image": (on_bad_image, get_args(OnBadImage))}
    for name, (value, options) in choices.items():
        if value not in options:
            raise ConfigError(f"{name} {value!r}; {nearest(str(value), options)}")
    if dtype == "bfloat16" and kind != "memmap":
        raise ConfigError(f"kind {kind!r}: HDF5 has no bfloat16; choose float16 or float32, or kind='memmap'")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size {batch_size!r}; expected a whole number from 1 on")
    if not images:
        raise DataError("no images to extract features of; expected at least one")
    odd = [image for image in images if not inside(image)]
    if odd:
        raise DataError(f"{len(odd)} image ids cannot name a place in a store (first: {odd[0]!a}); expected names or relative paths")
    if kind != "memmap":
        hdf5.library()


def _extract(folder: Path, plan: Plan, images: Mapping[str, Image], eyes: Eyes, batch_size: int, tell: Tell) -> int:
    """All rows that are not there yet, and the seal; returns how many were there."""
    sink, journal = SINKS[plan.kind](folder, plan), standing.Journal(folder)
    before = journal.proved(sink, batch_size, tell)
    transform = Transform(eyes.preprocess)

    def load(image: str) -> Tensor:
        return transform(open_image(images[image], name=survey.name_of(image, images[image])))

    found = batches(plan.ids[before:], load, batch_size)
    standing.fill(sink, journal, (seen(eyes, pixels, names, plan.dtype) for names, pixels in found), before, tell)
    return before


def seen(eyes: Eyes, pixels: Tensor, names: Sequence[str], dtype: str) -> np.ndarray:
    """[batch, tokens, width] in ``dtype``; every value must be a number there."""
    with torch.inference_mode():
        rows = eyes(pixels.to(eyes.device)).to(getattr(torch, dtype)).cpu()
    bad = np.flatnonzero(~torch.isfinite(rows).all((1, 2)).numpy())
    if len(bad):
        cure = "extract with dtype float32" if dtype == "float16" else "choose another tower or device"
        raise DataError(f"{names[bad[0]]}: its features are not finite in {dtype}; {cure}")
    return stored(rows.contiguous(), dtype)  # a map [batch, width, h, w] arrives as a view


def batches(ids: Sequence[str], load: Callable[[str], Tensor], size: int) -> Iterator[tuple[Sequence[str], Tensor]]:
    """(ids, pixels [batch, 3, side, side]) in order; threads decode the next ones meanwhile."""
    ahead: deque[tuple[Sequence[str], list[Future[Any]]]] = deque()
    pool = ThreadPoolExecutor(survey.workers())
    try:
        for start in range(0, len(ids), size):
            names = ids[start : start + size]
            ahead.append((names, [pool.submit(load, name) for name in names]))
            if len(ahead) > AHEAD:
                yield _ready(*ahead.popleft())
        while ahead:
            yield _ready(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _ready(names: Sequence[str], futures: list[Future[Any]]) -> tuple[Sequence[str], Tensor]:
    return names, torch.stack([future.result() for future in futures])
