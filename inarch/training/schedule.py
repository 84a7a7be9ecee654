"""The learning rate of every update, a pure function of its number.

    warm-up   lr(s) = peak (s + 1) / w                        0 <= s < w       first update peak / w, update w - 1 at the peak
    cosine    lr(s) = peak (1 + cos(pi (s - w + 1) / (S - w + 1))) / 2         w <= s < S, one equal stride above zero at the end
    epochs    lr(s) = peak (1 + cos(pi e / E)) / 2                             e = epoch of s, of E: the same throughout an epoch
    linear    lr(s) = peak s / w,  then  peak (S - s) / (S - w)                w = floor of the warm-up, first update at 0
S updates in all, w of them warm-up. ARC's released code (arc.md 4.1) starts at 0 and ends on a floor of 1e-6 peak, so its first
update does nothing and its last is left out; the cosine here makes all S updates, and each moves. The linear one is VL-PET's, as
transformers' get_linear_schedule_with_warmup, whose first update does nothing but start AdamW's moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Rate = Callable[[int], float]  # of the 0-based number of an update


@dataclass(frozen=True)
class Schedule:
    """``peak`` learning rate, ``warmup`` and ``total`` updates; call it with the 0-based number of an update.

    >>> [round(Schedule(1.0, 2, 5)(s), 3) for s in range(5)]
    [0.5, 1.0, 0.854, 0.5, 0.146]
    """

    peak: float
    warmup: int
    total: int

    def __call__(self, update: int) -> float:
        if update < self.warmup:
            return self.peak * (update + 1) / self.warmup
        share = (update - self.warmup + 1) / (self.total - self.warmup + 1)
        return self.peak * (1 + math.cos(math.pi * min(share, 1.0))) / 2


@dataclass(frozen=True)
class Linear:
    """Up from 0 and down to it in straight lines.

    >>> [round(Linear(1.0, 2, 5)(s), 3) for s in range(5)]
    [0.0, 0.5, 1.0, 0.667, 0.333]
    """

    peak: float
    warmup: int
    total: int

    def __call__(self, update: int) -> float:
        if update < self.warmup:
            return self.peak * update / self.warmup
        return self.peak * max(self.total - update, 0) / max(self.total - self.warmup, 1)


@dataclass(frozen=True)
class ByEpoch:
    """The cosine of MMA's and CoOp's code, stepped once per epoch, from ``peak`` in the first.

    >>> [round(ByEpoch(1.0, 2, 4)(s), 3) for s in range(4)]
    [1.0, 1.0, 0.5, 0.5]
    """

    peak: float
    per_epoch: int
    total: int

    def __call__(self, update: int) -> float:
        epoch = min(update, self.total - 1) // self.per_epoch
        return self.peak * (1 + math.cos(math.pi * epoch * self.per_epoch / self.total)) / 2


@dataclass(frozen=True)
class Steady:
    """``rate`` for the first ``updates``, then what ``after`` says of those that follow.

    >>> [round(Steady(0.1, 1, Schedule(1.0, 0, 2))(s), 3) for s in range(3)]
    [0.1, 0.75, 0.25]
    """

    rate: float
    updates: int
    after: Rate

    def __call__(self, update: int) -> float:
        return self.rate if update < self.updates else self.after(update - self.updates)


def schedule(peak: float, epochs: int, warmup_epochs: float, updates_per_epoch: int, shape: str = "cosine",
             warmup_lr: float | None = None) -> Rate:
    """Warm-up ends exactly with the epoch (or part of one) named; at least one update is left for the way down."""
    total = epochs * updates_per_epoch
    first = min(round(warmup_epochs * updates_per_epoch), total - 1)
    if warmup_lr is not None or shape == "cosine-epochs":
        down: dict[str, Rate] = {"cosine-epochs": ByEpoch(peak, updates_per_epoch, total - first),
                                 "linear": Linear(peak, 0, total - first)}
        return Steady(peak if warmup_lr is None else warmup_lr, first, down.get(shape, Schedule(peak, 0, total - first)))
    if shape == "linear":
        return Linear(peak, min(math.floor(warmup_epochs * updates_per_epoch + 1e-9), total - 1), total)
    return Schedule(peak, first, total)
