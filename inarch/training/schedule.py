"""The learning rate of every update, a pure function of its number.

    warm-up   lr(s) = peak (s + 1) / w                        0 <= s < w       first update peak / w, update w - 1 at the peak
    cosine    lr(s) = peak (1 + cos(pi (s - w + 1) / (S - w + 1))) / 2         w <= s < S, one equal stride above zero at the end
S updates in all, w of them warm-up. ARC's released code (arc.md 4.1) starts at 0 and ends on a floor of 1e-6 peak, so its first
update does nothing and its last is left out; here all S updates are made and each moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


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


def schedule(peak: float, epochs: int, warmup_epochs: float, updates_per_epoch: int) -> Schedule:
    """Warm-up ends exactly with the epoch (or part of one) named; at least one update is left for the cosine."""
    total = epochs * updates_per_epoch
    return Schedule(peak, min(round(warmup_epochs * updates_per_epoch), total - 1), total)
