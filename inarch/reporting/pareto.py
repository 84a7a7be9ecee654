"""What accuracy costs: score against trained numbers, time, kept bytes and file size, with the front that no method beats.

    on the front: no other point has at most its cost and at least its score, one of them truly
A panel per data set, and one of the mean over all where a method has them all. Time is compared within one kind of machine only.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from inarch.errors import MissingExtra
from inarch.reporting.across import across, named, over_sets
from inarch.reporting.labels import numbered
from inarch.reporting.page import Block, Table
from inarch.reporting.plots import Plot
from inarch.reporting.rows import Row, mean

Costs = Callable[[Row], float | None]


@dataclass(frozen=True)
class Point:
    """A row, or a method over all data sets: cost and score in percent, with the range over seeds."""

    name: str
    label: str
    cost: float
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    title: str
    metric: str
    points: tuple[Point, ...]

    @property
    def front(self) -> list[Point]:
        return [self.points[i] for i in front([(point.cost, point.score) for point in self.points])]

    @property
    def words(self) -> str:
        """For who cannot see the picture."""
        return f"{self.title}: " + ", ".join(f"{point.name} ({point.cost:.6g}, {point.score:.1f} %)" for point in self.front)


@dataclass(frozen=True)
class Cost:
    """``unit``: of the axis; "" for a plain number."""

    title: str
    unit: str
    of: Costs
    why: str  # a result may lack it


COSTS = (
    Cost("numbers trained, without the head", "", lambda row: row.first.without_head, "not counted"),
    Cost("seconds per epoch", "s", lambda row: row.epoch_seconds, "trained for no epoch"),
    Cost("bytes kept for backward, per example", "B", lambda row: row.saved, "older than this measurement, which runs now make"),
    Cost("adapter file", "B", lambda row: row.adapter_bytes, "without a file"),
)
READ = "Blue, on the staircase: methods that no other beats in cost and score at once. Bars: the least and the largest over seeds."


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the ``(cost, score)`` that no other beats, cheapest first; equal points are on it together, a NaN never is.

    >>> front([(1, 50), (2, 40), (2, 60), (2, 60)])
    [0, 2, 3]
    """
    whole = [i for i, point in enumerate(points) if all(map(math.isfinite, point))]
    best = [i for i in whole if not any(_beats(points[j], points[i]) for j in whole)]
    return sorted(best, key=lambda i: (points[i], i))


def _beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


def blocks(rows: Sequence[Row]) -> list[Block]:
    """A figure per cost, or the reason why there is none; then the names, where numbers stand at the points."""
    labels = numbered([named(row, rows) for row in rows])
    if not labels:
        return []
    gone = [f"{named(row, rows)} on {row.data}" for row in rows if row.headline.mean is None]
    found: list[Block] = [READ, *([f"In no figure, since a seed is missing or failed: {', '.join(gone)}."] if gone else [])]
    found += [block for cost in COSTS for block in _figure(cost, rows, labels)]
    numbers = all(label.isdecimal() for label in labels.values())
    if numbers and any(isinstance(block, Plot) for block in found):
        found.append(Table(("point", "method"), tuple((label, name) for name, label in labels.items()), (True, False)))
    return found


def _figure(cost: Cost, rows: Sequence[Row], labels: dict[str, str]) -> Iterator[Block]:
    whole = [row for row in rows if row.headline.mean is not None]
    there = [row for row in whole if cost.of(row) is not None]
    gone = [f"{named(row, rows)} on {row.data}" for row in whole if row not in there]
    if gone:
        yield (f"Score against {cost.title}: not in the figure, being {cost.why}: {', '.join(gone)}." if there
               else f"Score against {cost.title}: no figure, since all results are {cost.why}.")
    groups, mixed = _machines(there) if cost.unit == "s" else ({"": there}, [])
    if mixed:
        names = ", ".join(f"{named(row, rows)} on {row.data}" for row in mixed)
        yield f"Score against {cost.title}: not in a figure, having run on several kinds of machine: {names}."
    for machine, own in groups.items():
        if made := panels(own, rows, cost.of, labels):
            yield from _drawn(made, cost, machine)


def _drawn(made: Sequence[Panel], cost: Cost, machine: str) -> Iterator[Block]:
    from inarch.reporting.scatter import scatter

    title = cost.title + (f", on {machine}" if machine else "")
    try:
        picture = scatter(made, title, cost.unit)
    except MissingExtra as problem:
        yield f"Score against {title}: no figure; {problem}"
        return
    yield f"Score against {title}:"
    yield picture


def _machines(rows: Sequence[Row]) -> tuple[dict[str, list[Row]], list[Row]]:
    """By machine, the rows whose runs were all made on that kind; and those whose runs were made on several."""
    found = defaultdict(list)
    for row in rows:
        found[min(row.kinds) if len(row.kinds) == 1 else ""].append(row)
    mixed = found.pop("", [])
    return dict(sorted(found.items())), mixed


def panels(own: Sequence[Row], rows: Sequence[Row], of: Costs, labels: dict[str, str]) -> list[Panel]:
    """``own``: the rows to draw, of the table's ``rows``. Data sets first, the mean over them last, where several methods have all."""
    groups = defaultdict(list)
    for row in own:
        groups[row.data, row.backbone, row.first.image_size, row.first.metric].append(row)
    found = [Panel(_title(key, list(groups)), _metric(same), tuple(_point(row, rows, of, labels) for row in same))
             for key, same in groups.items()]
    sets = len({row.data for row in rows})
    means = [_mean(name, line, of, labels) for name, line in across(own, rows).whole.items()] if sets > 1 else []
    if len(means) > 1:
        metric = " and ".join(dict.fromkeys(map(_metric, groups.values())))
        found.append(Panel(f"mean of {sets} sets", metric, tuple(means)))
    return found


def _title(key: tuple[str, str, int | None, str], keys: Sequence[tuple[str, str, int | None, str]]) -> str:
    """The data set, and whatever else differs among the panels of that set."""
    own = [other for other in keys if other[0] == key[0]]
    more = [str(part) + " px" * (i == 1) for i, part in enumerate(key[1:]) if len({other[i + 1] for other in own}) > 1]
    return ", ".join([key[0], *more])


def _metric(rows: Sequence[Row]) -> str:
    return "harmonic mean" if all(row.novel is not None and row.novel.mean is not None for row in rows) else rows[0].first.metric


def _point(row: Row, rows: Sequence[Row], of: Costs, labels: dict[str, str]) -> Point:
    name, spread = named(row, rows), row.headline
    low, high = spread.low or 0.0, spread.high or 0.0
    return Point(name, labels[name], float(of(row) or 0), 100 * (spread.mean or 0.0), 100 * low, 100 * high)


def _mean(name: str, line: Sequence[Row], of: Costs, labels: dict[str, str]) -> Point:
    """Of rows that all have a score and a cost."""
    score, low, high = (100 * (value or 0.0) for value in over_sets(line))
    return Point(name, labels[name], mean([of(row) for row in line]) or 0.0, score, low, high)
