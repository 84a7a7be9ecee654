"""A ladder of candidates: all of them for few epochs, the better part for more, until one is left; validation decides every rung.

    rung k: epochs E / 3^(K - k), the best ceil(n / 3) go on        Jamieson & Talwalkar 2016 (arXiv 1502.07943): successive halving
Stopping the worse ones early is what makes many candidates affordable; every rung trains anew, so that its schedule is whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

CUT = 3  # of so many candidates one goes on


@dataclass(frozen=True)
class Candidate:
    """A method at the size of its budget, and a learning rate."""

    method: str
    fields: dict[str, Any]
    rate: float
    numbers: int

    def __str__(self) -> str:
        return f"{self.method}, lr {self.rate:g}"


@dataclass(frozen=True)
class Try:
    """A candidate on a rung: its validation score, None with the reason where it failed."""

    candidate: Candidate
    rung: int
    epochs: int
    score: float | None
    reason: str = ""


def rungs(candidates: int) -> list[int]:
    """How many stand on each: 12 -> [12, 4, 2]."""
    found = [candidates]
    while found[-1] > 2:
        found.append(max(math.ceil(found[-1] / CUT), 1 if found[-1] <= CUT else 2))
    return found


def share(rung: int, of: int) -> float:
    """The part of the winner's epochs that a candidate trains for on this rung."""
    return CUT ** -float(of - rung)


def spent(candidates: int, epochs: int) -> int:
    """Epochs in all, of every candidate on every rung and of a winner that trains for ``epochs``; a rung as long as the last is free."""
    counts = rungs(candidates)
    lengths = [at_rung(epochs, rung, len(counts)) for rung in range(len(counts))]
    return epochs + sum(n * length for n, length, before in zip(counts, lengths, [0, *lengths], strict=False) if length != before)


def at_rung(epochs: int, rung: int, of: int) -> int:
    """Epochs of a candidate there, one at least."""
    return max(1, round(epochs * share(rung, of)))


def climb(candidates: Sequence[Candidate], epochs: int, score: Callable[[Candidate, int, int], Try]) -> tuple[list[Try], Candidate | None]:
    """All tries in order, and the winner: the best of the last rung, of equals the one with fewer numbers; None where all failed."""
    standing, tries = list(candidates), []
    counts = rungs(len(standing))
    for rung in range(len(counts)):
        here = [score(candidate, rung, at_rung(epochs, rung, len(counts))) for candidate in standing]
        tries += here
        good = sorted((one for one in here if one.score is not None), key=lambda one: (-float(one.score or 0), one.candidate.numbers))
        standing = [one.candidate for one in good[: counts[rung + 1] if rung + 1 < len(counts) else 1]]
        if not standing:
            return tries, None
    return tries, standing[0]
