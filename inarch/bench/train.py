"""bench train: step time and saved bytes of every method as ratios to the floor.

    time     paired medians of CPU seconds, one process, interleaved (timing.py)
    memory   bytes that autograd keeps for the backward, per example (saved.py): exact, the same on every machine with this torch
A family that generates text is also measured there, per generated token (telling.py); one with frozen lower blocks in an epoch that
begins behind them (prefixes.py). A family with goals says which of them are met (goals.py).
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import nn

from inarch.bench.families import family_named
from inarch.bench.goals import judged, whole
from inarch.bench.machine import circumstances
from inarch.bench.memory import memory_of
from inarch.bench.prefixes import against_plain
from inarch.bench.results import FORMAT
from inarch.bench.subjects import Family
from inarch.bench.telling import LONG, SHORT, told
from inarch.bench.timing import Step, Trainer, at_least_one, race, ratio, threads

Tick = Callable[[str], None]
PARTS = ("total", "forward", "backward", "optimiser")
MOST = 5  # repeats, where nothing is said


@dataclass(frozen=True)
class Effort:
    """How many repeats, and after how many seconds none is begun any more."""

    repeats: int
    steps: float = math.inf
    epoch: float = math.inf


TEN_MINUTES = Effort(MOST, steps=360.0, epoch=110.0)  # the rest builds models and counts bytes


def bench_train(models: list[str] | None = None, methods: list[str] | None = None, *, family: str = "vision", batch: int | None = None,
                side: int | None = None, repeats: int | None = None, n_threads: int = 1, tick: Tick = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON, an entry per model. ``tick`` is called after every step, with the name of the method.

    ``side``: of the images, where the family can be measured at another size. ``repeats`` None: up to 5, at least 3, as many as fit
    into ten minutes a model.
    """
    kind = family_named(family, side)
    models, methods, batch = kind.models(models), kind.chosen(methods), kind.examples if batch is None else batch
    effort = TEN_MINUTES if repeats is None else Effort(repeats)
    at_least_one(batch=batch, repeats=effort.repeats, threads=n_threads)
    settings = {"batch": batch, "threads": n_threads, **kind.settings}
    if kind.tell is not None:
        settings |= {"short": SHORT, "long": LONG}
    about, entries = {"family": family, **circumstances()}, {}
    with threads(n_threads):
        for model in models:
            found = _one(kind, model, methods, batch, effort, tick)
            entries[model] = entry = {**about, **found, "settings": {"repeats": len(found["methods"]["floor"]["steps"]), **settings}}
            if kind.goals:
                entry["goals"] = judged(kind.goals, model, entry)
            gc.collect()  # hooks tie a model and its joints in cycles: free this one before the next is built
    return {"format": FORMAT, "kind": "train", "models": entries}


def steps(models: list[str] | None, methods: list[str] | None, repeats: int | None, family: str = "vision") -> int:
    """How many ticks ``bench_train`` will give, at most."""
    kind = family_named(family)
    rivals = len(kind.chosen(methods)) * (1 if kind.tell is None else 2) + (3 if measures_epoch(kind, kind.chosen(methods)) else 0)
    return len(kind.models(models)) * rivals * ((repeats or MOST) + 1)


def measures_epoch(kind: Family, methods: list[str]) -> bool:
    return kind.epoch is not None and kind.epoch.subject in methods


def _one(kind: Family, model: str, methods: list[str], batch: int, effort: Effort, tick: Tick) -> dict[str, Any]:
    address = kind.sizes[model].address
    base = kind.base(address)
    ready = {name: kind.prepared(base, name) for name in methods}
    rows = {name: memory_of(kind, subject, kind.batch) for name, subject in ready.items()}
    times = _raced(kind, ready, batch, effort, tick)
    for name, row in rows.items():
        row |= _time(times[name], times["floor"])
        row["saved_ratio"] = row["saved_per_image"] / rows["floor"]["saved_per_image"]
        if kind.goals:
            row["saved_batch_ratio"] = whole(row, batch) / whole(rows["floor"], batch)
    if kind.tell is not None:
        for name, told_of in told(kind, ready, batch, effort.repeats, tick).items():
            rows[name]["generation"] = told_of
    found: dict[str, Any] = {"backbone": address, "methods": rows}
    if kind.epoch is not None and measures_epoch(kind, methods):
        found["prefix"] = against_plain(kind, kind.epoch, base, batch, effort.repeats, tick, effort.epoch)
    return found


def _raced(kind: Family, ready: dict[str, nn.Module], batch: int, effort: Effort, tick: Tick) -> dict[str, list[Step]]:
    """Warmed up on one example: optimizers have their moments, PyTorch its kernels; counting bytes has run every forward already."""
    data, one = kind.batch(batch), kind.batch(1)
    trainers = {name: Trainer(subject, partial(kind.loss, subject, data)) for name, subject in ready.items()}
    warm = {name: partial(trainers[name].step, partial(kind.loss, subject, one)) for name, subject in ready.items()}
    return race(trainers, effort.repeats, tick, warm=warm, seconds=effort.steps)


def _time(mine: list[Step], floor: list[Step]) -> dict[str, Any]:
    parts = {part: statistics.median(getattr(step, part) for step in mine) for part in PARTS}
    paired = ratio([step.total for step in mine], [step.total for step in floor])
    return {"seconds": parts, "time_ratio": asdict(paired), "steps": [step.total for step in mine]}
