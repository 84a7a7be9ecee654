"""Methods down, data sets across. A mean over data sets exists only where a method has every one of them.

    mean (sets) = mean of all cells          mean (groups) = mean of the group means (VTAB-1k: natural, specialised, structured)
Few-shot cells hold base / novel / harmonic mean; in a mean, the third is that of the mean base and novel, not the mean of thirds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inarch.reporting.across import line_name
from inarch.reporting.failures import Failure
from inarch.reporting.rows import GONE, Row, mean, percent
from inarch.reporting.shots import Spread, harmonic

Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Cell:
    """What stands there, and the number to compare it by, None where there is none to be compared."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Line:
    """A method: numbers trained without the head on each data set, and a cell per column."""

    name: str
    trained: tuple[int, ...]
    cells: tuple[Cell, ...]

    @property
    def trained_text(self) -> str:
        """Without a head the count is the same on every set, unless the rows differ in more than the data."""
        return " to ".join(f"{n:,}" for n in dict.fromkeys((self.trained[0], self.trained[-1]))) if self.trained else GONE


@dataclass(frozen=True)
class Matrix:
    """``columns``: data sets, then means over groups and over all."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def header(self) -> list[str]:
        return ["method", "trained, no head", *self.columns]

    @property
    def texts(self) -> list[list[str]]:
        return [[line.name, line.trained_text, *(cell.text for cell in line.cells)] for line in self.lines]


def matrix(rows: Sequence[Row], groups: Groups | None = None, failures: Sequence[Failure] = ()) -> Matrix:
    """Data sets of ``groups`` that no result fills count as missing, groups without any are none; where a method failed it says so."""
    groups = {name: members for name, members in (groups or {}).items() if members}
    columns = _columns(rows, groups, failures)
    lines, lost = defaultdict(list), defaultdict(list)
    for row in rows:
        lines[line_name(row, rows)].append(row)
    for failure in failures:
        lost[_failed_name(failure, lines)].append(failure)
    made = [_line(name, lines.get(name, []), lost[name], columns, groups) for name in dict.fromkeys([*lines, *lost])]
    notes = [note for name, own in lines.items() for note in _ambiguous(name, own)]
    outside = [name for name in columns if groups and not any(name in members for members in groups.values())]
    if outside:
        notes.append(f"in no group, so in no group's mean: {', '.join(outside)}")
    if len(metrics := {row.first.metric for row in rows}) > 1:
        notes.append(f"the means mix {' and '.join(sorted(metrics))}")
    if any(_both(row) for row in rows):
        notes.append("few-shot: base / novel / harmonic mean, means over seeds; in a mean over sets, the third is that of the other two")
    titles = [*columns, *(f"mean {g}" for g in groups), *_mean_titles(columns, groups)]
    return Matrix(tuple(titles), tuple(sorted(made, key=lambda line: (line.trained[:1] or (0,), line.name))), tuple(notes))


def _columns(rows: Sequence[Row], groups: Groups, failures: Sequence[Failure]) -> list[str]:
    """Data sets in the order of their groups, the others behind."""
    grouped = [name for members in groups.values() for name in members]
    return list(dict.fromkeys([*grouped, *sorted({row.data for row in rows} | {failure.data for failure in failures})]))


def _mean_titles(columns: Sequence[str], groups: Groups) -> list[str]:
    return [f"mean ({len(columns)} sets)", *([f"mean ({len(groups)} groups)"] if groups else [])]


def _ambiguous(name: str, own: Sequence[Row]) -> list[str]:
    """Data sets on which the method has several rows: which one to show is not ours to choose."""
    cells = defaultdict(list)
    for row in own:
        cells[row.data].append(row)
    told = {data: "; ".join(row.setting or row.first.metric for row in rows) for data, rows in cells.items() if len(rows) > 1}
    return [f"{name} on {data}: several settings ({settings}); give the results of one" for data, settings in told.items()]


def _failed_name(failure: Failure, lines: Mapping[str, Sequence[Row]]) -> str:
    """The line of the method that failed, where one is meant and no other."""
    own = [name for name, rows in lines.items() for row in rows[:1]
           if row.first.method == failure.method and failure.backbone in (row.first.address, row.first.backbone)]
    return own[0] if len(own) == 1 else failure.method


def _line(name: str, own: Sequence[Row], lost: Sequence[Failure], columns: Sequence[str], groups: Groups) -> Line:
    cells = {data: [row for row in own if row.data == data] for data in columns}
    single = {data: there[0] if len(there) == 1 else None for data, there in cells.items()}
    members = [[single[data] for data in names] for names in groups.values()]
    means = [_mean([[row] for row in rows]) for rows in [*members, [*single.values()]]]
    of_groups = [_mean(members)] if groups else []
    trained = {row.first.without_head for row in own} | {f.trained for f in lost if f.trained is not None}
    shown = [_cell(there, [f for f in lost if f.data == data]) for data, there in cells.items()]
    return Line(name, tuple(sorted(trained)), (*shown, *means, *of_groups))


def _cell(there: Sequence[Row], lost: Sequence[Failure]) -> Cell:
    if len(there) != 1:
        gone = [f"{len(there)} settings"] * bool(there) + [f"{len(lost)} failed"] * bool(lost)
        return Cell(f"{GONE} ({', '.join(gone)})" if gone else GONE)
    row = there[0]
    text = _three(_of(row.base), _of(row.novel), _of(row.harmonic), row.mark) if _both(row) else row.score_text()
    return Cell(text, row.headline.mean)


def _mean(groups: Sequence[Sequence[Row | None]]) -> Cell:
    """Mean of the groups' means; a mark on a row that goes in is a mark on the mean."""
    values = [mean([None if row is None else row.mean for row in rows]) for rows in groups]
    whole = mean(values)
    if whole is None:
        return Cell(f"{GONE} ({sum(v is None for v in values)} of {len(values)} missing)")
    there = [[row for row in rows if row is not None] for rows in groups]
    mark = next((row.mark for rows in there for row in rows if row.mark), "")
    if not all(_both(row) for rows in there for row in rows):
        return Cell(percent(whole) + mark, whole)
    base, novel = (mean([mean([_of(spread(row)) for row in rows]) for rows in there]) for spread in (_base, _novel))
    return Cell(_three(base, novel, harmonic(base, novel), mark), harmonic(base, novel))


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
