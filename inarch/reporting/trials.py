"""Runs that only chose a setting: how often each method was tried on each data set, with what, and what validation said.

A trial leaves the test part alone (``test = false`` in its recipe). Beside finished runs trials are no rows of their own.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.reporting.failures import Failure
from inarch.reporting.results import Result
from inarch.reporting.rows import GONE, Row, differing, percent, plain


@dataclass(frozen=True)
class Tried:
    """The trials of one method on one data set, best first: what distinguished each, and its score on validation.

    ``used``: the settings of the rows they were made for, as far as the trials differ in them.
    """

    method: str
    data: str
    backbone: str
    outcomes: tuple[tuple[str, float | None], ...]
    used: tuple[str, ...]

    @property
    def words(self) -> str:
        """``lr=0.01: 74.9; lr=0.001: 70.2; lr=0.1: failed``."""
        return "; ".join(f"{setting}: {'failed' if val is None else percent(val)}" for setting, val in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "data": self.data, "backbone": self.backbone, "used": [*self.used],
                "trials": [{"setting": setting, "val": val} for setting, val in self.outcomes]}


def split(results: Sequence[Result], failures: Sequence[Failure]) -> tuple[list[Result], list[Result], list[Failure]]:
    """What to compare, the trials, and the failures; where there are only trials, they are what is compared, and none is a trial."""
    finished = [result for result in results if not result.trial]
    if finished:
        return finished, [result for result in results if result.trial], [*failures]
    return [*results], [], [dataclasses.replace(failure, trial=False) for failure in failures]


def tried(trials: Sequence[Result], rows: Sequence[Row], failures: Sequence[Failure]) -> list[Tried]:
    """By data and method."""
    groups: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for trial in trials:
        groups[trial.data, trial.method, trial.address].append(trial)
    lost = [failure for failure in failures if failure.trial]
    for failure in lost:
        _ = groups[failure.data, failure.method, failure.backbone]
    return [_tried(key, own, rows, lost) for key, own in sorted(groups.items())]


def _tried(key: tuple[str, str, str], own: Sequence[Result], rows: Sequence[Row], lost: Sequence[Failure]) -> Tried:
    data, method, backbone = key
    names = [name for name in differing([trial.settings for trial in own]) if name != "trained numbers"] or ["lr"]
    ordered = sorted(own, key=lambda trial: -1.0 if trial.val is None else -trial.val)
    outcomes = [(_setting(trial, names), trial.val) for trial in ordered]
    outcomes += [(f"seed {f.seed}", None) for f in lost if (f.data, f.method, f.backbone) == key]
    used = [row.first for row in rows if (row.first.data, row.first.method, row.first.address) == key]
    return Tried(method, data, backbone, tuple(outcomes), tuple(dict.fromkeys(_setting(first, names) for first in used)))


def _setting(result: Result, names: Sequence[str]) -> str:
    return ", ".join(f"{name}={plain(result.settings.get(name, GONE))}" for name in names)


def uneven(found: Sequence[Tried]) -> Iterator[str]:
    """A caveat for every data set on which methods were not tried equally often."""
    by_data = defaultdict(list)
    for one in found:
        by_data[one.data].append(one)
    for data, own in by_data.items():
        if len({len(one.outcomes) for one in own}) > 1:
            told = ", ".join(f"{one.method} {len(one.outcomes)}" for one in own)
            yield f"{data}: methods had different numbers of trials ({told}); more trials find a better setting by luck alone"
