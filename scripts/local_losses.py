"""Whether a run of the local comparison fitted what it was given: its last epoch's training loss, beside what it tested at.

    python scripts/local_losses.py RUNS          RUNS: the folder that ``inarch compare --out`` wrote; keeps results/losses/NAME.json

Results of then do not hold their training loss, logs of runs do; ``fitted`` is the table of docs/local-comparison.md.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from scipy.stats import spearmanr

from inarch import files
from inarch.reporting import markdown
from inarch.reporting.gather import read_all
from inarch.reporting.rows import percent
from inarch.run import Run

ROOT = Path(__file__).resolve().parents[1]
LOSSES = ROOT / "results" / "losses"


def last_losses(runs: Path) -> dict[str, dict[str, float]]:
    """By data set and name of the run: the mean loss over the images of the last epoch."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for folder in sorted(runs.glob("runs/*/*")):
        run = Run(folder)
        if run.finished:
            found[folder.parent.name][folder.name] = run.lines()[-1]["loss"]
    return dict(found)


def fitted(folder: Path, data: str) -> str:
    """Every tested run of ``folder`` on ``data``, methods that fit best first: training loss and test score, and how they go together."""
    losses = json.loads((LOSSES / f"{folder.name}.json").read_text("utf-8"))[data]
    own: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)  # by method and seed
    for result in read_all([folder]).results:
        if result.data == data and not result.trial and result.score is not None:
            own[result.method][result.seed] = losses[Path(result.path).stem], result.score
    ordered = sorted(own.items(), key=lambda item: fmean(loss for loss, _ in item[1].values()))
    seeds = sorted({seed for runs in own.values() for seed in runs})
    lines = [[method, *(_cell(runs.get(seed)) for seed in seeds)] for method, runs in ordered]
    pairs = [pair for runs in own.values() for pair in runs.values()]
    rho = spearmanr(*zip(*pairs, strict=True)).statistic
    table = markdown.table([f"{data}: training loss → test, %", *(f"seed {seed}" for seed in seeds)], lines, [False] + [True] * len(seeds))
    return f"{table}\n\nSpearman's rank correlation of loss and test score over these {len(pairs)} runs: {rho:.2f}.\n"


def _cell(pair: tuple[float, float] | None) -> str:
    return "–" if pair is None else f"{pair[0]:.2f} → {percent(pair[1])}"


def main(words: list[str]) -> None:
    for runs in map(Path, words):
        target = LOSSES / f"{runs.name}.json"
        files.write(target, (json.dumps(last_losses(runs), indent=1, sort_keys=True) + "\n").encode())
        print(target.relative_to(ROOT))


if __name__ == "__main__":
    main(sys.argv[1:])
