"""What mini-vl is taught: plain scenes, looked at, asked about, described, compared.

    step 0 1 2 4 5   questions, up to PER_SCENE about each of SCENES pictures
    step 3 6         a caption for each of CAPTIONED pictures            step 7   a sentence about each of COMPARED pairs
The pictures are drawn once; what is asked about them is drawn anew at every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from inarch.scenes.balance import Ledger
from inarch.scenes.captions import CAPTION, NLVR, captions, comparisons
from inarch.scenes.questions import VQA, questions
from inarch.scenes.render import render
from inarch.scenes.styles import PLAIN
from inarch.scenes.world import Scene, imagine
from mini_vl.tower import labels

CYCLE = ("vqa", "vqa", "vqa", "caption", "vqa", "vqa", "caption", "nlvr")
SCENES, PER_SCENE, CAPTIONED, COMPARED = 16, 7, 48, 32


@dataclass(frozen=True)
class Pool:
    """``labels``: what the eyes are to see, cell by cell."""

    scenes: list[Scene]
    images: np.ndarray
    labels: np.ndarray


def pool(count: int, seed: int) -> Pool:
    rng = np.random.default_rng([seed, 1])
    scenes = [imagine(rng) for _ in range(count)]
    images = np.stack([render(scene, PLAIN, rng) for scene in scenes])
    return Pool(scenes, images, np.stack([labels(scene) for scene in scenes]))


@dataclass(frozen=True)
class Lesson:
    """``rows``: the scenes of the pool; ``about[i]``: which of them text i is about, one or two."""

    kind: str
    rows: np.ndarray
    about: list[list[int]]
    groups: list[str]
    texts: list[str]
    targets: list[str]


def lesson(scenes: list[Scene], step: int, seed: int, ledger: Ledger) -> Lesson:
    """The lesson of one step: the same for the same seed and ledger, whatever came before."""
    rng = np.random.default_rng([seed, 2, step])
    kind = CYCLE[step % len(CYCLE)]
    count = {"vqa": SCENES, "caption": CAPTIONED, "nlvr": COMPARED}[kind]
    rows = rng.choice(len(scenes), count, replace=False)
    said = {"vqa": _asked, "caption": _described, "nlvr": _compared}[kind]([scenes[row] for row in rows], rng, ledger)
    about, groups, texts, targets = zip(*said, strict=True)
    return Lesson(kind, rows, list(about), list(groups), list(texts), list(targets))


Said = tuple[list[int], str, str, str]  # about, group, text, target


def _asked(scenes: list[Scene], rng: np.random.Generator, ledger: Ledger) -> Iterator[Said]:
    for number, scene in enumerate(scenes):
        for asked in ledger.choose(questions(scene), PER_SCENE, rng):
            yield [number], asked.group, VQA + asked.text, asked.answer


def _described(scenes: list[Scene], rng: np.random.Generator, ledger: Ledger) -> Iterator[Said]:
    for number, scene in enumerate(scenes):
        yield [number], "caption", CAPTION, str(rng.choice(captions(scene)))


def _compared(scenes: list[Scene], rng: np.random.Generator, ledger: Ledger) -> Iterator[Said]:
    """Each picture is the left one once and the right one once."""
    for left, scene in enumerate(scenes):
        right = (left + 1) % len(scenes)
        asked = ledger.pick(list(comparisons(scene, scenes[right])), rng)
        if asked is not None:
            yield [left, right], asked.group, NLVR + asked.text, asked.answer


def spoken(seed: int, lessons: int, scenes: int = 400) -> Iterator[tuple[str, str, str]]:
    """``group, text, target`` of the first lessons, without a picture."""
    rng, ledger = np.random.default_rng([seed, 1]), Ledger()
    imagined = [imagine(rng) for _ in range(scenes)]
    for taught in map(partial(lesson, imagined, seed=seed, ledger=ledger), range(lessons)):
        yield from zip(taught.groups, taught.texts, taught.targets, strict=True)
