"""A scene drawn in a style: uint8 ``[side, side, 3]``, the same for the same random generator.

    picture = ground;  for each thing: picture = (1 - cover) * picture + cover * shade;  then a little noise
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from inarch.errors import need
from inarch.scenes.ink import box_of, centres, drawn, filled
from inarch.scenes.outlines import DIGIT_LINES, DIGIT_WIDTH, SHAPE_LINES, Line, fine, wobbled
from inarch.scenes.styles import GROUNDS, PALETTES, Style
from inarch.scenes.world import SIDE, Scene, Thing

NOISE = (1.0, 7.0)  # standard deviation of each pixel, of 255
SHADE = 9.0  # of each thing's colour
MIXED = 0.2  # how much white or black a colour may hold
PEN = (0.02, 0.07)  # how far a drawn digit's strokes bend even in the plain style, over its radius


def render(scene: Scene, style: Style, rng: np.random.Generator, hand: np.ndarray | None = None, side: int = SIDE) -> np.ndarray:
    """The picture. ``hand``: rows of ``handwriting()`` from which written digits are drawn; all of them if not given."""
    picture = GROUNDS[style.ground](rng, side).astype(float)
    for thing in scene.things:
        box = box_of(thing.x, thing.y, 1.2 * thing.radius + 2, side)
        cover = _cover(thing, style, centres(box), rng, hand)
        if style.grain:
            cover = cover * np.clip(rng.normal(1 - style.grain, style.grain, cover.shape), 0, 1)
        picture[box] = (1 - cover[..., None]) * picture[box] + cover[..., None] * _shade(thing, style, rng)
    return np.clip(np.rint(picture + rng.normal(0, rng.uniform(*NOISE), picture.shape)), 0, 255).astype(np.uint8)


def _shade(thing: Thing, style: Style, rng: np.random.Generator) -> np.ndarray:
    share, other = rng.uniform(0, MIXED), rng.choice((0, 255))
    return (1 - share) * np.array(PALETTES[style.palette][thing.color]) + share * other + rng.normal(0, SHADE, 3)


def _cover(thing: Thing, style: Style, pixels: np.ndarray, rng: np.random.Generator, hand: np.ndarray | None) -> np.ndarray:
    if thing.is_digit and style.written:
        return _written(thing, pixels, rng, hand)
    if thing.is_digit:
        return _strokes(thing, style, pixels, rng)
    line = SHAPE_LINES[thing.kind]
    line = _placed(fine(line, True, 0.3) if style.wobble else line, thing, rng.normal(0, 7), style.wobble, rng)
    soft = rng.uniform(*style.soft)
    return filled(pixels, line, soft) if style.filled else drawn(pixels, line, True, rng.uniform(*style.width), soft)


def _strokes(thing: Thing, style: Style, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A digit as a pen draws it: narrow, slanted, tilted, bent, every time a little differently."""
    narrow, slant = rng.uniform(*DIGIT_WIDTH), rng.normal(0.05, 0.13)
    shear = np.array([(narrow, 0), (-slant, rng.uniform(0.9, 1.02))])
    tilt, width, soft = rng.normal(0, 6), rng.uniform(*style.width), rng.uniform(*style.soft)
    bend = style.wobble + rng.uniform(*PEN)
    lines = [_placed(fine(line, False, 0.3) @ shear, thing, tilt, bend, rng) for line in DIGIT_LINES[thing.kind]]
    return np.max([drawn(pixels, line, False, width, soft) for line in lines], axis=0)


def _placed(line: Line, thing: Thing, tilt: float, wobble: float, rng: np.random.Generator) -> Line:
    """A line of the unit square turned by ``tilt`` degrees and put where the thing is."""
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    return wobbled(line, wobble, rng) @ np.array([(cos, sin), (-sin, cos)]) * thing.radius + (thing.x, thing.y)


def _written(thing: Thing, pixels: np.ndarray, rng: np.random.Generator, hand: np.ndarray | None) -> np.ndarray:
    """One of the 8 x 8 pictures of this digit, enlarged to the thing's place by blending between its pixels."""
    images, labels = handwriting()
    rows = np.flatnonzero(labels == int(thing.kind)) if hand is None else hand[labels[hand] == int(thing.kind)]
    grid = np.pad(images[rng.choice(rows)], 1)
    at = (pixels - (thing.x, thing.y)) / (2 * thing.radius) * 8 + 4.5  # pixel centres of the padded grid are whole numbers
    at = np.clip(at, 0, 8.999)
    low = at.astype(int)
    (x, y), (u, v) = np.moveaxis(low, -1, 0), np.moveaxis(at - low, -1, 0)
    upper = grid[y, x] * (1 - u) + grid[y, x + 1] * u
    return upper * (1 - v) + (grid[y + 1, x] * (1 - u) + grid[y + 1, x + 1] * u) * v


@lru_cache(maxsize=1)
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1797 digits, written by 43 people: ink ``[n, 8, 8]`` from 0 to 1, and labels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise need("scikit-learn", "demo") from error
    digits = load_digits()
    return digits.images / 16, digits.target
