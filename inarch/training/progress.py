"""What a run tells while it works: a live bar at a terminal, a line per epoch elsewhere, nothing without a console."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Progress:
    """``console``: a rich Console, or None for silence. Enter it around the work."""

    def __init__(self, console: Any | None, unit: str = "images") -> None:
        self.console, self.unit = console, unit
        self.live = console is not None and console.is_terminal
        self.bar: Any = None
        self.task: Any = None
        self.began = time.perf_counter()
        self.start = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def say(self, text: str) -> None:
        if self.console is not None:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def looking(self) -> Callable[[int, int], None]:
        """A tick for the look at every image before training; the bar goes when all are seen."""
        def tick(done: int, total: int) -> None:
            if self.live and self.bar is None:
                self._open("looking at images", total)
            if self.bar is not None:
                self.bar.update(self.task, completed=done, total=total)
            if done == total:
                self._close()
        return tick

    def begin(self, total: int, done: int) -> None:
        """``total`` updates, ``done`` of them before this process began."""
        self.began, self.start = time.perf_counter(), done
        if self.live:
            self._open("training", total, done)

    def _open(self, what: str, total: int, done: int = 0) -> None:
        self._close()
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"),
                       TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self.console, transient=True)
        self.bar.start()
        self.task = self.bar.add_task(what, total=total, completed=done, facts="")

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def update(self, done: int, epoch: str, loss: float, rate: float) -> None:
        if self.bar is not None:
            facts = f"loss {loss:.4f}  {rate:.0f} {self.unit}/s"
            self.bar.update(self.task, completed=done, description=f"epoch {epoch}", facts=facts)

    def scoring(self, part: str) -> Any:
        """A tick for the scoring of a part."""
        def tick(done: int, total: int) -> None:
            if self.bar is not None:
                self.bar.update(self.task, facts=f"scoring {part} {done}/{total}")
        return tick

    def epoch(self, line: dict[str, Any], said: list[str], epochs: int, updates: int, total: int) -> None:
        """One line for a finished epoch: loss, what is ``said`` of validation, rate, time left."""
        left = (time.perf_counter() - self.began) / max(updates - self.start, 1) * (total - updates)
        scores = "".join(f"  val {score}" for score in said)
        self.say(f"epoch {line['epoch']}/{epochs}  loss {line['loss']:.4f}{scores}  lr {line['lr']:.2e}  "
                 f"{line['images_per_second']:.0f} {self.unit}/s  {span(left)} left")


def span(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min {seconds % 60} s" if seconds < 3600 else f"{seconds // 3600} h {seconds % 3600 // 60} min"
