"""What a rendered scene holds, before anything is drawn: a few things, each with a kind, a colour, a size and a place.

    scene = 1 to 4 things on SIDE x SIDE pixels; no two overlap; kind in SHAPES or DIGITS; colour in COLORS
Everything that is later asked or said about a picture is read from this description, never from its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 48  # pixels
SHAPES = ("circle", "square", "triangle", "cross", "star", "moon")
DIGITS = tuple("0123456789")
KINDS = SHAPES + DIGITS
COLORS = ("red", "orange", "yellow", "green", "blue", "purple")
SIZES = {"small": (4.6, 5.4), "large": (7.4, 8.4)}  # radii in pixels; digits have one size of their own
DIGIT_RADIUS = (7.4, 8.6)
MOST = 4
GAP = 1.5  # pixels between things


@dataclass(frozen=True)
class Thing:
    """One shape or digit; ``x`` to the right, ``y`` down, in pixels; ``size`` is "" for digits."""

    kind: str
    color: str
    size: str
    x: float
    y: float
    radius: float

    @property
    def is_digit(self) -> bool:
        return self.kind in DIGITS


@dataclass(frozen=True)
class Scene:
    things: tuple[Thing, ...]


def imagine(rng: np.random.Generator) -> Scene:
    """A scene drawn at random; in every third one things resemble each other, so that there is something to count."""
    while True:
        count = int(rng.integers(1, MOST + 1))
        looks = _looks(count, rng)
        places = _places([radius for *_, radius in looks], rng)
        if places is not None:
            things = [Thing(kind, color, size, x, y, radius) for (kind, color, size, radius), (x, y) in zip(looks, places, strict=True)]
            return Scene(tuple(things))


def _looks(count: int, rng: np.random.Generator) -> list[tuple[str, str, str, float]]:
    alike_kind, alike_color = rng.random(2) < 0.3
    first_shape, first_color = str(rng.choice(SHAPES)), str(rng.choice(COLORS))
    digits = min(count, int(rng.choice(4, p=(0.35, 0.47, 0.12, 0.06))))
    looks = []
    for number in range(count):
        color = first_color if alike_color and rng.random() < 0.8 else str(rng.choice(COLORS))
        if number < digits:
            looks.append((str(rng.choice(DIGITS)), color, "", float(rng.uniform(*DIGIT_RADIUS))))
            continue
        kind = first_shape if alike_kind and rng.random() < 0.8 else str(rng.choice(SHAPES))
        size = str(rng.choice(list(SIZES)))
        looks.append((kind, color, size, float(rng.uniform(*SIZES[size]))))
    return [looks[i] for i in rng.permutation(count)]


def _places(radii: list[float], rng: np.random.Generator, tries: int = 60) -> list[tuple[float, float]] | None:
    """Centres so that discs of ``radii`` lie inside the picture and apart; ``None`` when they could not be fitted."""
    places: list[tuple[float, float]] = []
    for number, radius in enumerate(radii):
        for _ in range(tries):
            x, y = rng.uniform(radius + 0.5, SIDE - radius - 0.5, 2)
            if all(np.hypot(x - a, y - b) >= radius + radii[i] + GAP for i, (a, b) in enumerate(places)):
                places.append((float(x), float(y)))
                break
        if len(places) <= number:
            return None
    return places
