"""``study``: who takes part at which size, every run that is missing, and the comparison of what came out.

    wish -> entrants within the budget -> agenda (what the ledger lacks) -> crew -> results -> report
Killed at any moment and begun again, it goes on with the runs that were cut and never repeats one that was finished.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch import folders
from inarch.compare import Comparison, compare
from inarch.data.readers import absent
from inarch.errors import ConfigError, DataError
from inarch.reporting.results import data_name
from inarch.study.agenda import UNSAID, Agenda, Plan, chosen
from inarch.study.board import Board
from inarch.study.crew import Crew, Outcome
from inarch.study.entry import Entrants, Stock, entrants
from inarch.study.ledger import Ledger
from inarch.study.spent import Spent, Took
from inarch.suites import Suite
from inarch.training.interrupt import ended_by_sigterm
from inarch.training.lock import locked
from inarch.training.progress import span


@dataclass(frozen=True)
class Wish:
    """What is to be compared. ``budget``: trained numbers without the head, None: every method at its own size.

    ``settings``: fields of methods by name. ``common``: recipe fields over the suite's. ``out``: run folders; ``results``: where
    results are kept (None: in ``out``). ``workers``: None as memory allows; ``cluster``: address of a Ray cluster instead.
    ``again``: also do what failed before.
    """

    suite: Suite
    root: Path
    methods: tuple[str, ...]
    out: Path
    budget: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    trials: int = 3
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    common: Mapping[str, Any] = field(default_factory=dict)
    results: Path | None = None
    workers: int | None = None
    cluster: str = ""
    again: bool = False
    reference: str | None = None


@dataclass(frozen=True)
class Worked:
    """What came of a wish: who took part, every job and what is known of it, and where the time went."""

    wish: Wish
    taking: Entrants
    agenda: Agenda
    spent: Spent


def study(wish: Wish, console: Any = None) -> Comparison:
    """Train what is missing and compare. Raises ``ConfigError`` before anything is trained where the wish cannot be met."""
    return compared(worked(wish, console))


def worked(wish: Wish, console: Any = None) -> Worked:
    """Train what is missing; raises as ``study`` does."""
    suite, lost = _at_hand(wish)
    taking = _entrants(wish)
    taking = dataclasses.replace(taking, left_out=(*lost, *taking.left_out))
    plan = Plan(suite, wish.root, taking.entries, wish.seeds, wish.trials, wish.common)
    ledger, crew = Ledger(wish.out, wish.results or wish.out / "results"), _crew(wish)  # one that is refused leaves no folder behind
    folders.make_folder(wish.out)
    with ExitStack() as stack:
        stack.enter_context(locked(wish.out))
        stack.enter_context(ended_by_sigterm())
        if wish.again:
            ledger.forget_failures()
        agenda = Agenda(plan, ledger)
        board = Board(console, agenda, crew)
        for text in (*told(taking), *taking.left_out):
            board.say(text)
        spent = _work(agenda, stack.enter_context(crew), stack.enter_context(board)) if agenda.open else Spent()
    return Worked(wish, taking, agenda, spent)


def _at_hand(wish: Wish) -> tuple[Suite, list[str]]:
    """The suite with the tasks whose data is there, and a line for every other one; raises ``DataError`` where none is."""
    lost = {task.name: why for task in wish.suite.tasks if (why := absent(wish.suite.fields(task, wish.root)["data"]))}
    there = tuple(task for task in wish.suite.tasks if task.name not in lost)
    if not there:
        more = f" ({len(lost) - 1} more data sets are not there either)" if len(lost) > 1 else ""
        raise DataError(f"data {next(iter(lost.values()))}{more}; --data says where it lies, inarch data get NAME how to get a public set")
    return dataclasses.replace(wish.suite, tasks=there), [f"{name} is left out: data {why}" for name, why in lost.items()]


def _entrants(wish: Wish) -> Entrants:
    """Counted on the backbone of the suite, as its first task has it."""
    fields = _shared(wish)
    usual = {name: own.get("set", {}) for name, own in wish.suite.settings.items()}
    return entrants(wish.methods, Stock(fields["backbone"], fields.get("image_size")), wish.budget, wish.settings, usual)


def _shared(wish: Wish) -> dict[str, Any]:
    """Recipe fields of the first task, before a method has its own."""
    return {**UNSAID, **wish.suite.fields(wish.suite.tasks[0], wish.root), **wish.common}


def _crew(wish: Wish) -> Crew:
    fields = _shared(wish)
    device = fields.get("device", "auto")
    if wish.cluster:
        from inarch.study.cluster import RayCrew

        if wish.workers is not None:
            raise ConfigError(f"workers={wish.workers} is for processes of this machine; the cluster {wish.cluster!r} places its own")
        return RayCrew(wish.cluster, device)
    from inarch.study.local import LocalCrew

    return LocalCrew(wish.workers, device, fields["threads"])


def _work(agenda: Agenda, crew: Crew, board: Board) -> Spent:
    ledger, began, spent = agenda.ledger, time.monotonic(), Spent()
    whole: set[str] = set()  # keys of runs of which nothing was done before
    while agenda.open:
        while crew.free and (job := agenda.next()) is not None:
            (whole.discard if ledger.folder(job).exists() else whole.add)(job.key)
            crew.give(job, ledger.folder(job))
        board.tick()
        outcome = crew.wait(0.5)
        if outcome is not None:
            if outcome.result is not None and outcome.job.key in whole:
                spent.runs.append(Took(outcome.job.method, outcome.seconds, float(outcome.result["seconds"])))
            _noted(agenda, board, outcome)
    spent.wall = time.monotonic() - began
    board.say(f"{board.finished} runs in {span(spent.wall)} by {crew.about}{spent.said()}")
    return spent


def _noted(agenda: Agenda, board: Board, outcome: Outcome) -> None:
    job = outcome.job
    if outcome.kind == "done" and outcome.result is not None:
        agenda.done(job, outcome.result)
    elif outcome.kind == "failed" or not agenda.again(job):
        agenda.fail(job, outcome.reason)
    board.note(outcome)


def groups_of(suite: Suite) -> dict[str, list[str]] | None:
    """Its groups by the names that results give to their data; None where it has none."""
    names = {task.name: data_name(task.data) for task in suite.tasks}
    return {group: [names[task] for task in tasks] for group, tasks in suite.groups.items()} or None


def told(taking: Entrants) -> list[str]:
    """A line per entrant: what it trains, and what the budget changed."""
    return [f"{entry.name}: {entry.numbers:,} numbers without the head" + f" ({entry.change})" * bool(entry.change)
            for entry in taking.entries]


def compared(found: Worked) -> Comparison:
    """Of the runs of this wish alone, whatever else lies in the folders."""
    agenda, ledger, wish = found.agenda, found.agenda.ledger, found.wish
    paths = [path for job in agenda.kept() for path in (ledger.file(job), ledger.failure(job)) if path.exists()]
    paths += [path for job in agenda.tried() if (path := ledger.file(job)).exists()]
    if not paths:
        raise ConfigError(f"no run of this comparison is there yet in {ledger.results}")
    table = compare(paths, groups=groups_of(wish.suite), reference=wish.reference)
    return dataclasses.replace(table, notes=(*table.notes, *found.taking.left_out, *chosen(agenda)))
