"""``auto``: check, decide, climb, train the winner, report. Stopped and begun again with the same words, it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch import files, folders
from inarch.auto.decide import Chosen, Effort, Workload, backbone, effort
from inarch.auto.ladder import Candidate, Try, climb
from inarch.data import check
from inarch.errors import ConfigError, Corrupt, DataError, InarchError
from inarch.recipe import Recipe
from inarch.run import Run
from inarch.study.agenda import score_of
from inarch.study.entry import Stock, entrants
from inarch.study.jobs import Job
from inarch.study.ledger import Ledger
from inarch.study.work import perform
from inarch.suites import load_suite
from inarch.training.lock import locked
from inarch.training.progress import span

METHODS = ("linear", "arc", "lora", "adaptformer")  # the cheapest first; a tie goes to the one with fewer numbers
RATES = 3  # per method
BUDGET = 100_000  # trained numbers without the head
HELD = 0.2  # of the images, for each part that the data lacks
FEW = 3  # images of a class below which a part of it cannot be held back
DECISIONS = "decisions.json"


@dataclass(frozen=True)
class Ask:
    """``data``: address of images with labels. What is None or empty is decided: by the machine, the data, the time."""

    data: str
    out: Path
    backbone: str | None = None
    methods: tuple[str, ...] = METHODS
    budget: int = BUDGET
    minutes: float = 30.0
    image_size: int | None = None
    device: str = "auto"
    seed: int = 0


@dataclass
class Told:
    """Everything that was decided, in order, and said as it was."""

    say: Callable[[str], None]
    lines: list[str] = field(default_factory=list)

    def __call__(self, *texts: str) -> None:
        for text in texts:
            self.lines.append(text)
            self.say(text)


@dataclass(frozen=True)
class Outcome:
    """``run``: of the winner, trained on train + val and scored on test."""

    run: Path
    winner: Candidate
    tries: tuple[Try, ...]
    decisions: tuple[str, ...]


def auto(ask: Ask, console: Any = None) -> Outcome:
    """The winner's run. Raises ``DataError`` where the data must be mended first, ``ConfigError`` where nothing can be trained."""
    told = Told(lambda text: None if console is None else console.print(text, highlight=False, markup=False, soft_wrap=True))
    counts = checked(ask, told)  # data that must be mended first leaves no folder behind
    folders.make_folder(ask.out)
    with locked(ask.out):
        chosen, work, candidates = decided(ask, counts, told)
        ladder = Ladder(ask, chosen, work, told)
        tries, winner = climb(candidates, work.epochs, ladder.score)
        if winner is None:
            raise ConfigError(f"none of the {len(candidates)} candidates could be trained; the first said: {tries[0].reason}")
        told(f"winner: {winner} ({winner.numbers:,} numbers without the head), the best on validation of the last rung")
        run = ladder.last(winner, console)
        outcome = Outcome(run, winner, tuple(tries), tuple(told.lines))
        from inarch.auto.report import write

        write(outcome, ask)
        return outcome


def checked(ask: Ask, told: Told) -> dict[str, int]:
    """Every image was looked at, and what is there is enough."""
    report = check(ask.data)
    if report.problems:
        shown = "; ".join(map(str, report.problems[:3]))
        raise DataError(f"{ask.data}: {len(report.problems)} problem(s), such as: {shown}; list them all with inarch check-data {ask.data}")
    counts = report.counts
    told(f"data: {counts['train']} training images of {counts['classes']} classes, every image read", *report.warnings)
    if counts["train"] < FEW * counts["classes"]:
        raise DataError(f"{ask.data}: {counts['train']} images of {counts['classes']} classes; expected at least {FEW} per class, so that "
                        "some can be held back for validation and test: add images, or remove the smallest classes")
    for part in ("val", "test"):
        if part not in counts:
            told(f"{part}: none comes with the data, so {HELD:.0%} of the images are held back (drawn by seed {ask.seed}, class by class)")
    return counts


def decided(ask: Ask, counts: dict[str, int], told: Told) -> tuple[Chosen, Effort, list[Candidate]]:
    """From the folder of an earlier start where there is one: what was measured then holds, or its runs would be none of these."""
    chosen = backbone(ask.backbone, ask.device, told.say)
    told(*chosen.reasons)
    suite = load_suite("local")
    climbing = sum(len(suite.rates_of(name)[:RATES]) for name in ask.methods)
    work = _remembered(ask, chosen) or effort(chosen, _workload(counts, climbing), ask.minutes, ask.device, ask.image_size)
    _remember(ask, chosen, work)
    told(*work.reasons)
    taking = entrants(ask.methods, Stock(chosen.address, work.side), ask.budget, {})
    told(*taking.left_out)
    candidates = [Candidate(entry.name, dict(entry.fields), rate, entry.numbers)
                  for entry in taking.entries for rate in suite.rates_of(entry.name)[:RATES]]
    told(f"{len(candidates)} candidates within {ask.budget:,} numbers: {', '.join(dict.fromkeys(c.method for c in candidates))}, "
         f"{RATES} learning rates each; about {span(work.seconds)}")
    return chosen, work, candidates


def _workload(counts: dict[str, int], candidates: int) -> Workload:
    """Once a part that the data lacks is held back from the training images."""
    test, val = (0 if part in counts else round(HELD * counts["train"]) for part in ("test", "val"))
    return Workload(counts["train"] - test - val, counts["train"] - test + counts.get("val", 0), candidates)


def _asked(ask: Ask, chosen: Chosen) -> dict[str, Any]:
    return {"backbone": chosen.address, "methods": list(ask.methods), "budget": ask.budget, "minutes": ask.minutes,
            "image_size": ask.image_size, "seed": ask.seed}


def _remember(ask: Ask, chosen: Chosen, work: Effort) -> None:
    fields = {"asked": _asked(ask, chosen), "side": work.side, "epochs": work.epochs, "limit": work.limit, "seconds": work.seconds,
              "reasons": list(work.reasons)}
    files.write(ask.out / DECISIONS, files.canonical(fields))


def _remembered(ask: Ask, chosen: Chosen) -> Effort | None:
    path = ask.out / DECISIONS
    if not path.exists():
        return None
    found = files.parse_json(files.read(path), path)
    if found.pop("asked", None) != _asked(ask, chosen):
        return None
    try:
        return Effort(**found | {"reasons": tuple(found["reasons"])})
    except (TypeError, KeyError):
        raise Corrupt(f"{path} is not as inarch wrote it; delete it, and it is decided anew") from None


class Ladder:
    """Trains candidates and the winner; what was trained before is read."""

    def __init__(self, ask: Ask, chosen: Chosen, work: Effort, told: Told) -> None:
        self.ask, self.work, self.told = ask, work, told
        self.ledger = Ledger(ask.out / "ladder", ask.out / "ladder" / "results")
        self.common: dict[str, Any] = {
            "data": ask.data, "backbone": chosen.address, "image_size": work.side, "device": ask.device, "seed": ask.seed,
            "split_seed": ask.seed, "test_fraction": HELD, "val_fraction": HELD, "tensorboard": False}

    def fields(self, candidate: Candidate, **more: Any) -> dict[str, Any]:
        return {**self.common, "method": candidate.method, "set": dict(candidate.fields), "lr": candidate.rate, **more}

    def score(self, candidate: Candidate, rung: int, epochs: int) -> Try:
        """On validation, after ``epochs``."""
        fields = self.fields(candidate, epochs=epochs, limit=self.work.limit, test=False, report=False, evaluate_every=0)
        job = Job("trial", "ladder", candidate.method, candidate.rate, self.ask.seed, fields)
        try:
            result = self.ledger.result(job) or perform(job, self.ledger.folder(job))
        except InarchError as problem:
            self.told(f"rung {rung + 1}: {candidate} failed: {problem}")
            return Try(candidate, rung, epochs, None, str(problem))
        self.ledger.keep(job, result)
        found = score_of(result, self.ledger.file(job))
        self.told.say(f"rung {rung + 1}, epochs {epochs}: {candidate}: {100 * found:.1f} % on validation")
        return Try(candidate, rung, epochs, found)

    def last(self, winner: Candidate, console: Any) -> Path:
        """The winner's run, on training and validation images together, the last epoch; with its report."""
        from inarch.train import stored_recipe, train

        folder = self.ask.out / "best"
        recipe = Recipe.parse(self.fields(winner, epochs=self.work.epochs, fit="train+val", out=str(folder)))
        run = Run(folder)
        if not run.finished:
            train(stored_recipe(folder) if run.card_file.exists() else recipe, resume=run.card_file.exists(), console=console)
        elif others := run.recipe().differences(recipe):
            raise ConfigError(f"{folder} holds the winner of another question ({others[0]}); choose another --out")
        return folder

