"""compare: what is averaged and what is not, what is said about it, and that nothing is dropped silently."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from finished import put, result

from inarch.compare import Comparison, compare
from inarch.errors import DataError
from inarch.methods.registry import configured
from inarch.reporting.results import line
from inarch.reporting.rows import mean

LINEAR = {"method": "linear", "config": {}, "count": {"head": 300, "trainable": 300}}


def of(folder: Path, *results: dict, **options) -> Comparison:
    for i, fields in enumerate(results):
        put(folder, f"{i}.json", fields)
    return compare([folder], **options)


def shown(found: Comparison) -> str:
    from rich.console import Console

    console = Console(width=300)
    with console.capture() as out:
        console.print(found.table())
    return out.get()


def test_seeds_become_mean_and_range(tmp_path):
    found = of(tmp_path, *(result(seed=s, test=t) for s, t in enumerate((0.70, 0.80, 0.78))))
    (row,) = found.rows
    assert (row.mean, row.span, row.seeds) == (pytest.approx(0.76), (0.70, 0.80), (0, 1, 2))
    assert row.score_text() == "76.0 [70.0, 80.0]"
    assert found.notes == found.problems == ()
    (line_of_table,) = [ln for ln in found.markdown().splitlines() if ln.startswith("| ARC")]
    assert line_of_table == "| ARC(rank=50, dropout=0.1) | pets | 3 | 76.0 [70.0, 80.0] | 5,000 | 5,300 | 22.0 kB | 2 |"
    assert "76.0 [70.0, 80.0]" in shown(found) and "image size 64" in shown(found)


def test_one_seed_has_no_range(tmp_path):
    assert of(tmp_path, result(test=0.8125)).rows[0].score_text() == "81.2"


def test_json_carries_every_number_its_file_and_its_commit(tmp_path):
    found = of(tmp_path, result(seed=1), result(seed=0, test=0.5))
    (row,) = json.loads(json.dumps(found.to_json(), allow_nan=False))["rows"]
    assert row["scores"] == [0.5, 0.75] and row["seeds"] == [0, 1] and row["mean"] == 0.625
    assert row["files"] == [str(tmp_path / "1.json"), str(tmp_path / "0.json")]
    assert row["commits"] == ["c" * 40] and row["data_sha256"] == "a" * 64 and row["settings"]["lr"] == 0.01


@pytest.mark.parametrize(("change", "columns"), [
    ({"data": "cars"}, 2), ({"sha": "d" * 64}, 2), ({"lr": 0.1}, 2), ({"epochs": 20}, 2), ({"selection": "val"}, 2), (LINEAR, 2),
    ({"backbone": "vit_small"}, 2), ({"config": {"rank": 8}}, 2), ({}, 1), ({"commit": "e" * 40}, 1), ({"seconds": 90.0}, 1),
])  # fmt: skip
def test_only_runs_that_differ_in_nothing_but_the_seed_share_a_row(tmp_path, change, columns):
    assert len(of(tmp_path, result(seed=0), result(seed=1, **change)).rows) == columns


def test_another_version_of_the_data_is_another_row_and_is_said(tmp_path):
    found = of(tmp_path, result(seed=0), result(seed=1, sha="d" * 64))
    assert [row.data for row in found.rows] == ["pets@aaaaaa", "pets@dddddd"]
    assert any("data pets is not the same" in note and "aaaaaa, dddddd" in note for note in found.notes)


def test_settings_that_differ_are_named_and_never_averaged(tmp_path):
    found = of(tmp_path, result(lr=0.01), result(lr=0.001))
    assert [row.setting for row in found.rows] == ["lr=0.001", "lr=0.01"]
    assert any("2 settings, which differ in lr" in note for note in found.notes)
    assert "| setting |" in found.markdown()


def test_a_seed_without_test_score_leaves_no_mean(tmp_path):
    found = of(tmp_path, result(seed=0, test=0.9), result(seed=1, test=None))
    (row,) = found.rows
    assert row.mean is None and row.to_json()["mean"] is None and row.score_text() == "– (1 of 2 missing)"
    assert any("no test accuracy for seed 1" in note for note in found.notes)


def test_validation_is_shown_where_a_run_was_not_tested(tmp_path):
    tuned = result(lr=0.1, test=None, metrics={"val": {"accuracy": 0.6125}})
    found = of(tmp_path / "tuning", tuned, result(lr=0.2, test=None))
    assert "| n | val | test accuracy |" in found.markdown() and "| 61.3 | – (1 of 1 missing) |" in found.markdown()
    assert "| val |" not in of(tmp_path / "tested", result()).markdown()


@pytest.mark.parametrize(("second", "words"), [
    (LINEAR | {"seed": 5}, "no run with seed 0"),
    (LINEAR | {"epochs": 12}, "rows differ in epochs: 10, 12"),
    (LINEAR | {"backbone": "vit_small"}, "rows differ in backbone: vit_small, vit_tiny"),
    (LINEAR | {"hardware": "NVIDIA"}, "2 kinds of machine"),
    (LINEAR | {"selection": "best_on_test"}, "optimistic"),
])  # fmt: skip
def test_what_a_reader_must_know_is_said(tmp_path, second, words):
    assert of(tmp_path / "same", result(), result(**LINEAR)).notes == ()
    found = of(tmp_path / "other", result(), result(**second))
    assert any(words in note for note in found.notes), found.notes
    assert words in found.markdown().replace("\\", "") and words in shown(found)


def test_a_seed_that_occurs_twice_counts_once_and_is_named(tmp_path):
    late = result(test=0.8, finished="2025-06-01T00:00:00+00:00")
    found = of(tmp_path, late, result(test=0.2))
    assert found.rows[0].mean == 0.8
    assert any("seed 0, occurs twice" in note and "1.json is left out" in note for note in found.notes)


def test_the_same_file_given_twice_is_read_once(tmp_path):
    put(tmp_path, "a/0.json", result())
    found = compare([tmp_path, tmp_path / "a", tmp_path / "a" / "0.json"])
    assert len(found.rows[0].results) == 1 and found.notes == ()


BAD = {
    "cut.json": ('{"format": 1, "rec', "not valid JSON"),
    "foreign.json": ({"name": "left-pad"}, "no result of inarch"),
    "list.json": ("[1, 2]", "expected a JSON object"),
    "newer.json": (result(format=9), "result format 9"),
    "typed.json": (result(seed="0"), "seed is '0'"),
    "truth.json": (result(epochs=True), "epochs is True"),
    "percent.json": (result(test=75.0), "75.0; expected a fraction"),
    "nan.json": (json.dumps(result(seconds=float("nan"))), "NaN"),
    "nohash.json": (result() | {"data": {"source": "x"}}, "'sha256'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path, name):
    fields, words = BAD[name]
    path = put(tmp_path, name, fields)
    put(tmp_path, "good.json", result())
    found = compare([tmp_path])
    (problem,) = found.problems
    assert str(path) in problem and words in problem
    assert len(found.rows) == 1 and words in shown(found) and "not used" in found.markdown()


def test_nothing_to_compare_is_an_error_that_names_the_reasons(tmp_path):
    put(tmp_path, "cut.json", "{")
    with pytest.raises(DataError, match=r"nothing to compare: .*cut\.json is not valid JSON"):
        compare([tmp_path])
    with pytest.raises(DataError, match="no such file or folder"):
        compare([tmp_path / "gone"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.json file below"):
        compare([tmp_path / "empty"])


def test_run_folders_give_their_result_alone_and_unfinished_ones_are_named(tmp_path):
    put(tmp_path, "runs/a/result.json", result())
    put(tmp_path, "runs/a/run.json", {"classes": []})
    put(tmp_path, "runs/a/adapter/adapter.json", {"method": "arc"})
    put(tmp_path, "runs/b/run.json", {"classes": []})
    found = compare([tmp_path])
    assert [r.path for row in found.rows for r in row.results] == [str(tmp_path / "runs/a/result.json")]
    (problem,) = found.problems
    assert "runs/b" in problem and "has not finished" in problem


def test_links_and_hidden_files_are_not_followed(tmp_path):
    put(tmp_path, "in/good.json", result())
    put(tmp_path, "in/.cache/other.json", "{")
    outside = put(tmp_path, "outside.json", result(seed=1))
    os.symlink(outside, tmp_path / "in" / "link.json")
    os.symlink(tmp_path, tmp_path / "in" / "loop")
    found = compare([tmp_path / "in"])
    assert len(found.rows[0].results) == 1
    (problem,) = found.problems
    assert "link.json is a symbolic link" in problem


def test_results_of_mini_vit_on_sets_it_has_seen_are_marked(tmp_path):
    put(tmp_path, "pretrain.json", {"sets_seen": ["pets"], "seed": 0})
    found = of(tmp_path, result(backbone="mini-vit"), result(backbone="mini-vit", data="digits"), result(backbone="vit_tiny"))
    assert {(row.backbone, row.data): row.mark for row in found.rows} == {
        ("mini-vit", "pets"): "†", ("mini-vit", "digits"): "", ("vit_tiny", "pets"): ""}  # fmt: skip
    assert found.problems == ()
    assert any(note.startswith("† mini-vit was pre-trained") for note in found.notes)
    assert "75.0†" in found.markdown() and "75.0†" in found.matrix_markdown()
    assert [row["backbone_saw_data"] for row in found.to_json()["rows"]] == [False, True, False]


def test_a_backbones_own_record_of_what_it_saw_comes_first(tmp_path):
    fields = result(backbone="mini-vit")
    fields["backbone"]["source"]["sets_seen"] = ["cars"]
    put(tmp_path, "pretrain.json", {"sets_seen": ["pets"]})
    assert of(tmp_path, fields).rows[0].mark == ""


def test_what_mini_vit_saw_is_known_wherever_the_package_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = of(tmp_path, result(backbone="mini-vit", data="eurosat10"), result(backbone="mini-vit", data="pets"))
    assert {row.data: row.mark for row in found.rows} == {"eurosat10": "†", "pets": ""}


def test_mini_vit_without_any_record_is_marked_as_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr("inarch.reporting.results.embedded_record", lambda: None)
    monkeypatch.setattr("inarch.compare.embedded_record", lambda: None)
    found = of(tmp_path, result(backbone="mini-vit"))
    assert found.rows[0].mark == "‡" and any("no record" in note for note in found.notes)


GROUPS = {"natural": ["pets", "cars"], "structured": ["dots"]}
SETS = {"pets": 0.9, "cars": 0.8, "dots": 0.4}


def cells(found: Comparison, method: str) -> list[str]:
    (own,) = [ln for ln in found.matrix_markdown().splitlines() if ln.startswith(f"| {method}")]
    return [cell.strip() for cell in own.strip("|").split("|")][2:]


def test_matrix_averages_over_sets_and_over_groups(tmp_path):
    found = of(tmp_path, *(result(data=data, test=score) for data, score in SETS.items()), groups=GROUPS)
    titles = ["method", "trained, no head", *SETS, "mean natural", "mean structured", "mean (3 sets)", "mean (2 groups)"]
    assert found.matrix_markdown().splitlines()[0] == f"| {' | '.join(titles)} |"
    assert cells(found, "ARC") == ["90.0", "80.0", "40.0", "85.0", "40.0", "70.0", "62.5"]


def test_matrix_marks_the_means_that_hold_a_set_seen_before(tmp_path):
    put(tmp_path, "pretrain.json", {"sets_seen": ["pets"]})
    found = of(tmp_path, *(result(data=data, test=score, backbone="mini-vit") for data, score in SETS.items()), groups=GROUPS)
    assert cells(found, "ARC") == ["90.0†", "80.0", "40.0", "85.0†", "40.0", "70.0†", "62.5†"]


def test_matrix_never_averages_what_is_incomplete(tmp_path):
    whole = [result(data=data, test=score) for data, score in SETS.items()]
    part = [result(**LINEAR, data="pets", test=0.5), result(**LINEAR, data="dots", test=None)]
    found = of(tmp_path, *whole, *part, groups=GROUPS)
    assert cells(found, "Linear") == ["50.0", "–", "– (1 of 1 missing)", "– (1 of 2 missing)", "– (1 of 1 missing)",
                                      "– (2 of 3 missing)", "– (2 of 2 missing)"]
    assert cells(found, "ARC")[-2:] == ["70.0", "62.5"]


def test_matrix_shows_no_cell_that_two_settings_claim(tmp_path):
    found = of(tmp_path, result(lr=0.1), result(lr=0.2), result(data="cars"))
    assert cells(found, "ARC") == ["75.0", "– (2 settings)", "– (1 of 2 missing)"]
    assert "several settings (lr=0.1; lr=0.2)" in found.matrix_markdown()


def test_matrix_says_which_sets_are_in_no_group_and_expects_those_that_are(tmp_path):
    found = of(tmp_path, result(data="pets"), result(data="boats"), groups=GROUPS)
    assert "in no group, so in no group's mean: boats" in found.matrix_markdown()
    assert cells(found, "ARC")[-2:] == ["– (2 of 4 missing)", "– (2 of 2 missing)"]


def test_matrix_has_no_column_for_a_group_without_sets(tmp_path):
    rows = [result(data=data, test=score) for data, score in SETS.items()]
    for groups in (GROUPS, {}):
        with_empty = of(tmp_path, *rows, groups={**groups, "specialised": []})
        assert with_empty.matrix_markdown() == of(tmp_path, *rows, groups=groups).matrix_markdown()


def test_many_label_results_show_their_own_metric(tmp_path):
    found = of(tmp_path, result(metrics={"val": None, "test": {"mAP": 0.61, "micro_f1": 0.5}}))
    assert found.rows[0].first.metric == "mAP" and "test mAP" in found.markdown() and "61.0" in found.markdown()
    both = of(tmp_path, result(metrics={"test": {"mAP": 0.61}}), result(data="cars"))
    assert "test mAP or accuracy" in both.markdown().replace("accuracy or mAP", "mAP or accuracy")
    assert "the means mix accuracy and mAP" in both.matrix_markdown() and "the means mix" not in found.matrix_markdown()


def test_recipe_lines_show_the_rank_and_what_is_not_default():
    assert line("arc", {"rank": 50, "bias": True, "spans": ["attn"], "layers": None}) == "ARC(rank=50, spans=['attn'])"
    assert line("linear", {"layers": None}) == "Linear"
    assert line("vera", {"rank": 4, "alpha": 8}) == "vera(rank=4, alpha=8)"


def test_a_method_stands_by_its_name_in_the_literature_while_it_is_that():
    """The size is free; another field that differs from the literature's makes it the method that it is here."""
    assert line("pfeiffer", configured("pfeiffer", {"rank": 4}).fields()) == "Pfeiffer(rank=4)"
    assert line("pfeiffer", configured("pfeiffer", {"activation": "gelu"}).fields()) == "Bottleneck(rank=48, spans=['mlp'])"
    assert line("bottleneck", configured("pfeiffer", {}).fields()) == "Bottleneck(rank=48, spans=['mlp'], activation='relu')"
    assert line("vpt-deep", configured("vpt-deep", {"length": 9, "dropout": 0.1}).fields()) == "VPT-deep(length=9, dropout=0.1)"
    assert line("fact-tt", configured("fact-tt", {"rank": 11}).fields()) == "FacT-TT(rank=11)"
    assert line("houlsby", configured("houlsby", {"rank": 4, "layers": "-6:"}).fields()) == "Houlsby(rank=4, layers='-6:')"


def test_names_cannot_break_the_table(tmp_path):
    found = of(tmp_path, result(data="a|b<script>*x*"))
    (row,) = [ln for ln in found.markdown().splitlines() if "script" in ln]
    assert r"a\|b&lt;script&gt;\*x\*" in row and row.replace(r"\|", "").count("|") == 9


def test_the_caption_says_how_many_seeds(tmp_path):
    assert of(tmp_path, result()).caption.endswith("over 1 seed")
    assert of(tmp_path, *(result(seed=seed) for seed in range(3))).caption.endswith("over 3 seeds")
    assert of(tmp_path, *(result(seed=seed) for seed in range(3)), result(data="cars")).caption.endswith("over 1 to 3 seeds")


def test_a_mean_needs_every_value():
    assert mean([0.5, 1.0]) == 0.75 and mean([0.5, None]) is None and mean([]) is None
