"""Goals of a family, met or missed in the run at hand: what a method costs over the floor, or over a rival, at most.

    saved   bytes that autograd keeps for the whole batch, what does not grow with it included: exact
    time    median over the repeats of the paired ratio; under 4 % off the figure is no finding either way
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from inarch.bench.timing import ratio


@dataclass(frozen=True)
class Goal:
    """``figure`` of ``subject`` at most ``most`` times that of ``against``; ``name`` as in the list of goals."""

    name: str
    subject: str
    figure: Literal["saved", "time"]
    most: float
    against: str = "floor"

    def judged(self, rows: Mapping[str, Mapping[str, Any]], batch: int) -> dict[str, Any] | None:
        """As JSON; None where one of the two was not measured."""
        if self.subject not in rows or self.against not in rows:
            return None
        mine, theirs = rows[self.subject], rows[self.against]
        if self.figure == "saved":
            value = whole(mine, batch) / whole(theirs, batch)
            found = {"value": value, "low": value, "high": value}
        else:
            paired = ratio(mine["steps"], theirs["steps"])
            found = {"value": paired.median, "low": paired.low, "high": paired.high}
        return asdict(self) | found | {"met": found["value"] <= self.most}


def whole(row: Mapping[str, Any], batch: int) -> float:
    """Bytes of a whole batch."""
    return batch * row["saved_per_image"] + row["saved_fixed"]


def judged(goals: tuple[Goal, ...], rows: Mapping[str, Mapping[str, Any]], batch: int) -> list[dict[str, Any]]:
    return [found for goal in goals if (found := goal.judged(rows, batch)) is not None]
