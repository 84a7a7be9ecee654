"""What the ablations gave, read from their results, and when one entry counts as ahead of another.

    ahead, behind     the ranges over the seeds that both have do not meet, and the means differ by more than TWICE the standard error
                      that so many test images have:  var(p) = p (1 - p) / n,  h = 2 b v / (b + v),  var(h) by first order
    ahead?, behind?   the ranges do not meet, but the means differ by less than that
    level             the ranges meet: a tie
    chance            novel names, where neither is more than TWICE that error above guessing
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import comb, sqrt
from pathlib import Path
from typing import Any

from .sources import REPORTED

MEASURES = ("base", "novel", "harmonic")
NAMES = {"base": "base", "novel": "novel", "harmonic": "harmonic mean"}
FAILED = re.compile(r"(\w+)/([\w-]+)-seed(\d+) failed: (.*)")
TWICE = 2.0


@dataclass(frozen=True)
class Score:
    """One run: accuracies in %, test images of both halves, trained numbers, rate, where it ran."""

    entry: str
    source: str
    seed: int
    base: float
    novel: float
    harmonic: float
    images: tuple[int, int]
    trained: int
    rate: float
    hardware: str


@dataclass(frozen=True)
class Difference:
    """Left minus right on one set and measure, by the seeds that both have; ``word`` is the verdict."""

    by_seed: tuple[float, ...]
    word: str

    @property
    def mean(self) -> float:
        return mean(self.by_seed)

    def __str__(self) -> str:
        return f"{self.mean:+.1f}" if self.by_seed else "–"


@dataclass(frozen=True)
class Study:
    """All runs that are there, those that failed, the trials of rates, and the stand-in's own record."""

    scores: tuple[Score, ...]
    failed: dict[tuple[str, str, int], str]  # entry, set, seed -> what the run said
    trials: dict[tuple[str, str], float]  # entry, rate -> validation accuracy in %
    stand_in: dict[str, Any]

    @cached_property
    def cells(self) -> dict[tuple[str, str], dict[int, Score]]:
        found: dict[tuple[str, str], dict[int, Score]] = {}
        for score in self.scores:
            found.setdefault((score.entry, score.source), {})[score.seed] = score
        return found

    def of(self, entry: str, source: str) -> dict[int, Score]:
        return self.cells.get((entry, source), {})

    def some(self, entry: str) -> Score | None:
        """Any run of an entry: trained numbers and rate are the same in all."""
        return next((score for score in self.scores if score.entry == entry), None)

    def chance(self, source: str, half: str) -> float:
        return float(self.stand_in["zero-shot"][f"{source} {half}"]["chance"])

    def collapsed(self, score: Score) -> bool:
        """Trained, and worse than guessing on the classes it was trained on."""
        return score.trained > 0 and score.base < self.chance(score.source, "base")

    def above_chance(self, entry: str, source: str) -> bool:
        """Whether its novel accuracy is more than guessing by more than the test images' error."""
        scores = [*self.of(entry, source).values()]
        guess = self.chance(source, "novel") / 100
        return bool(scores) and mean(s.novel for s in scores) / 100 - guess > TWICE * sqrt(guess * (1 - guess) / scores[0].images[1])

    def difference(self, left: str, right: str, source: str, measure: str) -> Difference:
        mine, other = self.of(left, source), self.of(right, source)
        seeds = sorted({*mine} & {*other})
        a, b = ([getattr(side[seed], measure) for seed in seeds] for side in (mine, other))
        gaps = tuple(x - y for x, y in zip(a, b, strict=True))
        if len(seeds) < 2:
            return Difference(gaps, "one seed" if seeds else "no run")
        if measure != "base" and not (self.above_chance(left, source) or self.above_chance(right, source)):
            return Difference(gaps, "chance")
        if min(a) <= max(b) and min(b) <= max(a):
            return Difference(gaps, "level")
        error = sqrt(sum(variance(side[seeds[0]], measure) for side in (mine, other)))
        firm = "" if abs(mean(gaps)) > TWICE * error else "?"
        return Difference(gaps, ("ahead" if mean(gaps) > 0 else "behind") + firm)


def variance(score: Score, measure: str) -> float:
    """Of one run's measure in %², by the number of its test images."""
    b, v = (max(x, 0.01) for x in (score.base, score.novel))
    of_base, of_novel = (p * (100 - p) / n for p, n in zip((b, v), score.images, strict=True))
    slopes = {"base": (1.0, 0.0), "novel": (0.0, 1.0), "harmonic": (2 * v**2 / (b + v) ** 2, 2 * b**2 / (b + v) ** 2)}
    return slopes[measure][0] ** 2 * of_base + slopes[measure][1] ** 2 * of_novel


def apart_by_luck(seeds: int) -> float:
    """How often the ranges of two equal methods miss each other, in %."""
    return 200 / comb(2 * seeds, seeds)


def mean(values: Iterable[float]) -> float:
    every = [*values]
    return sum(every) / len(every)


def read_study(results: Path, trials: Path, stand_in: Path) -> Study:
    scores = [scored(path) for source in REPORTED for path in sorted((results / source).glob("*.json"))]
    lines = [line for path in sorted(results.glob("*.txt")) for line in path.read_text("utf-8").splitlines()]
    failed = {(found[2], found[1], int(found[3])): found[4] for found in map(FAILED.fullmatch, lines) if found}
    tried = {}
    for path in sorted(trials.glob("*.json")):
        entry, _, rate = path.stem.rpartition("-lr")
        tried[entry, rate] = 100 * json.loads(path.read_text("utf-8"))["metrics"]["val"]["accuracy"]
    return Study(tuple(scores), failed, tried, json.loads(stand_in.read_text("utf-8")))


def scored(path: Path) -> Score:
    run = json.loads(path.read_text("utf-8"))
    entry, _, seed = path.stem.rpartition("-seed")
    images = (run["metrics"]["test"]["n"], run["metrics"]["novel"]["n"])
    values = [100 * run["fewshot"][measure] for measure in MEASURES]
    return Score(entry, path.parent.name, int(seed), values[0], values[1], values[2], images, run["count"]["trainable"],
                 run["recipe"]["lr"], run["hardware"])
