"""The pages and figures of the local comparison, from its results: docs/local-NAME.html and docs/pictures/local-NAME-COST.png.

    python scripts/local_report.py          then        python scripts/make_tables.py, for the tables of docs/local-comparison.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inarch import files
from inarch.compare import compare
from inarch.reporting import pareto
from inarch.reporting.plots import Plot
from inarch.study.runner import groups_of
from inarch.suites import load_suite

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
COSTS = {"numbers trained": "numbers", "bytes kept": "saved"}  # start of a figure's words -> its file's name; no times of a shared machine


def written(results: Path) -> Iterator[Path]:
    """One comparison: its page, tested against ARC, and a figure per cost."""
    suite = load_suite("local")
    found = compare([results], groups=groups_of(suite), reference="arc")
    page = DOCS / f"{results.name}.html"
    files.write(page, found.html(f"{suite.title}: {results.name}").encode())
    yield page
    for plot in pareto.blocks(found.rows):
        names = [name for words, name in COSTS.items() if isinstance(plot, Plot) and plot.alt.startswith(f"Score against {words}")]
        for name in names:
            picture = DOCS / "pictures" / f"{results.name}-{name}.png"
            files.write(picture, plot.light)  # type: ignore[union-attr]
            yield picture


def main() -> None:
    for results in sorted((ROOT / "results").glob("local-*")):
        for path in written(results):
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
