"""What a comparison tells while it works: a live table of methods and data sets at a terminal, a line per finished run elsewhere."""

from __future__ import annotations

from typing import Any

from inarch.study.agenda import Agenda, Cell
from inarch.study.crew import Crew, Outcome
from inarch.training.progress import span


class Board:
    """``console``: a rich Console, or None for silence. Enter it around the work."""

    def __init__(self, console: Any | None, agenda: Agenda, crew: Crew) -> None:
        self.console, self.agenda, self.crew = console, agenda, crew
        self.finished, self.seconds = 0, 0.0  # of all that were done
        self.live: Any = None

    def __enter__(self) -> Board:
        if self.console is not None and self.console.is_terminal:
            from rich.live import Live

            self.live = Live(self._table(), console=self.console, refresh_per_second=2, transient=True)
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
        if kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit)):
            self.say(f"stopping: every finished run is kept, the same command goes on with the others; {self._left()}")

    def say(self, text: str) -> None:
        if self.console is not None:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def note(self, outcome: Outcome) -> None:
        """A finished run."""
        self.finished, self.seconds = self.finished + 1, self.seconds + outcome.seconds
        if outcome.kind != "done":
            self.say(f"{outcome.job}: {outcome.reason}")
        elif self.live is None:
            self.say(f"{outcome.job}: {span(outcome.seconds)}; {self._left()}")

    def tick(self) -> None:
        if self.live is not None:
            self.live.update(self._table())

    def _left(self) -> str:
        """Runs to come as far as they are known, and how long they would take if each took what those so far did."""
        seeds = sum(len(self.agenda.plan.seeds) for cell in self.agenda.cells.values() if cell.rate is None)
        runs = len(self.agenda.waiting) + len(self.agenda.out) + seeds
        if not (self.finished and runs):
            return f"{runs} runs left"
        each = self.seconds / self.finished
        return f"{runs} runs left, {span(each * runs / min(runs, self.crew.at_once))}"

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, caption=Text(f"{self.crew.about}; {self._left()}"), caption_justify="left", pad_edge=False)
        table.add_column("method")
        for task in self.agenda.plan.suite.tasks:
            table.add_column(task.name)
        for entry in self.agenda.plan.entries:
            cells = [self.agenda.cells[task.name, entry.name] for task in self.agenda.plan.suite.tasks]
            table.add_row(Text(entry.name), *(Text(stands(cell)) for cell in cells))
        return table


def stands(cell: Cell) -> str:
    """``rates 2/3`` while rates are tried, then ``seeds 1/3``; failures are counted beside."""
    states: list[Any] = [*(cell.trials if cell.rate is None else cell.seeds).values()]
    lost = sum(isinstance(state, str) for state in states)
    done = sum(state is not None for state in states) - lost
    return f"{'rates' if cell.rate is None else 'seeds'} {done}/{len(states)}" + (f", {lost} failed" if lost else "")
