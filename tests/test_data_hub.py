"""The ``datasets`` library: saved folders and names; columns found by type, images decoded by this package."""

from __future__ import annotations

import datasets
import numpy as np
import pytest

from inarch.data import check, load_splits
from inarch.errors import DataError
from tests.pictures import pixels, png_bytes

PARTS = {"train": range(8), "validation": range(8, 11), "test": range(11, 15)}


def rows(numbers, kind=None, column="pic", **others):
    kind = datasets.ClassLabel(names=["cat", "dog"]) if kind is None else kind
    many = isinstance(kind, datasets.List)
    features = datasets.Features({column: datasets.Image(), "y": kind, **{name: f for name, (f, _) in others.items()}})
    content = {column: [{"bytes": png_bytes(i), "path": None} for i in numbers]}
    content["y"] = [[i % 2] if many else (f"{i % 2}" if kind.dtype == "string" else i % 2) for i in numbers]
    content |= {name: [value] * len(numbers) for name, (_, value) in others.items()}
    return datasets.Dataset.from_dict(content, features=features)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "pets"
    datasets.DatasetDict({name: rows(numbers) for name, numbers in PARTS.items()}).save_to_disk(folder)
    return folder


def test_saved_folder(saved):
    splits = load_splits(saved)
    assert splits.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 3, 4)
    np.testing.assert_array_equal(splits.train.labels, [0, 1] * 4)
    np.testing.assert_array_equal(splits.val.image(1), pixels(9))
    assert splits.train.names[3] == f"{saved} train[3]"
    assert check(saved).problems == []


def test_one_table_is_split_by_seed(tmp_path):
    rows(range(20)).save_to_disk(tmp_path / "one")
    splits = load_splits(tmp_path / "one")
    assert (len(splits.train), len(splits.val), splits.test) == (16, 4, None)


def test_name(monkeypatch):
    asked = []

    def load_dataset(name, config):
        asked.append((name, config))
        return datasets.DatasetDict(train=rows(range(8)), val=rows(range(8, 12)), unlabelled=rows(range(3)))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    splits = load_splits("datasets:someone/pets")
    assert load_splits("datasets:someone/pets:small").sha256 == splits.sha256
    assert asked == [("someone/pets", None), ("someone/pets", "small")]
    assert splits.source == "datasets:someone/pets" and "splits that are not used: unlabelled" in splits.notes


def test_name_without_network_is_one_message(monkeypatch):
    def load_dataset(*_):
        raise ConnectionError("Couldn't reach 'beans' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"datasets:beans: ConnectionError: Couldn't reach 'beans'.*check the name, the network"):
        load_splits("datasets:beans")


def given(monkeypatch, found):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: found)
    return "datasets:given"


def test_several_labels(monkeypatch):
    kind = datasets.List(datasets.ClassLabel(names=["p", "q", "r"]))
    splits = load_splits(given(monkeypatch, rows(range(6), kind)), val_fraction=0)
    assert splits.multilabel and splits.classes == ("p", "q", "r")
    np.testing.assert_array_equal(splits.train.labels[:2], [[1, 0, 0], [0, 1, 0]])
    assert splits.notes[0] == "1 of 3 classes have no training image (first: 'r')"


def test_plain_labels_must_be_named(monkeypatch):
    address = given(monkeypatch, rows(range(6), datasets.Value("string")))
    with pytest.raises(DataError, match="none of label, labels"):
        load_splits(address)
    assert load_splits(address, label_column="y", val_fraction=0).classes == ("0", "1")


def test_columns(monkeypatch):
    two = rows(range(6), other=(datasets.Image(), {"bytes": png_bytes(99), "path": None}))
    address = given(monkeypatch, two)
    with pytest.raises(DataError, match="several of pic, other; name one with image_column="):
        load_splits(address)
    assert len(load_splits(address, image_column="pic", val_fraction=0).train) == 6
    with pytest.raises(DataError, match="column 'y'; the columns of type Image are: pic, other"):
        load_splits(address, image_column="y")
    with pytest.raises(DataError, match="no column 'pik'; did you mean 'pic'"):
        load_splits(address, image_column="pik")
    with pytest.raises(DataError, match="the columns of type Image are: none"):
        load_splits(given(monkeypatch, two.remove_columns(["pic", "other"])))


@pytest.mark.row("C10", "rows of a `datasets` table without label, with a broken image, without image")
def test_bad_rows_are_named(monkeypatch):
    """Each is listed by split and row."""
    table = rows(range(6)).to_dict()
    table["y"][2] = -1
    table["pic"][4] = {"bytes": b"nonsense", "path": None}
    table["pic"][5] = None
    features = rows(range(6)).features
    address = given(monkeypatch, datasets.Dataset.from_dict(table, features=features))
    found = [str(problem) for problem in check(address).problems]
    assert found[0] == "datasets:given train[2]: y: label -1; expected 0 to 1"
    assert found[1].startswith("datasets:given train[4]: not an image")
    assert found[2] == "datasets:given train[5]: the file is empty (0 bytes)"


def test_splits_that_do_not_fit(monkeypatch):
    with pytest.raises(DataError, match="no train split; found holdout"):
        load_splits(given(monkeypatch, datasets.DatasetDict(holdout=rows(range(3)))))
    with pytest.raises(DataError, match="two splits could be val"):
        load_splits(given(monkeypatch, datasets.DatasetDict(train=rows(range(6)), val=rows(range(3)), valid=rows(range(3)))))
    with pytest.raises(DataError, match="test has other columns than train"):
        load_splits(given(monkeypatch, datasets.DatasetDict(train=rows(range(6)), test=rows(range(3), column="img"))))


def test_damaged_folder(saved, tmp_path):
    (tmp_path / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match="check the name"):
        load_splits(tmp_path)
