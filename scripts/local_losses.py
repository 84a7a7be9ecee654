"""Whether a run of the local comparison fitted what it was given: its last epoch's training loss, beside what it tested at.

    python scripts/local_losses.py RUNS          RUNS: the folder that ``inarch compare --out`` wrote; keeps results/losses/NAME.json

Results of then do not hold their training loss, logs of runs do; ``fitted`` is the table of docs/local-comparison.md.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from scipy.stats import spearmanr

from inarch import files
from inarch.reporting import markdown
from inarch.reporting.gather import read_all
from inarch.reporting.results import Result

ROOT = Path(__file__).resolve().parents[1]
LOSSES = ROOT / "results" / "losses"


def last_losses(runs: Path) -> dict[str, dict[str, float]]:
    """By data set and name of the run: the mean loss over the images of the last epoch."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for log in sorted(runs.glob("runs/*/*/metrics.jsonl")):
        if (log.parent / "result.json").exists():
            found[log.parent.parent.name][log.parent.name] = json.loads(log.read_text("utf-8").splitlines()[-1])["loss"]
    return dict(found)


def fitted(folder: Path, data: str) -> str:
    """Every tested run of ``folder`` on ``data``, methods that fit best first: training loss and test score, and how they go together."""
    losses = json.loads((LOSSES / f"{folder.name}.json").read_text("utf-8"))[data]
    results = [result for result in read_all([folder]).results if result.data == data and not result.trial and result.score is not None]
    own: dict[str, list[tuple[float, Result]]] = defaultdict(list)
    for result in sorted(results, key=lambda result: result.seed):
        own[result.method].append((losses[Path(result.path).stem], result))
    ordered = sorted(own.items(), key=lambda item: sum(loss for loss, _ in item[1]) / len(item[1]))
    lines = [[method, *(f"{loss:.2f} → {100 * (result.score or 0):.1f}" for loss, result in runs)] for method, runs in ordered]
    seeds = sorted({result.seed for result in results})
    pairs = [(loss, result.score) for runs in own.values() for loss, result in runs]
    rho = spearmanr(*zip(*pairs, strict=True)).statistic
    table = markdown.table([f"{data}: training loss → test, %", *(f"seed {seed}" for seed in seeds)], lines, [False] + [True] * len(seeds))
    return f"{table}\n\nSpearman's rank correlation of loss and test score over these {len(pairs)} runs: {rho:.2f}.\n"


def main(words: list[str]) -> None:
    for runs in map(Path, words):
        target = LOSSES / f"{runs.name}.json"
        files.write(target, (json.dumps(last_losses(runs), indent=1, sort_keys=True) + "\n").encode())
        print(target.relative_to(ROOT))


if __name__ == "__main__":
    main(sys.argv[1:])
