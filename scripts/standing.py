"""Where one method stands against each other one of a comparison: ahead, level or behind, per data set, and how often.

    ahead, behind   the ranges over seeds do not meet;   level: they do        * paired t test over seeds, p <= 0.05 after Holm's rule
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from inarch.compare import Comparison, compare
from inarch.reporting import markdown
from inarch.reporting.across import named
from inarch.reporting.contests import LEVEL, Contest
from inarch.reporting.rows import Row

VERDICTS = ("ahead", "level", "behind")


def standing(folders: Sequence[Path], method: str) -> str:
    """``method`` (a name, as in ``inarch count``) minus each other method in points of test score, as Markdown."""
    found = compare(folders, reference=method)
    rows = {(named(row, found.rows), row.data): row for row in found.rows}
    contests = {(contest.method, contest.data): contest for contest in found.contests.within}
    methods, sets = (list(dict.fromkeys(key[part] for key in contests)) for part in (0, 1))
    counts: Counter[str] = Counter()
    lines = []
    for other in methods:
        cells = [_cell(contests.get((other, data)), rows, counts) for data in sets]
        lines.append([other, *cells, _mean(found, other)])
    ours = next(contest.reference for contest in contests.values())
    title = f"{ours}: " + ", ".join(f"{counts[verdict]} × {verdict}" for verdict in VERDICTS)
    table = markdown.table([f"{ours} against", *sets, "mean of sets"], lines, [False] + [True] * (len(sets) + 1))
    return f"{markdown.escaped(title)}\n\n{table}\n"


def _cell(contest: Contest | None, rows: dict[tuple[str, str], Row], counts: Counter[str]) -> str:
    if contest is None:
        return "–"
    told = verdict(rows[contest.reference, contest.data], rows[contest.method, contest.data])
    counts[told] += 1
    star = "*" if contest.holm_t is not None and contest.holm_t <= LEVEL else ""
    return f"{-100 * contest.found.mean:+.1f} {told}{star}"


def verdict(ours: Row, theirs: Row) -> str:
    """By ranges over seeds. Only rows that have a mean meet, so both have a range."""
    (low, high), (other_low, other_high) = ours.span or (0.0, 0.0), theirs.span or (0.0, 0.0)
    return "ahead" if low > other_high else "behind" if high < other_low else "level"


def _mean(found: Comparison, other: str) -> str:
    own = [contest for contest in found.contests.across if contest.method == other]
    return f"{-100 * own[0].found.mean:+.1f}" if own else "–"
