"""Those who do the jobs: they are given one when they are free, and say what came of it.

A crew is entered and left; what is left in the middle can be gone on with, since a run folder knows where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from inarch.study.jobs import Job


@dataclass(frozen=True)
class Outcome:
    """``done`` with a result; ``failed`` for a reason that would come again; ``died``: its process is gone, which may not."""

    job: Job
    kind: Literal["done", "failed", "died"]
    result: Mapping[str, Any] | None = None
    reason: str = ""
    seconds: float = 0.0
    memory: int = 0  # bytes, the most that its process held

    @staticmethod
    def answer(job: Job, kind: Literal["done", "failed"], said: Any, seconds: float, memory: int) -> Outcome:
        """What a process said of its job: the result, or the reason."""
        return Outcome(job, kind, said, "", seconds, memory) if kind == "done" else Outcome(job, kind, None, said, seconds, memory)


class Crew(Protocol):
    """Local processes, or a cluster."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *problem: object) -> None: ...

    @property
    def free(self) -> bool:
        """Can it take another job?"""
        ...

    @property
    def at_once(self) -> int:
        """How many jobs are worked at, at most."""
        ...

    @property
    def about(self) -> str:
        """How many there are, and why, in a few words."""
        ...

    def give(self, job: Job, folder: Path) -> None: ...

    def wait(self, seconds: float) -> Outcome | None:
        """What came of one of the jobs that were given; None where nothing did in this time."""
        ...
