"""Questions that a scene answers, read from its description: every one has exactly one right answer.

    color     what color is the star?           shape   what shape is red?         digit     what digit is there?
    count     how many stars are there?         size    what size is the star?     relation  what is left of the star?
    exists    is there a red star?              place   is the star left of the circle?
"The star" is only said where there is one star. "Left of" asks for a clear distance, and of everything else too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

from inarch.scenes.world import COLORS, SHAPES, SIZES, Scene, Thing

CLEAR = 6.0  # pixels between the centres of what is left and what is right
DIRECTIONS = {"left of": ("x", -1), "right of": ("x", 1), "above": ("y", -1), "below": ("y", 1)}
VQA = "vqa: "


@dataclass(frozen=True)
class Asked:
    """``template``: the question with its own words left out; answers are balanced within a template."""

    group: str
    template: str
    text: str
    answer: str


def article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou8' else 'a'} {phrase}"


def plural(kind: str) -> str:
    return {"cross": "crosses"}.get(kind, f"{kind}s")


def only(things: tuple[Thing, ...]) -> dict[str, Thing]:
    """Names under which one thing alone is known in its scene: its shape, "digit", the digit itself."""
    kinds = Counter(thing.kind for thing in things)
    names = {thing.kind: thing for thing in things if kinds[thing.kind] == 1}
    digits = [thing for thing in things if thing.is_digit]
    return names | ({"digit": digits[0]} if len(digits) == 1 else {})


def beside(thing: Thing, direction: str, other: Thing) -> float:
    """How many pixels ``thing`` lies in ``direction`` of ``other``; negative: on the other side."""
    axis, sign = DIRECTIONS[direction]
    return sign * (getattr(thing, axis) - getattr(other, axis))


def colors(scene: Scene) -> Iterator[Asked]:
    for name, thing in only(scene.things).items():
        yield Asked("color", "digit" if name == "digit" else "kind", f"what color is the {name}?", thing.color)


def shapes(scene: Scene) -> Iterator[Asked]:
    for color in COLORS:
        same = [thing for thing in scene.things if thing.color == color]
        if len(same) == 1 and not same[0].is_digit:
            yield Asked("shape", "color", f"what shape is {color}?", same[0].kind)
    for size in SIZES:
        same = [thing for thing in scene.things if thing.size == size]
        if len(same) == 1:
            yield Asked("shape", "size", f"what shape is {size}?", same[0].kind)


def digits(scene: Scene) -> Iterator[Asked]:
    written = [thing for thing in scene.things if thing.is_digit]
    if len(written) == 1:
        yield Asked("digit", "there", "what digit is there?", written[0].kind)
    for color in COLORS:
        same = [thing for thing in written if thing.color == color]
        if len(same) == 1:
            yield Asked("digit", "color", f"what digit is {color}?", same[0].kind)


def counts(scene: Scene) -> Iterator[Asked]:
    things = scene.things
    yield Asked("count", "all", "how many things are there?", str(len(things)))
    yield Asked("count", "digits", "how many digits are there?", str(sum(thing.is_digit for thing in things)))
    for shape in SHAPES:
        yield Asked("count", "shape", f"how many {plural(shape)} are there?", str(sum(thing.kind == shape for thing in things)))
    for color in COLORS:
        yield Asked("count", "color", f"how many {color} things are there?", str(sum(thing.color == color for thing in things)))


def sizes(scene: Scene) -> Iterator[Asked]:
    for name, thing in only(scene.things).items():
        if thing.size:
            yield Asked("size", "kind", f"what size is the {name}?", thing.size)


def existing(scene: Scene) -> Iterator[Asked]:
    kinds, shades = {thing.kind for thing in scene.things}, {thing.color for thing in scene.things}
    both = {(thing.color, thing.kind) for thing in scene.things}
    for shape in SHAPES:
        yield Asked("exists", "shape", f"is there {article(shape)}?", _yes(shape in kinds))
    for color in COLORS:
        yield Asked("exists", "color", f"is there {article(color)} thing?", _yes(color in shades))
    for color in sorted(shades):  # both words apply to something here, so one of them alone says nothing
        for kind in sorted(kinds):
            yield Asked("exists", "both", f"is there {article(color)} {kind}?", _yes((color, kind) in both))


def relations(scene: Scene) -> Iterator[Asked]:
    for name, thing in only(scene.things).items():
        for direction in DIRECTIONS:
            away = {other: beside(other, direction, thing) for other in scene.things if other is not thing}
            there = [other for other, pixels in away.items() if pixels > 0]
            if len(there) == 1 and all(abs(pixels) >= CLEAR for pixels in away.values()):
                yield Asked("relation", direction, f"what is {direction} the {name}?", there[0].kind)


def places(scene: Scene) -> Iterator[Asked]:
    for (first, one), (second, other) in permutations(only(scene.things).items(), 2):
        for direction in DIRECTIONS:
            pixels = beside(one, direction, other)
            if abs(pixels) >= CLEAR:
                yield Asked("place", direction, f"is the {first} {direction} the {second}?", _yes(pixels > 0))


def _yes(true: bool) -> str:
    return "yes" if true else "no"


ASKERS: dict[str, Callable[[Scene], Iterator[Asked]]] = {
    "color": colors, "shape": shapes, "digit": digits, "count": counts,
    "size": sizes, "relation": relations, "exists": existing, "place": places,
}


def questions(scene: Scene) -> dict[str, list[Asked]]:
    """All questions of each group that this scene answers."""
    return {group: found for group, asker in ASKERS.items() if (found := list(asker(scene)))}
