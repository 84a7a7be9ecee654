"""bench import: what ``import inarch`` costs over ``import torch``, and what ``inarch --help`` costs, in fresh interpreters.

CPU seconds of the child process (user and system), interleaved, the first repeat dropped; wall-clock beside it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.timing import at_least_one, race, summary

BARE = "import torch"
CORE = "import torch; from inarch import ARC, count, graft, load, merge, save"  # named, since names load when asked for
COMMANDS = {BARE: ("-c", BARE), CORE: ("-c", CORE), "inarch --help": ("-m", "inarch", "--help")}


@dataclass(frozen=True)
class Cost:
    """Of one fresh interpreter."""

    cpu: float
    wall: float


def bench_import(*, repeats: int = 10, tick: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON."""
    at_least_one(repeats=repeats)
    costs = race({name: Fresh(command) for name, command in COMMANDS.items()}, repeats, tick)
    over = [both.cpu - bare.cpu for both, bare in zip(costs[CORE], costs[BARE], strict=True)]
    rows = {name: {"cpu": summary([c.cpu for c in of]), "wall": summary([c.wall for c in of])} for name, of in costs.items()}
    return {"format": FORMAT, "kind": "import", "settings": {"repeats": repeats}, **circumstances(), "commands": rows,
            "inarch_over_torch": summary(over)}


@dataclass(frozen=True)
class Fresh:
    """Runs the interpreter with these arguments; raises ``CalledProcessError`` when it fails."""

    arguments: tuple[str, ...]

    def __call__(self) -> Cost:
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *self.arguments], check=True, capture_output=True, env=alone)
        ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended - began)
