"""The few shapes that the drawings of docs/pictures are made of, in one set of colours: frozen grey, shared teal, per layer orange."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from inarch import files

INK, FROZEN, SHARED, LAYER, OTHER = "#263238", "#cfd8dc", "#80cbc4", "#ffb74d", "#9fa8da"
SETTINGS = {"svg.hashsalt": "inarch", "svg.fonttype": "path", "mathtext.fontset": "dejavusans", "font.size": 10, "text.color": INK}
Point = tuple[float, float]


def canvas(width: float, height: float, wide: float, high: float) -> tuple[Figure, Axes]:
    """A figure of ``width`` x ``height`` inches without axes, measured in units ``wide`` x ``high`` of equal sides."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(0, wide), ylim=(0, high), aspect="equal")
    axes.set_axis_off()
    return figure, axes


def write(figure: Figure, path: Path) -> Path:
    """As SVG, the same bytes every time."""
    buffer = io.BytesIO()
    with rc_context(SETTINGS):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    files.write(path, b"\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + b"\n")
    return path


def say(axes: Axes, at: Point, text: str, size: float = 10, **more: object) -> None:
    axes.text(*at, text, **({"ha": "center", "va": "center", "fontsize": size, "color": INK} | more))  # type: ignore[arg-type]


def box(axes: Axes, at: Point, size: Point, text: str = "", colour: str = FROZEN, font: float = 10) -> None:
    """A rounded box around its centre ``at``."""
    corner = (at[0] - size[0] / 2, at[1] - size[1] / 2)
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.08", facecolor=colour, edgecolor=INK, linewidth=0.9))
    say(axes, at, text, font)


def arrow(axes: Axes, start: Point, end: Point, bend: float = 0.0, **more: object) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.0, "color": INK, "shrinkA": 0, "shrinkB": 0} | more
    axes.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **style))


def line(axes: Axes, points: Sequence[Point], **more: object) -> None:
    axes.plot(*zip(*points, strict=True), **({"color": INK, "linewidth": 1.0, "zorder": 0.5} | more))  # type: ignore[arg-type]


def knot(axes: Axes, at: Point, sign: str) -> None:
    """A small circle where two streams meet: ``+`` or ``×``."""
    axes.add_patch(Circle(at, 0.17, facecolor="white", edgecolor=INK, linewidth=1.0, zorder=3))
    say(axes, at, sign, 11, zorder=4)


def funnel(axes: Axes, at: Point, text: str, narrows: bool, colour: str = SHARED, size: Point = (0.5, 1.0)) -> None:
    """A projection from wide to narrow, left to right, or back."""
    half, (left, right) = size[0] / 2, (size[1] / 2, size[1] / 5) if narrows else (size[1] / 5, size[1] / 2)
    corners = [(at[0] - half, at[1] - left), (at[0] + half, at[1] - right), (at[0] + half, at[1] + right), (at[0] - half, at[1] + left)]
    axes.add_patch(Polygon(corners, closed=True, facecolor=colour, edgecolor=INK, linewidth=0.9))
    say(axes, at, text, 9)


def strip(axes: Axes, at: Point, cells: int, colour: str = LAYER, cell: float = 0.16, shades: Sequence[float] | None = None) -> None:
    """A vector as a row of cells that begins at ``at``; ``shades``: how strong each is coloured, from 0 (white) to 1."""
    full = to_rgb(colour)
    for k in range(cells):
        share = 1.0 if shades is None else shades[k]
        face = tuple(1 - share * (1 - part) for part in full)
        axes.add_patch(Rectangle((at[0] + k * cell, at[1] - cell / 2), cell, cell, facecolor=face, edgecolor=INK, linewidth=0.5))
