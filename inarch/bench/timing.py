"""Time on a machine that others use too: CPU seconds of this process, all rivals in one process, ratios within one repeat.

    ratio_k = t_method,k / t_floor,k        k-th repeat; the order of the rivals is reversed on alternate repeats,
                                            the first repeat is dropped; reported: median, lowest, highest of the ratios
Differences under about 4 % are not findings.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from inarch.errors import ConfigError
from inarch.training.optimizer import adamw

T = TypeVar("T")


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
        marks = [time.process_time()]
        value = self.loss()
        marks.append(time.process_time())
        value.backward()
        marks.append(time.process_time())
        if self.optimiser is not None:
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        marks.append(time.process_time())
        return Step(*(after - before for before, after in pairwise(marks)))


def race(rivals: Mapping[str, Callable[[], T]], repeats: int, tick: Callable[[str], None]) -> dict[str, list[T]]:
    """``repeats`` results per rival, interleaved; one more repeat comes first and is dropped."""
    results: dict[str, list[T]] = {name: [] for name in rivals}
    order = list(rivals)
    for repeat in range(repeats + 1):
        for name in reversed(order) if repeat % 2 else order:
            result = rivals[name]()
            if repeat:
                results[name].append(result)
            tick(name)
    return results


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
