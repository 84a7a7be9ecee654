"""Sentences of the ablations' report: each is computed from the runs that are there, none holds a number of its own."""

from __future__ import annotations

from collections import Counter

from ablate_few_shot import ENTRIES, LAYERS, SEEDS

from .claims import HEADS, Found, broken, times
from .scores import Study, apart_by_luck
from .sources import REPORTED

BORROWED = {  # names of clothing10 and plantvillage15 that the alignment saw -> novel emoji that say the same by words
    "hat": "top hat", "shirt": "running shirt with sash", "pepper bell bacterial spot": "bell", "pepper bell healthy": "bell",
    "tomato spider mites two spotted spider mite": "spider",
}  # tests/test_stand_in.py holds that these are all


def in_short(found: list[Found]) -> str:
    by_head = {head: [one.claim for one in found if one.head() == head] for head in HEADS}
    return "\n".join(f"- **{head}**: " + "; ".join(f"{claim.title} (`{claim.left}`, `{claim.right}`)" for claim in claims) + "."
                     for head, claims in by_head.items() if claims)


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def poor(study: Study) -> str:
    """Each half of each set, zero-shot against guessing and the error of so many images."""
    above, at = [], []
    for name, one in study.stand_in["zero-shot"].items():
        error = (one["chance"] * (100 - one["chance"]) / one["images"]) ** 0.5
        (above if one["top1"] - one["chance"] > 2 * error else at).append(name)
    return f"Above chance by more than twice the error of so many images: {listed(above)}. **At chance: {listed(at)}.**\n"


def borrowed(study: Study) -> str:
    """What of emoji3's novel names the alignment could have learned from names of other sets."""
    touched = sorted({*BORROWED.values()})
    images = study.stand_in["zero-shot"]["emoji3 novel"]["images"]  # one of each name
    seen = listed([f"*{name}*" for name in BORROWED])
    return (f"One leak in words is known: of clothing10 and plantvillage15 it saw {seen}, which share their "
            f"words with {len(touched)} novel emoji ({listed([f'*{name}*' for name in touched])}). That is at most "
            f"{100 * len(touched) / images:.1f} points of emoji3's novel accuracy, in every row alike at the start.")


def runs(study: Study) -> str:
    asked = len(ENTRIES) * len(SEEDS) * len(REPORTED)
    return (f"{len(study.scores)} of {asked} runs are here: {len(ENTRIES)} entries, {len(REPORTED)} sets, "
            f"seeds {listed([str(seed) for seed in SEEDS])}, the blocks `{LAYERS}` of both towers; {len(study.failed)} diverged.")


def missing(study: Study) -> str:
    gone = Counter((source, seed) for entry in ENTRIES for source in REPORTED for seed in SEEDS
                   if seed not in study.of(entry.name, source) and (entry.name, source, seed) not in study.failed)
    lacks = [f"{number} of seed {seed} on {source}" for (source, seed), number in sorted(gone.items())]
    return f"Not run: {listed(lacks)}." if lacks else "None is missing."


def at_chance(study: Study) -> str:
    said = []
    for source in REPORTED:
        here = [entry.name for entry in ENTRIES if study.of(entry.name, source)]
        above = [name for name in here if study.above_chance(name, source)]
        which = f" ({listed(above)})" if 0 < len(above) <= len(here) // 4 else ""
        said.append(f"{len(above)} of {len(here)} entries{which} on {source}")
    return (f"Novel accuracy is above guessing by more than twice the error of the test images for {listed(said)}; where neither of two "
            "entries is, no verdict is given (*at chance*).")


def luck() -> str:
    return "if two methods were the same, their ranges would miss each other " + listed(
        [f"in {apart_by_luck(seeds):.0f} % of cases with {seeds} seeds" for seeds in range(2, len(SEEDS) + 1)])


def edge(study: Study) -> str:
    tried = [entry for entry in ENTRIES if len(entry.rates) > 1 and study.some(entry.name)]
    top = [entry for entry in tried if rate(study, entry.name) == max(map(float, entry.rates))]
    rest = listed([entry.name for entry in tried if entry not in top] or ["none"])
    return f"{len(top)} of {len(tried)} entries chose the largest rate tried (not: {rest}); their best may lie beyond."


def rate(study: Study, entry: str) -> float:
    found = study.some(entry)
    return found.rate if found else 0.0


def hardware(study: Study) -> str:
    found = Counter((score.hardware, score.seed) for score in study.scores)
    machines = sorted({machine for machine, _ in found})
    shares = {machine: [f"{found[machine, seed]} of seed {seed}" for seed in SEEDS if found[machine, seed]] for machine in machines}
    parts = [f"{machine}: {listed(share)}" for machine, share in shares.items()]
    mixed = " Seeds and machines are mixed, so a range over seeds holds both." if len(machines) > 1 else ""
    return f"Hardware: {'; '.join(parts)}.{mixed} Images are {study.stand_in['image_size']} px wide for the tower."


def told(study: Study, found: list[Found]) -> list[tuple[Found, str, str]]:
    """Each with its trained numbers, and with how many seeds it rests on."""
    seeds = [{source: len(one.differences[source, "base"].by_seed) for source in REPORTED} for one in found]
    return [(one, times(study, one.claim), listed([f"{number} on {source}" for source, number in has.items()]))
            for one, has in zip(found, seeds, strict=True)]


def said(one: tuple[Found, str, str]) -> str:
    found, numbers, seeds = one
    claim = found.claim
    return f"- {claim.title} (`{claim.left}` to `{claim.right}`: {numbers}; seeds: {seeds}). {found.conclusion()} {claim.note}".rstrip()


def unstable(study: Study) -> str:
    found = {entry.name: broken(study, entry.name) for entry in ENTRIES}
    lines = [f"- {problem}" for problems in found.values() for problem in problems]
    names = [name for name, problems in found.items() if problems]
    if not lines:
        return "No run failed or came out below guessing on what it learned."
    more = []
    if "parity-ring-r5" in names:
        more = ["", "So MMA's recipe (SGD at its rate, gradients magnified by its trick, no clipping) is unstable for the cores of a ring. "
                "A likely reason, not tested here: the gradient of each core grows with the others. What came through stands in the "
                "tables, and is no ground for a claim of parity."]
    return "\n".join(lines + more)
