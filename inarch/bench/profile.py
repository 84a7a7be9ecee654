"""bench profile: where a method's distance to the floor goes, operation by operation.

    share = (CPU seconds of an operation in the method's steps - in the floor's) / CPU seconds of the floor's steps
Self time of torch's profiler, which slows every operation a little: shares of a step, not seconds to quote. Steps of both alternate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from torch.profiler import ProfilerActivity, profile

from inarch.bench.families import family_named
from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.timing import Trainer, at_least_one, threads

REST = "all others"
LEAST = 0.002  # of the floor's step; what differs by less is summed up as the rest


def bench_profile(model: str, methods: list[str] | None = None, *, family: str = "vision", batch: int | None = None,
                  side: int | None = None, repeats: int = 3, n_threads: int = 1,
                  tick: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON: of every method the operations, largest difference first."""
    kind = family_named(family, side)
    (model,), names, batch = kind.models([model]), kind.chosen(methods), kind.examples if batch is None else batch
    at_least_one(batch=batch, repeats=repeats, threads=n_threads)
    about = circumstances()
    with threads(n_threads):
        base, data = kind.base(kind.sizes[model].address), kind.batch(batch)
        ready = {name: kind.prepared(base, name) for name in names}
        steps = {name: Trainer(subject, partial(kind.loss, subject, data)) for name, subject in ready.items()}
        spent = _alternating(steps, repeats, tick)
    whole = sum(spent["floor"].values())
    settings = {"model": model, "batch": batch, "repeats": repeats, "threads": n_threads, **kind.settings}
    found = {name: {"ratio": sum(times.values()) / whole, "operations": _differences(times, spent["floor"], whole)}
             for name, times in spent.items() if name != "floor"}
    return {"format": FORMAT, "kind": "profile", "family": family, "settings": settings, **about, "methods": found}


def steps(methods: list[str] | None, repeats: int, family: str = "vision") -> int:
    """How many ticks ``bench_profile`` will give."""
    return len(family_named(family).chosen(methods)) * (repeats + 1)


def _alternating(steps: dict[str, Trainer], repeats: int, tick: Callable[[str], None]) -> dict[str, Counter[str]]:
    """CPU microseconds by operation, over all repeats but the first."""
    spent: dict[str, Counter[str]] = {name: Counter() for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                step()
            for event in seen.key_averages() if repeat else ():
                spent[name][event.key] += event.self_cpu_time_total
            tick(name)
    return spent


def _differences(mine: Counter[str], floor: Counter[str], whole: float) -> list[dict[str, Any]]:
    shares = {key: (mine[key] - floor[key]) / whole for key in mine.keys() | floor.keys()}
    large = sorted((key for key, share in shares.items() if abs(share) >= LEAST), key=lambda key: -shares[key])
    rest = sum(share for key, share in shares.items() if key not in set(large))
    return [{"operation": key, "share": shares[key]} for key in large] + [{"operation": REST, "share": rest}]
