"""An epoch that starts behind the frozen blocks, from what was kept of them, against the plain one: the same losses, fewer blocks.

    plain    every block of every step           kept    blocks below the first adapter once, before the first epoch
    floor    as many steps of the floor
The first two begin with the same numbers and draw the same dropout, so every loss must be equal to the last bit; another one is an error.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from inarch.bench.subjects import Data, Epoch, Family
from inarch.bench.timing import Trainer, race, ratio
from inarch.errors import InarchError
from inarch.prefix import Prefix

Kept = list[Tensor]  # of one batch, by tower


class Lap:
    """One epoch of one model; a call trains it and returns CPU seconds. ``losses``: of every step of every call."""

    def __init__(self, family: Family, model: nn.Module, batches: list[Data], prefixes: list[Prefix], kept: list[Kept]) -> None:
        self.family, self.model, self.batches, self.prefixes, self.kept = family, model, batches, prefixes, kept
        self.losses: list[float] = []
        self.at = 0
        self.trainer = Trainer(model, self._loss)

    def __call__(self) -> float:
        total = 0.0
        for at in range(len(self.batches)):
            self.at = at
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(len(self.losses))
                total += self.trainer().total
        return total

    def _loss(self) -> Tensor:
        with ExitStack() as stack:
            for prefix, kept in zip(self.prefixes, self.kept[self.at] if self.kept else [], strict=bool(self.kept)):
                stack.enter_context(prefix.play(kept))
            found = self.family.loss(self.model, self.batches[self.at])
        self.losses.append(float(found.detach()))
        return found


def against_plain(family: Family, plan: Epoch, base: nn.Module, batch: int, repeats: int, tick: Callable[[str], None],
                  seconds: float = math.inf) -> dict[str, Any]:
    """Measured, for about so many ``seconds``; raises ``InarchError`` where a loss differs."""
    batches = [plan.batch(batch, number) for number in range(plan.steps)]
    models = [_drawn(family, base, plan.subject) for _ in range(2)]
    floor = Lap(family, _drawn(family, base, "floor"), batches, [], [])
    prefixes = [Prefix(models[1], tower) for tower in plan.towers]
    began = time.process_time()
    kept = [_recorded(family, models[1], prefixes, data) for data in batches]
    recording = time.process_time() - began
    laps = {"plain": Lap(family, models[0], batches, [], []), "kept": Lap(family, models[1], batches, prefixes, kept), "floor": floor}
    took = race(laps, repeats, tick, seconds=seconds)
    refuse_unequal(laps["plain"].losses, laps["kept"].losses)
    return {
        "subject": plan.subject, "steps": plan.steps, "first": {prefix.tower: prefix.first for prefix in prefixes},
        "losses_equal": len(laps["kept"].losses),
        "ratio": asdict(ratio(took["kept"], took["plain"])), "over_floor": asdict(ratio(took["kept"], took["floor"])),
        "recording_seconds": recording,
        "seconds": {name: statistics.median(of) for name, of in took.items()},
        "kept_per_image": kept[0][0].nbytes // batch,
    }


def _drawn(family: Family, base: nn.Module, name: str) -> nn.Module:
    """The same fresh numbers every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return family.prepared(base, name)


@torch.no_grad()
def _recorded(family: Family, model: nn.Module, prefixes: list[Prefix], data: Data) -> Kept:
    """What enters the first adapted block of each tower, of one batch."""
    run: Callable[[], Any] = partial(family.loss, model, data)
    for prefix in prefixes:
        run = partial(prefix.record, run)  # one forward for all towers
    found, kept = run(), []
    for _ in prefixes:
        found, one = found
        kept.append(one)
    return kept[::-1]


def refuse_unequal(plain: list[float], kept: list[float]) -> None:
    for step, (a, b) in enumerate(zip(plain, kept, strict=True)):
        if a != b:
            raise InarchError(f"bench: step {step} has loss {a!r} plainly and {b!r} from what was kept of the frozen blocks; expected "
                              "equal ones: the prefix is not exact on this machine, use no figure of it")
