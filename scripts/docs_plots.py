"""Draw the plots of docs/performance.md from results/bench/*.json: no bar there is typed.

    python scripts/docs_plots.py           writes docs/pictures/bench-{vision,vl,clip}.svg
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs_drawing import INK, LAYER, OTHER, SHARED, write
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from inarch.bench.families import FAMILIES
from inarch.bench.results import fetch
from inarch.bench.subjects import Family

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SHOWN = {"vision": ("train", "b"), "vl": ("vl", "bart"), "clip": ("clip", "b")}  # family -> measurement, the largest backbone of it
OURS = ("arc", "vlpet", "adaring")


def plotted(family: Family, size: str, entry: dict[str, Any]) -> Figure:
    """Step time with its range, and saved bytes, of every way to train, as ratios to the floor."""
    rows = [(name, entry["methods"][name]) for name in family.subjects if name in entry["methods"]]
    figure = Figure(figsize=(9.2, 0.9 + 0.3 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    times = [row["time_ratio"] for _, row in rows]
    names = [name for name, _ in rows]
    _bars(left, names, [ratio["median"] for ratio in times], "time of a step / floor")
    for y, ratio in enumerate(times):
        left.plot([ratio["low"], ratio["high"]], [y, y], color=INK, linewidth=1)
    _bars(right, names, [row["saved_ratio"] for _, row in rows], f"saved for the backward per {family.unit} / floor")
    left.set_yticks(range(len(rows)), [family.subjects[name].label for name in names], fontsize=8)
    left.invert_yaxis()
    figure.suptitle(f"{family.sizes[size].title}, batch {entry['settings']['batch']}; {entry['hardware']}, {entry['date']}", fontsize=9)
    return figure


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], title: str) -> None:
    colours = [LAYER if name == "floor" else SHARED if name.startswith(OURS) else OTHER for name in names]
    axes.barh(range(len(names)), values, color=colours, height=0.7)
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    for y, value in enumerate(values):
        axes.text(0.02, y, f"{value:.2f}", va="center", fontsize=8, color=INK)
    axes.set_xlabel(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def plots() -> dict[str, Figure]:
    """The figure of each family, by its name."""
    found = {}
    for family, (measurement, size) in SHOWN.items():
        entry = fetch(ROOT / "results" / "bench" / f"{measurement}.json")["models"][size]
        found[family] = plotted(FAMILIES[family], size, entry)
    return found


def main() -> None:
    for family, figure in plots().items():
        print(write(figure, PICTURES / f"bench-{family}.svg").relative_to(ROOT))


if __name__ == "__main__":
    main()
