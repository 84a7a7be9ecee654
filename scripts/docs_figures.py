"""Draw the pictures of docs/methods.md: what a method shares, what a layer owns, what is frozen.

    python scripts/docs_figures.py           writes docs/pictures/{arc,adaring,vlpet}.svg
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from docs_drawing import FROZEN, LAYER, OTHER, SHARED, Point, arrow, box, canvas, funnel, knot, line, say, strip, write
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"


def legend(axes: Axes, at: Point, entries: tuple[tuple[str, str], ...], steps: tuple[float, ...]) -> None:
    for k, (colour, text) in enumerate(entries):
        x = at[0] + sum(steps[:k])
        box(axes, (x, at[1]), (0.26, 0.2), colour=colour)
        say(axes, (x + 0.22, at[1]), text, 9, ha="left")


def arc() -> Figure:
    """One block's attention half on the left; on the right who owns what."""
    figure, axes = canvas(9.2, 3.7, 11.6, 4.6)
    _arc_block(axes)
    _arc_sharing(axes)
    legend(axes, (0.5, 0.2), ((FROZEN, "frozen"), (SHARED, "trained, one for all layers"), (LAYER, "trained, one per layer")), (1.5, 3.0))
    return figure


def _arc_block(axes: Axes) -> None:
    y, up = 1.6, 3.1
    say(axes, (2.95, 4.3), "inside a block", 11, weight="bold")
    say(axes, (0.15, y), "$x$")
    arrow(axes, (0.32, y), (0.6, y))
    box(axes, (0.95, y), (0.7, 0.55), "norm")
    arrow(axes, (1.3, y), (3.78, y))
    say(axes, (1.55, y + 0.2), "$U$")
    line(axes, [(1.75, y), (1.75, up)])
    arrow(axes, (1.75, up), (2.0, up))
    funnel(axes, (2.25, up), "$W$", narrows=True)
    arrow(axes, (2.5, up), (2.7, up))
    box(axes, (2.95, up), (0.5, 0.42), "$c_l$", LAYER)
    arrow(axes, (3.2, up), (3.4, up))
    funnel(axes, (3.65, up), "$W^\\top$", narrows=False)
    line(axes, [(3.9, up), (3.95, up)])
    arrow(axes, (3.95, up), (3.95, y + 0.17))
    say(axes, (2.95, up - 0.72), "$r \\ll D$", 9)
    box(axes, (3.3, y - 0.62), (0.5, 0.42), "$b_l$", LAYER)
    arrow(axes, (3.55, y - 0.62), (3.88, y - 0.16), bend=0.3)
    knot(axes, (3.95, y), "+")
    arrow(axes, (4.12, y), (4.5, y))
    say(axes, (4.3, y + 0.2), "$H$")
    box(axes, (5.15, y), (1.3, 0.75), "attention\nor MLP")
    arrow(axes, (5.8, y), (6.1, y))
    line(axes, [(0.45, y), (0.45, 0.6), (6.27, 0.6)])
    arrow(axes, (6.27, 0.6), (6.27, y - 0.17))
    knot(axes, (6.27, y), "+")
    arrow(axes, (6.44, y), (6.75, y))


def _arc_sharing(axes: Axes) -> None:
    rng = np.random.default_rng(3)
    say(axes, (9.35, 4.3), "across the layers", 11, weight="bold")
    for x, name in ((7.35, "attn"), (9.7, "mlp")):
        box(axes, (x + 0.28, 2.1), (0.5, 2.3), f"$W$\n{name}", SHARED)
        for row, label in enumerate(("1", "2", "3", "⋮", "L")):
            y = 3.1 - 0.48 * row
            if label == "⋮":
                say(axes, (x + 1.3, y), "⋮")
                continue
            line(axes, [(x + 0.53, y), (x + 0.78, y)], linewidth=0.8)
            strip(axes, (x + 0.78, y), 5, shades=rng.uniform(0.25, 1, 5))
            say(axes, (x + 1.65, y), f"$c_{label}, b_{label}$", 9, ha="left")
    say(axes, (9.35, 3.6), "the same directions everywhere, weighed anew by every layer", 9)


def adaring() -> Figure:
    """The ring of one matrix; whose the cores are; how experts of several ranks make one adapter."""
    figure, axes = canvas(9.2, 4.0, 11.6, 5.0)
    _ring(axes, (1.9, 2.6))
    _owners(axes, 4.35)
    _experts(axes, 8.9)
    owners = ((SHARED, "all layers of both towers"), (OTHER, "all layers of one tower"), (LAYER, "one layer, both towers"))
    legend(axes, (0.5, 0.2), owners, (2.6, 2.4))
    return figure


def _ring(axes: Axes, at: Point) -> None:
    say(axes, (at[0], 4.7), "a ring", 11, weight="bold")
    places = {"C": (at[0] - 1.0, at[1] - 0.55), "B": (at[0] + 1.0, at[1] - 0.55), "S": (at[0], at[1] + 1.0)}
    for one, other, bond in (("C", "S", "b"), ("S", "B", "c"), ("B", "C", "a")):
        (x, y), (u, v) = places[one], places[other]
        line(axes, [(x, y), (u, v)], linewidth=1.6)
        out = {"b": (-0.22, 0.1), "c": (0.22, 0.1), "a": (0, -0.2)}[bond]
        say(axes, ((x + u) / 2 + out[0], (y + v) / 2 + out[1]), f"${bond}$", 10)
    legs = (("C", SHARED, (-0.75, 0), "hidden\n$k$"), ("B", OTHER, (0.75, 0), "feature\n$j$"), ("S", LAYER, (0, 0.62), "layer $l$"))
    for name, colour, leg, foot in legs:
        x, y = places[name]
        line(axes, [(x, y), (x + leg[0], y + leg[1])], linewidth=1.2)
        box(axes, (x, y), (0.56, 0.52), f"${name}$", colour, 11)
        turned = leg[1] > 0
        say(axes, (x + leg[0] + (0.45 if turned else 0), y + leg[1] - (0.05 if turned else 0.32)), foot, 8.5)
    say(axes, (at[0], 0.85), "$D_l[k,j] = \\mathrm{Tr}\\,(C_{:k:}\\,S_{:l:}\\,B_{:j:})$\nand $U_l$ alike", 9.5)


def _owners(axes: Axes, x: float) -> None:
    say(axes, (x + 1.7, 4.7), "whose the cores are", 11, weight="bold")
    for y, tower, index in ((3.75, "vision tower", "v"), (1.35, "text tower", "t")):
        box(axes, (x + 0.3, y), (0.56, 0.5), f"$B_{index}$", OTHER)
        for k in range(4):
            box(axes, (x + 1.2 + 0.62 * k, y), (0.5, 0.5), "…" if k == 2 else f"{('1', '2', '', 'L')[k]}")
            line(axes, [(x + 1.2 + 0.62 * k, 2.8 if y > 2 else 2.3), (x + 1.2 + 0.62 * k, y - 0.25 if y > 2 else y + 0.25)], linewidth=0.8)
        say(axes, (x + 2.1, y + (0.42 if y > 2 else -0.42)), f"blocks of the {tower}", 8.5)
    box(axes, (x + 0.3, 2.55), (0.56, 0.5), "$C$", SHARED)
    for k in range(4):
        box(axes, (x + 1.2 + 0.62 * k, 2.55), (0.5, 0.5), "…" if k == 2 else f"$S_{('1', '2', '', 'L')[k]}$", LAYER)


def _experts(axes: Axes, x: float) -> None:
    say(axes, (x + 1.2, 4.7), "three beside a block", 11, weight="bold")
    box(axes, (x + 0.25, 2.55), (0.62, 2.4), "block")
    arrow(axes, (x + 0.25, 0.75), (x + 0.25, 1.35))
    line(axes, [(x + 0.25, 1.05), (x + 1.75, 1.05)])
    say(axes, (x + 1.05, 0.85), "$n$ = first norm of $x$", 8.5)
    for k, rank in enumerate((1, 2, 4)):
        u = x + 1.05 + 0.62 * k
        box(axes, (u, 2.35), (0.44, 0.5 + 0.3 * k), f"R={rank}", SHARED, 8)
        line(axes, [(u, 1.05), (u, 2.1 - 0.15 * k)])
        line(axes, [(u, 2.6 + 0.15 * k), (u, 3.35)])
        say(axes, (u + 0.2, 3.28), f"$g_{k + 1}$", 8.5)
    line(axes, [(x + 1.75, 1.05), (x + 2.29, 1.05)])
    line(axes, [(x + 1.05, 3.35), (x + 2.29, 3.35)])
    line(axes, [(x + 1.67, 3.35), (x + 1.67, 4.1)])
    arrow(axes, (x + 1.67, 4.1), (x + 0.42, 4.1))
    arrow(axes, (x + 0.25, 3.75), (x + 0.25, 3.93))
    knot(axes, (x + 0.25, 4.1), "+")
    say(axes, (x + 1.95, 3.75), "$\\times\\, s$", 9)


def vlpet() -> Figure:
    """A sub-layer of the encoder, the four grains of its gate, and the decoder's light module."""
    figure, axes = canvas(9.2, 4.4, 11.6, 5.5)
    _encoder(axes)
    _decoder(axes)
    _grains(axes)
    legend(axes, (0.5, 0.2), ((FROZEN, "frozen"), (LAYER, "trained, one per layer and sub-layer")), (1.5,))
    return figure


def _encoder(axes: Axes) -> None:
    y = 3.7
    say(axes, (3.0, 5.25), "encoder, attention and MLP", 11, weight="bold")
    say(axes, (0.15, y), "$X$")
    arrow(axes, (0.32, y), (0.75, y))
    box(axes, (1.3, y), (1.1, 0.7), "sub-layer")
    arrow(axes, (1.85, y), (3.53, y))
    say(axes, (2.05, y + 0.2), "$H$")
    line(axes, [(2.25, y), (2.25, 2.8)])
    arrow(axes, (2.25, 2.8), (2.45, 2.8))
    funnel(axes, (2.65, 2.8), "", True, LAYER, (0.36, 0.8))
    funnel(axes, (3.15, 2.8), "", False, LAYER, (0.36, 0.8))
    say(axes, (2.9, 2.22), "$\\Delta H$", 9)
    line(axes, [(3.33, 2.8), (3.7, 2.8)])
    arrow(axes, (3.7, 2.8), (3.7, y - 0.17))
    knot(axes, (3.7, y), "+")
    arrow(axes, (3.87, y), (4.53, y))
    knot(axes, (4.7, y), "×")
    line(axes, [(0.48, y), (0.48, 4.75), (3.9, 4.75)])
    arrow(axes, (3.9, 4.75), (4.38, 4.75))
    box(axes, (4.7, 4.75), (0.62, 0.5), "$G$", LAYER)
    arrow(axes, (4.7, 4.5), (4.7, y + 0.17))
    arrow(axes, (4.87, y), (5.42, y))
    say(axes, (5.12, y + 0.22), "$H'$")
    line(axes, [(0.48, y), (0.48, 1.95), (5.6, 1.95)])
    arrow(axes, (5.6, 1.95), (5.6, y - 0.17))
    knot(axes, (5.6, y), "+")
    arrow(axes, (5.77, y), (6.1, y))


def _decoder(axes: Axes) -> None:
    y = 1.3
    say(axes, (0.35, y), "decoder:", 9, weight="bold")
    say(axes, (1.05, y), "$E$")
    arrow(axes, (1.22, y), (1.75, y))
    box(axes, (2.45, y), (1.4, 0.5), "cross values")
    arrow(axes, (3.15, y), (3.93, y))
    say(axes, (3.35, y + 0.2), "$V$")
    line(axes, [(1.48, y), (1.48, 0.72), (2.2, 0.72)])
    funnel(axes, (2.4, 0.72), "", True, LAYER, (0.36, 0.5))
    funnel(axes, (2.9, 0.72), "", False, LAYER, (0.36, 0.5))
    line(axes, [(3.08, 0.72), (4.1, 0.72)])
    arrow(axes, (4.1, 0.72), (4.1, y - 0.17))
    knot(axes, (4.1, y), "+")
    arrow(axes, (4.27, y), (4.8, y))
    say(axes, (4.55, y + 0.22), "$V'$")


def _grains(axes: Axes) -> None:
    rng = np.random.default_rng(5)
    rows, columns, cell = 5, 9, 0.2
    say(axes, (9.0, 5.25), "four grains of $G$: tokens down, channels across", 11, weight="bold")
    free = rng.uniform(0, 1, (rows, columns))
    kinds = (("large", "one per token and channel", free), ("middleX", "one per token", np.repeat(free[:, :1], columns, 1)),
             ("middleY", "one per channel", np.repeat(free[:1], rows, 0)), ("small", "one per sample", np.full((rows, columns), 0.55)))
    for k, (name, what, values) in enumerate(kinds):
        x, y = 6.8 + 2.5 * (k % 2), 4.3 - 1.95 * (k // 2)
        say(axes, (x, y + 0.38), name, 10, weight="bold", ha="left")
        for row in range(rows):
            strip(axes, (x, y - row * cell), columns, LAYER, cell, values[row])
        say(axes, (x, y - rows * cell - 0.08), what, 9, ha="left")


DRAWINGS = {"arc": arc, "adaring": adaring, "vlpet": vlpet}


def main() -> None:
    for name, draw in DRAWINGS.items():
        print(write(draw(), PICTURES / f"{name}.svg").relative_to(ROOT))


if __name__ == "__main__":
    main()

