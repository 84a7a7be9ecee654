"""VTAB-1k list folders: the lists as they are, numbered by their labels."""

from __future__ import annotations

import numpy as np
import pytest

from inarch.data import check, load_splits
from inarch.errors import ConfigError, DataError
from tests.pictures import png_bytes


@pytest.fixture
def task(tmp_path):
    root = tmp_path / "kitti"
    (root / "images here").mkdir(parents=True)
    lists = {"train800": range(6), "val200": range(6, 9), "train800val200": range(9), "test": range(9, 14)}
    for seed in range(14):
        (root / "images here" / f"{seed}.png").write_bytes(png_bytes(seed))
    for name, rows in lists.items():
        (root / f"{name}.txt").write_text("".join(f"images here/{i}.png {i % 3}\n" for i in rows))
    return root


def test_clean_protocol(task):
    splits = load_splits(task)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (6, 3, 5)
    np.testing.assert_array_equal(splits.train.labels, [0, 1, 2, 0, 1, 2])
    assert splits.train.names[1] == f"{task}/images here/1.png"  # a blank in the path


def test_classes_the_draw_missed_are_known_by_the_task(task):
    splits = load_splits(task)
    assert splits.classes == ("0", "1", "2", "3")
    assert splits.notes[0] == "1 of 4 classes have no training image (first: '3')"
    assert load_splits(task.rename(task.parent / "mine")).classes == ("0", "1", "2")


def test_released_protocol(task):
    splits = load_splits(task, protocol="released")
    assert (len(splits.train), splits.val, len(splits.test)) == (9, None, 5)
    with pytest.raises(ConfigError, match="protocol 'paper'; expected one of clean, released"):
        load_splits(task, protocol="paper")


@pytest.mark.row("C10", "a label of the test list above the classes of training")
def test_test_label_beyond_the_classes_is_refused(task):
    """`DataError` names the class."""
    with (task / "test.txt").open("a") as file:
        file.write("images here/0.png 7\n")
    with pytest.raises(DataError, match="class '7' of test is not among the listed classes"):
        load_splits(task)


@pytest.mark.row("C10", "a VTAB-1k list with duplicate lines and labels missing, negative, float, huge")
def test_each_bad_line_is_named(task):
    """Each is listed by its line."""
    here = "images here"
    bad = [f"{here}/0.png 1", f"{here}/9.png", "gone.png 2", f"{here}/10.png -1", f"{here}/11.png 1.0", "a.png 9999999"]
    (task / "train800.txt").write_text("images here/0.png 0\nimages here/1.png 1\n" + "\n".join(bad))
    found = [str(problem).removeprefix(f"{task}/") for problem in check(task).problems]
    assert [line.split(": ")[0] for line in found] == [f"train800.txt:{n}" for n in range(3, 9)]
    reasons = ["listed on line 1", "the label is 'here/9.png'", "no such image", "'-1'", "'1.0'", "fewer than 100,000"]
    assert all(reason in line for line, reason in zip(found, reasons, strict=True)), found
    with pytest.raises(DataError, match=r"6 problem\(s\) in the data"):
        load_splits(task)


def test_missing_list_is_named(task):
    (task / "val200.txt").unlink()
    with pytest.raises(DataError, match=r"kitti/val200\.txt: no such file"):
        load_splits(task)
    (task / "val200.txt").write_bytes(b"caf\xe9.png 1")
    with pytest.raises(DataError, match=r"val200\.txt: cannot be read as UTF-8"):
        load_splits(task)
