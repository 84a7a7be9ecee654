"""Published values: every row is of a known task and says its source; a reconstruction never stands in its paper's line."""

from __future__ import annotations

from pathlib import Path

import pytest

from inarch.errors import ConfigError
from inarch.methods.registry import METHODS, SETTINGS
from inarch.suites import load_suite
from inarch.suites.published import COLUMNS, provenance, published, read_table, suites, table
from scripts import published_page

ROW = """
unit = "accuracy, %"
digits = 1
note = ""
[[row]]
method = "arc"
label = "ARC"
backbone = "ViT-B/16"
source = "Table 2"
values = { kitti = 81.6 }
[row.here.kitti]
status = "reproduced"
commit = "0123abc"
seeds = [0, 1]
range = [81.0, 82.0]
"""


@pytest.mark.parametrize("name", suites())
def test_rows_are_of_the_tasks_of_the_suite(name: str) -> None:
    suite = load_suite(name)
    tasks = {task.name for task in suite.tasks} | {task for each in suite.tasks for task in each.recipe.get("tasks", ())}
    for row in published(name):
        assert row.values.keys() <= tasks | {*COLUMNS} and row.source and row.backbone, row.label
        assert row.method in {"", *METHODS, *SETTINGS}
        assert all(0 < value[0] < 130 for value in row.values.values())


@pytest.mark.parametrize("name", ["vtab-1k", "fgvc"])
def test_the_printed_means_are_those_of_the_printed_rows(name: str) -> None:
    """A figure that went astray between the paper and this file would move the mean by more than its rounding."""
    tasks = [task.name for task in load_suite(name).tasks]
    whole = [row for row in published(name) if {*tasks, "mean of tasks"} <= row.values.keys()]
    assert len(whole) >= 10
    for row in whole:
        assert sum(row.values[task][0] for task in tasks) / len(tasks) == pytest.approx(row.values["mean of tasks"][0], abs=0.11), row.label


def test_the_printed_averages_of_the_few_shot_sets() -> None:
    tasks = [task.name for task in load_suite("fewshot-11").tasks]
    whole = [row for row in published("fewshot-11") if {*tasks} <= row.values.keys()]
    assert len(whole) == 6
    for row in whole:
        means = [sum(row.values[task][k] for task in tasks) / 11 for k in (0, 1)]
        assert means == pytest.approx(row.values["mean of tasks"], abs=0.011), row.label
        assert 2 / sum(1 / mean for mean in means) == pytest.approx(row.values["harmonic mean"][0], abs=0.02)


def test_rows_of_a_method_and_what_it_was_checked_against() -> None:
    (row, *_) = published("vtab-1k", "arc")
    assert row.values["kitti"] == (81.6,) and row.values["mean of tasks"] == (73.4,) and row.status("kitti") == "not run here"
    assert published("vl-image", "vlpet")[3].values["caption"] == (122.03, 0.46)
    assert provenance("fact-tk") == provenance("fact") and {provenance(name).kind for name in METHODS} == \
        {"golden", "formula", "reconstruction"}
    with pytest.raises(ConfigError, match="no published values for suite 'vtab'; did you mean 'vtab-1k'"):
        published("vtab")


def test_a_reconstruction_is_in_no_line_of_its_papers(tmp_path: Path) -> None:
    assert provenance("adaring").kind == "reconstruction" and not any(published(name, "adaring") for name in suites())
    (tmp_path / "one.toml").write_text(ROW.replace('"arc"', '"adaring"'))
    with pytest.raises(ConfigError, match="adaring is a reconstruction here; its paper's numbers stand with method = \"\" alone"):
        read_table(tmp_path / "one.toml")


def test_a_run_of_a_cell_needs_commit_seeds_and_range(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(ROW)
    (row,) = read_table(file).rows
    assert (row.status("kitti"), row.here["kitti"].range) == ("reproduced", (81.0, 82.0))
    for old, new, said in (('commit = "0123abc"', "", "with commit, seeds and range"), ('"reproduced"', '"done"', "expected status"),
                           ("[81.0, 82.0]", "[82.0, 81.0]", "expected .lowest, highest."),
                           ("here.kitti", "here.kiti", "unknown key 'kiti'"),
                           ("81.6 }", "'high' }", "expected a number"), ("source", "sorce", "did you mean 'source'")):
        file.write_text(ROW.replace(old, new))
        with pytest.raises(ConfigError, match=said):
            read_table(file)


def test_the_page_is_what_the_program_prints_now() -> None:
    assert not published_page.stale(), "run python scripts/published_page.py"
    text = published_page.PAGE.read_text("utf-8")
    cells = sum(len(row.values) for name in suites() for row in table(name).rows)
    assert f"none of the {cells:,} cells below has been run here" in text
