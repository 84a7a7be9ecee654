"""``scenes:STYLE@SEED``: rendered pictures with questions, captions or comparisons, as any other image-text data.

    scenes:blackboard    scenes:blackboard@7    scenes:handwriting@0
Same address, same examples, on every machine. Training, validation and test pictures share no scene and, where digits are
written by people, no handwritten digit.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np

from inarch.data.pairs.example import Example, Pairs
from inarch.data.pairs.look import Seen
from inarch.data.pairs.protocols import PROTOCOLS, Protocol
from inarch.data.pairs.read import fingerprint
from inarch.data.pairs.split import limited
from inarch.errors import ConfigError, nearest
from inarch.scenes.balance import Ledger
from inarch.scenes.captions import captions, comparisons
from inarch.scenes.questions import Asked, questions
from inarch.scenes.render import handwriting, render
from inarch.scenes.styles import Style, style_and_seed
from inarch.scenes.world import Scene, imagine

PREFIX = "scenes:"
PICTURES = {"train": 1000, "val": 150, "test": 400}
PER_PICTURE = 4
WRITTEN = {"train": 1100, "val": 200}  # of 1797 handwritten digits; the rest is for the test pictures


class Drawn(NamedTuple):
    """The pictures of one part; ``key`` seeds what is asked about them."""

    part: str
    scenes: list[Scene]
    images: list[np.ndarray]
    key: tuple[int, ...]

    def names(self) -> list[str]:
        return [f"{self.part}-{number}" for number in range(len(self.scenes))]

    def rng(self) -> np.random.Generator:
        return np.random.default_rng([*self.key, 1])


def is_scenes(address: object) -> bool:
    return str(address).startswith(PREFIX)


def read_scenes(address: str, task: str = "", *, prompt: str | None = None, limit: Mapping[str, int] | None = None, seed: int = 0) -> Pairs:
    """The examples of ``scenes:STYLE[@SEED]``; ``task``: qa (default), captions or nlvr; the rest as ``read_pairs`` has it."""
    style, drawn_by = style_and_seed(address)
    task = task or "qa"
    if task not in TASKS:
        raise ConfigError(f"{address}: no task {task!r} about scenes; {nearest(task, TASKS)}")
    protocol = PROTOCOLS[task] if prompt is None else dataclasses.replace(PROTOCOLS[task], prompt=prompt)
    drawn = [draw(style, drawn_by, part, count) for part, count in PICTURES.items()]
    notes: list[str] = []
    parts = limited({one.part: TASKS[task](one, protocol) for one in drawn}, limit or {}, seed, notes)
    final = {part: tuple(examples) for part, examples in parts.items()}
    images = {name: image for one in drawn for name, image in zip(one.names(), one.images, strict=True)}
    seen = Seen(content={name: hashlib.sha256(image.tobytes()).digest() for name, image in images.items()})
    return Pairs(protocol, final, fingerprint(protocol, final, seen), address, tuple(notes), images)


@lru_cache(maxsize=6)
def draw(style: Style, seed: int, part: str, count: int) -> Drawn:
    """The pictures of a part; the last ones are kept, as several runs in a row ask for them."""
    key = (seed, crc32(style.name.encode()), crc32(part.encode()))
    rng = np.random.default_rng(key)
    hand = _hand(seed, part) if style.written else None
    scenes = [imagine(rng) for _ in range(count)]
    return Drawn(part, scenes, [render(scene, style, rng, hand) for scene in scenes], key)


def _hand(seed: int, part: str) -> np.ndarray:
    """The rows of ``handwriting()`` that belong to a part."""
    rows = np.random.default_rng([seed, 8]).permutation(len(handwriting()[1]))
    first = WRITTEN["train"]
    return dict(zip(PICTURES, np.split(rows, [first, first + WRITTEN["val"]]), strict=True))[part]


def _asked(drawn: Drawn, protocol: Protocol) -> list[Example]:
    rng, ledger, found = drawn.rng(), Ledger(), []
    for name, scene in zip(drawn.names(), drawn.scenes, strict=True):
        for number, asked in enumerate(ledger.choose(questions(scene), PER_PICTURE, rng)):
            found.append(_example(f"{name}-{number}", (name,), asked, protocol))
    return found


def _compared(drawn: Drawn, protocol: Protocol) -> list[Example]:
    """Each picture beside the next one."""
    rng, ledger, found, names = drawn.rng(), Ledger(), [], drawn.names()
    for left in range(len(names) - 1):
        asked = ledger.pick(list(comparisons(drawn.scenes[left], drawn.scenes[left + 1])), rng)
        if asked is not None:
            found.append(_example(names[left], (names[left], names[left + 1]), asked, protocol))
    return found


def _example(key: str, images: tuple[str, ...], asked: Asked, protocol: Protocol) -> Example:
    return Example(key, images, protocol.frame(asked.text), ((asked.answer, 1.0),), (asked.answer,), asked.group)


def _described(drawn: Drawn, protocol: Protocol) -> list[Example]:
    """One example per picture; what is told of a training picture is drawn from the captions that are true of it."""
    rng, found = drawn.rng(), []
    for name, scene in zip(drawn.names(), drawn.scenes, strict=True):
        said = captions(scene)
        found.append(Example(name, (name,), protocol.frame(""), ((str(rng.choice(said)), 1.0),), said))
    return found


TASKS: dict[str, Callable[[Drawn, Protocol], list[Example]]] = {"qa": _asked, "captions": _described, "nlvr": _compared}
