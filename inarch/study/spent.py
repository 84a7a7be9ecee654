"""Where the time of a comparison goes: into updates, or beside them.

    beside = 1 - sum of seconds in updates / sum of seconds of runs        of a run: from the job given to its result there
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from inarch.training.progress import span


@dataclass(frozen=True)
class Took:
    """Seconds of one run, and of them those in updates."""

    method: str
    seconds: float
    training: float


@dataclass
class Spent:
    """``runs``: those that were done whole here; one that goes on has seconds of before among its own. ``wall``: of all the work."""

    runs: list[Took] = field(default_factory=list)
    wall: float = 0.0

    @property
    def beside(self) -> float:
        """Share of the runs' seconds that is no training; 0 where nothing was done whole."""
        return beside(self.runs)

    def said(self) -> str:
        """In words; "" where nothing was done whole."""
        if not self.runs:
            return ""
        within, training = sum(run.seconds for run in self.runs), sum(run.training for run in self.runs)
        return f"; of {span(within)} in runs, {span(training)} were training steps ({self.beside:.1%} beside them)"


def beside(runs: Iterable[Took]) -> float:
    """Share of their seconds that is no training."""
    pairs = [(run.seconds, run.training) for run in runs]
    within = sum(seconds for seconds, _ in pairs)
    return 1 - sum(training for _, training in pairs) / within if within else 0.0
