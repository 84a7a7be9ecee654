"""One coloured shape per picture, with a name that says both: a small classification task, made from a seed.

    class = colour + " " + shape                        6 x 6 = 36 names
    base  = those with (shape - colour) mod 6 in HALF   18 names; the other 18 are novel; each half has every colour and shape thrice
    place and size at random; a tilt, a shade and a ground as the style has them
The names of the base half come first, as few-shot protocols take the first half of the class list for base.
Every picture has a generator of its own, so that any of them can be drawn without the others.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

from inarch.errors import ConfigError, nearest
from inarch.scenes.render import render
from inarch.scenes.styles import STYLES, Style
from inarch.scenes.world import COLORS, SHAPES, Scene, Thing

SIDE = 64  # pixels
RADII = (9.0, 21.0)  # pixels
PER_CLASS = {"train": 24, "val": 10, "test": 24}
HALF = (0, 1, 3)


def is_base(name: str) -> bool:
    color, shape = name.split(" ")
    return (SHAPES.index(shape) - COLORS.index(color)) % len(SHAPES) in HALF


def names() -> tuple[str, ...]:
    """All classes, base before novel; within a half the order is mixed, and the same everywhere."""
    every = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
    return tuple(sorted(every, key=lambda name: (not is_base(name), crc32(name.encode()))))


def different(style: Style) -> Style:
    """``style`` if it draws shapes in its own way; one that only writes digits differently is no style of things."""
    shown = {one.name: one for one in STYLES if one.name != "handwriting"}
    if style.name not in shown:
        raise ConfigError(f"things hold no digits, so {style.name!r} would look like plain; {nearest(style.name, shown)}")
    return style


def imagine(name: str, rng: np.random.Generator) -> Scene:
    """The thing called ``name``, somewhere, small or large, wholly inside the picture."""
    color, kind = name.split(" ")
    radius = rng.uniform(*RADII)
    x, y = rng.uniform(1.1 * radius, SIDE - 1.1 * radius, 2)
    return Scene((Thing(kind, color, "", float(x), float(y), float(radius)),))


def picture(style: Style, seed: int, part: str, name: str, number: int) -> np.ndarray:
    """Picture ``number`` of a class in a part: uint8 ``[SIDE, SIDE, 3]``."""
    rng = np.random.default_rng([seed, *(crc32(word.encode()) for word in (style.name, part, name)), number])
    return render(imagine(name, rng), style, rng, side=SIDE)
