"""Runs that ended without a result. They keep their place in every table, and no mean is taken over the seeds that are left.

    {"format": 1, "failed": {"method": line, "data": name, "backbone": address, "seed": int, "reason": text, "trained": int or null}}
``"trial": true`` beside these: it was one of the runs that choose a learning rate.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch.errors import Corrupt
from inarch.reporting.results import FORMAT, want

if TYPE_CHECKING:
    from inarch.reporting.rows import Row


@dataclass(frozen=True)
class Failure:
    """One run without a result: ``method`` as its recipe line, ``backbone`` as its address, ``trained`` numbers without the head."""

    path: str
    method: str
    data: str
    backbone: str
    seed: int
    reason: str
    trained: int | None
    trial: bool = False

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def is_failure(fields: Mapping[str, Any]) -> bool:
    return "failed" in fields and "recipe" not in fields


def failure_of(fields: Mapping[str, Any], path: Path) -> Failure:
    """One failure from its JSON; raises ``Corrupt`` naming the first key that is missing or of another type."""
    if want(fields, "format", int, path) != FORMAT:
        raise Corrupt(f"{path}: failure of format {fields['format']}; this version reads {FORMAT}: update inarch, or run it again")
    told = want(fields, "failed", dict, path)
    words = {key: want(told, key, str, path) for key in ("method", "data", "backbone", "reason")}
    trained = None if told.get("trained") is None else want(told, "trained", int, path)
    return Failure(str(path), seed=want(told, "seed", int, path), trained=trained, trial=told.get("trial") is True, **words)


def attach(rows: Sequence[Row], failures: Sequence[Failure]) -> tuple[list[Row], list[Failure], list[str]]:
    """Rows that know which of their seeds failed; the failures that stand; a note for every one that a later run made good."""
    standing, notes, of_row = [], [], defaultdict(list)
    for failure in failures:
        if failure.trial:
            standing.append(failure)
            continue
        own = [i for i, row in enumerate(rows) if _is_of(failure, row)]
        done = [result for i in own for result in rows[i].results if result.seed == failure.seed]
        if done:
            notes.append(f"{failure.method} on {failure.data}, seed {failure.seed}, failed ({failure.reason}) and was run again: "
                         f"{done[-1].path} is what counts")
            continue
        standing.append(failure)
        if len(own) == 1:  # where settings tell several rows apart, the failure does not say which of them it belongs to
            of_row[own[0]].append(failure)
    return [dataclasses.replace(row, failed=tuple(of_row[i])) for i, row in enumerate(rows)], standing, notes


def _is_of(failure: Failure, row: Row) -> bool:
    first = row.first
    return (failure.method, failure.data) == (first.method, first.data) and failure.backbone in (first.address, first.backbone)


@dataclass(frozen=True)
class Failed:
    """The line of a table: seeds that failed of one method on one data set, for one reason."""

    method: str
    data: str
    backbone: str
    reason: str
    trained: int | None
    seeds: tuple[int, ...]

    @property
    def words(self) -> str:
        """``failed (seeds 0, 1): out of memory``."""
        return f"failed (seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}): {self.reason}"

    def cells(self) -> dict[str, str]:
        """By the title of a column of ``compare``."""
        return {"method": self.method, "data": self.data, "backbone": self.backbone, "n": "0", "test": self.words,
                "trained\nno head": "–" if self.trained is None else f"{self.trained:,}"}


def lines(failures: Sequence[Failure]) -> list[Failed]:
    """One per method, data, backbone and reason, in that order."""
    groups = defaultdict(list)
    for failure in failures:
        groups[failure.data, failure.method, failure.backbone, failure.reason].append(failure)
    return [Failed(method, data, backbone, reason, own[0].trained, tuple(sorted(f.seed for f in own)))
            for (data, method, backbone, reason), own in sorted(groups.items())]
