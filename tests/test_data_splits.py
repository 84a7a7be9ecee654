"""Draws, hashes and stored class lists: what makes two runs the same run, or says that they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inarch.data import load_splits
from inarch.data.splits import drawn, stratified
from inarch.errors import ConfigError, DataError
from tests.pictures import class_folders, png_bytes, three_parts


@example([0], 0.9, 0)
@example([0, 0, 1], 0.9, 0)
@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.floats(0, 0.9), st.integers(0, 3))
def test_stratified_draw(labels, fraction, seed):
    rows, y, count = np.arange(len(labels)), np.array(labels), round(len(labels) * fraction)
    kept, taken = stratified(rows, y, count, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, taken])), rows)
    assert set(y[kept]) == set(labels) and len(taken) <= count  # every class stays
    for c in set(labels):
        assert abs((y[taken] == c).sum() - count * (y == c).sum() / len(y)) <= 1 or (y[kept] == c).sum() == 1
    again = stratified(rows, y, count, seed)
    np.testing.assert_array_equal(again[1], taken)


def test_draws_are_what_they_were():
    """The split of a published run must not move with a release: these rows are part of the format."""
    y = np.repeat([0, 1, 2], [5, 10, 3])
    assert stratified(np.arange(18), y, 6, 0)[1].tolist() == [0, 3, 7, 8, 12, 16]
    assert drawn(np.arange(18), 4, 0)[1].tolist() == [0, 1, 11, 13]


def test_exact_count_with_many_small_classes():
    y = np.repeat(np.arange(100), 3)
    assert len(stratified(np.arange(300), y, 60, 0)[1]) == 60  # 0.6 per class: rounding each class would draw 100


def test_seed_decides(tmp_path):
    root = class_folders(tmp_path, {"a": 30, "b": 30})
    first, again, other = load_splits(root), load_splits(root), load_splits(root, seed=1)
    assert first.val.names == again.val.names and first.sha256 == again.sha256
    assert first.val.names != other.val.names and first.sha256 != other.sha256


def test_place_and_order_on_disk_do_not_matter(tmp_path):
    one = class_folders(tmp_path / "one", {"a": 6, "b": 6})
    for name in ("b", "a"):
        for i in reversed(range(6)):
            (tmp_path / "two" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "two" / name / f"{i}.png").write_bytes((one / name / f"{i}.png").read_bytes())
    assert load_splits(one).sha256 == load_splits(tmp_path / "two").sha256


def test_hash_sees_every_change(tmp_path):
    root = three_parts(tmp_path / "data")
    hashes = [load_splits(root).sha256]
    file = root / "test" / "dog" / "1.png"
    whole = file.read_bytes()

    def changed(change, undo):
        change()
        hashes.append(load_splits(root).sha256)
        undo()
        assert load_splits(root).sha256 == hashes[0]

    changed(lambda: file.write_bytes(png_bytes(12345)), lambda: file.write_bytes(whole))
    changed(lambda: file.write_bytes(whole + b"\0"), lambda: file.write_bytes(whole))  # the same picture, one more byte
    changed(lambda: file.rename(file.with_name("9.png")), lambda: file.with_name("9.png").rename(file))
    moved = root / "test" / "cat" / "5.png"  # another label
    changed(lambda: file.rename(moved), lambda: moved.rename(file))
    assert len(set(hashes)) == 5


def test_hash_of_arrays_sees_one_pixel(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    hashes = []
    for value in (0, 1):
        x[3, 2, 1] = value
        np.savez(tmp_path / "a.npz", x_train=x, y_train=[0, 1] * 3, classes=["n", "y"])
        hashes.append(load_splits(tmp_path / "a.npz", val_fraction=0).sha256)
    assert hashes[0] != hashes[1]


def test_stored_class_list_keeps_its_numbering(tmp_path):
    root = three_parts(tmp_path)
    splits = load_splits(root, classes=("dog", "cat"))
    assert splits.classes == ("dog", "cat")
    np.testing.assert_array_equal(splits.train.labels, [1] * 6 + [0] * 4)


@pytest.mark.row("C10", "classes of the data and of the stored list that differ")
@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (("cat", "dog", "emu"), "class 'emu' of the stored class list is not in the data"),
        (("cat",), "class 'dog' is not in the stored class list"),
        (("cat", "dogs"), "class 'dog' is not in the stored class list; did you mean 'dogs'"),
    ],
)
def test_stored_class_list_that_differs_is_refused(tmp_path, stored, reason):
    """`DataError` names the class, and the nearest known one."""
    with pytest.raises(DataError, match=reason):
        load_splits(three_parts(tmp_path), classes=stored)


@pytest.mark.row("C1", "on_bad_image='skip' and one bad image in 121")
def test_skip_drops_bad_images_before_drawing(tmp_path):
    """It is removed before anything is drawn: split and hash are those of the clean folder; the report names and counts it."""
    root = class_folders(tmp_path / "data", {"a": 60, "b": 60})
    clean = load_splits(root)
    (root / "a" / "bad.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"bad\.png: not an image"):
        load_splits(root)
    splits = load_splits(root, on_bad_image="skip")
    assert splits.sha256 == clean.sha256 and splits.val.names == clean.val.names
    assert [problem.file for problem in splits.skipped] == [str(root / "a" / "bad.png")] and clean.skipped == ()
    assert "1 bad images were skipped" in splits.notes[0]


@pytest.mark.row("C1", "on_bad_image='skip' and more than 1 % bad")
def test_skip_has_a_limit(tmp_path):
    """`DataError` with both counts."""
    root = class_folders(tmp_path, {"a": 60, "b": 60})
    for name in ("bad.png", "worse.png"):
        (root / "a" / name).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"2 of 122 images are bad \(1\.6%\).*\n.*drops at most 1%"):
        load_splits(root, on_bad_image="skip")


@pytest.mark.row("C8", "on_bad_image='skip' and the only image of a class is bad")
def test_skip_never_empties_a_class(tmp_path):
    """`DataError` names the class."""
    root = class_folders(tmp_path, {"a": 60, "b": 60, "c": 1})
    (root / "c" / "0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="class 'c' has no readable training image left"):
        load_splits(root, on_bad_image="skip")


@pytest.mark.row("C12", "a training image copied to test, seen by training")
def test_same_picture_on_both_sides_is_noted(tmp_path):
    """A note of the run counts it."""
    root = three_parts(tmp_path)
    (root / "test" / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "0.png").read_bytes())
    assert load_splits(root).notes[0].startswith("1 images (equal pixels) are in train and in test")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"val_fraction": 1.0}, "val_fraction is 1.0; expected 0 <= val_fraction < 1"),
        ({"val_fraction": float("nan")}, "val_fraction is nan"),
        ({"test_fraction": -0.1}, "test_fraction is -0.1"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training images"),
        ({"seed": -1}, "seed is -1"),
        ({"on_bad_image": "ignore"}, "expected 'refuse' or 'skip'"),
    ],
)
def test_options_out_of_range(tmp_path, options, reason):
    with pytest.raises(ConfigError, match=reason):
        load_splits(three_parts(tmp_path), **options)


def test_wrong_address_names_what_is_near(tmp_path):
    three_parts(tmp_path / "pets")
    (tmp_path / "table.xlsx").touch()
    for address, reason in {
        "pest": r"no 'pest' in .*/; did you mean 'pets'",
        "pets/trian/cat": r"no 'trian' in .*pets/; did you mean 'train'",
        "zzz": r"no 'zzz' in .*/; there are: pets, table\.xlsx",
        "table.xlsx": r"table\.xlsx: a file of unknown kind \(\.xlsx\)",
        "table.xlsx/cat": r"table\.xlsx: a file of unknown kind",
    }.items():
        with pytest.raises(DataError, match=rf"{reason}.*; accepted are: data\.npz .*; datasets:NAME"):
            load_splits(tmp_path / address)
    with pytest.raises(DataError, match="accepted are"):
        load_splits("")
