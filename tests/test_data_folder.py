"""Image folders: the class list comes from train, nothing is guessed, and what cannot be used is named."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from inarch.data import check, load_splits
from inarch.errors import ConfigError, DataError
from tests.pictures import class_folders, png_bytes, three_parts

COMPOSED, SPLIT_UP = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


def test_three_parts(tmp_path):
    splits = load_splits(three_parts(tmp_path))
    assert splits.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (10, 3, 4)
    np.testing.assert_array_equal(splits.train.labels, [0] * 6 + [1] * 4)
    assert splits.train.labels.dtype == np.int64 and not splits.multilabel
    assert splits.train.names[6] == str(tmp_path / "train" / "dog" / "0.png")
    assert splits.train.image(6).tobytes() == splits.fit_table("train+val").image(6).tobytes()
    assert len(splits.fit_table("train+val")) == 13 and splits.fit_table() is splits.train
    with pytest.raises(ConfigError, match="expected 'train' or 'train"):
        splits.fit_table("val")


@pytest.mark.parametrize("name", ["valid", "validation", "Val"])
def test_names_of_the_validation_folder(tmp_path, name):
    three_parts(tmp_path)
    (tmp_path / "val").rename(tmp_path / name)
    assert len(load_splits(tmp_path).val) == 3


def test_one_folder_is_split_by_seed(tmp_path):
    class_folders(tmp_path, {"a": 10, "b": 20, "c": 1})
    splits = load_splits(tmp_path, val_fraction=0.3, test_fraction=0.1)
    assert splits.classes == ("a", "b", "c")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (19, 9, 3)
    assert not set(splits.train.names) & set(splits.val.names) and not set(splits.val.names) & set(splits.test.names)
    assert set(splits.train.labels) == {0, 1, 2}  # the only image of c stays in train
    assert load_splits(tmp_path).test is None and load_splits(tmp_path, val_fraction=0).val is None


def test_missing_val_is_drawn_from_train_alone(tmp_path):
    shutil.rmtree(three_parts(tmp_path) / "val")
    splits = load_splits(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 2, 4)


@pytest.mark.row("C9", "a class without images in val")
def test_class_missing_in_val_keeps_the_numbering(tmp_path):
    """Allowed: the numbers are those of train's list."""
    class_folders(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    class_folders(tmp_path / "val", {"a": 1, "c": 1}, start=50)
    (tmp_path / "val" / "b").mkdir()
    splits = load_splits(tmp_path)
    np.testing.assert_array_equal(splits.val.labels, [0, 2])


@pytest.mark.row("C9", "a class that only val or test has")
@pytest.mark.parametrize("part", ["val", "test"])
def test_extra_class_is_refused_by_name(tmp_path, part):
    """`DataError` names an image of it and the nearest known class."""
    class_folders(three_parts(tmp_path) / part, {"dogs": 1}, start=900)
    reason = f"class 'dogs' of {part} is not among the training data; did you mean 'dog'"
    with pytest.raises(DataError, match=rf"dogs/0\.png: {reason}"):
        load_splits(tmp_path)


@pytest.mark.row("C11", "hidden folders and files, .ipynb_checkpoints, __MACOSX")
def test_hidden_folders_and_files_are_ignored(tmp_path):
    """Ignored: classes and hash are those of the clean folder."""
    plain = load_splits(three_parts(tmp_path))
    class_folders(tmp_path / "train", {".ipynb_checkpoints": 2, "__MACOSX": 1})
    (tmp_path / "train" / "cat" / "._0.png").write_bytes(b"resource fork")
    (tmp_path / ".DS_Store").touch()
    splits = load_splits(tmp_path)
    assert splits.classes == ("cat", "dog") and splits.sha256 == plain.sha256 and splits.notes == ()


@pytest.mark.row("C8", "a class folder of train without images")
def test_empty_class_folder_is_refused_in_train(tmp_path):
    """`DataError` names the folder and what else is in it."""
    (three_parts(tmp_path) / "train" / "emu").mkdir()
    (tmp_path / "train" / "emu" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"emu: a class folder without images \(1 other files\)"):
        load_splits(tmp_path)


@pytest.mark.row("C11", "stray files that are no images")
def test_strays_are_counted(tmp_path):
    """Not used, and a note counts them."""
    for place in ("README.md", "train/labels.txt", "train/cat/Thumbs.db"):
        (three_parts(tmp_path) / place).touch()
    splits = load_splits(tmp_path)
    assert len(splits.train) == 10
    assert splits.notes[0].startswith("3 files are not images and were not used (first: ")


@pytest.mark.row("C11", "an image in the root or beside the class folders")
def test_images_beside_class_folders_are_refused(tmp_path):
    """`DataError` names it."""
    for folder in (three_parts(tmp_path / "a"), tmp_path / "a" / "train", class_folders(tmp_path / "b", {"x": 3, "y": 3})):
        stray = folder / "stray.JPG"
        stray.write_bytes(png_bytes(77))
        with pytest.raises(DataError, match=r"1 images lie beside the class folders \(first: stray.JPG\)"):
            load_splits(tmp_path / ("b" if folder.name == "b" else "a"))
        stray.unlink()


@pytest.mark.row("C5", "a TIFF among the images of a class")
def test_images_of_a_refused_format_are_named_not_dropped(tmp_path):
    """`DataError` names it; it is not dropped in silence."""
    (three_parts(tmp_path) / "train" / "cat" / "scan.TIF").write_bytes(b"II*\0" + bytes(20))
    with pytest.raises(DataError, match=r"scan\.TIF: a TIFF file; accepted are JPEG"):
        load_splits(tmp_path)


@pytest.mark.row("C11", "folders of equal names in two classes")
def test_images_in_deeper_folders_belong_to_their_class(tmp_path):
    """Their images belong to the class above them."""
    class_folders(tmp_path / "x", {"same": 3})
    class_folders(tmp_path / "y", {"same": 3}, start=10)
    splits = load_splits(tmp_path, val_fraction=0)
    assert splits.classes == ("x", "y")
    np.testing.assert_array_equal(splits.train.labels, [0, 0, 0, 1, 1, 1])


@pytest.mark.row("C14", "class folders that differ only in case or in Unicode form")
@pytest.mark.parametrize("twins", [("Cat", "cat"), (COMPOSED, SPLIT_UP)])
def test_twin_names_are_refused(tmp_path, twins):
    """`DataError` names both."""
    class_folders(tmp_path, {twins[0]: 2, twins[1]: 2, "dog": 2})
    with pytest.raises(DataError, match="differ only in case or Unicode form"):
        load_splits(tmp_path)


@pytest.mark.row("C14", "a class NFC in train, NFD in val")
def test_class_name_in_another_unicode_form_is_the_same_class(tmp_path):
    """One class."""
    class_folders(tmp_path / "train", {COMPOSED: 2, "tea": 2})
    class_folders(tmp_path / "val", {SPLIT_UP: 1}, start=50)
    splits = load_splits(tmp_path)
    assert splits.classes == (COMPOSED, "tea")
    np.testing.assert_array_equal(splits.val.labels, [0])


@pytest.mark.row("C11", "class folders with a blank at the end, control characters, bytes that are not UTF-8")
def test_blank_or_undecodable_class_names_are_refused(tmp_path):
    """`DataError` shows the name with escapes."""
    for name in ("cat ", os.fsdecode(b"caf\xe9"), "a\nb"):
        root = class_folders(tmp_path / "data", {name: 2, "dog": 2})
        with pytest.raises(DataError, match=r"class folder .*; rename it"):
            load_splits(root)
        shutil.rmtree(root)


@pytest.mark.row("C14", "emoji, right to left, surrogate bytes and line breaks in names")
def test_any_file_name_works(tmp_path, tried):
    """All are read, and their names can be printed."""
    names = ["with blank.png", "日本.png", "🐈.png", "שלום.png", os.fsdecode(b"byte\xff.png"), "new\nline.png"]
    class_folders(tmp_path, {"猫 🐈": 3, "dog": 3})
    for seed, name in enumerate(names):
        (tmp_path / "猫 🐈" / name).write_bytes(png_bytes(100 + seed))
    splits = load_splits(tmp_path, val_fraction=0)
    assert len(splits.train) == 12 and splits.classes == ("dog", "猫 🐈")
    assert all(splits.train.image(i).size == (8, 8) for i in range(12))
    "".join(splits.train.names).encode()  # printable on any stream
    tried(len(names))


@pytest.mark.row("C13", "links that dangle, loop, contain themselves or leave the folder; links that stay inside")
def test_links(tmp_path, tried):
    """`DataError` names the link, and no walk runs in a circle; a link to an image inside is read."""
    root, outside = class_folders(tmp_path / "data", {"a": 2, "b": 2}), tmp_path / "outside.png"
    outside.write_bytes(png_bytes(5))
    (tmp_path / "elsewhere").mkdir()
    cases = {
        root / "a" / "link.png": (outside, "a link that leaves the data folder"),
        root / "a" / "gone.png": (root / "a" / "nothing.png", "dangling link"),
        root / "a" / "up": (root / "a", "a link to a folder that contains it"),
        root / "c": (tmp_path / "elsewhere", "a link that leaves the data folder"),
        root / "train": (tmp_path / "elsewhere", "a link that leaves the data folder"),
        root / "a" / "round.png": (root / "a" / "round.png", "dangling link"),
    }
    for link, (target, reason) in cases.items():
        link.symlink_to(target)
        with pytest.raises(DataError, match=reason):
            load_splits(root)
        link.unlink()
        tried(1)
    (root / "a" / "inside.png").symlink_to(root / "b" / "0.png")
    assert len(load_splits(root, val_fraction=0).train) == 5
    (tmp_path / "shortcut").symlink_to(root)  # the address itself may be a link
    assert len(load_splits(tmp_path / "shortcut", val_fraction=0).train) == 5


@pytest.mark.row("C13", "train/ itself a link to elsewhere")
def test_train_linked_from_outside_is_named(tmp_path):
    """`DataError` names the link."""
    three_parts(tmp_path / "data")
    (tmp_path / "data" / "train").rename(tmp_path / "train")
    (tmp_path / "data" / "train").symlink_to(tmp_path / "train")
    with pytest.raises(DataError, match=r"data/train: a link that leaves the data folder"):
        load_splits(tmp_path / "data")


@pytest.mark.row("C16", "no images, one class, one image per class")
def test_too_little_is_refused(tmp_path):
    """`DataError` says what is too few."""
    cases = {
        "no training images found": {},
        r"1 class \['a'\]; a classifier needs at least 2": {"a": 3},
        "3 images but no class folders": {"": 3},
        "too few for val_fraction=0.2; add val images": {"a": 1, "b": 1},
    }
    for i, (reason, counts) in enumerate(cases.items()):
        root = tmp_path / str(i)
        root.mkdir()
        with pytest.raises(DataError, match=reason):
            load_splits(class_folders(root, counts))


@pytest.mark.row("C11", "both val/ and valid/, or no train/")
def test_layouts_that_could_mean_two_things_are_refused(tmp_path):
    """`DataError` names the folders."""
    three_parts(tmp_path)
    class_folders(tmp_path / "valid", {"cat": 1}, start=600)
    with pytest.raises(DataError, match=r"both val/ and valid/ could be val"):
        load_splits(tmp_path)
    shutil.rmtree(tmp_path / "valid")
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(DataError, match=r"has test/, val/ but no train/"):
        load_splits(tmp_path)


def test_folders_beside_train_are_noted(tmp_path):
    class_folders(three_parts(tmp_path), {"extra": 2}, start=700)
    assert "folders beside train/ are not used: extra" in load_splits(tmp_path).notes


def test_all_problems_at_once(tmp_path):
    three_parts(tmp_path)
    (tmp_path / "train" / "emu").mkdir()
    class_folders(tmp_path / "test", {"zebra": 2}, start=800)
    for name in ("1.png", "2.png"):
        (tmp_path / "train" / "cat" / name).write_bytes(b"")
    reasons = [problem.reason for problem in check(tmp_path).problems]
    assert len(reasons) == 4 and sum("empty (0 bytes)" in reason for reason in reasons) == 2


def test_address_is_a_path_or_text(tmp_path, monkeypatch):
    three_parts(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    assert load_splits("pets").sha256 == load_splits(Path("pets")).sha256 == load_splits(tmp_path / "pets").sha256
