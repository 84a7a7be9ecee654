"""The claims that the ablations test, each as one entry against another, and what the numbers say to it, in words that are computed.

A claim hopes that the left entry is ahead of the right one, or level with it at fewer numbers. The verdicts of stand_in.scores decide:
no sentence here is changed by hand when runs are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .scores import MEASURES, NAMES, Difference, Study
from .sources import REPORTED


@dataclass(frozen=True)
class Claim:
    """``left`` against ``right``; what would support it, and in which measure; ``note``: what the comparison cannot separate."""

    title: str
    left: str
    right: str
    hope: Literal["ahead", "level"]
    measures: tuple[str, ...] = ("harmonic",)
    note: str = ""


CLAIMS = (
    Claim("A ring in the place of dense matrices, all else MMA's (parity)", "parity-ring-r5", "parity-mma", "level", ("base", "harmonic"),
          "The only comparison in which the parameterisation alone differs."),
    Claim("Rings in the place of dense matrices under our recipe", "adaring", "dense", "level", ("base", "harmonic"),
          "Both with AdamW and the losses; the dense adapter starts from MMA's random values, ours from the frozen function."),
    Claim("A ring is better than a train of about as many numbers", "adaring-r4", "train-r15", "ahead", ("base", "harmonic")),
    Claim("Ranks 1, 3, 4 are better than one rank of about as many numbers", "adaring-r134", "adaring-r5", "ahead", ("base", "harmonic"),
          "The mixed one has probed gates; a single expert has none to probe."),
    Claim("Ranks 1, 2, 4 are better than one rank of more numbers", "adaring", "adaring-r5", "ahead", ("base", "harmonic"), "As above."),
    Claim("Probed gates are better than uniform ones", "adaring", "adaring-uniform", "ahead", ("novel", "harmonic")),
    Claim("Probed gates are better than gates learned with the rest", "adaring", "adaring-joint", "ahead", ("novel", "harmonic")),
    Claim("The losses help names that were never seen", "adaring", "adaring-plain", "ahead", ("novel", "harmonic"),
          "They hold the model near the frozen one; where that knows little (zero-shot, above), nearness to it is no virtue."),
    Claim("Lighter losses help names that were never seen", "adaring-light", "adaring-plain", "ahead", ("novel", "harmonic")),
    Claim("One set of slices does for both towers", "adaring", "adaring-apart", "level", ("base", "harmonic")),
    Claim("AdaRing is better than CLIP-LoRA, both with the losses", "adaring", "clip-lora-kept", "ahead", ("base", "harmonic")),
    Claim("AdaRing is better than CLIP-LoRA, both without them", "adaring-plain", "clip-lora", "ahead", ("base", "harmonic"),
          "CLIP-LoRA adapts all blocks of both towers, ours the last ones of each."),
    Claim("AdaRing is better than ARC, both with the losses", "adaring", "arc-kept", "ahead", ("base", "harmonic")),
    Claim("AdaRing without the losses is better than CLIP-Adapter, which has none", "adaring-plain", "clip-adapter", "ahead",
          ("base", "harmonic")),
    Claim("AdaRing without the losses is better than CoOp, which has none", "adaring-plain", "coop", "ahead", ("base", "harmonic")),
    Claim("AdaRing without the losses is better than MMA as published", "adaring-plain", "parity-mma", "ahead", ("base", "harmonic"),
          "Optimiser, rate and start differ too."),
)


SUPPORTED, ONCE = "Supported", "Weak: in no measure firmly ahead on more than one set"
LEVEL = "Not contradicted: as good, as far as these sets can tell"
NOT, MIXED, CONTRADICTED = "Not supported: no firm difference", "Mixed: firmly ahead here, behind there", "Not supported: firmly behind"
UNSTABLE, SILENT = "Not supported: unstable", "No verdict: at chance, or too few runs"
HEADS = (SUPPORTED, ONCE, LEVEL, MIXED, NOT, CONTRADICTED, UNSTABLE, SILENT)
WORDS = {"ahead": "ahead", "behind": "behind", "ahead?": "ahead?", "behind?": "behind?", "level": "level", "chance": "at chance",
         "one seed": "one seed only", "no run": "no run"}


@dataclass(frozen=True)
class Found:
    """What the runs say to one claim: the differences by set and measure, and runs of either side that failed or collapsed."""

    claim: Claim
    differences: dict[tuple[str, str], Difference]
    broken: tuple[str, ...]

    def sets(self, measure: str, word: str) -> list[str]:
        return [source for source in REPORTED if self.differences[source, measure].word == word]

    def head(self) -> str:
        """One of HEADS."""
        verdicts = [self.verdict(measure) for measure in self.claim.measures]
        good = {"supported", "supported once"} & {*verdicts}
        if self.broken:
            return UNSTABLE
        if "contradicted" in verdicts:
            return MIXED if good and self.claim.hope == "ahead" else CONTRADICTED
        if self.claim.hope == "level":
            return LEVEL if good else SILENT
        return SUPPORTED if "supported" in verdicts else ONCE if good else NOT

    def conclusion(self) -> str:
        said = self.broken or [self.said(measure) for measure in MEASURES]
        return f"**{self.head()}**: {'; '.join(said)}."

    def said(self, measure: str) -> str:
        """The sets by verdict, in one measure."""
        words = {word: self.sets(measure, word) for word in WORDS}
        listed = [f"{WORDS[word]} on {' and '.join(f'{source} ({self.differences[source, measure]})' for source in named)}"
                  for word, named in words.items() if named]
        return f"{NAMES[measure]} {', '.join(listed)}"

    def verdict(self, measure: str) -> str:
        """What this measure says to the hope."""
        if self.sets(measure, "behind"):
            return "contradicted"
        ahead = len(self.sets(measure, "ahead"))
        if self.claim.hope == "ahead":
            return {0: "nothing", 1: "supported once"}.get(ahead, "supported")
        return "supported" if ahead or any(self.sets(measure, word) for word in ("level", "ahead?", "behind?")) else "nothing"


def find(study: Study, claim: Claim) -> Found:
    pairs = {(source, measure): study.difference(claim.left, claim.right, source, measure) for source in REPORTED for measure in MEASURES}
    return Found(claim, pairs, tuple(problem for entry in (claim.left, claim.right) for problem in broken(study, entry)))


def broken(study: Study, entry: str) -> list[str]:
    """Runs of an entry that failed, or came out worse than guessing on what they learned."""
    found = []
    for source in REPORTED:
        found += [f"{entry} {short(text)} on {source}, seed {seed}" for (name, where, seed), text in sorted(study.failed.items())
                  if (name, where) == (entry, source)]
        found += [f"{entry} collapsed on {source}, seed {seed}: base accuracy {score.base:.1f} %, below guessing"
                  for seed, score in sorted(study.of(entry, source).items()) if study.collapsed(score)]
    return found


def short(message: str) -> str:
    """A failure in a few words."""
    update = message.partition(" (")[0]
    return f"diverged at {update} (a gradient that is not finite)" if "not finite" in message else f"failed ({message})"


def times(study: Study, claim: Claim) -> str:
    left, right = study.some(claim.left), study.some(claim.right)
    if left is None or right is None:
        return "no run of one of them yet"
    ratio = max(left.trained, right.trained) / min(left.trained, right.trained)
    more = "" if ratio < 1.05 else f", {ratio:.1f} times {'fewer' if left.trained < right.trained else 'more'}"
    return f"{left.trained:,} numbers to {right.trained:,}{more}"
