"""Names beside points: short enough to stand there, and placed so that none covers another."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, bottom, right, top
REACHES = (7.0, 13.0, 22.0, 34.0, 50.0, 70.0, 95.0, 125.0)  # how far a name may stand from its point, in the units of the points
TURNS = 16
GAP = 3.0  # around a point
STRAY = 25.0  # a name nearer to another point is as bad as one that covers so much
MANY, LONG = 14, 30  # more points, or longer names: numbers stand at the points, and the names in a list
FIELD = re.compile(r", (?=\w[\w ]*=)")  # between fields of a recipe line, not inside a list


def short(names: Sequence[str]) -> dict[str, str]:
    """Each name with only that of its fields, or those, that tell it from the others of its class.

    >>> short(["VLPET(gate='small', rank=16)", "VLPET(rank=16)", "LoRA(rank=8)"])
    {"VLPET(gate='small', rank=16)": "VLPET(gate='small')", 'VLPET(rank=16)': 'VLPET', 'LoRA(rank=8)': 'LoRA'}
    """
    kin = defaultdict(list)
    for name in names:
        kin[name.partition("(")[0]].append(name)
    return {name: label for kind, own in kin.items() for name, label in zip(own, _apart(kind, own), strict=True)}


def _apart(kind: str, names: Sequence[str]) -> list[str]:
    """By one field, where one is another for each; else by all in which they differ."""
    parts = [_fields(name) for name in names]
    differ = [key for key in dict.fromkeys(key for fields in parts for key in fields) if len({fields.get(key) for fields in parts}) > 1]
    alone = [key for key in differ if len({fields.get(key) for fields in parts}) == len(parts)]
    told = [", ".join(f"{key}={fields[key]}" for key in alone[:1] or differ if key in fields) for fields in parts]
    return [f"{kind}({fields})" if fields else kind for fields in told]


def _fields(name: str) -> dict[str, str]:
    rest = name.partition("(")[2].replace(") (", ", ").removesuffix(")")
    return {key: value for key, _, value in (field.partition("=") for field in FIELD.split(rest)) if key}


def numbered(names: Sequence[str]) -> dict[str, str]:
    """What stands at the points: the short names, or numbers where these are too many or too long."""
    found = short(list(dict.fromkeys(names)))
    if len(found) > MANY or any(len(label) > LONG for label in found.values()):
        return {name: str(i) for i, name in enumerate(found, 1)}
    return found


def place(points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], bounds: Box, lines: Sequence[Box] = ()) -> list[Box]:
    """A box of its size for every point's name: the nearest within ``bounds`` that covers no name, no point and no line, and lies
    nearer to its own point than to any other.

    Where there is no such place, the one with the least of these faults. The names of the most crowded points choose first.
    """
    dots = [(x - GAP, y - GAP, x + GAP, y + GAP) for x, y in points]
    crowd = [sum(math.dist(a, b) < REACHES[-3] for b in points) for a in points]
    placed: dict[int, Box] = {}
    for i in sorted(range(len(points)), key=lambda i: (-crowd[i], points[i])):
        taken, others = [*dots, *lines, *placed.values()], [*points[:i], *points[i + 1 :]]
        options = enumerate(_places(points[i], sizes[i]))
        placed[i] = min((_cost(box, taken, bounds) + STRAY * _strays(box, points[i], others), k, box) for k, box in options)[2]
    return [placed[i] for i in range(len(points))]


def _places(point: tuple[float, float], size: tuple[float, float]) -> list[Box]:
    """From near to far, right and above first: the box touches the circle with its nearest side or corner."""
    (x, y), (w, h), found = point, size, []
    for reach in REACHES:
        for turn in range(TURNS):
            angle = 2 * math.pi * (turn + 2) / TURNS
            across, up = math.cos(angle), math.sin(angle)
            left, bottom = x + reach * across + w * (across - 1) / 2, y + reach * up + h * (up - 1) / 2
            found.append((left, bottom, left + w, bottom + h))
    return found


def _cost(box: Box, taken: Sequence[Box], bounds: Box) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(overlap(box, other) for other in taken) + 2 * (area - overlap(box, bounds))


def _strays(box: Box, own: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    return any(math.dist(nearest(box, other), other) <= math.dist(nearest(box, own), own) for other in others)


def nearest(box: Box, point: tuple[float, float]) -> tuple[float, float]:
    """The place in the box that is nearest to the point."""
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])


def overlap(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)
