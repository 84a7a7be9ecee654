"""Arrays: .npz files without pickle, checked whole; scikit-learn's digits; the shared sets."""

from __future__ import annotations

import numpy as np
import pytest

from inarch.data import check, load_splits
from inarch.errors import DataError
from tests.pictures import pixels

SIZES = {"train": 10, "val": 4, "test": 6}


def arrays(n: int = 20, **changed):
    x = np.stack([pixels(seed) for seed in range(n)])
    y = np.arange(n) % 2
    whole = {"x_train": x[:10], "y_train": y[:10], "x_val": x[10:14], "y_val": y[10:14], "x_test": x[14:], "y_test": y[14:]}
    whole = {**whole, "classes": np.array(["no", "yes"]), **changed}
    return {key: value for key, value in whole.items() if value is not None}


def saved(folder, **changed):
    np.savez(folder / "data.npz", **arrays(**changed))
    return folder / "data.npz"


def test_npz(tmp_path):
    splits = load_splits(saved(tmp_path))
    assert splits.classes == ("no", "yes") and splits.notes == ()
    assert (len(splits.train), len(splits.val), len(splits.test)) == (10, 4, 6)
    assert splits.train.names[3] == "x_train[3]"
    np.testing.assert_array_equal(splits.test.image(2), arrays()["x_test"][2])
    np.testing.assert_array_equal(splits.val.labels, arrays()["y_val"])


def test_grey_npz_is_shown_as_rgb(tmp_path):
    splits = load_splits(saved(tmp_path, x_train=arrays()["x_train"][..., 0]))
    image = np.asarray(splits.train.image(0))
    np.testing.assert_array_equal(image, np.repeat(arrays()["x_train"][0, ..., :1], 3, axis=2))


def test_npz_without_val_is_split_by_seed(tmp_path):
    splits = load_splits(saved(tmp_path, x_val=None, y_val=None), seed=1)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 2, 6)
    assert sorted(splits.fit_table("train+val").names) == [f"x_train[{i}]" for i in range(10)]
    name = splits.val.names[0]
    row = int(name.removeprefix("x_train[").removesuffix("]"))
    np.testing.assert_array_equal(splits.val.image(0), arrays()["x_train"][row])


def test_npz_without_names(tmp_path):
    assert load_splits(saved(tmp_path, classes=None)).classes == ("0", "1")


def test_listed_class_without_training_images_is_noted(tmp_path):
    splits = load_splits(saved(tmp_path, classes=np.array(["no", "yes", "maybe"])))
    assert splits.notes == ("1 of 3 classes have no training image (first: 'maybe')",)


@pytest.mark.row("C10", "labels that are negative, too large, floats, NaN, too few; arrays of other types and shapes")
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"y_val": np.array([0, 1, 2, 0])}, r"y_val\[2\] is 2; expected 0 to 1"),
        ({"y_train": -np.arange(10)}, r"y_train\[1\] is -1"),
        ({"y_train": np.arange(10) / 10}, "y_train is float64; expected whole numbers"),
        ({"y_train": np.full(10, np.nan)}, "y_train is float64"),
        ({"y_train": np.zeros(9, int)}, r"y_train has shape \(9,\) for 10 images"),
        ({"y_train": np.full(10, 10**12), "classes": None}, "expected fewer than 100,000 classes"),
        ({"x_train": np.zeros((10, 8, 8))}, "x_train is float64"),
        ({"x_train": np.zeros((10, 3, 8, 8), np.uint8)}, r"expected uint8 \[n, height, width\]"),
        ({"x_train": None}, "no array 'x_train'"),
        ({"y_test": None}, "only one of x_test and y_test is there"),
        ({"classes": np.array(["a", "a"])}, "class 'a' is listed twice"),
        ({"classes": np.array(["one"]), **{f"y_{part}": np.zeros(n, int) for part, n in SIZES.items()}}, "1 class"),
        ({"classes": np.zeros((2, 2))}, r"classes is float64 \(2, 2\)"),
        ({"classes": np.array(["no", {"a": 1}], dtype=object)}, "without object arrays"),
        ({"x_train": np.zeros((0, 8, 8), np.uint8), "y_train": np.zeros(0, int)}, "no training images found"),
    ],
)
def test_bad_arrays(tmp_path, changed, reason):
    """`DataError` names array and row before the first step."""
    with pytest.raises(DataError, match=reason):
        load_splits(saved(tmp_path, **changed))


@pytest.mark.row("C1", "an .npz that is empty, truncated, overwritten, a pickle")
def test_damaged_files(tmp_path):
    """`DataError` names the file; nothing is unpickled."""
    whole = saved(tmp_path).read_bytes()
    for damaged in (b"", b"PK\3\4", whole[:100], whole[:-30], whole[:500] + bytes(64) + whole[564:], b"\x80\x04K\1."):
        (tmp_path / "bad.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"bad\.npz: cannot be read as an \.npz of plain arrays"):
            load_splits(tmp_path / "bad.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "bad.npz")
    with pytest.raises(DataError, match="cannot be read as an"):
        load_splits(tmp_path / "bad.npz")


def test_digits():
    from sklearn.datasets import load_digits

    digits, splits = load_digits(), load_splits("digits")
    assert splits.classes == tuple("0123456789") and splits.source == "digits"
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1000, 200, 597)
    names = splits.train.names + splits.val.names + splits.test.names
    assert len(set(names)) == 1797
    for i in (0, 77, 999):
        row = int(splits.train.names[i][7:-1])
        np.testing.assert_array_equal(np.asarray(splits.train.image(i))[:, :, 0], np.floor(digits.images[row] * 255 / 16 + 0.5))
        assert splits.train.labels[i] == digits.target[row]
    assert np.bincount(splits.val.labels).min() >= 18
    assert load_splits("digits", seed=1).sha256 != splits.sha256 == load_splits("digits").sha256


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "classes", "sizes"),
    [
        ("clothing10", 10, (800, 200, 713)),
        ("eurosat10", 10, (800, 200, 1000)),
        ("mednist6", 6, (800, 200, 1999)),
        ("nlvr_xtop8", 8, (800, 200, 858)),
        ("omniglot8", 8, (800, 200, 2000)),
    ],
)
def test_real_sets(shared, name, classes, sizes):
    address = shared / "data" / f"{name}.npz"
    splits = load_splits(address)
    assert len(splits.classes) == classes
    assert (len(splits.train), len(splits.val), len(splits.test)) == sizes
    assert splits.train.image(0).mode == "RGB" and splits.notes == ()
    report = check(address)
    assert report.problems == [] and report.counts["train"] == 800
