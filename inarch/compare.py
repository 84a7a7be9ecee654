"""Many runs, one table: mean and range over seeds, and no mean of things that differ.

    row = data (and its sha) x method x backbone x image size x every setting but the seed;   score = mean [min, max] over seeds
few-shot: base, novel and their harmonic mean in its place; averages over data sets below (inarch/reporting/shots.py)
A row in which a seed lacks its test score has no mean: "–" and how many are missing stand there. So with a mean over data sets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.errors import need
from inarch.reporting import honesty, markdown
from inarch.reporting.caveats import caveats
from inarch.reporting.matrix import matrix
from inarch.reporting.page import Page, to_html
from inarch.reporting.page import Table as PageTable
from inarch.reporting.results import embedded_record, mark, read_all
from inarch.reporting.rows import GONE, Row, distinct, percent, rows_of
from inarch.reporting.shots import Average, averages

Column = tuple[str, Callable[[Row], str], bool]  # title, cell, right-aligned

COLUMNS: tuple[Column, ...] = (
    ("method", lambda row: row.first.method, False),
    ("setting", lambda row: row.setting, False),
    ("data", lambda row: row.data, False),
    ("backbone", lambda row: row.backbone, False),
    ("px", lambda row: str(row.first.image_size or GONE), True),
    ("n", lambda row: str(len(row.results)), True),
    ("val", lambda row: GONE if row.val is None else percent(row.val), True),
    ("metric", lambda row: row.first.metric, False),
    ("test", lambda row: row.score_text(), True),
    ("base", lambda row: GONE if row.base is None else row.score_text(), True),
    ("novel", lambda row: GONE if row.novel is None else str(row.novel), True),
    ("harmonic\nmean", lambda row: GONE if row.harmonic is None else str(row.harmonic), True),
    ("other\ndata", lambda row: GONE if row.other is None else str(row.other), True),
    ("mean\nof tasks", lambda row: GONE if row.of_tasks is None else percent(row.of_tasks), True),
    ("trained\nno head", lambda row: f"{row.first.without_head:,}", True),
    ("trained\nwith head", lambda row: f"{row.first.with_head:,}", True),
    ("adapter\nfile", lambda row: size_text(row.adapter_bytes), True),
    ("s/epoch", lambda row: GONE if row.epoch_seconds is None else f"{row.epoch_seconds:.2g}", True),
)
FEW = ("base", "novel", "harmonic\nmean", "other\ndata")  # columns of few-shot runs
ONCE = {"setting": "", "backbone": "backbone", "px": "image size"}  # columns that move to the caption when all rows agree


@dataclass(frozen=True)
class Comparison:
    """Rows by data and trained numbers; ``notes``: what to know before comparing; ``problems``: files that were not used."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    groups: Mapping[str, Sequence[str]] | None = None

    def table(self) -> Any:
        """For a terminal: a rich renderable, with notes and problems below."""
        try:
            from rich import box
            from rich.console import Group
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            raise need("rich", "cli") from None
        table = Table(caption=Text(self.caption), caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
        for title, _, right in self.columns:  # a narrow terminal breaks the words, never the numbers
            table.add_column(self.title(title), justify="right" if right else "left", no_wrap=right, overflow="fold")
        for row, after in zip(self.rows, [*self.rows[1:], None], strict=True):
            cells = [Text(cell(row).replace(" [", "\n[") if title in FEW else cell(row)) for title, cell, _ in self.columns]
            table.add_row(*cells, end_section=after.data != row.data if after is not None else bool(self.averages))
        for average in self.averages:
            table.add_row(*map(Text, self._averaged(average)))
        below = [Text(f"note: {note}") for note in self.notes] + [Text(f"not used: {p}", style="red") for p in self.problems]
        return Group(table, *below)

    def markdown(self) -> str:
        """A row per data set, method and setting."""
        return self._page(markdown.table(self._titles(), self._lines(), [right for _, _, right in self.columns]), self.notes)

    def html(self) -> str:
        """The same as one self-contained page."""
        right = tuple(right for _, _, right in self.columns)
        table = PageTable(tuple(self._titles()), tuple(map(tuple, self._lines())), right)
        below = [*self.notes, *(f"not used: {problem}" for problem in self.problems)]
        sections = (("Runs", (table,)), *((("Before comparing", tuple(below)),) if below else ()))
        return to_html(Page("Runs compared", self.caption, (), sections))

    def _titles(self) -> list[str]:
        return [self.title(title).replace("\n", " ") for title, _, _ in self.columns]

    def _lines(self) -> list[list[str]]:
        return [[cell(row) for _, cell, _ in self.columns] for row in self.rows] + [self._averaged(found) for found in self.averages]

    def _averaged(self, average: Average) -> list[str]:
        cells = average.cells()
        return [cells.get(title, "") for title, _, _ in self.columns]

    def matrix_markdown(self) -> str:
        """Methods down, data sets across, and the mean over them where a method has them all."""
        (header, *lines), notes = matrix(self.rows, self.groups)
        table = markdown.table(header, lines, [False, *[True] * (len(header) - 1)])
        return self._page(table, (*self.notes, *notes))

    def to_json(self) -> dict[str, Any]:
        found = {"format": 1, "rows": [row.to_json() for row in self.rows], "notes": [*self.notes], "problems": [*self.problems]}
        return found | ({"averages": [average.to_json() for average in self.averages]} if self.averages else {})

    @property
    def averages(self) -> list[Average]:
        """Of few-shot runs over several data sets."""
        return averages(self.rows)

    @property
    def columns(self) -> list[Column]:
        """Those in which rows differ, and the ones that always stand; validation only where some run was not tested."""
        idle = self._idle()
        told = {title for title, cell, _ in COLUMNS if title not in ONCE or len({cell(row) for row in self.rows}) > 1}
        return [column for column in COLUMNS if column[0] in told and not idle.get(column[0])]

    def _idle(self) -> dict[str, bool]:
        """Columns in which no row has something to say; where all have base and novel classes there is no head either."""
        halves = [row.novel is not None and row.novel.missing < row.novel.seeds for row in self.rows]
        few, every = dict.fromkeys(("base", "novel", "harmonic\nmean"), not any(halves)), all(halves)
        return few | {
            "other\ndata": all(row.other is None or row.other.mean is None for row in self.rows), "test": every,
            "trained\nwith head": every, "s/epoch": every, "val": not any(row.missing for row in self.rows),
            "mean\nof tasks": all(row.of_tasks is None for row in self.rows), "metric": len({row.first.metric for row in self.rows}) == 1,
        }

    @property
    def caption(self) -> str:
        """What all rows share."""
        shown = {title for title, _, _ in self.columns}
        shared = [f"{ONCE[c[0]]} {c[1](self.rows[0])}" for c in COLUMNS if ONCE.get(c[0]) and c[0] not in shown]
        few = ["harmonic mean of base and novel, seed by seed"] if "novel" in shown else []
        few += ["in an average over data sets, that of the average base and novel"] if self.averages else []
        return "; ".join([*shared, f"test {self.metric} in %, mean [min, max] over n seeds", *few])

    @property
    def metric(self) -> str:
        return " or ".join(dict.fromkeys(row.first.metric for row in self.rows))

    def title(self, column: str) -> str:
        return f"test\n{self.metric}" if column == "test" and " or " not in self.metric else column

    def _page(self, table: str, notes: Sequence[str]) -> str:
        below = [f"- {markdown.escaped(note)}" for note in notes]
        below += [f"- **not used:** {markdown.escaped(problem)}" for problem in self.problems]
        return "\n\n".join([table, markdown.escaped(self.caption) + ".", *(["\n".join(below)] if below else [])]) + "\n"


def compare(paths: Sequence[str | Path], *, groups: Mapping[str, Sequence[str]] | None = None) -> Comparison:
    """Run folders, ``result.json`` files and folders of such, as one table.

    ``groups``: name -> data sets, for ``matrix_markdown``. Raises ``DataError`` when a path is missing or holds no result at all.
    """
    found = read_all(paths)
    results, twice = distinct(found.results)
    seen = embedded_record() if found.sets_seen is None else found.sets_seen
    rows = tuple(dataclasses.replace(row, mark=mark(row.first, seen)) for row in rows_of(results))
    told = dict.fromkeys(filter(None, (honesty.of(row.first.method) for row in rows)))
    return Comparison(rows, (*twice, *caveats(rows), *told), found.problems, groups)


def size_text(size: float | None) -> str:
    return GONE if size is None else f"{size / 1000:,.1f} kB"
