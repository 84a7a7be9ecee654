"""Wins, ties and losses of one method, and how well each run fitted, as docs/local-comparison.md tells them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished import put, result
from test_compare_contests import LINEAR, LORA, SCORES, both

from inarch.errors import ConfigError
from scripts import local_losses
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


def test_losses_stand_beside_scores_of_the_same_run_and_the_best_fit_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {("arc", 0): (0.5, 0.8), ("arc", 1): (0.25, 0.9), ("lora", 0): (0.1, 0.95), ("lora", 1): (0.2, 0.7)}  # loss, test
    for (name, seed), (loss, test) in scores.items():
        put(tmp_path / "kept" / "pets", f"{name}-{seed}.json", result(**(LORA if name == "lora" else {}), seed=seed, test=test))
        (log := tmp_path / "kept" / "runs" / "pets" / f"{name}-{seed}").mkdir(parents=True)
        log.joinpath("metrics.jsonl").write_text(f'{{"loss": 9.0}}\n{{"loss": {loss}}}\n')
        log.joinpath("result.json").touch()
    losses = local_losses.last_losses(tmp_path / "kept")
    assert losses == {"pets": {f"{name}-{seed}": loss for (name, seed), (loss, _) in scores.items()}}
    monkeypatch.setattr(local_losses, "LOSSES", tmp_path)
    (tmp_path / "kept.json").write_text(json.dumps(losses))
    _, _, first, second, _, rank = local_losses.fitted(tmp_path / "kept", "pets").splitlines()
    assert first == f"| {THEIRS} | 0.10 → 95.0 | 0.20 → 70.0 |" and second.endswith("| 0.50 → 80.0 | 0.25 → 90.0 |")
    assert rank.endswith("over these 4 runs: -0.40.")
