"""Wins, ties and losses of one method, as docs/local-comparison.md tells them."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished import put, result
from test_compare_contests import LINEAR, LORA, SCORES, both

from inarch.errors import ConfigError
from scripts.standing import standing

THEIRS = "LoRA(rank=8)"


def told(folder: Path, runs: list[dict], method: str) -> list[str]:
    for i, fields in enumerate(runs):
        put(folder, f"{i}.json", fields)
    return standing([folder], method).splitlines()


def test_the_difference_has_the_sign_of_the_method_that_is_asked_about(tmp_path: Path) -> None:
    lines = told(tmp_path, both(), "arc")
    assert lines[-1] == rf"| {THEIRS} | \+2.1 level\* | \+2.1 level\* | \+2.1 |"
    assert standing([tmp_path], "lora").splitlines()[-1].endswith(r"| \-2.1 level\* | \-2.1 level\* | \-2.1 |")


@pytest.mark.parametrize(("shift", "verdict"), [(-0.2, "ahead"), (0.2, "behind"), (0.05, "level")])
def test_a_method_is_ahead_where_the_ranges_do_not_meet(tmp_path: Path, shift: float, verdict: str) -> None:
    runs = [result(data=data, seed=seed, test=score) for data, scores in SCORES.items() for seed, score in enumerate(scores)]
    runs += [result(**LORA, data=data, seed=seed, test=score + shift * (1 + seed / 10))
             for data, scores in SCORES.items() for seed, score in enumerate(scores)]
    lines = told(tmp_path, runs, "arc")
    counts = ", ".join(f"{2 * (one == verdict)} × {one}" for one in ("ahead", "level", "behind"))
    assert lines[0] == f"ARC(rank=50, dropout=0.1): {counts}" and lines[-1].count(verdict) == 2


def test_what_lacks_a_data_set_has_no_mean(tmp_path: Path) -> None:
    alone = [result(**LINEAR, data="pets", seed=seed, test=0.5 + seed / 50) for seed in range(3)]
    lines = told(tmp_path, [*both(), *alone], "arc")
    (own,) = (line for line in lines[4:] if not line.startswith(f"| {THEIRS}"))
    assert own.startswith(r"| Linear | – | \+23.0 ahead\*") and own.endswith("| – |")


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no method 'arcs'"):
        told(tmp_path, both(), "arcs")
