"""Two methods over the same seeds, or the same data sets: how far apart they are, and what a test can say about it.

    d_s = a_s - b_s,  m = mean d,  e = sd(d) / sqrt(n)      interval m ± t e,   p = P(|T| >= |m| / e), n - 1 degrees of freedom
    sign flips: p = share of the 2^n signings with |mean ±d| >= |m|; it is exact, and never below 2 / 2^n
    Holm: the k-th smallest of N p's times N - k + 1, none smaller than the one before it
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inarch.reporting.student import quantile, tail

LEVEL = 0.95
MOST = 22  # differences whose signings are all counted: four million
SAME = 1e-9  # of the largest sum: what rounding may take from one signing and give to another


@dataclass(frozen=True)
class Paired:
    """``n`` differences: their mean, its interval of 95 %, and the p's of both tests; None where there is none."""

    n: int
    mean: float
    low: float | None
    high: float | None
    t: float | None  # p of the paired t test
    flips: float | None  # p of the sign flips
    least: float | None  # the smallest p that so many sign flips could ever give

    def to_json(self) -> dict[str, Any]:
        return {"n": self.n, "difference": self.mean, "low": self.low, "high": self.high, "p_t": self.t, "p_sign_flips": self.flips,
                "least_p_sign_flips": self.least}


def paired(differences: Sequence[float]) -> Paired:
    """What ``n >= 1`` differences say. One of them, or all the same, have no spread: no interval and no t test."""
    n, mean = len(differences), math.fsum(differences) / len(differences)
    error = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n) if n > 1 else 0.0
    spread = error > SAME * max(map(abs, differences))
    reach = quantile(LEVEL, n - 1) * error if spread else math.nan
    low, high = (mean - reach, mean + reach) if spread else (None, None)
    return Paired(n, mean, low, high, tail(mean / error, n - 1) if spread else None, sign_flips(differences), least(n))


def sign_flips(differences: Sequence[float]) -> float | None:
    """The exact p of the sign-flip test of the mean; None below two differences and above ``MOST``.

    >>> sign_flips([1.0, 2.0, 3.0])
    0.25
    """
    if not 2 <= len(differences) <= MOST:
        return None
    sums = np.array([differences[0]])  # of one sign: the other half is its mirror image
    for difference in differences[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    found = abs(math.fsum(differences))
    return float(np.mean(np.abs(sums) >= found - SAME * math.fsum(map(abs, differences))))


def least(n: int) -> float | None:
    """The smallest p that n sign flips can give: 2 of all 2^n signings are at least as far out as the largest."""
    return 2.0 ** (1 - n) if 2 <= n <= MOST else None


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Each p corrected for how many were looked at; one that is None was no test and counts for nothing.

    >>> holm([0.01, None, 0.04])
    [0.02, None, 0.04]
    """
    found: list[float | None] = [None] * len(values)
    order = sorted((value, i) for i, value in enumerate(values) if value is not None)
    so_far = 0.0
    for k, (value, i) in enumerate(order):
        so_far = max(so_far, min(1.0, (len(order) - k) * value))
        found[i] = so_far
    return found
