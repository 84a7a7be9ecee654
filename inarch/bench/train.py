"""bench train: step time and saved bytes of every method as ratios to the floor.

    time     paired medians of CPU seconds, one process, interleaved (timing.py)
    memory   bytes that autograd keeps for the backward, per image (saved.py): exact, the same on every machine with this torch
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from torch import nn

from inarch.bench import subjects
from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.saved import blocks_in_graph, saved
from inarch.bench.timing import Step, Trainer, race, ratio, threads
from inarch.errors import ConfigError

Tick = Callable[[str], None]
PARTS = ("total", "forward", "backward", "optimiser")


def bench_train(models: list[str] | None = None, methods: list[str] | None = None, *, batch: int = 8, repeats: int = 5,
                n_threads: int = 1, tick: Tick = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON, an entry per model. ``tick`` is called after every step, with the name of the method."""
    models, methods = list(subjects.MODELS) if models is None else models, subjects.chosen(methods)
    for name, value in (("batch", batch), ("repeats", repeats), ("threads", n_threads)):
        if value < 1:
            raise ConfigError(f"bench: {name}={value}; expected at least 1")
    for model in models:
        subjects.known_model(model)
    settings = {"batch": batch, "repeats": repeats, "threads": n_threads, "side": subjects.SIDE, "classes": subjects.CLASSES}
    about, entries = {"settings": settings, **circumstances()}, {}
    with threads(n_threads):
        for model in models:
            entries[model] = {**about, **_one(model, methods, batch, repeats, tick)}
            gc.collect()  # hooks tie a model and its joints in cycles: free this one before the next is built
    return {"format": FORMAT, "kind": "train", "models": entries}


def steps(models: list[str] | None, methods: list[str] | None, repeats: int) -> int:
    """How many ticks ``bench_train`` will give."""
    return len(subjects.MODELS if models is None else models) * len(subjects.chosen(methods)) * (repeats + 1)


def _one(model: str, methods: list[str], batch: int, repeats: int, tick: Tick) -> dict[str, Any]:
    base = subjects.base(model)
    ready = {name: subjects.prepared(base, name) for name in methods}
    del base
    memory = {name: _memory(subject) for name, subject in ready.items()}
    trainers = {name: Trainer(subject, subjects.batch(batch)) for name, subject in ready.items()}
    times = race(trainers, repeats, tick)
    rows = {}
    for name in methods:
        rows[name] = {**memory[name], **_time(times[name], times["floor"])}
        rows[name]["saved_ratio"] = memory[name]["saved_per_image"] / memory["floor"]["saved_per_image"]
    return {"backbone": subjects.MODELS[model], "methods": rows}


def _memory(model: nn.Module) -> dict[str, Any]:
    kept = saved(model, subjects.batch)
    reached = blocks_in_graph(model, subjects.batch(1)[0])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"trained": trained, "saved_per_image": kept.per_image, "saved_fixed": kept.fixed,
            "blocks_in_graph": sum(reached), "blocks": len(reached)}


def _time(mine: list[Step], floor: list[Step]) -> dict[str, Any]:
    parts = {part: statistics.median(getattr(step, part) for step in mine) for part in PARTS}
    paired = ratio([step.total for step in mine], [step.total for step in floor])
    return {"seconds": parts, "time_ratio": asdict(paired), "steps": [step.total for step in mine]}
