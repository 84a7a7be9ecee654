"""Many runs, one table: mean and range over seeds, and no mean of things that differ.

    row = data (and its sha) x method x backbone x image size x every setting but the seed;   score = mean [min, max] over seeds
few-shot: base, novel and their harmonic mean in its place; averages over data sets below (inarch/reporting/shots.py)
A row in which a seed lacks its test score or failed has no mean: "–" and how many are missing stand there. So with a mean over data sets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from inarch.reporting import compared, honesty, latex, markdown, page, tidy, trials
from inarch.reporting.caveats import caveats
from inarch.reporting.contests import Contests, contests
from inarch.reporting.failures import Failure, attach
from inarch.reporting.gather import read_all
from inarch.reporting.listing import Listing
from inarch.reporting.matrix import Matrix, matrix
from inarch.reporting.results import Result, embedded_record, mark
from inarch.reporting.rows import Row, distinct, rows_of
from inarch.reporting.shots import Average
from inarch.reporting.trials import Tried


@dataclass(frozen=True)
class Comparison:
    """Rows by data and trained numbers; ``notes``: what to know before comparing; ``problems``: files that were not used.

    ``failures``: runs without a result; ``trials``: runs that only chose a setting; ``reference``: whom the others are tested against.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    groups: Mapping[str, Sequence[str]] | None = None
    failures: tuple[Failure, ...] = ()
    trials: tuple[Result, ...] = ()
    reference: str | None = None

    def table(self) -> Any:
        """For a terminal: a rich renderable, with notes and problems below."""
        return self.listing.rich([*((f"note: {note}", "") for note in (*self.notes, *self.provenance)),
                                  *((f"not used: {problem}", "red") for problem in self.problems)])

    def markdown(self) -> str:
        """A row per data set, method and setting."""
        return self._page(markdown.table(self.listing.titles, self.listing.lines, self.listing.right), self.notes)

    def matrix_markdown(self) -> str:
        """Methods down, data sets across, and the mean over them where a method has them all."""
        made = self.matrix
        table = markdown.table(made.header, made.texts, [False, *[True] * (len(made.header) - 1)])
        return self._page(table, (*self.notes, *made.notes))

    def html(self, title: str = "", *, plots: bool = True) -> str:
        """Everything as one self-contained page that fetches nothing: tables, plots, tests, failures, trials and every run."""
        return page.to_html(compared.page(self, title, plots))

    def csv(self) -> str:
        """A line per run, trials and failures among them: what a data frame wants."""
        return tidy.to_csv(self.rows, self.trials, self.failures)

    def latex(self, budgets: Sequence[int] = ()) -> str:
        """The matrix as a booktabs table; with ``budgets`` (trained numbers without the head), the best within each is bold."""
        made = self.matrix
        below = (*self.notes, *made.notes, *self.provenance, *map("not used: {}".format, self.problems))
        return latex.table(made, self.caption, below, budgets)

    def to_json(self) -> dict[str, Any]:
        found = {"format": 1, "rows": [row.to_json() for row in self.rows], "notes": [*self.notes], "problems": [*self.problems],
                 "failures": [failure.to_json() for failure in self.failures], "trials": [one.to_json() for one in self.tried],
                 "paired": self.contests.to_json(),
                 "provenance": {row.first.method: str(honesty.origin(row.first.name)) for row in self.rows}}
        return found | ({"averages": [average.to_json() for average in self.averages]} if self.averages else {})

    @property
    def listing(self) -> Listing:
        """The rows as lines of text."""
        return Listing(self.rows, self.lost)

    @property
    def matrix(self) -> Matrix:
        return matrix(self.rows, self.groups, self.lost)

    @property
    def lost(self) -> tuple[Failure, ...]:
        """Failures that have a place in the tables: those that were no trials."""
        return tuple(failure for failure in self.failures if not failure.trial)

    @property
    def tried(self) -> list[Tried]:
        """What the trials tried, by data and method."""
        return trials.tried(self.trials, self.rows, self.failures)

    @cached_property
    def contests(self) -> Contests:
        """Every method against the reference, or against the best."""
        return contests(self.rows, self.reference)

    @property
    def averages(self) -> list[Average]:
        """Of few-shot runs over several data sets."""
        return self.listing.averages

    @property
    def caption(self) -> str:
        """What all rows share."""
        return self.listing.caption

    @property
    def provenance(self) -> tuple[str, ...]:
        """One line on what the methods were held against, by class; none where there is no row."""
        names = {row.first.method.partition("(")[0]: row.first.name for row in self.rows}
        return (honesty.told(names),) if names else ()

    def _page(self, table: str, notes: Sequence[str]) -> str:
        below = [f"- {markdown.escaped(note)}" for note in (*notes, *self.provenance)]
        below += [f"- **not used:** {markdown.escaped(problem)}" for problem in self.problems]
        return "\n\n".join([table, markdown.escaped(self.caption) + ".", *(["\n".join(below)] if below else [])]) + "\n"


def compare(paths: Sequence[str | Path], *, groups: Mapping[str, Sequence[str]] | None = None, reference: str | None = None) -> Comparison:
    """Run folders, ``result.json`` files, files of failures, and folders of such, as one table.

    ``groups``: name -> data sets, for the means of the matrix. ``reference``: the method (its name or recipe line) that the others are
    tested against; None: the best. Trials (``test = false``) choose settings and are no rows, unless there is nothing else.
    Raises ``DataError`` when a path is missing or holds no result at all, ``ConfigError`` when no one row is the reference.
    """
    found = read_all(paths)
    finished, tries, lost = trials.split(found.results, found.failures)
    results, twice = distinct(finished)
    seen = embedded_record() if found.sets_seen is None else found.sets_seen
    marked = [dataclasses.replace(row, mark=mark(row.first, seen)) for row in rows_of(results)]
    rows, failures, again = attach(marked, lost)
    told = dict.fromkeys(filter(None, (honesty.of(row.first.method) for row in rows)))
    made = Comparison(tuple(rows), (), found.problems, groups, tuple(failures), tuple(distinct(tries)[0]), reference)
    _ = made.contests  # a reference that is none is refused here
    return dataclasses.replace(made, notes=(*twice, *again, *caveats(rows), *trials.uneven(made.tried), *told))
