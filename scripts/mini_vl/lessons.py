"""What mini-vl is taught: fresh plain scenes without end, asked about, described, compared.

    step 0 1 2 4 5   questions, up to PER_SCENE about each of SCENES pictures
    step 3 6         a caption for each of CAPTIONED pictures            step 7   a sentence about each of COMPARED pairs
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from inarch.scenes.balance import Ledger
from inarch.scenes.captions import CAPTION, NLVR, captions, comparisons
from inarch.scenes.questions import VQA, questions
from inarch.scenes.render import render
from inarch.scenes.styles import PLAIN
from inarch.scenes.world import Scene, imagine

CYCLE = ("vqa", "vqa", "vqa", "caption", "vqa", "vqa", "caption", "nlvr")
SCENES, PER_SCENE, CAPTIONED, COMPARED = 16, 7, 48, 32


@dataclass(frozen=True)
class Lesson:
    """``about[i]``: the pictures that text i is about, as rows of ``images``; one, or two."""

    kind: str
    scenes: list[Scene]
    images: np.ndarray
    about: np.ndarray
    texts: list[str]
    targets: list[str]


def lessons(seed: int) -> Iterator[Lesson]:
    rng, ledger = np.random.default_rng([seed, 1]), Ledger()
    make = {"vqa": _asked, "caption": _described, "nlvr": _compared}
    while True:
        for kind in CYCLE:
            yield make[kind](rng, ledger)


def _painted(count: int, rng: np.random.Generator) -> tuple[list[Scene], np.ndarray]:
    scenes = [imagine(rng) for _ in range(count)]
    return scenes, np.stack([render(scene, PLAIN, rng) for scene in scenes])


def _asked(rng: np.random.Generator, ledger: Ledger) -> Lesson:
    scenes, images = _painted(SCENES, rng)
    about, texts, targets = [], [], []
    for row, scene in enumerate(scenes):
        for asked in ledger.choose(questions(scene), PER_SCENE, rng):
            about.append([row])
            texts.append(VQA + asked.text)
            targets.append(asked.answer)
    return Lesson("vqa", scenes, images, np.array(about), texts, targets)


def _described(rng: np.random.Generator, ledger: Ledger) -> Lesson:
    scenes, images = _painted(CAPTIONED, rng)
    targets = [str(rng.choice(captions(scene))) for scene in scenes]
    return Lesson("caption", scenes, images, np.arange(CAPTIONED)[:, None], [CAPTION] * CAPTIONED, targets)


def _compared(rng: np.random.Generator, ledger: Ledger) -> Lesson:
    """Each picture is the left one once and the right one once."""
    scenes, images = _painted(COMPARED, rng)
    about, texts, targets = [], [], []
    for left in range(COMPARED):
        right = (left + 1) % COMPARED
        asked = ledger.pick(list(comparisons(scenes[left], scenes[right])), rng)
        if asked is not None:
            about.append([left, right])
            texts.append(NLVR + asked.text)
            targets.append(asked.answer)
    return Lesson("nlvr", scenes, images, np.array(about), texts, targets)
