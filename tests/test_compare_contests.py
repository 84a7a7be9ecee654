"""Whom compare lets meet, against whom, and what it says of so few seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished import put, result
from test_compare_fewshot import few

from inarch.compare import Comparison, compare
from inarch.errors import ConfigError
from inarch.reporting.contests import shown

LORA = {"method": "lora", "config": {"rank": 8}, "count": {"head": 300, "trainable": 20_300}}
LINEAR = {"method": "linear", "config": {}, "count": {"head": 300, "trainable": 300}}
SCORES = {"pets": (0.7, 0.75, 0.8), "cars": (0.4, 0.5, 0.45)}


def of(folder: Path, *results: dict, **options) -> Comparison:
    for i, fields in enumerate(results):
        put(folder, f"{i}.json", fields)
    return compare([folder], **options)


def both(**second) -> list[dict]:
    """ARC and, two points worse, LoRA: three seeds on two data sets."""
    runs = [result(data=data, seed=seed, test=score) for data, scores in SCORES.items() for seed, score in enumerate(scores)]
    return runs + [result(**LORA | second, data=data, seed=seed, test=score - 0.02 - seed / 1000)
                   for data, scores in SCORES.items() for seed, score in enumerate(scores)]


def test_each_meets_the_best_seed_by_seed_and_over_data_sets(tmp_path: Path) -> None:
    found = of(tmp_path, *both()).contests
    assert [(c.data, c.method, c.reference) for c in found.within] == [
        (data, "LoRA(rank=8)", "ARC(rank=50, dropout=0.1)") for data in ("cars", "pets")]  # fmt: skip
    first = found.within[0]
    assert (first.found.n, first.found.mean) == (3, pytest.approx(-0.021)) and first.found.low < -0.021 < first.found.high < 0
    assert first.holm_t == pytest.approx(2 * first.found.t) and first.cells()[-1] == "lower"
    (over,) = found.across
    assert (over.found.n, over.found.mean, over.found.flips) == (2, pytest.approx(-0.021), 0.5) and over.cells()[-1] == "not shown"


def test_it_is_said_what_so_few_can_show(tmp_path: Path) -> None:
    notes = of(tmp_path, *both()).contests.notes
    assert any(note.startswith("3 seeds: sign flips can give p = 0.25 at best, so they can never give p < 0.05") for note in notes)
    assert any(note.startswith("2 data sets: sign flips can give p = 0.50") and "2 lines" not in note for note in notes)
    assert any("chosen after looking" in note for note in notes) and any("normally distributed" in note for note in notes)


def test_a_reference_is_named_by_its_name_or_its_line(tmp_path: Path) -> None:
    by_name, by_line = of(tmp_path, *both(), reference="lora").contests, compare([tmp_path], reference="LoRA(rank=8)").contests
    assert by_name == by_line and {c.reference for c in by_name.within} == {"LoRA(rank=8)"} and by_name.within[0].found.mean > 0
    assert not any("chosen after looking" in note for note in by_name.notes)


def test_a_reference_that_is_none_or_several_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no method 'LoRA\(rank=9\)'.*did you mean 'LoRA\(rank=8\)'"):
        of(tmp_path, *both(), reference="LoRA(rank=9)")
    with pytest.raises(ConfigError, match=r"'lora' is 2 methods here.*LoRA\(rank=8\)"):
        of(tmp_path, *both(), result(**LORA | {"config": {"rank": 4}}), reference="lora")


@pytest.mark.parametrize("change", [{"recipe_fit": "train+val"}, {"sha": "d" * 64}, {"backbone": "vit_small"}, {"epochs": 20}])
def test_only_runs_of_one_protocol_meet(tmp_path: Path, change: dict) -> None:
    fit = change.pop("recipe_fit", None)
    other = result(**LORA, **change)
    other["recipe"] |= {"fit": fit} if fit else {}
    assert of(tmp_path, result(), other).contests.within == ()
    assert len(of(tmp_path / "same", result(), result(**LORA)).contests.within) == 1


def test_a_row_with_a_seed_missing_meets_nobody_and_that_is_said(tmp_path: Path) -> None:
    found = of(tmp_path, *both(), result(**LINEAR), result(**LINEAR, seed=1, test=None)).contests
    assert not any(c.method == "Linear" for c in found.within)
    assert "Linear on pets: a seed is missing or failed, so it is compared with nothing" in found.notes
    assert any(note.startswith("Linear has no mean on cars, pets") for note in found.notes)


def test_only_common_seeds_are_paired(tmp_path: Path) -> None:
    found = of(tmp_path, *both(), result(**LINEAR, seed=1, test=0.5), result(**LINEAR, seed=7, test=0.5)).contests
    assert next(c for c in found.within if c.method == "Linear").found.n == 1
    alone = of(tmp_path / "alone", *both(), result(**LINEAR, seed=7, test=0.5)).contests
    assert any("no seed in common" in note for note in alone.notes)


def test_few_shot_runs_are_judged_by_their_harmonic_mean(tmp_path: Path) -> None:
    mma = {"method": "mma", "config": {"rank": 32}, "count": {"head": 0, "trainable": 674_560}}
    found = of(tmp_path, few(0.8, 0.6), few(0.9, 0.4, **mma)).contests
    assert found.within[0].method == "MMA(rank=32)" and found.within[0].found.mean == pytest.approx(0.72 / 1.3 - 0.96 / 1.4)


def test_small_ps_are_not_zero() -> None:
    assert [shown(p) for p in (None, 1e-7, 0.0312, 0.2549, 1.0)] == ["–", "<0.0001", "0.031", "0.25", "1.00"]


def test_json_carries_both_tables(tmp_path: Path) -> None:
    told = of(tmp_path, *both()).to_json()["paired"]
    assert told["within"][0]["p_t_holm"] >= told["within"][0]["p_t"] and told["across"][0]["least_p_sign_flips"] == 0.5
