"""What is to be done next: trials of every rate on validation, the best rate, its seeds; as each entry is ready, not in step.

    rate(entry, task) = argmax over rates of the validation score of the trial, the smaller rate where two are as good
A rate whose trial failed is not chosen; where all of them failed there is nothing to run, and the failure is told once per seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from inarch.reporting.results import results_of
from inarch.study.entry import Entry
from inarch.study.jobs import Job
from inarch.study.ledger import Ledger
from inarch.suites import Suite, SuiteTask

TRIAL_SEED = 42
UNSAID = {"split_seed": 0, "evaluate_every": 0, "threads": 1}  # recipe fields where nobody says another: a core for each run
TRIES = 2  # of a job whose process died: after that it is a failure


@dataclass(frozen=True)
class Plan:
    """``common``: recipe fields over those of the suite; ``trials``: rates per entry and data set at most; ``root``: of the data."""

    suite: Suite
    root: Path
    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]
    trials: int
    common: Mapping[str, Any] = field(default_factory=dict)

    def rates(self, entry: Entry) -> tuple[float, ...]:
        return self.suite.rates_of(entry.name)[: self.trials]

    def job(self, task: SuiteTask, entry: Entry, rate: float, seed: int | None) -> Job:
        """The trial of a rate, or with a ``seed`` the run that is scored, on training and validation images together."""
        ends = {"fit": "train", "test": False} if seed is None else {"fit": "train+val", "test": True}
        fields = {**UNSAID, **self.suite.fields(task, self.root, entry.name), **self.common, **ends,
                  "method": entry.name, "set": dict(entry.fields), "lr": rate, "seed": TRIAL_SEED if seed is None else seed}
        return Job("trial" if seed is None else "seed", task.name, entry.name, rate, fields["seed"], fields)


@dataclass
class Cell:
    """An entry on a task: trials by rate with their score (None: open; a text: why it failed), and the jobs of its seeds."""

    task: SuiteTask
    entry: Entry
    trials: dict[float, float | str | None]
    rate: float | None = None
    seeds: dict[int, bool | str | None] = field(default_factory=dict)  # True: there; a text: why it failed

    def best(self) -> float | None:
        scores = {rate: score for rate, score in self.trials.items() if isinstance(score, float)}
        return max(scores, key=lambda rate: (scores[rate], -rate), default=None)


class Agenda:
    """Jobs in the order in which they are wanted; ``note`` what came of one. What the ledger holds already is never handed out."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.plan, self.ledger = plan, ledger
        self.cells = {(task.name, entry.name): Cell(task, entry, dict.fromkeys(plan.rates(entry)))
                      for task in plan.suite.tasks for entry in plan.entries}
        self.waiting: deque[Job] = deque()
        self.out: set[str] = set()  # keys of jobs that are being done
        self.tries: dict[str, int] = {}
        for cell in self.cells.values():
            self._open(cell)

    @property
    def open(self) -> bool:
        """Is there anything to do, or being done?"""
        return bool(self.waiting or self.out)

    def next(self) -> Job | None:
        if not self.waiting:
            return None
        job = self.waiting.popleft()
        self.out.add(job.key)
        return job

    def again(self, job: Job) -> bool:
        """A job whose process died comes back behind the others, unless it has been tried often enough."""
        self.out.discard(job.key)
        self.tries[job.key] = self.tries.get(job.key, 1) + 1
        if self.tries[job.key] > TRIES:
            return False
        self.waiting.append(job)
        return True

    def done(self, job: Job, result: Mapping[str, Any]) -> None:
        self.out.discard(job.key)
        self.ledger.keep(job, dict(result))
        self._settle(job, score_of(result, self.ledger.file(job)))

    def fail(self, job: Job, reason: str) -> None:
        self.out.discard(job.key)
        self.ledger.fail(job, reason, self.cells[job.task, job.method].entry.numbers)
        self._settle(job, reason)

    def kept(self) -> Iterator[Job]:
        """The seeds' jobs that are there or have failed."""
        for cell in self.cells.values():
            if cell.rate is not None:
                yield from (self._seed(cell, seed) for seed, state in cell.seeds.items() if state is not None)

    def tried(self) -> Iterator[Job]:
        """The jobs of all trials."""
        for cell in self.cells.values():
            if len(cell.trials) > 1:
                yield from (self.plan.job(cell.task, cell.entry, rate, None) for rate in cell.trials)

    # inside

    def _open(self, cell: Cell) -> None:
        """Hand out the trials of a cell that are missing; one rate alone needs none."""
        if len(cell.trials) == 1:
            self._seeds(cell, next(iter(cell.trials)))
            return
        for rate in cell.trials:
            self._offer(self.plan.job(cell.task, cell.entry, rate, None))

    def _offer(self, job: Job) -> None:
        """Only what the ledger does not know."""
        found = self.ledger.result(job)
        reason = None if found is not None else self.ledger.failed(job)
        if found is not None:
            self._settle(job, score_of(found, self.ledger.file(job)))
        elif reason is not None:
            self._settle(job, reason)
        else:
            self.waiting.append(job)

    def _settle(self, job: Job, outcome: float | str) -> None:
        cell = self.cells[job.task, job.method]
        if job.kind == "seed":
            cell.seeds[job.seed] = outcome if isinstance(outcome, str) else True
            return
        cell.trials[job.rate] = outcome
        if any(score is None for score in cell.trials.values()) or cell.rate is not None:
            return
        best = cell.best()
        if best is not None:
            self._seeds(cell, best)
            return
        cell.rate = next(iter(cell.trials))
        reason = f"every learning rate failed; {next(str(why) for why in cell.trials.values())}"
        for seed in self.plan.seeds:
            job = self._seed(cell, seed)
            self.ledger.fail(job, reason, cell.entry.numbers)
            cell.seeds[seed] = reason

    def _seeds(self, cell: Cell, rate: float) -> None:
        cell.rate = rate
        cell.seeds = dict.fromkeys(self.plan.seeds)
        for seed in self.plan.seeds:
            self._offer(self._seed(cell, seed))

    def _seed(self, cell: Cell, seed: int) -> Job:
        assert cell.rate is not None
        return self.plan.job(cell.task, cell.entry, cell.rate, seed)


def score_of(result: Mapping[str, Any], path: Path) -> float:
    """The number on validation that chooses a rate, the mean over tasks where a run has several; of a run that was scored on test, that."""
    found = [one.val if one.val is not None else one.score for one in results_of(dict(result), path)]
    known = [value for value in found if value is not None]
    return fmean(known) if known else 0.0


def chosen(agenda: Agenda) -> Sequence[str]:
    """One line per cell in which a rate was chosen, for the report: the rate, and what every rate scored."""
    lines = []
    for (task, name), cell in agenda.cells.items():
        tried = ", ".join(f"{rate:g}: {'failed' if isinstance(score, str) else score if score is None else f'{100 * score:.1f}'}"
                          for rate, score in cell.trials.items())
        if cell.rate is not None and len(cell.trials) > 1 and cell.best() is not None:
            lines.append(f"{name} on {task}: lr {cell.rate:g} (validation score by rate: {tried})")
    return lines
