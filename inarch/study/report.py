"""The report of a comparison, in its folder: a page, two Markdown tables, a line per run, a LaTeX table, and what was asked for."""

from __future__ import annotations

from pathlib import Path

from inarch import files
from inarch.compare import Comparison
from inarch.study.runner import Wish
from inarch.study.wishing import said


def write_report(found: Comparison, wish: Wish) -> list[Path]:
    """Returns what was written."""
    tables = f"{found.matrix_markdown()}\n{found.markdown()}"
    texts = {"report.html": found.html(wish.suite.title), "report.md": tables, "runs.csv": found.csv(), "table.tex": found.latex(),
             "comparison.toml": said(wish)}
    for name, text in texts.items():
        files.write(wish.out / name, text.encode())
    return [wish.out / name for name in texts]
