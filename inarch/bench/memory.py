"""bench memory: the bytes that autograd keeps, of every method, over a frozen base in fp32 and in bf16: exact.

    saved           as in bench train (saved.py)        adapters stay in fp32 whatever the base is stored in
    frozen_bytes    the frozen weights, as they are stored
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from inarch.bench.families import family_named
from inarch.bench.goals import whole
from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.saved import blocks_in_graph, saved
from inarch.bench.subjects import Data, Family
from inarch.bench.timing import at_least_one
from inarch.packed import plain
from inarch.width import WIDTHS

BASES = {width: WIDTHS[width] for width in ("fp32", "bf16")}


def memory_of(kind: Family, model: nn.Module, batch: Callable[[int], Data]) -> dict[str, Any]:
    kept = saved(model, lambda size: kind.loss(model, batch(size)))
    reached = blocks_in_graph(model, lambda: kind.loss(model, batch(1)))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(part.nbytes for p in model.parameters() if not p.requires_grad for part in plain(p))
    return {"trained": trained, "frozen_bytes": frozen, "saved_per_image": kept.per_image, "saved_fixed": kept.fixed,
            "blocks_in_graph": sum(reached), "blocks": len(reached)}


def bench_memory(models: list[str] | None = None, methods: list[str] | None = None, *, family: str = "vision", batch: int | None = None,
                 side: int | None = None, tick: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Count; returns plain JSON, an entry per model: per width of the base the bytes of its weights, and every method's."""
    kind = family_named(family, side)
    models, methods, batch = kind.models(models), kind.chosen(methods), kind.examples if batch is None else batch
    at_least_one(batch=batch)
    about = {"family": family, "settings": {"batch": batch, **kind.settings}, **circumstances()}
    entries = {}
    for model in models:
        base = kind.base(kind.sizes[model].address)
        widths = {width: _at(kind, copy.deepcopy(base).to(dtype), dtype, methods, batch, tick) for width, dtype in BASES.items()}
        entries[model] = {**about, "backbone": kind.sizes[model].address, "widths": widths}
    return {"format": FORMAT, "kind": "memory", "models": entries}


def steps(models: list[str] | None, methods: list[str] | None, family: str = "vision") -> int:
    """How many ticks ``bench_memory`` will give."""
    kind = family_named(family)
    return len(kind.models(models)) * len(kind.chosen(methods)) * len(BASES)


def _at(kind: Family, base: nn.Module, dtype: torch.dtype, methods: list[str], batch: int, tick: Callable[[str], None]) -> dict[str, Any]:
    rows = {}
    for name in methods:
        rows[name] = memory_of(kind, kind.prepared(base, name), partial(_cast, kind.batch, dtype))
        tick(name)
    for row in rows.values():
        row["saved_batch_ratio"] = whole(row, batch) / whole(rows["floor"], batch)
    return {"weights": sum(p.nbytes for p in base.parameters()), "methods": rows}


def _cast(batch: Callable[[int], Data], dtype: torch.dtype, size: int) -> Data:
    """What is a number with a fraction enters in the width of the base."""
    return tuple(part.to(dtype) if isinstance(part, Tensor) and part.is_floating_point() else part for part in batch(size))
