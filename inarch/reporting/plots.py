"""Figures of a report, each drawn twice: for a light page and for a dark one. Names are shown as they are, `$` included."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inarch.errors import need

NAMED = 100  # classes; above it a matrix has no room for names and numbers
LONGEST = 26  # characters of a class name beside a matrix
Series = tuple[list[int], list[float]]  # epochs and values


@dataclass(frozen=True)
class Ink:
    """The colours of a page: text, quieter marks, faint lines, paper, and the ones that carry data."""

    text: str
    quiet: str
    faint: str
    paper: str
    lines: tuple[str, str]
    ramp: tuple[str, str, str]  # from none to all


LIGHT = Ink("#1f2328", "#59636e", "#d8dee4", "#ffffff", ("#0b62c4", "#c2410c"), ("#ffffff", "#7fb2e8", "#0a3f7f"))
DARK = Ink("#e6edf3", "#9aa5b1", "#363c44", "#15191f", ("#6cb0ff", "#ff9d5c"), ("#15191f", "#24639f", "#a9d3ff"))


@dataclass(frozen=True)
class Plot:
    """The same figure for both kinds of page, as PNG; ``width`` in CSS pixels, fewer than it has, so that print stays sharp."""

    alt: str
    light: bytes
    dark: bytes
    width: int
    scrolls: bool = False


def curves(lines: Sequence[Mapping[str, Any]], metric: str) -> Plot:
    """Loss on train and validation, and the validation metric, over epochs; ``lines`` are those of ``metrics.jsonl``."""
    series = {"train loss": _series(lines, lambda line: line["loss"]),
              "val loss": _series(lines, lambda line: line.get("val", {}).get("loss")),
              f"val {metric}": _series(lines, lambda line: line.get("val", {}).get(metric))}
    wide = bool(series[f"val {metric}"][0])

    def draw(ink: Ink) -> Any:
        figure = new_figure(ink, (9.0 if wide else 5.0, 3.1))
        axes = figure.subplots(1, 1 + wide, squeeze=False)[0]
        _panel(axes[0], ink, {name: series[name] for name in ("train loss", "val loss")})
        if wide:
            _panel(axes[1], ink, {f"val {metric}": series[f"val {metric}"]}, at=1)
        return figure

    return plot_of("Training curves: loss and validation score over epochs", draw, dpi=160)


def _series(lines: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None]) -> Series:
    points = [(line["epoch"], found) for line in lines if (found := value(line)) is not None]
    return [epoch for epoch, _ in points], [found for _, found in points]


def _panel(axes: Any, ink: Ink, series: Mapping[str, Series], at: int = 0) -> None:
    for colour, (name, (x, y)) in zip(ink.lines[at:], series.items(), strict=False):
        if x:
            axes.plot(x, y, color=colour, label=name, linewidth=1.8, marker="o" if len(x) < 30 else "", markersize=3)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color=ink.faint, linewidth=0.6)
    axes.legend(frameon=False, labelcolor=ink.text, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    tint(axes, ink)


def confusion(counts: NDArray[np.integer[Any]], classes: Sequence[str]) -> Plot:
    """Counts per true (down) and predicted (across) class, coloured by their share of the true class."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    n = len(classes)

    def draw(ink: Ink) -> Any:
        cell = 0.5 if n <= 12 else 0.34 if n <= 30 else 0.235 if n <= NAMED else 7.0 / n
        named = n <= NAMED
        margin = 0.5 + 0.085 * max(map(len, map(_short, classes))) * named * (2 if n > 30 else 1)
        figure = new_figure(ink, (n * cell + margin, n * cell + margin))
        axes = figure.subplots()
        axes.imshow(shares, cmap=_ramp(ink), vmin=0, vmax=1, interpolation="nearest", aspect="equal")
        axes.set(xlabel="predicted", ylabel="true")
        if named:
            _names(axes, classes, size=9 if n <= 12 else 8 if n <= 30 else 7, around=n > 30)
            _numbers(axes, counts, shares, _ramp(ink), size=9 if n <= 12 else 7.5 if n <= 30 else 6)
        tint(axes, ink)
        return figure

    alt = f"Confusion matrix of {n} classes: true class down, predicted class across"
    return plot_of(alt, draw, dpi=160 if n <= 30 else 120, scrolls=True)


def _names(axes: Any, classes: Sequence[str], size: float, around: bool) -> None:
    """``around``: on all four sides, as a large matrix is looked at in parts."""
    places = range(len(classes))
    axes.set_xticks(places, [_short(name) for name in classes], rotation=90, fontsize=size)
    axes.set_yticks(places, [_short(name) for name in classes], fontsize=size)
    if around:
        axes.tick_params(labeltop=True, labelright=True, top=True, right=True)
        axes.tick_params(axis="x", labelrotation=90)
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set_parse_math(False)  # a class may be called $x$


def _numbers(axes: Any, counts: NDArray[Any], shares: NDArray[Any], ramp: Any, size: float) -> None:
    """Counts above zero, dark on light cells and light on dark ones."""
    for true, predicted in zip(*np.nonzero(counts), strict=True):
        red, green, blue, _ = ramp(shares[true, predicted])
        colour = "#0d1117" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "#ffffff"
        axes.text(predicted, true, str(counts[true, predicted]), ha="center", va="center", fontsize=size, color=colour)


def _short(name: str) -> str:
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _ramp(ink: Ink) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", ink.ramp)


def new_figure(ink: Ink, size: tuple[float, float], layout: Literal["constrained"] | None = "constrained") -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise need("matplotlib", "report") from None
    figure = Figure(figsize=size, layout=layout, facecolor=ink.paper)
    FigureCanvasAgg(figure)  # drawn without a display and without pyplot's global state
    return figure


def tint(axes: Any, ink: Ink) -> None:
    axes.set_facecolor(ink.paper)
    axes.tick_params(which="both", colors=ink.text, length=2)
    axes.xaxis.label.set_color(ink.text)
    axes.yaxis.label.set_color(ink.text)
    for spine in axes.spines.values():
        spine.set_color(ink.faint)


def plot_of(alt: str, draw: Callable[[Ink], Any], dpi: int, scrolls: bool = False) -> Plot:
    light, dark = draw(LIGHT), draw(DARK)
    return Plot(alt, _png(light, dpi), _png(dark, dpi), round(light.get_figwidth() * 96), scrolls)


def _png(figure: Any, dpi: int) -> bytes:
    """In 256 colours, which are all that text, lines and one ramp have: a third of the bytes."""
    figure.set_dpi(dpi)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a script without a font here: a box is drawn
        figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    out = io.BytesIO()
    drawn.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "png", optimize=True, dpi=(dpi, dpi))
    return out.getvalue()
