"""The report of a comparison, in its folder: a page, two Markdown tables, a line per run, a LaTeX table, and what was asked for."""

from __future__ import annotations

from pathlib import Path

from inarch import files
from inarch.compare import Comparison
from inarch.errors import MissingExtra
from inarch.study.runner import Wish
from inarch.study.wishing import said


def write_report(found: Comparison, wish: Wish) -> list[Path]:
    """Returns what was written; without matplotlib the page has no plots."""
    try:
        page = found.html(wish.suite.title)
    except MissingExtra:
        page = found.html(wish.suite.title, plots=False)
    texts = {"report.html": page, "report.md": f"{found.matrix_markdown()}\n{found.markdown()}", "runs.csv": found.csv(),
             "table.tex": found.latex(), "comparison.toml": said(wish)}
    for name, text in texts.items():
        files.write(wish.out / name, text.encode())
    return [wish.out / name for name in texts]
