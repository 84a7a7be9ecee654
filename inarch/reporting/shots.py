"""Few-shot runs in a table: base, novel, their harmonic mean, and other data scored as it is.

    row       each a mean over seeds, [least, largest];        HM_s = 2 b_s n_s / (b_s + n_s) of seed s
    average   b, n = means of the rows' b and n over data sets;    HM = 2 b n / (b + n), not the mean of the rows' HM
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch.errors import Corrupt

if TYPE_CHECKING:
    from inarch.reporting.rows import Row


@dataclass(frozen=True)
class Shots:
    """Of one run, fractions; ``novel`` None where every class was learned."""

    base: float | None
    novel: float | None
    transfer: Mapping[str, float]

    @property
    def harmonic(self) -> float | None:
        return harmonic(self.base, self.novel)

    @property
    def other(self) -> float | None:
        """Mean accuracy on data sets that were scored as they are."""
        return sum(self.transfer.values()) / len(self.transfer) if self.transfer else None


def shots_of(fields: Mapping[str, Any], path: Path) -> Shots | None:
    """What a result says of base and novel classes; None where it is no few-shot run. ``Corrupt`` for what is no fraction."""
    found = fields.get("fewshot")
    if found is None:
        return None
    if not isinstance(found, Mapping) or not isinstance(found.get("transfer", {}), Mapping):
        raise Corrupt(f"{path}: fewshot is {found!r:.60}; expected base, novel and transfer")
    transfer = {str(name): _fraction(value, f"transfer.{name}", path) for name, value in found.get("transfer", {}).items()}
    base, novel = (_fraction(found.get(key), key, path) for key in ("base", "novel"))
    return Shots(base, novel, {name: value for name, value in transfer.items() if value is not None})


def _fraction(value: Any, key: str, path: Path) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
        raise Corrupt(f"{path}: fewshot.{key} is {value!r}; expected a fraction from 0 to 1")
    return value


def harmonic(base: float | None, novel: float | None) -> float | None:
    """``2 b n / (b + n)``; 0 where both are, None where one is missing.

    >>> round(harmonic(0.6934, 0.7422), 4)
    0.717
    """
    if base is None or novel is None:
        return None
    return 2 * base * novel / (base + novel) if base + novel else 0.0


@dataclass(frozen=True)
class Spread:
    """Of one number over seeds: mean, least, largest; ``mean`` None as soon as a seed lacks it."""

    mean: float | None
    low: float | None
    high: float | None
    seeds: int
    missing: int

    def __str__(self) -> str:
        if self.mean is None:
            return "–" if self.missing == self.seeds else f"– ({self.missing} of {self.seeds} missing)"
        return _percent(self.mean) + (f" [{_percent(self.low)}, {_percent(self.high)}]" if self.seeds > 1 else "")

    def to_json(self) -> dict[str, float | None]:
        return {"mean": self.mean, "min": self.low, "max": self.high}


def spread(values: Sequence[float | None]) -> Spread:
    there = [value for value in values if value is not None]
    missing = len(values) - len(there)
    if missing or not there:
        return Spread(None, None, None, len(values), missing)
    return Spread(sum(there) / len(there), min(there), max(there), len(values), 0)


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.1f}"


@dataclass(frozen=True)
class Average:
    """A method over several data sets; ``base`` and ``novel`` None where it lacks one of them."""

    method: str
    setting: str
    backbone: str
    sets: int
    absent: tuple[str, ...]
    base: float | None
    novel: float | None
    trained: tuple[int, int]

    @property
    def harmonic(self) -> float | None:
        return harmonic(self.base, self.novel)

    def cells(self) -> dict[str, str]:
        """By the title of a column of ``compare``."""
        least, most = self.trained
        gone = f" ({len(self.absent)} missing)" if self.absent else ""
        return {"method": self.method, "setting": self.setting, "backbone": self.backbone, "data": f"average of {self.sets} sets",
                "base": _percent(self.base) + gone, "novel": _percent(self.novel), "harmonic\nmean": _percent(self.harmonic),
                "trained\nno head": f"{least:,}" if least == most else f"{least:,} to {most:,}"}

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "setting": self.setting, "backbone": self.backbone, "sets": self.sets, "absent": [*self.absent],
                "base": self.base, "novel": self.novel, "harmonic": self.harmonic, "trained": [*self.trained]}


def averages(rows: Sequence[Row]) -> list[Average]:
    """Over all data sets of the table that hold novel classes, where there are several; one per method, backbone and setting."""
    own = [row for row in rows if row.novel is not None and row.novel.missing < row.novel.seeds]
    sets = sorted({row.data for row in own})
    if len(sets) < 2:
        return []
    groups: dict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
    for row in own:
        groups[row.first.method, row.setting, row.backbone, row.first.image_size or 0].append(row)
    return sorted((_average(same, sets) for same in groups.values()), key=lambda average: (average.trained, average.method))


def _average(same: Sequence[Row], sets: Sequence[str]) -> Average:
    first, trained = same[0], [row.first.without_head for row in same]
    there = [row.data for row in same]
    absent = tuple(name for name in sets if there.count(name) != 1)
    base, novel = (None if absent else spread([None if of is None else of.mean for of in column]).mean
                   for column in ([row.base for row in same], [row.novel for row in same]))
    return Average(first.first.method, first.setting, first.backbone, len(sets), absent, base, novel, (min(trained), max(trained)))
