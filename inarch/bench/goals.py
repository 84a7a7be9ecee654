"""Goals of a family, met or missed in the run at hand: what a method costs over the floor, or over a rival, at most.

    saved   bytes that autograd keeps for the whole batch, what does not grow with it included: exact
    time    median over the repeats of the paired ratio; under 4 % off the figure is no finding either way
    epoch   the same of an epoch that starts behind the frozen blocks, over as many steps of the rival
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from inarch.bench.timing import Ratio, ratio

Figure = Literal["saved", "time", "epoch"]


@dataclass(frozen=True)
class Goal:
    """``figure`` of ``subject`` at most ``most`` times that of ``against``, on ``size`` ("": any); ``name`` as in the list of goals."""

    name: str
    subject: str
    figure: Figure
    most: float
    against: str = "floor"
    size: str = ""

    def judged(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """As JSON; None where one of the two was not measured."""
        rows, epoch = entry["methods"], entry.get("prefix")
        if self.subject not in rows or self.against not in rows or (self.figure == "epoch" and epoch is None):
            return None
        mine, theirs = rows[self.subject], rows[self.against]
        if self.figure == "saved":
            batch = entry["settings"]["batch"]
            value = whole(mine, batch) / whole(theirs, batch)
            found = {"value": value, "low": value, "high": value}
        else:
            paired = Ratio(**epoch["over_floor"]) if self.figure == "epoch" else ratio(mine["steps"], theirs["steps"])  # type: ignore[index]
            found = {"value": paired.median, "low": paired.low, "high": paired.high}
        return asdict(self) | found | {"met": found["value"] <= self.most}


def whole(row: Mapping[str, Any], batch: int) -> float:
    """Bytes of a whole batch."""
    return batch * row["saved_per_image"] + row["saved_fixed"]


def judged(goals: tuple[Goal, ...], size: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the goals for this size, those whose two sides were measured."""
    return [found for goal in goals if goal.size in ("", size) and (found := goal.judged(entry)) is not None]
