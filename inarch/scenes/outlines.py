"""Shapes and digits as lines: no font, no picture, only points on the square [-1, 1] x [-1, 1] (x to the right, y down).

    shape    one closed line, filled or not
    digit    a few open or closed lines: strokes of a pen
"""

from __future__ import annotations

import numpy as np

Line = np.ndarray  # [points, 2]


def arc(x: float, y: float, wide: float, high: float, start: float, end: float, points: int = 14) -> Line:
    """Part of an ellipse around (x, y); angles in degrees, 0 to the right, 90 down."""
    angle = np.radians(np.linspace(start, end, points))
    return np.stack([x + wide * np.cos(angle), y + high * np.sin(angle)], axis=1)


def regular(corners: int, start: float = -90.0, inner: float | None = None) -> Line:
    """A regular polygon, or with ``inner`` a star whose inner corners lie at that radius."""
    count = corners if inner is None else 2 * corners
    angle = np.radians(start + 360 / count * np.arange(count))
    radius = np.where(np.arange(count) % 2 == 0, 1.0, 1.0 if inner is None else inner)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _cross(arm: float = 0.36) -> Line:
    quarter = np.array([(arm, -1), (arm, -arm), (1, -arm)])
    turn = np.array([(0, 1), (-1, 0)])  # a quarter turn of row vectors
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, i) for i in range(4)])


def _moon() -> Line:
    return np.concatenate([arc(-0.15, 0, 1, 1, 40, 320, 22), arc(0.45, 0, 0.68, 0.68, 288, 72, 14)])


SHAPE_LINES: dict[str, Line] = {
    "circle": arc(0, 0, 0.95, 0.95, 0, 345, 24),
    "square": np.array([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]),
    "triangle": regular(3) * 1.1 + (0, 0.18),
    "cross": _cross(),
    "star": regular(5, inner=0.42) * 1.08,
    "moon": _moon(),
}


def _line(*points: tuple[float, float]) -> Line:
    return np.array(points, dtype=float)


DIGIT_LINES: dict[str, tuple[Line, ...]] = {
    "0": (arc(0, 0, 0.62, 0.95, -90, 270, 24),),
    "1": (_line((-0.35, -0.55), (0.08, -0.95), (0.08, 0.95)),),
    "2": (np.concatenate([arc(0, -0.42, 0.58, 0.53, 195, 390, 14), _line((-0.6, 0.95), (0.65, 0.95))]),),
    "3": (np.concatenate([arc(-0.05, -0.47, 0.55, 0.48, 205, 450, 14), arc(-0.05, 0.46, 0.62, 0.49, -90, 150, 14)]),),
    "4": (_line((0.1, -0.95), (-0.62, 0.3), (0.65, 0.3)), _line((0.28, -0.3), (0.28, 0.95))),
    "5": (np.concatenate([_line((0.55, -0.92), (-0.42, -0.92), (-0.5, -0.1)), arc(-0.02, 0.37, 0.6, 0.58, -130, 145, 16)]),),
    "6": (np.concatenate([_line((0.4, -0.92), (-0.1, -0.6), (-0.5, 0.1)), arc(0, 0.4, 0.55, 0.53, 180, -180, 20)]),),
    "7": (_line((-0.6, -0.9), (0.6, -0.9), (-0.1, 0.95)),),
    "8": (arc(0, -0.46, 0.47, 0.46, 90, 450, 18), arc(0, 0.46, 0.57, 0.48, -90, 270, 20)),
    "9": (np.concatenate([arc(0, -0.4, 0.53, 0.53, 0, 360, 20), _line((0.5, 0.2), (0.2, 0.95))]),),
}
DIGIT_WIDTH = (0.72, 0.95)  # of a digit's half width to its half height, as it is drawn


def fine(line: Line, closed: bool, step: float) -> Line:
    """The same line with points at most ``step`` apart, so that it can bend between its corners."""
    after = np.roll(line, -1, axis=0) if closed else line[1:]
    pieces = []
    for a, b in zip(line, after, strict=False):
        count = max(1, int(np.ceil(np.hypot(*(b - a)) / step)))
        pieces.append(a + (b - a) * (np.arange(count) / count)[:, None])
    return np.concatenate(pieces if closed else [*pieces, line[-1:]])


def wobbled(line: Line, amount: float, rng: np.random.Generator) -> Line:
    """A line as an unsteady hand draws it: a few slow waves along it, about ``amount`` high."""
    if not amount:
        return line
    along = np.linspace(0, 2 * np.pi, len(line), endpoint=False)
    waves = [rng.normal(0, amount / k, 2) * np.cos(k * along[:, None] + rng.uniform(0, 2 * np.pi, 2)) for k in (1, 2, 3, 5)]
    return line + np.sum(waves, axis=0)
