"""One protocol for every table: tune each method on the validation part alone, then run the chosen rate with several seeds.

    trials    each rate once, seed 42, the training part only, the test part unread; the best validation headline is chosen
    seeds     the chosen rate on train + val (or train), scored on the test part after the last epoch
Every method has the same number of trials, the same data, size and epochs. Finished runs are kept, a stopped one is resumed.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inarch.cli import main

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Entry:
    """One method in a table: the name of its files, its flags, the learning rates to try."""

    name: str
    flags: tuple[str, ...]
    rates: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """``common``: flags of a data set by name, the same for every method; ``headline``: the validation metric that chooses.

    ``out``: run folders; ``results``: where result.json of the final runs is kept, those of the trials beside it.
    """

    out: Path
    results: Path
    common: Callable[[str], list[str]]
    headline: Callable[[dict], float]
    final: tuple[str, ...] = ("--fit", "train+val")

    def run(self, data: str, entry: Entry) -> str:
        """Trials, choice (none where there is one rate), seeds; returns the rate."""
        flags = [*self.common(data), *entry.flags]
        alone = len(entry.rates) == 1
        trials = {rate: 0.0 if alone else self._trial(data, entry, rate, flags) for rate in entry.rates}
        best = max(trials, key=lambda rate: trials[rate])
        for seed in SEEDS:
            folder = self.out / data / f"{entry.name}-seed{seed}"
            finished(folder, [*flags, "--lr", best, "--seed", str(seed), *self.final])
            keep(folder, self.results / data / f"{entry.name}-seed{seed}.json")
        return best

    def _trial(self, data: str, entry: Entry, rate: str, flags: list[str]) -> float:
        folder = self.out / data / f"{entry.name}-try-lr{rate}"
        tried = finished(folder, [*flags, "--lr", rate, "--seed", "42", "--no-test"])
        keep(folder, self.results.with_name(f"{self.results.name}-trials") / data / f"{entry.name}-lr{rate}.json")
        return self.headline(tried["metrics"]["val"])


def finished(folder: Path, flags: list[str]) -> dict:
    """The result of ``inarch train`` with these flags: kept, resumed, or made now."""
    result = folder / "result.json"
    if not result.exists():
        again = (folder / "run.json").exists()
        sys.argv = ["inarch", "train", *(["--resume", str(folder)] if again else [*flags, "--out", str(folder)])]
        print(" ".join(sys.argv), flush=True)
        if code := main(sys.argv[1:]):
            sys.exit(code)
    return json.loads(result.read_text())


def keep(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "result.json", target)
