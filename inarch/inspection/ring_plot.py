"""Figures of AdaRing: per tower its gates, how alike the layers are, effective ranks and sizes of cores; per owner its slices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inarch.inspection.alike import Square
from inarch.inspection.figure import canvas, checked, saved
from inarch.inspection.ring_report import MOST, RingInspection
from inarch.inspection.rings import UnitView

Draw = Callable[[Any], None]


def plot_rings(found: RingInspection, out: str | Path) -> Path:
    """A row per tower, then a row per owner and kind of slices."""
    out = checked(out)
    rows = [_tower(found, unit) for unit in found.units]
    rows += [[_square(f"{owner.name}: slices of {name}, {rank}", square) for rank, square in zip(found.ranks, each, strict=True)]
             for owner in found.owners for name, each in owner.slices.items()]
    figure, grid = canvas(len(rows), max(map(len, rows)))
    for line, panels in zip(grid, rows, strict=True):
        for axes, draw in zip(line, panels, strict=False):
            draw(axes)
        for axes in line[len(panels) :]:
            axes.set_axis_off()
    figure.suptitle(f"{found.folder}: adaring, experts {', '.join(found.ranks)}", fontsize=11)
    return saved(figure, out)


def _tower(found: RingInspection, unit: UnitView) -> list[Draw]:
    squares = [_square(f"{unit.name}: cosine of {name} between layers", kind.mixture.cosines()) for name, kind in unit.kinds.items()]
    return [_gates(found, unit), *squares, _ranks(found, unit), _excess(found, unit)]


def _gates(found: RingInspection, unit: UnitView) -> Draw:
    def draw(axes: Any) -> None:
        if unit.gates is None:
            axes.set_axis_off()
            axes.set_title(f"{unit.name}: gates by a router", fontsize=9)
            return
        image = axes.imshow(unit.gates.tolist(), vmin=0, vmax=1, aspect="auto", cmap="viridis")
        axes.figure.colorbar(image, ax=axes)
        axes.set_xticks(range(len(found.ranks)), found.ranks)
        for y, row in enumerate(unit.gates.tolist()):
            for x, gate in enumerate(row):
                axes.text(x, y, f"{gate:.2f}", ha="center", va="center", fontsize=7, color="black" if gate > 0.6 else "white")
        _layers(axes, unit)
        axes.set_title(f"{unit.name}: gates", fontsize=9)
    return draw


def _square(title: str, square: Square) -> Draw:
    def draw(axes: Any) -> None:
        values = [[float("nan") if value is None else value for value in row] for row in square]
        image = axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
        axes.figure.colorbar(image, ax=axes)
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="layer", ylabel="layer")
        axes.locator_params(integer=True)
    return draw


def _ranks(found: RingInspection, unit: UnitView) -> Draw:
    def draw(axes: Any) -> None:
        for style, (name, kind) in zip(("-", "--"), unit.kinds.items(), strict=False):
            for k, (rank, of) in enumerate(zip([*found.ranks, "all"], [*kind.experts, kind.mixture], strict=True)):
                axes.plot(of.ranks, color=f"C{k}", linestyle=style, marker=".", linewidth=1, label=f"{name} {rank}")
        axes.set_title(f"{unit.name}: effective ranks", fontsize=9)
        axes.set(xlabel="layer", ylim=(0, None))
        axes.locator_params(axis="x", integer=True)
        axes.legend(fontsize=6, frameon=False, ncols=2)
    return draw


def _excess(found: RingInspection, unit: UnitView) -> Draw:
    def draw(axes: Any) -> None:
        for style, (name, kind) in zip(("-", "--"), unit.kinds.items(), strict=False):
            for k, rank in enumerate(found.ranks):
                values = [float("nan") if value is None else value for value in kind.excess(k)]
                axes.plot(values, color=f"C{k}", linestyle=style, marker=".", linewidth=1, label=f"{name} {rank}")
        axes.axhline(MOST, color="grey", linewidth=0.6, linestyle=":")
        axes.set_title(f"{unit.name}: |cores| / |matrix|", fontsize=9)
        axes.set(xlabel="layer", yscale="log")
        axes.locator_params(axis="x", integer=True)
        axes.legend(fontsize=6, frameon=False, ncols=2)
    return draw


def _layers(axes: Any, unit: UnitView) -> None:
    axes.set_yticks(range(len(unit.places)), unit.places, fontsize=7 if len(unit.places) > 12 else 9)
    axes.set_ylabel("layer")
