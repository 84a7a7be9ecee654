"""Time on a machine that others use too: CPU seconds of this process, all rivals in one process, ratios within one repeat.

    ratio_k = t_method,k / t_floor,k        k-th repeat; the order of the rivals is reversed on alternate repeats, one that warms
                                            up comes first and is dropped; reported: median, lowest, highest of the ratios
Differences under about 4 % are not findings.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from inarch.errors import ConfigError
from inarch.training.optimizer import adamw

T = TypeVar("T")
LEAST = 3  # repeats, however long they take: of fewer there is no median


@dataclass(frozen=True)
class Step:
    """CPU seconds of one training step, by part."""

    forward: float
    backward: float
    optimiser: float

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.optimiser


@dataclass(frozen=True)
class Ratio:
    """Paired ratios of the repeats: their median and range."""

    median: float
    low: float
    high: float


def summary(values: list[float]) -> dict[str, float]:
    """Of plain measurements: their median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


class Trainer:
    """One model with AdamW over all that trains, if anything does; a call is one step on the batch behind ``loss``."""

    def __init__(self, model: nn.Module, loss: Callable[[], Tensor]) -> None:
        self.loss = loss
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = adamw(trained, lr=1e-4) if trained else None

    def __call__(self) -> Step:
        return self.step(self.loss)

    def step(self, loss: Callable[[], Tensor]) -> Step:
        """One step on another batch."""
        marks = [time.process_time()]
        value = loss()
        marks.append(time.process_time())
        value.backward()
        marks.append(time.process_time())
        if self.optimiser is not None:
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        marks.append(time.process_time())
        return Step(*(after - before for before, after in pairwise(marks)))


def race(rivals: Mapping[str, Callable[[], T]], repeats: int, tick: Callable[[str], None], *,
         warm: Mapping[str, Callable[[], Any]] | None = None, seconds: float = math.inf) -> dict[str, list[T]]:
    """``repeats`` results per rival, interleaved; before them one repeat, of ``warm`` if that is given, is dropped.

    ``seconds``: by the clock; a repeat that would end later is left out, but ``LEAST`` are run.
    """
    results: dict[str, list[T]] = {name: [] for name in rivals}
    order = list(rivals)
    _round(warm or rivals, order, tick)
    began = time.monotonic()
    for repeat in range(repeats):
        if repeat >= LEAST and (time.monotonic() - began) * (repeat + 1) / repeat > seconds:
            break
        for name, result in _round(rivals, order if repeat % 2 else order[::-1], tick):
            results[name].append(result)
    return results


def _round(rivals: Mapping[str, Callable[[], T]], order: list[str], tick: Callable[[str], None]) -> list[tuple[str, T]]:
    found = []
    for name in order:
        found.append((name, rivals[name]()))
        tick(name)
    return found


def ratio(mine: list[float], reference: list[float]) -> Ratio:
    """Both lists in the order of the repeats."""
    paired = [a / b for a, b in zip(mine, reference, strict=True)]
    return Ratio(statistics.median(paired), min(paired), max(paired))


def at_least_one(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ConfigError(f"bench: {name}={value}; expected at least 1")


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Compute on ``n`` threads, then on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
