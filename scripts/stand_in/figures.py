"""Two figures of the ablations: harmonic mean against trained numbers, and what each claim's left entry has more than its right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .claims import CLAIMS, find
from .scores import MEASURES, NAMES, Study, mean
from .sources import REPORTED

INK, FAINT = "#1f2328", "#d8dee4"
HUES = ("#0b62c4", "#c2410c", "#15803d", "#7e22ce", "#b45309", "#0e7490", "#be123c", "#57534e", "#000000")
MARKS = {"base": ("o", "#57534e"), "novel": ("s", "#c2410c"), "harmonic": ("D", "#0b62c4")}
EDGE = 25.0  # points of difference drawn at most; what is beyond stands at the edge, with its number


def draw(study: Study, groups: dict[str, list[str]], folder: Path) -> list[Path]:
    """``groups``: question -> entries, each entry once. Returns the files."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"font.size": 9, "axes.edgecolor": FAINT, "axes.spines.top": False, "axes.spines.right": False})
    return [by_numbers(study, groups, folder / "harmonic-by-numbers.png"), by_claim(study, folder / "differences.png")]


def by_numbers(study: Study, groups: dict[str, list[str]], target: Path) -> Path:
    """Entries stand in the order of their trained numbers, a place each: many have nearly as many."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(3, 1, figsize=(11, 10.5), sharex=True, layout="constrained")
    hues = {entry: hue for hue, entries in zip(HUES, groups.values(), strict=False) for entry in entries}
    sizes = sorted((some.trained, entry) for entry in hues if (some := study.some(entry)) and some.trained)
    for axes, source in zip(panels, REPORTED, strict=True):
        still = [score.harmonic for score in study.of("zero-shot", source).values()]
        if still:
            axes.axhline(mean(still), color=INK, lw=1, ls="--")
        for place, (_, entry) in enumerate(sizes):
            point(axes, [score.harmonic for score in study.of(entry, source).values()], place, hues[entry])
        axes.set(title=source, ylabel="harmonic mean, %", ylim=(0, None))
        axes.grid(color=FAINT, lw=0.5)
    panels[-1].set_xticks(range(len(sizes)), [f"{entry}\n{trained:,}" for trained, entry in sizes], rotation=60, ha="right",
                          rotation_mode="anchor")
    handles = [pyplot.Line2D([], [], color=hue, marker="o", ls="", label=question.partition(":")[0])
               for hue, question in zip(HUES, groups, strict=False)]
    handles.append(pyplot.Line2D([], [], color=INK, ls="--", lw=1, label="zero-shot"))
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False)
    figure.supxlabel("trained numbers, rising; points: mean over the seeds, bars: their range, ticks on the bars: each seed", fontsize=9)
    return saved(figure, target)


def point(axes: Any, values: list[float], place: int, hue: str) -> None:
    if values:
        axes.plot([place, place], [min(values), max(values)], color=hue, lw=1.5)
        axes.plot([place] * len(values), values, ls="", marker="_", ms=7, color=hue)
        axes.plot([place], [mean(values)], marker="o", ms=6, color=hue)


def by_claim(study: Study, target: Path) -> Path:
    from matplotlib import pyplot

    found = [find(study, claim) for claim in CLAIMS]
    figure, panels = pyplot.subplots(1, 3, figsize=(14, 0.5 * len(CLAIMS) + 1.6), sharey=True, layout="constrained")
    for axes, source in zip(panels, REPORTED, strict=True):
        every = [one.differences[source, measure].by_seed for one in found for measure in MEASURES]
        edge = max(abs(gap) for gaps in [(1.0,), *every] for gap in gaps if abs(gap) <= EDGE)
        axes.axvline(0, color=INK, lw=1)
        for row, one in enumerate(found):
            axes.axhline(row - 0.5, color=FAINT, lw=0.5)
            for step, measure in enumerate(MEASURES):
                marks(axes, one.differences[source, measure].by_seed, row + 0.24 * (step - 1), measure, edge)
        axes.set(title=source, xlim=(-edge * 1.15, edge * 1.15), xlabel="points more than the other")
        axes.grid(color=FAINT, lw=0.5, axis="x")
    panels[0].set_yticks(range(len(CLAIMS)), [f"{claim.left}  –  {claim.right}" for claim in CLAIMS])
    panels[0].set_ylim(len(CLAIMS) - 0.5, -0.5)
    handles = [pyplot.Line2D([], [], color=hue, marker=mark, ls="", label=NAMES[measure]) for measure, (mark, hue) in MARKS.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)
    figure.suptitle("Large: mean of the differences seed by seed; small: each seed. At the edge: beyond it, with its number. "
                    "The three scales differ.", fontsize=9, x=0.02, ha="left")
    return saved(figure, target)


def marks(axes: Any, gaps: tuple[float, ...], row: float, measure: str, edge: float) -> None:
    if not gaps:
        return
    mark, hue = MARKS[measure]
    inside = [min(max(gap, -edge), edge) for gap in gaps]
    axes.plot([min(inside), max(inside)], [row, row], color=hue, lw=1)
    axes.plot(inside, [row] * len(inside), ls="", marker=mark, ms=2.5, color=hue)
    middle = mean(gaps)
    at = min(max(middle, -edge), edge)
    axes.plot([at], [row], marker=mark if at == middle else "<" if at < 0 else ">", ms=5, color=hue)
    if at != middle:
        axes.annotate(f"{middle:+.0f}", (at, row), xytext=(8 if at < 0 else -8, 0), textcoords="offset points", va="center",
                      ha="left" if at < 0 else "right", fontsize=7, color=hue)


def saved(figure: Any, target: Path) -> Path:
    from matplotlib import pyplot

    figure.savefig(target, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return target
