"""Which questions are asked about each picture, so that a question alone says as little as possible about its answer.

    n[t, a]   how often answer a was taken for template t so far
    among what a scene answers: a group at random, a template at random, the answer with the smallest n[t, a];
    not taken at all if n[t, a] > SLACK * mean_a n[t, a] + START
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from inarch.scenes.questions import Asked

SLACK, START = 1.2, 4


class Ledger:
    """What was asked so far."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)

    def choose(self, found: dict[str, list[Asked]], number: int, rng: np.random.Generator) -> list[Asked]:
        """At most ``number`` questions, one per group."""
        chosen: list[Asked] = []
        for group in rng.permutation(list(found)):
            picked = self.pick(found[group], rng)
            if picked is not None:
                chosen.append(picked)
            if len(chosen) == number:
                break
        return chosen

    def pick(self, candidates: list[Asked], rng: np.random.Generator) -> Asked | None:
        """One of ``candidates`` (of one group), or none where its answer was had too often."""
        template = str(rng.choice(sorted({asked.template for asked in candidates})))
        own = [asked for asked in candidates if asked.template == template]
        taken = self.taken[own[0].group, template]
        fewest = min(taken[asked.answer] for asked in own)
        best = [asked for asked in own if taken[asked.answer] == fewest]
        if fewest > SLACK * taken.total() / max(len(taken), 1) + START:
            return None
        picked = best[rng.integers(len(best))]
        taken[picked.answer] += 1
        return picked


def question_only(train: Iterable[tuple[str, str]], test: Iterable[tuple[str, str]]) -> float:
    """Share of ``test`` (question, answer) that is right when each question gets its commonest answer of ``train``."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for question, answer in train:
        answers[question][answer] += 1
    hits = [bool(answers[question]) and answers[question].most_common(1)[0][0] == answer for question, answer in test]
    return sum(hits) / max(len(hits), 1)
