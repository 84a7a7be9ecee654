"""``things:STYLE@SEED``: rendered pictures of one coloured shape each, as any other classification data.

    things:blackboard    things:blackboard@7    things:plain@0        36 classes x PER_CLASS pictures in train, val and test
Same address, same pictures, on every machine; the parts are drawn apart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from inarch.data.draft import Draft, Options, Part
from inarch.scenes import things
from inarch.scenes.styles import Style, style_and_seed

PREFIX = "things:"


def is_things(word: str) -> bool:
    return word.startswith(PREFIX)


def read_things(address: str, options: Options) -> Draft:
    """All three parts, drawn once per process."""
    style, seed = style_and_seed(address)
    parts = {part: _part(things.different(style), seed, part, count) for part, count in things.PER_CLASS.items()}
    return Draft(address, parts, classes=things.names())


def _part(style: Style, seed: int, part: str, count: int) -> Part:
    rows = [(name, number) for name in things.names() for number in range(count)]
    images = _drawn(style, seed, part, count)
    keys = [f"{part}/{name}/{number}" for name, number in rows]
    return Part(images, keys, keys, [(name,) for name, _ in rows])


@lru_cache(maxsize=6)
def _drawn(style: Style, seed: int, part: str, count: int) -> np.ndarray:
    images = np.stack([things.picture(style, seed, part, name, number) for name in things.names() for number in range(count)])
    images.flags.writeable = False  # everybody's
    return images
