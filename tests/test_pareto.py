"""The front that no method beats, what stands in which panel, and names that do not cover each other."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from finished import put, result
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.compare import Comparison, compare
from inarch.reporting.labels import Box, nearest, numbered, overlap, place, short
from inarch.reporting.page import Table
from inarch.reporting.pareto import COSTS, blocks, front, panels
from inarch.reporting.plots import Plot

LORA = {"method": "lora", "config": {"rank": 8}, "count": {"head": 300, "trainable": 20_300}, "adapter_bytes": 80_000}
LINEAR = {"method": "linear", "config": {}, "count": {"head": 300, "trainable": 300}}
TRAINED, SECONDS, SAVED, _ = COSTS


def of(folder: Path, *results: dict) -> Comparison:
    for i, fields in enumerate(results):
        put(folder, f"{i}.json", fields)
    return compare([folder])


def undrawn(made: list, title: str, unit: str) -> Plot:
    """A figure of which only the words exist."""
    return Plot(f"{title}: {'; '.join(point.name for panel in made for point in panel.points)}", b"", b"", 1)


def drawn(found: Comparison, cost=TRAINED) -> list:
    names = {row.first.method: row.first.method for row in found.rows}
    return panels([row for row in found.rows if cost.of(row) is not None], found.rows, cost.of, names)


def test_the_front_is_what_nobody_beats() -> None:
    assert front([]) == [] and front([(5, 1)]) == [0]
    assert front([(1, 50), (2, 60), (3, 55), (0, 10)]) == [3, 0, 1]


def test_ties_share_the_front_and_the_dearer_of_equals_does_not() -> None:
    assert front([(1, 50), (1, 50)]) == [0, 1]
    assert front([(1, 50), (2, 50), (1, 40)]) == [0]


def test_what_is_no_number_is_never_on_the_front_and_beats_nobody() -> None:
    nan = float("nan")
    assert front([(1, nan), (nan, 99), (2, 50), (float("inf"), 60)]) == [2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=10))
def test_every_point_is_on_the_front_or_beaten_by_one_that_is(points: list[tuple[int, int]]) -> None:
    best = front(points)
    for i, (cost, score) in enumerate(points):
        beaten = any(points[j] != points[i] and points[j][0] <= cost and points[j][1] >= score for j in best)
        assert beaten != (i in best)
    assert [points[i] for i in best] == sorted(points[i] for i in best)


def test_a_panel_per_data_set_and_one_of_the_mean(tmp_path: Path) -> None:
    runs = [result(data=data, seed=seed, test=score + seed / 10, **how) for data, score in (("pets", 0.5), ("cars", 0.3)) for seed in (0, 1)
            for how in ({}, LORA)]
    cars, pets, both = drawn(of(tmp_path, *runs))
    assert [panel.title for panel in (cars, pets, both)] == ["cars", "pets", "mean of 2 sets"]
    arc = next(point for point in both.points if point.name.startswith("ARC"))
    assert (arc.cost, arc.score, arc.low, arc.high) == (5000, pytest.approx(45), pytest.approx(40), pytest.approx(50))
    assert [point.name for point in cars.front] == ["ARC(rank=50, dropout=0.1)"]  # as good as LoRA, with fewer numbers
    assert "cars: ARC(rank=50, dropout=0.1) (5000, 35.0 %)" in cars.words


def test_the_mean_holds_methods_that_have_every_set_and_no_others(tmp_path: Path) -> None:
    found = of(tmp_path, *(result(data=data, **how) for data in ("pets", "cars") for how in ({}, LORA)), result(**LINEAR))
    *_, both = drawn(found)
    assert both.title == "mean of 2 sets" and sorted(point.cost for point in both.points) == [5000, 20_000]


def test_time_is_compared_on_one_kind_of_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inarch.reporting.scatter.scatter", undrawn)
    found = of(tmp_path, result(), result(**LORA, hardware="NVIDIA"), result(**LINEAR, seed=0),
               result(**LINEAR, seed=1, hardware="NVIDIA"))
    told = blocks(found.rows)
    plots = [block.alt for block in told if isinstance(block, Plot) and "seconds" in block.alt]
    assert len(plots) == 2
    assert "on NVIDIA" in plots[0] and "LoRA" in plots[0] and "ARC" not in plots[0] and "ARC" in plots[1] and "LoRA" not in plots[1]
    assert any(isinstance(block, str) and "several kinds of machine: Linear on pets" in block for block in told)


def test_a_cost_that_results_lack_is_said_and_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inarch.reporting.scatter.scatter", undrawn)
    kept = {"saved_bytes": 8_000, "saved_examples": 4}
    old = blocks(of(tmp_path / "old", result(), result(**LORA)).rows)
    assert any("bytes kept for backward, per example: no figure, since all results are older" in block for block in old
               if isinstance(block, str))
    new = of(tmp_path / "new", result(**kept), result(**LORA))
    assert [row.saved for row in new.rows] == [2000.0, None]
    assert any("being older than this measurement, which runs now make: LoRA(rank=8) on pets" in block for block in blocks(new.rows)
               if isinstance(block, str))
    assert "| kept per example |" in new.markdown() and "2.0 kB" in new.markdown()
    assert SAVED.of(new.rows[0]) == 2000 and SECONDS.of(new.rows[0]) == 2


@pytest.mark.parametrize("wrong", [{"saved_bytes": 8}, {"saved_bytes": -1, "saved_examples": 1}, {"saved_bytes": 8, "saved_examples": 0},
                                   {"saved_bytes": "8", "saved_examples": 1}])
def test_kept_bytes_that_make_no_sense_are_refused(tmp_path: Path, wrong: dict) -> None:
    found = of(tmp_path, result(), result(seed=1, **wrong))
    assert len(found.problems) == 1 and "saved_" in found.problems[0] and len(found.rows[0].results) == 1


def test_a_row_without_a_mean_is_in_no_figure_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inarch.reporting.scatter.scatter", undrawn)
    told = blocks(of(tmp_path, result(), result(**LORA), result(**LORA, seed=1, test=None)).rows)
    assert told[1] == "In no figure, since a seed is missing or failed: LoRA(rank=8) on pets."


def test_names_say_what_differs_and_no_more() -> None:
    names = ["VLPET(gate='small', rank=16)", "VLPET(rank=16)", "LoRA(rank=21, targets=['q', 'v'])"]
    assert short(names) == {names[0]: "VLPET(gate='small')", names[1]: "VLPET", names[2]: "LoRA"}
    assert [*short(["Bottleneck(rank=4)", "Bottleneck(rank=6, spans=['mlp'])"]).values()] == ["Bottleneck(rank=4)", "Bottleneck(rank=6)"]
    assert [*short(["A(b=1, c=1)", "A(b=1, c=2)", "A(b=2, c=2)"]).values()] == ["A(b=1, c=1)", "A(b=1, c=2)", "A(b=2, c=2)"]
    assert short(["ARC(rank=4) (lr=0.1)", "ARC(rank=4) (lr=0.2)"])["ARC(rank=4) (lr=0.2)"] == "ARC(lr=0.2)"


def test_many_names_become_numbers_with_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inarch.reporting.scatter.scatter", undrawn)
    found = of(tmp_path, *(result(config={"rank": rank}, test=0.5) for rank in range(1, 17)))
    (key,) = [block for block in blocks(found.rows) if isinstance(block, Table)]
    assert key.rows[0] == ("1", "ARC(rank=1)") and len(key.rows) == 16
    assert set(numbered(["a", "b"]).values()) == {"a", "b"}


BOUNDS: Box = (0.0, 0.0, 400.0, 260.0)


def boxes(points: list[tuple[float, float]]) -> list[Box]:
    return place(points, [(60.0, 11.0)] * len(points), BOUNDS)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.floats(10, 390), st.floats(10, 250)), min_size=1, max_size=10))
def test_ten_names_never_cover_each_other(points: list[tuple[float, float]]) -> None:
    placed = boxes(points)
    assert not any(overlap(a, b) > 0 for a, b in itertools.combinations(placed, 2))
    assert all(overlap(box, BOUNDS) == pytest.approx(60 * 11) for box in placed)


def test_names_in_a_crowd_have_places_of_their_own_and_stand_at_their_points() -> None:
    crowd = [(200.0 + i, 130.0 + 2 * i) for i in range(9)]
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes(crowd), 2))
    (alone,) = boxes([(200.0, 130.0)])
    assert 3 < math.dist(nearest(alone, (200.0, 130.0)), (200.0, 130.0)) < 8


def test_names_keep_off_lines_and_nearer_to_their_own_point() -> None:
    (own, _) = place([(200.0, 130.0), (214.0, 130.0)], [(60.0, 11.0)] * 2, BOUNDS, [(200.0, 135.0, 400.0, 137.0)])
    assert overlap(own, (200.0, 135.0, 400.0, 137.0)) == 0
    assert math.dist(nearest(own, (200.0, 130.0)), (200.0, 130.0)) < math.dist(nearest(own, (214.0, 130.0)), (214.0, 130.0))


@pytest.mark.long
def test_figures_are_drawn_in_both_inks_where_costs_are_zero_or_all_alike(tmp_path: Path) -> None:
    import io

    from PIL import Image

    found = of(tmp_path, result(), result(**LINEAR, test=0.4), result(data="cars"), result(data="a$b_^", **LORA))
    plots = [block for block in blocks(found.rows) if isinstance(block, Plot)]
    assert len(plots) == 3
    for plot in plots:
        light, dark = (Image.open(io.BytesIO(png)).convert("L") for png in (plot.light, plot.dark))
        assert light.size == dark.size and light.getpixel((0, 0)) > 240 and dark.getpixel((0, 0)) < 40
