"""Methods down, data sets across. A mean over data sets exists only where a method has every one of them.

    mean (sets) = mean of all cells          mean (groups) = mean of the group means (VTAB-1k: natural, specialised, structured)
Few-shot cells hold base / novel / harmonic mean; in a mean, the third is that of the mean base and novel, not the mean of thirds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from inarch.reporting.rows import GONE, Row, mean, percent
from inarch.reporting.shots import Spread, harmonic

Groups = Mapping[str, Sequence[str]]
Grid = list[list[str]]


def matrix(rows: Sequence[Row], groups: Groups | None = None) -> tuple[Grid, list[str]]:
    """Header and lines of text, and notes. Rows of ``groups`` that no result fills count as missing."""
    columns = _columns(rows, groups or {})
    lines = defaultdict(list)
    for row in rows:
        lines[_name(row, rows)].append(row)
    ordered = sorted(lines.items(), key=lambda item: (item[1][0].first.without_head, item[0]))
    header = ["method", "trained, no head", *columns, *(f"mean {g}" for g in groups or ()), *_mean_titles(columns, groups)]
    notes = [note for name, own in ordered for note in _ambiguous(name, own)]
    outside = [name for name in columns if groups and not any(name in members for members in groups.values())]
    if outside:
        notes.append(f"in no group, so in no group's mean: {', '.join(outside)}")
    if len(metrics := {row.first.metric for row in rows}) > 1:
        notes.append(f"the means mix {' and '.join(sorted(metrics))}")
    if any(_both(row) for row in rows):
        notes.append("few-shot: base / novel / harmonic mean, means over seeds; in a mean over sets, the third is that of the other two")
    return [header, *(_line(name, own, columns, groups or {}) for name, own in ordered)], notes


def _columns(rows: Sequence[Row], groups: Groups) -> list[str]:
    """Data sets in the order of their groups, the others behind."""
    grouped = [name for members in groups.values() for name in members]
    return list(dict.fromkeys([*grouped, *sorted({row.data for row in rows})]))


def _mean_titles(columns: Sequence[str], groups: Groups | None) -> list[str]:
    return [f"mean ({len(columns)} sets)", *([f"mean ({len(groups)} groups)"] if groups else [])]


def _name(row: Row, rows: Sequence[Row]) -> str:
    """The method, with backbone and size where the table holds several."""
    more = [row.backbone] if len({r.backbone for r in rows}) > 1 else []
    more += [f"{row.first.image_size} px"] if len({(r.data, r.first.image_size) for r in rows}) > len({r.data for r in rows}) else []
    return " ".join([row.first.method, *more])


def _ambiguous(name: str, own: Sequence[Row]) -> list[str]:
    """Data sets on which the method has several rows: which one to show is not ours to choose."""
    cells = defaultdict(list)
    for row in own:
        cells[row.data].append(row)
    told = {data: "; ".join(row.setting or row.first.metric for row in rows) for data, rows in cells.items() if len(rows) > 1}
    return [f"{name} on {data}: several settings ({settings}); give the results of one" for data, settings in told.items()]


def _line(name: str, own: Sequence[Row], columns: Sequence[str], groups: Groups) -> list[str]:
    cells = {data: [row for row in own if row.data == data] for data in columns}
    single = {data: there[0] if len(there) == 1 else None for data, there in cells.items()}
    members = [[single[data] for data in names] for names in groups.values()]
    means = [_mean([[row] for row in rows]) for rows in [*members, [*single.values()]]]
    of_groups = [_mean(members)] if groups else []
    return [name, _trained(own), *map(_cell, cells.values()), *means, *of_groups]


def _trained(own: Sequence[Row]) -> str:
    """Without a head the count is the same on every set, unless the rows differ in more than the data."""
    numbers = sorted({row.first.without_head for row in own})
    return " to ".join(f"{n:,}" for n in dict.fromkeys((numbers[0], numbers[-1])))


def _cell(there: Sequence[Row]) -> str:
    if len(there) != 1:
        return f"{GONE} ({len(there)} settings)" if there else GONE
    row = there[0]
    return _three(_of(row.base), _of(row.novel), _of(row.harmonic), row.mark) if _both(row) else row.score_text()


def _mean(groups: Sequence[Sequence[Row | None]]) -> str:
    """Mean of the groups' means; a mark on a row that goes in is a mark on the mean."""
    values = [mean([None if row is None else row.mean for row in rows]) for rows in groups]
    whole = mean(values)
    if whole is None:
        return f"{GONE} ({sum(v is None for v in values)} of {len(values)} missing)"
    there = [[row for row in rows if row is not None] for rows in groups]
    mark = next((row.mark for rows in there for row in rows if row.mark), "")
    if not all(_both(row) for rows in there for row in rows):
        return percent(whole) + mark
    base, novel = (mean([mean([_of(spread(row)) for row in rows]) for rows in there]) for spread in (_base, _novel))
    return _three(base, novel, harmonic(base, novel), mark)


def _base(row: Row) -> Spread | None:
    return row.base


def _novel(row: Row) -> Spread | None:
    return row.novel


def _both(row: Row) -> bool:
    """Has it base and novel classes, in every seed?"""
    return _of(row.base) is not None and _of(row.novel) is not None


def _of(spread: Spread | None) -> float | None:
    return None if spread is None else spread.mean


def _three(base: float | None, novel: float | None, both: float | None, mark: str) -> str:
    return " / ".join(GONE if value is None else percent(value) + mark for value in (base, novel, both))
