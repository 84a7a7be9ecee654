"""Methods over several data sets: which rows are one method, and which methods have every set, so that a mean of them exists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from inarch.reporting.results import Result
from inarch.reporting.rows import Row, mean
from inarch.reporting.shots import harmonic


def line_name(row: Row, rows: Sequence[Row]) -> str:
    """The method, with backbone and size where the table holds several."""
    more = [row.backbone] if len({r.backbone for r in rows}) > 1 else []
    more += [f"{row.first.image_size} px"] if len({(r.data, r.first.image_size) for r in rows}) > len({r.data for r in rows}) else []
    return " ".join([row.first.method, *more])


def named(row: Row, rows: Sequence[Row]) -> str:
    """The same, with the setting that tells it from others on its data."""
    return line_name(row, rows) + (f" ({row.setting})" if row.setting else "")


@dataclass(frozen=True)
class Across:
    """``whole``: name -> a row per data set, in the order of ``sets``. ``lacking``: name -> the sets it has no mean on."""

    sets: tuple[str, ...]
    whole: dict[str, tuple[Row, ...]]
    lacking: dict[str, tuple[str, ...]]


def across(rows: Sequence[Row], among: Sequence[Row] = ()) -> Across:
    """Of all data sets of the table (``among``, where ``rows`` are a part of it); without a mean on one, a method has none over all."""
    table = among or rows
    sets = tuple(sorted({row.data for row in table}))
    own: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        own[named(row, table)][row.data].append(row)
    whole, lacking = {}, {}
    for name, by_data in own.items():
        gone = tuple(data for data in sets if len(by_data[data]) != 1 or by_data[data][0].headline.mean is None)
        if gone:
            lacking[name] = gone
        else:
            whole[name] = tuple(by_data[data][0] for data in sets)
    return Across(sets, whole, lacking)


def over_sets(rows: Sequence[Row]) -> tuple[float | None, float | None, float | None]:
    """Mean, least and largest over seeds of a method's mean over its data sets; no range unless every set has the same seeds.

    Few-shot: the harmonic mean of the mean base and the mean novel accuracy, as in the table.
    """
    seeds = {row.seeds for row in rows}
    by_seed = [pooled([row.results[i] for row in rows]) for i in range(len(rows[0].results))] if len(seeds) == 1 else []
    there = [value for value in by_seed if value is not None]
    found = _joined([row.base.mean if row.base else None for row in rows], [row.novel.mean if row.novel else None for row in rows],
                    [row.headline.mean for row in rows])
    return found, min(there, default=found), max(there, default=found)


def pooled(results: Sequence[Result]) -> float | None:
    """The same of one seed: a result per data set."""
    shots = [result.shots for result in results]
    return _joined([s.base if s else None for s in shots], [s.novel if s else None for s in shots], [r.headline for r in results])


def _joined(base: Sequence[float | None], novel: Sequence[float | None], score: Sequence[float | None]) -> float | None:
    both = harmonic(mean(base), mean(novel))
    return mean(score) if both is None else both
