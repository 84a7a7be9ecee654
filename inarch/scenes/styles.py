"""How a scene is drawn. ``plain`` is what pre-training shows; every other style is for adaptation and was never shown before.

    style = filled or contours, a palette, a ground, an unsteady hand, and digits drawn by strokes or written by people
    ground(rng, side) = [side, side, 3] of numbers around 0 to 255
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inarch.errors import ConfigError, nearest
from inarch.scenes.world import COLORS

Rgb = tuple[int, int, int]


def _palette(*shades: Rgb) -> dict[str, Rgb]:
    return dict(zip(COLORS, shades, strict=True))


PALETTES = {
    "paint": _palette((214, 40, 40), (242, 140, 30), (238, 214, 50), (48, 158, 62), (42, 92, 212), (142, 58, 172)),
    "pastel": _palette((232, 128, 128), (240, 186, 132), (226, 216, 138), (140, 196, 146), (140, 172, 226), (190, 148, 212)),
    "chalk": _palette((255, 118, 112), (255, 178, 92), (250, 240, 128), (132, 226, 134), (128, 176, 255), (214, 142, 250)),
}


def _smooth(rng: np.random.Generator, cells: int, side: int) -> np.ndarray:
    """A random field on the picture that changes slowly: ``cells`` values a side, blended between."""
    coarse = rng.normal(size=(cells + 1, cells + 1))
    at = np.arange(side) / side * cells
    low = at.astype(int)
    share = at - low
    rows = coarse[low] * (1 - share)[:, None] + coarse[low + 1] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def _flat(rng: np.random.Generator, side: int) -> np.ndarray:
    """One grey from nearly black to nearly white, with a breath of colour."""
    return np.broadcast_to(rng.uniform(20, 240) + rng.normal(0, 6, 3), (side, side, 3))


def _paper(rng: np.random.Generator, side: int) -> np.ndarray:
    """Stained paper with ruled lines at any angle."""
    y, x = np.mgrid[:side, :side]
    angle, gap = rng.uniform(0, np.pi), rng.uniform(5, 9)
    phase = (x * np.cos(angle) + y * np.sin(angle)) / gap + rng.uniform()
    lines = 38 * (np.abs(phase - np.round(phase)) < 0.1)
    shade = rng.uniform(185, 225)
    stains = 16 * _smooth(rng, 5, side) + rng.normal(0, 7, (side, side))
    return np.array((12, 4, -14)) + shade + (stains - lines)[..., None]


def _board(rng: np.random.Generator, side: int) -> np.ndarray:
    """A dark board, badly wiped."""
    dust = 9 * _smooth(rng, 4, side) + 5 * _smooth(rng, 12, side) + rng.normal(0, 5, (side, side))
    return rng.uniform(38, 62) + rng.normal(0, 5, 3) + dust[..., None]


GROUNDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {"flat": _flat, "paper": _paper, "board": _board}


@dataclass(frozen=True)
class Style:
    name: str
    filled: bool = True
    palette: str = "paint"
    ground: str = "flat"
    wobble: float = 0.0  # of a line's height over its shape's radius
    width: tuple[float, float] = (1.4, 3.0)  # of strokes and contours, in pixels
    soft: tuple[float, float] = (1.0, 2.2)  # pixels over which an edge fades
    grain: float = 0.0  # how unevenly a line covers, as chalk does
    written: bool = False  # digits by people's hands instead of drawn strokes


PLAIN = Style("plain")
STYLES = (
    PLAIN,
    Style("contours", filled=False, width=(1.4, 2.4)),
    Style("unsteady", wobble=0.09),
    Style("pastel", palette="pastel"),
    Style("paper", ground="paper"),
    Style("handwriting", written=True),
    Style("blackboard", filled=False, palette="chalk", ground="board", wobble=0.05, width=(1.6, 2.6), grain=0.15, written=True),
)


def style_and_seed(address: str) -> tuple[Style, int]:
    """What ``WORD:STYLE[@SEED]`` names; the seed is 0 where none is given.

    >>> style_and_seed("scenes:blackboard@7")[0].name, style_and_seed("scenes:blackboard@7")[1]
    ('blackboard', 7)
    """
    word, _, rest = address.partition(":")
    name, at, seed = rest.partition("@")
    if at and not (seed.isascii() and seed.isdigit()):
        raise ConfigError(f"{address}: the seed is {seed!r}; expected a whole number, as in {word}:{name}@7")
    return style_of(name), int(seed or 0)


def style_of(name: str) -> Style:
    """The style called ``name``; ``ConfigError`` with the nearest one where there is none."""
    known = {style.name: style for style in STYLES}
    if name not in known:
        raise ConfigError(f"no drawing style {name!r}; {nearest(name, known)}")
    return known[name]
