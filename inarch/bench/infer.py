"""bench infer: what an adapter costs in inference, unfolded and folded, as ratios to the bare backbone.

    base      the frozen model            unfolded    adapters at work beside it            folded    written into its weights
One process, CPU seconds of forwards in evaluation mode without a graph, interleaved (timing.py). Adapters hold random numbers, not
those that they start with: zeros could be cheaper.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import nn

from inarch.adapter import Method
from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.subjects import Subject, at_hand, twin
from inarch.bench.timing import Ratio, at_least_one, race, ratio, threads
from inarch.bench.vision import LORA_RANK, LORA_TARGETS, VISION, lora_of_peft
from inarch.grafting import graft
from inarch.merging import merge
from inarch.methods import ARC, VLPET, AdaRing, LoRA

GOALS = {"arc": 1.08, "arc-folded": 1.02}  # P7


def unfolded(method: Method, model: nn.Module) -> nn.Module:
    return _filled(graft(model, method))


def folded(method: Method, model: nn.Module) -> nn.Module:
    return merge(unfolded(method, copy.deepcopy(model)))


def peft(model: nn.Module) -> nn.Module:
    return _filled(lora_of_peft(model))


def peft_folded(model: nn.Module) -> nn.Module:
    return peft(copy.deepcopy(model)).merge_and_unload()  # type: ignore[operator]


SUBJECTS = {
    "base": Subject("base", lambda model: model.requires_grad_(False)),
    "arc": Subject("ARC r=50", partial(unfolded, ARC(rank=50))),
    "arc-folded": Subject("ARC r=50, folded", partial(folded, ARC(rank=50))),
    "lora": Subject("LoRA r=8 on q, k, v, fc1", partial(unfolded, LoRA(LORA_RANK, LORA_TARGETS))),
    "lora-peft": Subject("LoRA r=8 on q, k, v, fc1, through peft", peft, "peft"),
    "lora-peft-folded": Subject("the same, merge_and_unload", peft_folded, "peft"),
    "adaring": Subject("AdaRing 1, 2, 4", partial(unfolded, AdaRing())),
    "vlpet": Subject("VL-PET large", partial(unfolded, VLPET())),
}


def bench_infer(models: list[str] | None = None, *, batch: int = 8, repeats: int = 5, n_threads: int = 1,
                tick: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON. ``models``: sizes of the vision family."""
    at_least_one(batch=batch, repeats=repeats, threads=n_threads)
    chosen = VISION.models(models)
    about = circumstances()
    with threads(n_threads):
        entries = {model: _one(model, batch, repeats, tick) for model in chosen}
    return {"format": FORMAT, "kind": "infer", "settings": {"batch": batch, "repeats": repeats, "threads": n_threads, "goals": GOALS},
            **about, "models": entries}


def steps(models: list[str] | None, repeats: int) -> int:
    return len(VISION.models(models)) * len(at_hand(SUBJECTS)) * (repeats + 1)


def _one(model: str, batch: int, repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    base = VISION.base(VISION.sizes[model].address)
    pixels = VISION.batch(batch)[0]
    rivals = {name: Forward(subject.prepare(twin(base)).eval(), pixels) for name, subject in at_hand(SUBJECTS).items()}
    seconds = race(rivals, repeats, tick)
    return {name: _row(name, found, ratio(found, seconds["base"])) for name, found in seconds.items()}


def _row(name: str, seconds: list[float], found: Ratio) -> dict[str, Any]:
    goal = {"goal": GOALS[name], "met": found.median <= GOALS[name]} if name in GOALS else {}
    return {"seconds": statistics.median(seconds), "ratio": asdict(found), **goal}


def _filled(model: nn.Module) -> nn.Module:
    """Adapters as they are after training: no number of theirs is zero."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
    return model


class Forward:
    """One batch; returns CPU seconds."""

    def __init__(self, model: nn.Module, pixels: torch.Tensor) -> None:
        self.model, self.pixels = model, pixels

    @torch.inference_mode()
    def __call__(self) -> float:
        began = time.process_time()
        self.model(self.pixels)
        return time.process_time() - began
