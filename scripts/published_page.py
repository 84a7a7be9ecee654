"""Write docs/published.md from the published values and provenance of the package: no figure there is typed.

    python scripts/published_page.py        writes            python scripts/published_page.py --check     says whether it is stale
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from inarch.methods.registry import METHODS
from inarch.reporting.markdown import table as markdown
from inarch.suites import load_suite
from inarch.suites.published import Row, Table, provenance, suites, table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "published.md"
KINDS = {"golden": "golden against released code", "formula": "paper formula", "reconstruction": "reconstruction"}
HEAD = """# Published values

What papers print for the [suites](suites.md), where it stands, and what became of it here.
[scripts/published_page.py](../scripts/published_page.py) writes this page from
[inarch/suites/published](../inarch/suites/published); `published("vtab-1k", "arc")` of `inarch.suites.published` gives the same rows to a
program. A cell that has been run here stands with its status, the range over seeds and the commit: *reproduced*, or *differs*. Every other
cell is *not run here*.
"""
NONE = ("**At present none of the {:,} cells below has been run here**: the papers' weights and data need a download that could not be "
        "made.\n")
SOME = "Of {:,} cells {:,} are reproduced, {:,} differ, {:,} were not run here.\n"


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, _standing(), _methods(), *map(_suite, suites())]).rstrip() + "\n"


def _standing() -> str:
    count = Counter(row.status(column) for name in suites() for row in table(name).rows for column in row.values)
    cells, away = sum(count.values()), count["not run here"]
    return NONE.format(cells) if away == cells else SOME.format(cells, count["reproduced"], count["differs"], away)


def _methods() -> str:
    rows = [[name, KINDS[provenance(name).kind], provenance(name).against] for name in METHODS]
    return "\n\n".join([
        "## Where our methods come from", "AdaRing is a design of our own: its numbers never share a line with its paper's.",
        markdown(["method", "provenance", "checked against"], rows, [False] * 3)]) + "\n"


def _suite(name: str) -> str:
    shown = table(name)
    parts = [f"## {load_suite(name).title}", f"`--suite {name}`. Numbers: {shown.unit}.", " ".join(shown.note.split())]
    for columns, rows in _by_columns(shown).items():
        header = ["row", "method here", "backbone", "trained", *columns, "source", "here"]
        numbers = [3 <= i < 4 + len(columns) for i in range(len(header))]
        parts.append(markdown(header, [_line(shown, row, columns) for row in rows], numbers))
    notes = [f"- {row.label}, {row.backbone}: {row.note}." for row in shown.rows if row.note]
    return "\n\n".join([*parts, *(["\n".join(dict.fromkeys(notes))] if notes else [])]) + "\n"


def _by_columns(shown: Table) -> dict[tuple[str, ...], list[Row]]:
    """Rows that have the same columns share a table."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in shown.rows:
        found.setdefault(tuple(row.values), []).append(row)
    return found


def _line(shown: Table, row: Row, columns: tuple[str, ...]) -> list[str]:
    cells = [" / ".join(f"{number:.{shown.digits}f}" for number in row.values[column]) for column in columns]
    return [row.label, row.method or "–", row.backbone, row.trained or "–", *cells, row.source, _here(shown, row)]


def _here(shown: Table, row: Row) -> str:
    told = [f"{column} {run.status} [{run.range[0]:.{shown.digits}f}, {run.range[1]:.{shown.digits}f}], seeds "
            f"{', '.join(map(str, run.seeds))}, {run.commit[:7]}" for column, run in row.here.items()]
    return "; ".join(told) or "not run here"


def stale() -> bool:
    return not PAGE.is_file() or PAGE.read_text("utf-8") != page()


def main(words: list[str]) -> int:
    if words == ["--check"]:
        print(f"{PAGE.name} is stale; run python scripts/published_page.py" if stale() else f"{PAGE.name} is current")
        return int(stale())
    PAGE.write_text(page(), "utf-8")
    print(f"docs/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
