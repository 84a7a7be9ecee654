"""Results of the same thing under several seeds, as one row: what is averaged, and what tells two rows apart.

    mean = sum_s score_s / n,  [min, max] over the n seeds          no mean if a seed has no score, or failed
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.reporting.failures import Failure
from inarch.reporting.results import SEEN, UNKNOWN, Result
from inarch.reporting.shots import Spread, spread

GONE = "–"


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed alone. ``data`` and ``backbone`` are labels, unique within the table."""

    results: tuple[Result, ...]
    data: str
    backbone: str
    setting: str = ""  # ``lr=0.01`` where another row differs in nothing but such settings
    mark: str = ""  # a footnote's sign, behind the score
    failed: tuple[Failure, ...] = ()  # seeds without a result: as long as there are any, there is no mean

    @property
    def first(self) -> Result:
        """What holds for every run of the row."""
        return self.results[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(result.seed for result in self.results)

    @property
    def missing(self) -> int:
        return sum(result.score is None for result in self.results)

    @property
    def mean(self) -> float | None:
        return mean([result.score for result in self.results] + self._gaps)

    @property
    def val(self) -> float | None:
        """Mean on validation, where every seed has it."""
        return mean([result.val for result in self.results] + self._gaps)

    @property
    def of_tasks(self) -> float | None:
        """Mean over all tasks of the runs, where they have several and every seed has it."""
        return mean([result.mean for result in self.results] + self._gaps)

    @property
    def _gaps(self) -> list[float | None]:
        return [None] * len(self.failed)

    @property
    def headline(self) -> Spread:
        """What the row is judged by, over seeds: the harmonic mean where it has base and novel classes, else its score."""
        return spread([result.headline for result in self.results] + self._gaps)

    @property
    def base(self) -> Spread | None:
        """Of few-shot runs, over seeds; so ``novel``, ``harmonic`` and ``other``. None where the runs are of another kind."""
        return self._shots("base")

    @property
    def novel(self) -> Spread | None:
        return self._shots("novel")

    @property
    def harmonic(self) -> Spread | None:
        return self._shots("harmonic")

    @property
    def other(self) -> Spread | None:
        return self._shots("other")

    def _shots(self, name: str) -> Spread | None:
        found = [result.shots for result in self.results if result.shots is not None]
        return spread([getattr(shots, name) for shots in found] + self._gaps) if len(found) == len(self.results) else None

    @property
    def span(self) -> tuple[float, float] | None:
        """Worst and best seed."""
        scores = [result.score for result in self.results if result.score is not None]
        return (min(scores), max(scores)) if self.mean is not None else None

    @property
    def adapter_bytes(self) -> float | None:
        return mean([result.adapter_bytes for result in self.results])

    @property
    def epoch_seconds(self) -> float | None:
        return mean([result.epoch_seconds for result in self.results])

    @property
    def kinds(self) -> set[str]:
        """Of machines that its runs were made on."""
        return {result.hardware for result in self.results}

    @property
    def saved(self) -> float | None:
        """Bytes kept for backward, per example."""
        return mean([result.saved for result in self.results])

    def score_text(self) -> str:
        """``83.1 [82.7, 83.4]``; the one value of one seed; how many are missing or failed where some are."""
        if self.mean is None or self.span is None:
            return f"{GONE} ({self._absent()} of {len(self.results) + len(self.failed)} {'failed' if self.failed else 'missing'})"
        between = f" [{percent(self.span[0])}, {percent(self.span[1])}]" if len(self.results) > 1 else ""
        return f"{percent(self.mean)}{self.mark}{between}"

    def _absent(self) -> str:
        missing = f"{self.missing} missing and " if self.missing and self.failed else ""
        return f"{missing}{len(self.failed) or self.missing}"

    def to_json(self) -> dict[str, Any]:
        first, span = self.first, self.span
        return {
            "method": first.method, "data": self.data, "data_sha256": first.data_sha, "backbone": self.backbone,
            "backbone_sha256": first.backbone_sha, "image_size": first.image_size, "settings": dict(first.settings),
            "setting": self.setting, "metric": first.metric, "part": first.part, "mean_of_tasks": self.of_tasks,
            "mean": self.mean, "min": span and span[0], "max": span and span[1],
            "seeds": [*self.seeds], "scores": [r.score for r in self.results], "val": [r.val for r in self.results],
            "missing": self.missing, "backbone_saw_data": {SEEN: True, UNKNOWN: None}.get(self.mark, False),
            "without_head": first.without_head, "with_head": first.with_head, "adapter_bytes": self.adapter_bytes,
            "saved_bytes_per_example": self.saved, "failed": [f.seed for f in self.failed],
            "seconds_per_epoch": self.epoch_seconds, "commits": sorted({r.commit for r in self.results}),
            "hardware": sorted({r.hardware for r in self.results}), "files": [r.path for r in self.results],
        } | ({} if self.base is None else {"fewshot": self._few()})

    def _few(self) -> dict[str, Any]:
        found = {name: getattr(self, name).to_json() for name in ("base", "novel", "harmonic", "other")}
        return found | {"transfer": [dict(result.shots.transfer) for result in self.results if result.shots]}


def mean(values: Sequence[float | None]) -> float | None:
    """None as soon as one value is missing, or there are none."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there and len(there) == len(values) else None


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def distinct(results: Iterable[Result]) -> tuple[list[Result], list[str]]:
    """One result per row and seed, the one finished last; a note for every other."""
    latest: dict[tuple[str, int], Result] = {}
    notes = []
    for result in sorted(results, key=lambda r: (r.finished, r.path)):
        key = (_key(result), result.seed)
        if key in latest:
            notes.append(f"{result.method} on {result.data}, seed {result.seed}, occurs twice: {latest[key].path} is left out "
                         f"for the later {result.path}")
        latest[key] = result
    return list(latest.values()), notes


def rows_of(results: Sequence[Result]) -> list[Row]:
    """Rows by data, then image size, backbone, and trained numbers without the head."""
    data = _labels((r.data, r.data_sha) for r in results)
    backbones = _labels((r.backbone, r.backbone_sha) for r in results)
    runs = defaultdict(list)
    for result in sorted(results, key=lambda r: r.seed):
        runs[_key(result)].append(result)
    rows = [Row(tuple(same), data[same[0].data, same[0].data_sha], backbones[same[0].backbone, same[0].backbone_sha])
            for same in runs.values()]
    return sorted(_told_apart(rows), key=lambda row: (row.data, row.first.image_size or 0, row.backbone, row.first.without_head,
                                                      row.first.method, row.setting))


def siblings(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows that nothing but settings tell apart."""
    found = defaultdict(list)
    for row in rows:
        found[row.data, row.backbone, row.first.image_size, row.first.method, row.first.metric].append(row)
    return found


def differing(all_settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same everywhere; one that a result does not state counts as another value."""
    names = sorted({name for settings in all_settings for name in settings})
    return [name for name in names if len({plain(settings.get(name, GONE)) for settings in all_settings}) > 1]


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _key(result: Result) -> str:
    data, backbone = (result.data, result.data_sha), (result.backbone, result.backbone_sha)
    return json.dumps([data, backbone, result.image_size, result.method, result.metric, dict(result.settings)], sort_keys=True)


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    told = []
    for alike in siblings(rows).values():
        names = differing([row.first.settings for row in alike])
        for row in alike:
            setting = ", ".join(f"{name}={plain(row.first.settings.get(name, GONE))}" for name in names)
            told.append(Row(row.results, row.data, row.backbone, setting))
    return told


def _labels(pairs: Iterable[tuple[str, str | None]]) -> dict[tuple[str, str | None], str]:
    """A name alone where it is one thing, with the start of the hash where two things bear it."""
    versions = defaultdict(set)
    for name, sha in (pairs := set(pairs)):
        versions[name].add(sha)
    return {(name, sha): name if len(versions[name]) == 1 else f"{name}@{(sha or 'unknown')[:6]}" for name, sha in pairs}
