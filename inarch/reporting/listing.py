"""The rows of a table as text: a line per row, per run that failed, and per average; columns only where they say something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.errors import need
from inarch.reporting.failures import Failure
from inarch.reporting.failures import lines as failed_lines
from inarch.reporting.protocol import duration
from inarch.reporting.rows import GONE, Row, percent
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
    ("kept per\nexample", lambda row: size_text(row.saved), True),
    ("s/epoch", lambda row: GONE if row.epoch_seconds is None else duration(row.epoch_seconds), True),
)
FEW = ("base", "novel", "harmonic\nmean", "other\ndata")  # columns of few-shot runs
ONCE = {"setting": "", "backbone": "backbone", "px": "image size"}  # columns that move to the caption when all rows agree


@dataclass(frozen=True)
class Listing:
    rows: Sequence[Row]
    failures: Sequence[Failure] = ()

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
        few, every = dict.fromkeys(("base", "novel", "harmonic\nmean"), not any(halves)), all(halves) and bool(halves)
        return few | {
            "other\ndata": all(row.other is None or row.other.mean is None for row in self.rows), "test": every and not self.failures,
            "trained\nwith head": every, "s/epoch": every, "val": not any(row.missing for row in self.rows),
            "mean\nof tasks": all(row.of_tasks is None for row in self.rows), "metric": len({row.first.metric for row in self.rows}) <= 1,
            "kept per\nexample": all(row.saved is None for row in self.rows),
        }

    @property
    def titles(self) -> list[str]:
        return [self.title(title).replace("\n", " ") for title, _, _ in self.columns]

    @property
    def right(self) -> list[bool]:
        """Which columns are numbers."""
        return [right for _, _, right in self.columns]

    @property
    def lines(self) -> list[list[str]]:
        """By data set: its rows, then what failed on it; the averages last."""
        return [cells for _, cells in self._lines()]

    def _lines(self) -> list[tuple[str, list[str]]]:
        """With the data set, by which a terminal draws its rules."""
        found = [(row.data, [cell(row) for _, cell, _ in self.columns]) for row in self.rows]
        found += [(failed.data, self._placed(failed.cells())) for failed in failed_lines(self.failures)]
        return [*sorted(found, key=lambda line: line[0]), *(("average", self._placed(one.cells())) for one in self.averages)]

    def _placed(self, cells: dict[str, str]) -> list[str]:
        return [cells.get(title, "") for title, _, _ in self.columns]

    @property
    def caption(self) -> str:
        """What all rows share."""
        if not self.rows:
            return "no run has finished"
        shown = {title for title, _, _ in self.columns}
        shared = [f"{ONCE[c[0]]} {c[1](self.rows[0])}" for c in COLUMNS if ONCE.get(c[0]) and c[0] not in shown]
        few = ["harmonic mean of base and novel, seed by seed"] if "novel" in shown else []
        few += ["in an average over data sets, that of the average base and novel"] if self.averages else []
        return "; ".join([*shared, f"test {self.metric} in %, mean [min, max] over {self._seeds()}", *few])

    def _seeds(self) -> str:
        """How many: ``3 seeds``, or ``1 to 3 seeds`` where rows have more or fewer."""
        counts = [len(row.results) for row in self.rows]
        words = " to ".join(map(str, sorted({min(counts), max(counts)})))
        return f"{words} seed" + "s" * (words != "1")

    @property
    def metric(self) -> str:
        return " or ".join(dict.fromkeys(row.first.metric for row in self.rows))

    def title(self, column: str) -> str:
        return f"test\n{self.metric}" if column == "test" and self.metric and " or " not in self.metric else column

    def rich(self, below: Sequence[tuple[str, str]]) -> Any:
        """For a terminal; ``below``: lines of text under it, each with its style."""
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
        lines = self._lines()
        few = [title in FEW for title, _, _ in self.columns]
        for (data, cells), after in zip(lines, [*lines[1:], None], strict=True):
            broken = [cell.replace(" [", "\n[") if narrow else cell for cell, narrow in zip(cells, few, strict=True)]
            table.add_row(*map(Text, broken), end_section=after is not None and after[0] != data)
        return Group(table, *(Text(text, style=style) for text, style in below))


def size_text(size: float | None) -> str:
    return GONE if size is None else f"{size / 1000:,.1f} kB"
