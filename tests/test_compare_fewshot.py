"""compare over few-shot runs: base, novel and harmonic mean over seeds, averages over data sets, and other kinds of runs as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finished import put, result

from inarch.compare import Comparison, compare
from inarch.reporting import honesty
from inarch.reporting.shots import harmonic, shots_of, spread

RING = {"method": "adaring", "config": {"ranks": [1, 2, 4]}, "count": {"head": 0, "trainable": 55_488}}
MMA = {"method": "mma", "config": {"rank": 32}, "count": {"head": 0, "trainable": 674_560}}


def few(base: float | None, novel: float | None, *, other: dict[str, float] | None = None, shots: int = 16, **changes: Any) -> dict:
    """A ``result.json`` of a few-shot run; every seed has images of its own, all of one listing."""
    fields = result(test=base, **(RING | changes))
    sets = other or {}
    fields["recipe"] |= {"protocol": "base-to-novel", "shots": shots, "templates": ["a photo of a {}."]}
    fields["data"] |= {"sha256": str(fields["seed"]) * 64, "listing_sha256": "e" * 64}
    fields["fewshot"] = {"base": base, "novel": novel, "harmonic": harmonic(base, novel), "transfer": sets, "transfer_mean": None}
    return fields


def of(folder: Path, *results: dict) -> Comparison:
    for i, fields in enumerate(results):
        put(folder, f"{i}.json", fields)
    return compare([folder])


def lines(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]


SEEDS = [few(0.8, 0.6, seed=1), few(0.9, 0.7, seed=2), few(0.7, 0.8, seed=3)]


def test_seeds_become_mean_and_range_of_base_novel_and_harmonic_mean(tmp_path: Path) -> None:
    found = of(tmp_path, *SEEDS)
    (row,) = found.rows
    each = [harmonic(0.8, 0.6), harmonic(0.9, 0.7), harmonic(0.7, 0.8)]
    assert row.harmonic.mean == pytest.approx(sum(each) / 3) and (row.harmonic.low, row.harmonic.high) == (min(each), max(each))
    head, _, line = lines(found.markdown())
    told = dict(zip(head, line, strict=True))
    assert told["base"] == "80.0 [70.0, 90.0]" and told["novel"] == "70.0 [60.0, 80.0]" and told["harmonic mean"] == "74.0 [68.6, 78.8]"
    assert told["trained no head"] == "55,488" and told["n"] == "3"
    assert not {"test accuracy", "trained with head", "other data"} & set(head)
    assert "seed by seed" in found.caption


def test_json_holds_every_number(tmp_path: Path) -> None:
    found = json.loads(json.dumps(of(tmp_path, *SEEDS).to_json(), allow_nan=False))
    (row,) = found["rows"]
    assert row["fewshot"]["novel"] == {"mean": pytest.approx(0.7), "min": 0.6, "max": 0.8} and row["scores"] == [0.8, 0.9, 0.7]
    assert row["fewshot"]["transfer"] == [{}, {}, {}] and row["fewshot"]["other"]["mean"] is None and "averages" not in found


def test_an_average_has_the_harmonic_mean_of_the_averages(tmp_path: Path) -> None:
    """CLIP over eleven sets: 69.34 and 74.22 give 71.70; the mean of the sets' harmonic means would be another number."""
    scores = {"pets": (0.9, 0.5), "cars": (0.4, 0.8)}
    found = of(tmp_path, *(few(b, n, data=name, **method) for name, (b, n) in scores.items() for method in (RING, MMA)))
    ring, mma = found.averages
    assert (ring.method, mma.method, ring.trained) == ("AdaRing", "MMA(rank=32)", (55_488, 55_488))
    assert (ring.base, ring.novel) == pytest.approx((0.65, 0.65)) and ring.harmonic == pytest.approx(0.65)
    assert ring.harmonic != pytest.approx((harmonic(0.9, 0.5) + harmonic(0.4, 0.8)) / 2, abs=1e-3)
    last = [line for line in lines(found.markdown()) if "average of 2 sets" in line]
    assert [line.count("65.0") for line in last] == [3, 3]
    assert found.to_json()["averages"][0]["harmonic"] == pytest.approx(0.65) and "that of the average base and novel" in found.caption


def test_no_average_over_sets_that_a_method_lacks(tmp_path: Path) -> None:
    found = of(tmp_path, few(0.9, 0.5), few(0.4, 0.8, data="cars"), few(0.5, 0.5, **MMA))
    by = {average.method.partition("(")[0]: average for average in found.averages}
    assert by["MMA"].absent == ("cars",) and by["MMA"].base is None and by["MMA"].harmonic is None and by["AdaRing"].base is not None
    assert "– (1 missing)" in found.markdown()


def test_settings_have_averages_of_their_own(tmp_path: Path) -> None:
    found = of(tmp_path, *(few(0.5, b, data=name, lr=lr) for name in ("pets", "cars") for lr, b in ((0.1, 0.5), (0.2, 0.7))))
    assert [(average.setting, average.novel) for average in found.averages] == [("lr=0.1", 0.5), ("lr=0.2", pytest.approx(0.7))]


def test_one_data_set_has_no_average(tmp_path: Path) -> None:
    assert of(tmp_path, few(0.9, 0.5), few(0.4, 0.8, **MMA)).averages == []


def test_matrix_cells_are_base_novel_and_harmonic_mean(tmp_path: Path) -> None:
    found = of(tmp_path, few(0.9, 0.5), few(0.4, 0.8, data="cars"))
    head, _, line = lines(found.matrix_markdown())
    assert head[2:] == ["cars", "pets", "mean (2 sets)"]
    assert line[2:] == ["40.0 / 80.0 / 53.3", "90.0 / 50.0 / 64.3", "65.0 / 65.0 / 65.0"]
    assert "base / novel / harmonic mean" in found.matrix_markdown()


def test_matrix_means_of_groups_keep_the_rule(tmp_path: Path) -> None:
    for i, (name, b, n) in enumerate((("pets", 0.9, 0.5), ("cars", 0.5, 0.9), ("dots", 0.2, 0.4))):
        put(tmp_path, f"{i}.json", few(b, n, data=name))
    found = compare([tmp_path], groups={"natural": ["pets", "cars"], "structured": ["dots"]})
    line = lines(found.matrix_markdown())[2]
    assert line[-4:] == ["70.0 / 70.0 / 70.0", "20.0 / 40.0 / 26.7", "53.3 / 60.0 / 56.5", "45.0 / 55.0 / 49.5"]


def test_other_data_is_shown_where_it_was_scored(tmp_path: Path) -> None:
    found = of(tmp_path, few(0.9, 0.5, other={"cars": 0.4, "dots": 0.2}), few(0.8, 0.5, seed=1, other={"cars": 0.6, "dots": 0.2}))
    head, _, line = lines(found.markdown())
    assert dict(zip(head, line, strict=True))["other data"] == "35.0 [30.0, 40.0]"


def test_runs_of_all_classes_have_their_test_column(tmp_path: Path) -> None:
    found = of(tmp_path, few(0.9, None))
    assert "test accuracy" in lines(found.markdown())[0] and not {"novel", "base"} & set(lines(found.markdown())[0])


def test_other_kinds_of_runs_are_as_ever_and_may_stand_beside(tmp_path: Path) -> None:
    plain = of(tmp_path / "plain", result())
    assert "fewshot" not in plain.to_json()["rows"][0] and not {"base", "novel"} & set(lines(plain.markdown())[0])
    head, _, *rows = lines(of(tmp_path / "both", result(), few(0.9, 0.5)).markdown())
    told = {row[0].partition("(")[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert (told["ARC"]["test accuracy"], told["ARC"]["novel"], told["AdaRing"]["novel"]) == ("75.0", "–", "50.0")
    assert told["ARC"]["trained with head"] == "5,300"


def test_a_seed_without_novel_score_leaves_no_mean(tmp_path: Path) -> None:
    (row,) = of(tmp_path, few(0.9, 0.5), few(0.8, None, seed=1)).rows
    assert (str(row.novel), str(row.harmonic), row.novel.mean) == ("– (1 of 2 missing)", "– (1 of 2 missing)", None)


def test_what_a_reader_must_know_is_said(tmp_path: Path) -> None:
    found = of(tmp_path, few(0.9, 0.5), few(0.9, 0.5, data="cars", shots=4), few(0.8, 0.5, **MMA))
    said = "\n".join(found.notes)
    assert "pets: 16 training images per class" in said and "cars: 4 training images" in said
    assert said.count(honesty.of("adaring")) == 1 == honesty.of("adaring").count("reconstruction from the abstract")
    assert not any("reconstruction" in note for note in of(tmp_path / "mma", few(0.8, 0.5, **MMA)).notes)
    other = few(0.8, 0.5, seed=1)
    other["recipe"]["templates"] = ["a blurry {}."]
    assert any("rows differ in templates" in note for note in of(tmp_path / "words", few(0.9, 0.5), other).notes)


def test_html_and_terminal_say_what_markdown_says(tmp_path: Path) -> None:
    from rich.console import Console

    found = of(tmp_path, *SEEDS, few(0.5, 0.5, data="cars"))
    console = Console(width=200)
    with console.capture() as out:
        console.print(found.table())
    for text in (found.html(plots=False), out.get(), found.markdown()):
        for word in ("[60.0, 80.0]", "55,488", "average of 2 sets", "reconstruction from the abstract", "seed by seed"):
            assert word in text, word
    assert "<script" not in found.html(plots=False) and found.html(plots=False).startswith("<!doctype html>")


@pytest.mark.parametrize("wrong", [{"base": 75}, {"novel": "0.5"}, {"transfer": [1]}, {"transfer": {"cars": True}}])
def test_numbers_that_are_no_fractions_are_refused(tmp_path: Path, wrong: dict) -> None:
    fields = few(0.9, 0.5)
    fields["fewshot"] |= wrong
    found = of(tmp_path, few(0.9, 0.5, seed=1), fields)
    assert len(found.problems) == 1 and "fewshot" in found.problems[0] and len(found.rows[0].results) == 1


def test_harmonic_means_and_spreads() -> None:
    assert harmonic(0.6934, 0.7422) == pytest.approx(0.7170, abs=5e-5)
    assert harmonic(0, 0) == 0 and harmonic(None, 0.5) is None and harmonic(0.5, 0.5) == 0.5
    assert str(spread([0.5])) == "50.0" and str(spread([None])) == "–" and str(spread([0.5, None])) == "– (1 of 2 missing)"
    assert shots_of({}, Path("x")) is None
