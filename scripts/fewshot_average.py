"""Base, novel and harmonic mean over data sets and seeds, and ImageNet's model on other sets, from run folders, as the papers have it.

    python scripts/fewshot_average.py runs/ > table.md

    base, novel of a set    mean over its seeds          average    mean over the sets          H = 2 b n / (b + n) of that row's b and n
The average's H is the harmonic mean of the average base and the average novel accuracy, not the mean of the sets' own: of zero-shot CLIP
71.70, not 71.59. A method that lacks a set which another has is given no average. Runs that differ in anything but data and seed are
different rows; two runs with the same data, seed and setting are refused.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.data.fewshot import SETS
from inarch.errors import DataError, InarchError
from inarch.reporting import markdown
from inarch.reporting.results import result_of
from inarch.run import Run
from inarch.tasks.matching import harmonic

SOURCE, SHIFTED = "ImageNet", ("ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR")
OTHERS = tuple(name for name in SETS if name not in (SOURCE, *SHIFTED))
GONE = "–"
PER_SET = ("seed", "transfer", "val_fraction", "test_fraction")  # may differ between the runs of one row


@dataclass(frozen=True)
class Score:
    """One run. ``novel`` is None where nothing was held back; ``transfer``: accuracy by data set."""

    method: str
    setting: Mapping[str, Any]
    data: str
    seed: int
    base: float
    novel: float | None
    transfer: Mapping[str, float]
    path: str


def runs_below(paths: Iterable[Path]) -> list[Path]:
    """Finished run folders."""
    found = sorted({result.parent for path in paths for result in path.rglob("result.json")})
    if not found:
        raise DataError(f"no finished run below {', '.join(map(str, paths))}; give folders that `inarch train` wrote")
    return found


def score_of(folder: Path) -> Score | None:
    """None for a run of another kind."""
    fields = Run(folder).result()
    found = fields.get("fewshot")
    if found is None or found["base"] is None:
        return None
    result = result_of(fields, folder / "result.json")
    setting = {key: value for key, value in result.settings.items() if key not in PER_SET} | {"backbone": result.backbone}
    return Score(result.method, setting, result.data, result.seed, found["base"], found["novel"], found["transfer"], str(folder))


def rows_of(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """By method, with what tells two settings of it apart."""
    groups: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scores:
        same = groups[score.method, json.dumps(score.setting, sort_keys=True)]
        if twin := next((other for other in same if other.data == score.data and other.seed == score.seed), None):
            said = f"{score.method}, {score.data}, seed {score.seed}"
            raise DataError(f"{twin.path} and {score.path} are the same run ({said}); leave one out")
        same.append(score)
    return {label: rows for (method, _), rows in groups.items() for label in [_label(method, rows[0], groups)]}


def _label(method: str, one: Score, groups: Mapping[tuple[str, str], list[Score]]) -> str:
    others = [rows[0].setting for (name, _), rows in groups.items() if name == method]
    odd = [key for key in one.setting if len({json.dumps(other.get(key), sort_keys=True) for other in others}) > 1]
    return ", ".join([method, *(f"{key} {one.setting[key]}" for key in odd)])


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def halves(rows: Sequence[Score]) -> dict[str, tuple[float, float, int]]:
    """Base, novel and number of seeds of every set, over its seeds."""
    sets = dict.fromkeys(row.data for row in rows if row.novel is not None)
    found = {}
    for name in sorted(sets, key=_place):
        own = [row for row in rows if row.data == name and row.novel is not None]
        found[name] = (mean([row.base for row in own]), mean([row.novel for row in own if row.novel is not None]), len(own))
    return found


def _place(name: str) -> tuple[int, str]:
    known = [*SETS]
    return (known.index(name) if name in known else len(known), name)


def base_to_novel(groups: Mapping[str, Sequence[Score]]) -> str:
    """A row per method and set, an average row first."""
    each = {method: found for method, rows in groups.items() if (found := halves(rows))}
    every = {name for found in each.values() for name in found}
    lines = []
    for method, found in each.items():
        whole = every == set(found)
        base, novel = (mean([pair[k] for pair in found.values()]) for k in (0, 1))
        average = [_percent(value) if whole else GONE for value in (base, novel, harmonic(base, novel))]
        lines.append([method, f"average of {len(found)}", *average, ""])
        lines += [[method, name, _percent(b), _percent(n), _percent(harmonic(b, n)), str(seeds)] for name, (b, n, seeds) in found.items()]
    return markdown.table(["method", "data", "base", "novel", "H", "seeds"], lines, [False, False, True, True, True, True])


def across(groups: Mapping[str, Sequence[Score]]) -> str:
    """A row per method: source, mean over other sets and over shifted ones, each set."""
    rows = {method: [score for score in scores if score.transfer] for method, scores in groups.items()}
    rows = {method: scores for method, scores in rows.items() if scores}
    names = sorted({name for scores in rows.values() for score in scores for name in score.transfer}, key=_place)
    shifted = [name for name in names if name in SHIFTED]
    others = [name for name in names if name not in SHIFTED]
    header = ["method", "source", f"{len(others)} others", f"{len(shifted)} shifted", *names, "seeds"]
    lines = []
    for method, scores in rows.items():
        found = {name: mean([s.transfer[name] for s in scores]) for name in names if all(name in s.transfer for s in scores)}
        means = [mean([found[name] for name in some]) if some and {*some} <= {*found} else None for some in (others, shifted)]
        cells = [mean([s.base for s in scores]), *means, *(found.get(name) for name in names)]
        lines.append([method, *map(_percent, cells), str(len(scores))])
    return markdown.table(header, lines, [False, *[True] * (len(header) - 1)])


def _percent(value: float | None) -> str:
    return GONE if value is None else f"{100 * value:.2f}"


def page(paths: Sequence[Path]) -> str:
    """Both tables, where there is something for them."""
    scores = [score for score in map(score_of, runs_below(paths)) if score is not None]
    if not scores:
        raise DataError("none of these runs is a few-shot run with a scored test part")
    groups = rows_of(scores)
    parts = []
    if any(score.novel is not None for score in scores):
        parts += ["Base to novel, accuracy in %, mean over seeds; H of an average is that of its base and novel.", base_to_novel(groups)]
    if any(score.transfer for score in scores):
        parts += ["Learned on one set, scored as it is on others, accuracy in %, mean over seeds.", across(groups)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, or folders of them")
    try:
        print(page(parser.parse_args().runs))
    except InarchError as problem:
        parser.exit(problem.exit_code, f"{problem}\n")


if __name__ == "__main__":
    main()
