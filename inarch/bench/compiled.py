"""bench compile: a training step under ``torch.compile(fullgraph=True)`` beside the eager one, each method with its own twin of weights.

    over floor   t_method / t_floor, compiled over compiled, eager over eager         gain   t_compiled / t_eager of one method
    first        seconds by the clock of the first compiled step, most of which the compiler takes
The floor of this table asks for the gradient of the first block's input by one trained number that is added there: a hook that makes a
leaf in mid-graph, as that of the other tables does, is no graph.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import nn

from inarch.bench import vision
from inarch.bench.goals import Goal, judged
from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.subjects import Subject, at_hand, twin
from inarch.bench.timing import Step, Trainer, at_least_one, race, ratio, threads
from inarch.bench.vision import VISION
from inarch.errors import ConfigError

GRAPH = ":compiled"  # behind the name of a subject whose steps are compiled
GOALS = (
    Goal("P1", f"arc{GRAPH}", "time", 1.02, f"lora-peft{GRAPH}"), Goal("P1, our LoRA", f"arc{GRAPH}", "time", 1.02, f"lora{GRAPH}"),
    Goal("P12", f"arc{GRAPH}", "time", 1.00, "arc"),
)


class AddOne(nn.Module):
    """Pre-hook of a block: adds a trained number to all that enters."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(()))

    def __call__(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0] + self.number, *args[1:])


def floor(model: nn.Module) -> nn.Module:
    ask = AddOne()
    vision.floor(model, ask)
    model.asked = ask  # behind the graft, which freezes all that it finds
    return model


SUBJECTS = {"floor": Subject("floor (frozen forward + input gradient)", floor),
            **{name: VISION.subjects[name] for name in ("arc", "lora", "lora-peft")}}


def labels() -> dict[str, str]:
    """What tables call them."""
    return {name + end: subject.label + more for name, subject in SUBJECTS.items() for end, more in (("", ""), (GRAPH, ", compiled"))}


def bench_compile(models: list[str] | None = None, *, batch: int = 8, repeats: int = 5, n_threads: int = 1,
                  tick: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON, an entry per model: by default the middle size of the vision family."""
    at_least_one(batch=batch, repeats=repeats, threads=n_threads)
    if not (shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")):
        raise ConfigError("bench compile: no C++ compiler on the PATH, which torch.compile needs on a CPU; install g++")
    entries = {}
    with threads(n_threads):
        for model in VISION.models(models or ["s"]):
            entries[model] = {**circumstances(), **_one(model, batch, repeats, tick),
                              "settings": {"batch": batch, "repeats": repeats, "threads": n_threads, **VISION.settings}}
            entries[model]["goals"] = judged(GOALS, model, entries[model])
            torch._dynamo.reset()
            gc.collect()
    return {"format": FORMAT, "kind": "compile", "models": entries}


def steps(models: list[str] | None, repeats: int) -> int:
    """How often ``tick`` is called."""
    return len(VISION.models(models or ["s"])) * 2 * len(at_hand(SUBJECTS)) * (repeats + 2)


def _one(model: str, batch: int, repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    address, data = VISION.sizes[model].address, VISION.batch(batch)
    base, rivals, first = VISION.base(address), {}, {}
    for name, subject in at_hand(SUBJECTS).items():
        for end in ("", GRAPH):
            made = subject.prepare(twin(base))
            if end:
                made.compile(fullgraph=True)
            rivals[name + end] = Trainer(made, partial(VISION.loss, made, data))
            first[name + end] = _timed(rivals[name + end])
            tick(name)
    found = race(rivals, repeats, tick)
    return {"backbone": address, "methods": {name: _row(found, name, first[name]) for name in rivals}}


def _timed(step: Trainer) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _row(found: dict[str, list[Step]], name: str, first: float) -> dict[str, Any]:
    subject, graph, _ = name.partition(GRAPH)
    mine, floors, eager = ([step.total for step in found[key]] for key in (name, f"floor{graph}", subject))
    gain = {"over_eager": asdict(ratio(mine, eager)), "first": first} if graph else {}
    return {"seconds": statistics.median(mine), "steps": mine, "time_ratio": asdict(ratio(mine, floors)), **gain}
