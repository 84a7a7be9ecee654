"""True sentences about a scene, and sentences about two scenes that are true or false.

    caption   a red star left of a blue circle         from the left: a red star, a blue circle and an orange 7
    nlvr      both pictures have a star                 only one picture has a star
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from inarch.scenes.questions import CLEAR, DIRECTIONS, Asked, article, beside
from inarch.scenes.world import COLORS, SHAPES, Scene, Thing

CAPTION, NLVR = "caption: ", "nlvr: "


def named(thing: Thing, *, size: bool = False) -> str:
    words = [thing.size] if size and thing.size else []
    return article(" ".join([*words, thing.color, thing.kind]))


def listed(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def captions(scene: Scene) -> tuple[str, ...]:
    """Different ways to say what is there; the first names everything from left to right."""
    across = sorted(scene.things, key=lambda thing: thing.x)
    down = sorted(scene.things, key=lambda thing: thing.y)
    said = [
        listed([named(thing) for thing in across]),
        listed([named(thing, size=True) for thing in across]),
        listed([named(thing) for thing in down]),
        listed([named(thing, size=True) for thing in down]),
        *_related(scene),
    ]
    return tuple(dict.fromkeys(said))


def _related(scene: Scene) -> Iterator[str]:
    if len(scene.things) == 2:
        for one, other in (scene.things, scene.things[::-1]):
            for direction in DIRECTIONS:
                if beside(one, direction, other) >= CLEAR:
                    yield f"{named(one)} {direction} {named(other)}"


def comparisons(left: Scene, right: Scene) -> Iterator[Asked]:
    """Sentences on two pictures, with ``true`` or ``false``; balanced per template like the questions."""
    for name, own in _facts(left, right):
        one, two = own
        yield Asked("nlvr", "both", f"both pictures have {name}", _truth(one and two))
        yield Asked("nlvr", "one", f"only one picture has {name}", _truth(one != two))
        yield Asked("nlvr", "none", f"no picture has {name}", _truth(not one and not two))
        yield Asked("nlvr", "left", f"the left picture has {name}", _truth(one))
        yield Asked("nlvr", "right", f"the right picture has {name}", _truth(two))
    more = len(left.things) - len(right.things)
    if more:
        yield Asked("nlvr", "more", "the left picture has more things", _truth(more > 0))
        yield Asked("nlvr", "more", "the right picture has more things", _truth(more < 0))


def _facts(left: Scene, right: Scene) -> Iterator[tuple[str, tuple[bool, bool]]]:
    """What may be in a picture, and whether it is in these two."""
    words = [_words(left), _words(right)]
    for word in (*SHAPES, *COLORS, "digit"):
        name = f"{article(word)} thing" if word in COLORS else article(word)
        yield name, (word in words[0], word in words[1])


def _words(scene: Scene) -> Counter[str]:
    return Counter(word for thing in scene.things for word in (thing.color, "digit" if thing.is_digit else thing.kind))


def _truth(true: bool) -> str:
    return "true" if true else "false"
