"""Figures of ``inarch inspect``: spectra, energies and overlaps per stack, and trained numbers against backbone scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inarch.inspect import Inspection, StackView
from inarch.inspection import spectra
from inarch.inspection.figure import canvas, checked, saved
from inarch.inspection.gates import GateView
from inarch.inspection.ring_plot import plot_rings
from inarch.inspection.ring_report import RingInspection
from inarch.inspection.scaling import Point


def plot_inspection(found: Inspection | RingInspection, out: str | Path) -> Path:
    """A row per stack: sorted spectrum and its histogram per layer, cumulative energy, ``|c|`` (ARC), overlap of layers."""
    out = checked(out)
    if isinstance(found, RingInspection):
        return plot_rings(found, out)
    panels = [_draw_spectrum, _draw_values, _draw_energy, _draw_overlap]
    if any(stack.histogram() for stack in found.stacks):
        panels.insert(3, _draw_scales)
    figure, grid = canvas(len(found.stacks), len(panels))
    for row, stack in zip(grid, found.stacks, strict=True):
        for axes, draw in zip(row, panels, strict=True):
            draw(axes, stack)
            axes.set_title(f"{stack.name}: {axes.get_title()}", fontsize=9)
    figure.suptitle(f"{found.method}: {found.folder}", fontsize=11)
    return saved(figure, out)


def plot_scaling(points: list[Point], out: str | Path) -> Path:
    """Trained numbers (no head) against the backbone's size: a line per method through the ViTs, squares for Swin."""
    out = checked(out)
    figure, grid = canvas(1, 1, width=8.0, height=5.0)
    axes = grid[0][0]
    for k, label in enumerate(dict.fromkeys(point.method for point in points)):
        _draw_method(axes, [p for p in points if p.method == label], f"C{k}", label)
    sizes = {p.backbone: p.backbone_size / 1e6 for p in points}
    axes.set(xscale="log", yscale="log", xlabel="backbone, millions of parameters", ylabel="trained, millions of numbers")
    axes.set_xticks(list(sizes.values()), [f"{size:.0f}\n{name}" for name, size in sizes.items()], fontsize=8)
    for tick, name in zip(axes.get_xticklabels(), sizes, strict=True):
        tick.set_horizontalalignment("left" if _family(name) == "swin" else "right")
    axes.minorticks_off()
    axes.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    return saved(figure, out)


def _draw_method(axes: Any, points: list[Point], colour: str, label: str) -> None:
    """Solid: counted on the model; dashed: by formula."""
    width = 2.5 if label.startswith("ARC") else 1.2
    for family in dict.fromkeys(_family(p.backbone) for p in points):
        line = sorted((p for p in points if _family(p.backbone) == family), key=lambda p: p.backbone_size)
        sizes, trained = [p.backbone_size / 1e6 for p in line], [p.trained / 1e6 for p in line]
        marker, style = "s" if family == "swin" else "o", "--" if line[0].formula else "-"
        axes.plot(sizes, trained, color=colour, marker=marker, linestyle=style, linewidth=width,
                  label=label if family == _family(points[0].backbone) else None)


def _family(backbone: str) -> str:
    return backbone.partition("-")[0]


def _colours(n: int) -> list[Any]:
    import matplotlib

    return [matplotlib.colormaps["viridis"](k / max(n - 1, 1) * 0.9) for k in range(n)]


def _draw_spectrum(axes: Any, stack: StackView) -> None:
    """Eigenvalues where dA is symmetric (their sign matters), else singular values on a log axis."""
    signed = stack.sites[0].spectrum.eigenvalues is not None
    if signed:
        axes.axhline(0, color="grey", linewidth=0.6)
    last = len(stack.sites) - 1
    named = (0, last // 2, last)
    for k, (site, colour) in enumerate(zip(stack.sites, _colours(last + 1), strict=True)):
        found = site.spectrum
        values = found.singular if found.eigenvalues is None else found.eigenvalues.sort(descending=True).values
        shown = values if signed else values[: max(found.rank, 1)].clamp(min=1e-12)
        axes.plot(range(1, len(shown) + 1), shown, color=colour, linewidth=1, label=f"layer {k}" if k in named else None)
    axes.set(title="eigenvalues" if signed else "singular values", xlabel="index", yscale="linear" if signed else "log")
    axes.legend(fontsize=7, frameon=False)


def _draw_energy(axes: Any, stack: StackView) -> None:
    for site, colour in zip(stack.sites, _colours(len(stack.sites)), strict=True):
        share = spectra.energy(site.spectrum.singular)
        axes.plot(range(1, len(share) + 1), share, color=colour, linewidth=1)
    axes.axhline(0.9, color="grey", linewidth=0.6, linestyle=":")
    axes.set(title="cumulative energy", xlabel="directions", ylim=(0, 1.02))


def _draw_values(axes: Any, stack: StackView) -> None:
    _draw_histogram(axes, *stack.spectra(), "histogram", "singular value")


def _draw_scales(axes: Any, stack: StackView) -> None:
    bins = stack.histogram()
    if bins is None:
        axes.set_axis_off()
        return
    _draw_histogram(axes, *bins, "|c|", "|c|")


def _draw_histogram(axes: Any, edges: list[float], counts: list[list[int]], title: str, what: str) -> None:
    """A line per layer, down; how many fall into each bin as colour."""
    image = axes.pcolormesh(edges, [k - 0.5 for k in range(len(counts) + 1)], counts, cmap="Blues")
    axes.figure.colorbar(image, ax=axes, label="numbers")
    axes.set(title=title, xlabel=what, ylabel="layer")
    axes.locator_params(axis="y", integer=True)
    axes.invert_yaxis()


def _draw_overlap(axes: Any, stack: StackView) -> None:
    values = [[float("nan") if value is None else value for value in row] for row in stack.overlaps()]
    image = axes.imshow(values, vmin=0, vmax=1, cmap="magma")
    axes.figure.colorbar(image, ax=axes)
    axes.set(title=f"overlap (chance: {stack.chance:.2f})", xlabel="layer", ylabel="layer")
    axes.locator_params(integer=True)


def plot_gates(views: list[GateView], out: str | Path) -> Path:
    """A map per stack, layers down: s G along the tokens of one example (text, then picture), the channels, or the examples."""
    out = checked(out)
    stacks = list(dict.fromkeys(view.stack for view in views))
    figure, grid = canvas(len(stacks), 1, width=11.0, height=2.6)
    for (axes, *_), name in zip(grid, stacks, strict=True):
        mine = [view for view in views if view.stack == name]
        top = max(1.0, *(float(view.row.max()) for view in mine))
        drawn = axes.imshow([view.row.tolist() for view in mine], aspect="auto", vmin=0, vmax=top, interpolation="nearest", cmap="viridis")
        axes.set(title=f"{name}: s G", ylabel="layer", xlabel=mine[0].axis)
        axes.set_yticks(range(len(mine)), [str(view.layer) for view in mine])
        figure.colorbar(drawn, ax=axes, pad=0.01)
    return saved(figure, out)
