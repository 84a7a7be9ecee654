"""Panels of points with their names beside them, the front as a staircase, the range over seeds as a bar."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inarch.reporting.labels import Box, nearest, place
from inarch.reporting.plots import Ink, Plot, new_figure, plot_of, tint

if TYPE_CHECKING:
    from inarch.reporting.pareto import Panel

SIZE = 8  # of names, in points
WIDE, HIGH = 5.6, 3.7  # of a panel, in inches, with its margins
LEFT, RIGHT, TOP, BOTTOM = 0.62, 0.12, 0.32, 0.5
ONE_DECADE = 1.6  # powers of ten across below which ticks of 2, 3 and 5 have numbers too
FAR = 12  # pixels from which a line leads from a name to its point
CLEAR = 2.5  # pixels between a name and a line
ZERO_AT = 3.0  # where a zero stands on a logarithmic axis: so many times below the least other


def scatter(panels: Sequence[Panel], title: str, unit: str) -> Plot:
    """Score in percent, up, against a cost on a logarithmic axis; ``unit`` "B", "s" or "" for a plain number."""
    columns = 1 if len(panels) == 1 else 2

    def draw(ink: Ink) -> Any:
        every, figure = _grid(ink, math.ceil(len(panels) / columns), columns)
        for axes, panel in zip(every, panels, strict=False):
            _panel(axes, panel, ink, f"{title} ({unit})" if unit else title, unit)
            _names(figure, axes, panel, ink)
        for axes in every[len(panels) :]:
            axes.set_visible(False)
        return figure

    words = "; ".join(panel.words for panel in panels)
    return plot_of(f"Score against {title}. Not beaten, cheapest first: {words}", draw, dpi=150, scrolls=True)


def _grid(ink: Ink, rows: int, columns: int) -> tuple[Any, Any]:
    """Axes with margins of a known size: to find them by drawing takes as long as the drawing."""
    wide, high = WIDE * columns, HIGH * rows
    figure = new_figure(ink, (wide, high), layout=None)
    every = figure.subplots(rows, columns, squeeze=False).flatten()
    inner = (WIDE - LEFT - RIGHT, HIGH - TOP - BOTTOM)
    figure.subplots_adjust(left=LEFT / wide, right=1 - RIGHT / wide, top=1 - TOP / high, bottom=BOTTOM / high,
                           wspace=(LEFT + RIGHT) / inner[0], hspace=(TOP + BOTTOM) / inner[1])
    return every, figure


def _panel(axes: Any, panel: Panel, ink: Ink, title: str, unit: str) -> None:
    axes.margins(x=0.12, y=0.12)
    _scale(axes, [point.cost for point in panel.points], unit)
    best = panel.front
    axes.plot([p.cost for p in best], [p.score for p in best], drawstyle="steps-post", color=ink.lines[0], linewidth=1.2, alpha=0.6)
    for points, colour in ((best, ink.lines[0]), ([p for p in panel.points if p not in best], ink.quiet)):
        if points:
            bars = [[max(p.score - p.low, 0) for p in points], [max(p.high - p.score, 0) for p in points]]
            axes.errorbar([p.cost for p in points], [p.score for p in points], bars, fmt="o", color=colour, markersize=4.5,
                          elinewidth=1.1, capsize=2)
    axes.set_title(panel.title, color=ink.text, fontsize=10, loc="left", parse_math=False)
    axes.set_xlabel(title, fontsize=8.5, parse_math=False)
    axes.set_ylabel(f"{panel.metric}, %", fontsize=8.5, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(color=ink.faint, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    tint(axes, ink)


def _scale(axes: Any, costs: Sequence[float], unit: str) -> None:
    """Logarithmic; a zero, of a method that trains nothing but a head, has its place at the left end."""
    from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullFormatter, NullLocator

    if len({*costs}) == 1:  # one place has no width of its own
        axes.set_xlim(costs[0] / ZERO_AT or -1, costs[0] * ZERO_AT or 1)
    positive = sorted(cost for cost in costs if cost > 0) or [1.0]
    short = EngFormatter(sep="" if unit != "B" else " ", unit=unit if unit == "B" else "") if unit != "s" else (lambda x, _: f"{x:g}")
    decades = math.log10(positive[-1] / positive[0])
    if min(costs) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
        axes.xaxis.set_minor_formatter(short if decades < ONE_DECADE else NullFormatter())
    else:
        least = positive[0] / ZERO_AT
        axes.set_xscale("symlog", linthresh=least, linscale=0.3)
        first, last = math.floor(math.log10(positive[0])), math.ceil(math.log10(positive[-1]))
        steps = (1, 2, 3, 5) if decades < ONE_DECADE else (1,)
        ticks = [step * 10**k for k in range(first, last + 1) for step in steps]
        axes.xaxis.set_major_locator(FixedLocator([0, *(tick for tick in ticks if least < tick < positive[-1] * ZERO_AT)]))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(short)
    axes.tick_params(which="minor", labelsize=8)


def _names(figure: Any, axes: Any, panel: Panel, ink: Ink) -> None:
    """Names where they cover nothing, with a line to the point where they had to go far."""
    from matplotlib.patheffects import withStroke

    axes.get_xlim(), axes.get_ylim()  # settles the scales
    renderer, frame = figure.canvas.get_renderer(), axes.get_window_extent()
    texts = [axes.text(0, 0, point.label, fontsize=SIZE, color=ink.text, parse_math=False) for point in panel.points]
    sizes = [(box.width + 2, box.height) for box in (text.get_window_extent(renderer) for text in texts)]
    dots = _pixels(axes, [(point.cost, point.score) for point in panel.points])
    back = axes.transData.inverted()
    places = place(dots, sizes, (frame.x0, frame.y0, frame.x1, frame.y1), _lines(axes, panel))
    for text, dot, box in zip(texts, dots, places, strict=True):
        text.set_position(back.transform((box[0] + 1, box[1])))
        text.set(path_effects=[withStroke(linewidth=2, foreground=ink.paper)], verticalalignment="bottom", zorder=4)
        near = nearest(box, dot)
        if math.dist(near, dot) > FAR:
            axes.plot(*zip(back.transform(dot), back.transform(near), strict=True), color=ink.quiet, linewidth=0.6, scalex=False,
                      scaley=False)


def _lines(axes: Any, panel: Panel) -> list[Box]:
    """What names should not cover: the staircase and the ranges, as thin boxes in pixels."""
    best = _pixels(axes, [(point.cost, point.score) for point in panel.front])
    steps = [edge for (x, y), (to, top) in itertools.pairwise(best) for edge in ((x, y, to, y), (to, y, to, top))]
    ends = _pixels(axes, [(point.cost, score) for point in panel.points for score in (point.low, point.high)])
    bars = [(*low, *high) for low, high in zip(ends[::2], ends[1::2], strict=True)]
    return [(left - CLEAR, bottom - CLEAR, right + CLEAR, top + CLEAR) for left, bottom, right, top in [*steps, *bars]]


def _pixels(axes: Any, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in axes.transData.transform(points)]
