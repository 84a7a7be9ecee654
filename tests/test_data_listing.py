"""CSV and JSONL tables: rows become images with labels, and every problem carries its line number."""

from __future__ import annotations

import json

import numpy as np
import pytest

from inarch.data import check, load_splits
from inarch.errors import ConfigError, DataError
from tests.pictures import png_bytes

ROWS = [(f"img {i}.png", "cat" if i % 3 else "dog") for i in range(12)]


@pytest.fixture
def images(tmp_path):
    for seed, (name, _) in enumerate(ROWS):
        (tmp_path / name).write_bytes(png_bytes(seed))
    return tmp_path


def csv(folder, text, name="table.csv"):
    (folder / name).write_bytes(text.encode())
    return folder / name


def jsonl(folder, rows, name="table.jsonl"):
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))
    return folder / name


def table(extra: str = "") -> str:
    return "path,label\n" + "".join(f"{path},{label}\n" for path, label in ROWS) + extra


def problems(address, **options) -> list[str]:
    return [str(problem).removeprefix(str(address.parent) + "/") for problem in check(address, **options).problems]


def test_csv_and_jsonl_agree(images):
    from_csv = load_splits(csv(images, table()))
    from_jsonl = load_splits(jsonl(images, [{"path": path, "label": label} for path, label in ROWS]))
    assert from_csv.classes == ("cat", "dog") and from_csv.sha256 == from_jsonl.sha256
    assert (len(from_csv.train), len(from_csv.val), from_csv.test) == (10, 2, None)
    first = from_csv.fit_table("train+val")
    expected = {f"{images}/{path}": label for path, label in ROWS}
    assert {name: from_csv.classes[c] for name, c in zip(first.names, first.labels, strict=True)} == expected


@pytest.mark.row("C15", "a byte-order mark, CRLF, blanks, quotes")
@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + table(),
        table().replace("\n", "\r\n"),
        table().replace(",", ", ").replace("path, label", "path , label"),
        table().replace("dog", '"dog"') + "\n\n",
    ],
    ids=["byte-order mark", "crlf", "blanks", "quotes"],
)
def test_habits_of_editors_change_nothing(images, text):
    """The same data set, by its hash."""
    assert load_splits(csv(images, text)).sha256 == load_splits(csv(images, table(), "plain.csv")).sha256


def test_jsonl_with_byte_order_mark(images):
    file = jsonl(images, [{"path": path, "label": label} for path, label in ROWS])
    file.write_text("\ufeff" + file.read_text())
    assert len(load_splits(file, val_fraction=0).train) == 12


def test_split_column(images):
    parts = ["train"] * 6 + ["Validation", "valid", "val"] + ["test"] * 3
    rows = "".join(f"{path},{label},{part}\n" for (path, label), part in zip(ROWS, parts, strict=True))
    splits = load_splits(csv(images, "path,label,split\n" + rows))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (6, 3, 3)


@pytest.mark.row("C9", "a class that only the test rows of a table have")
def test_class_of_the_test_part_alone_is_refused(images):
    """`DataError` names the class."""
    file = csv(images, "path,label,split\nimg 0.png,a,train\nimg 1.png,b,train\nimg 2.png,c,test\n")
    with pytest.raises(DataError, match="class 'c' of test is not among the training data"):
        load_splits(file)


def test_columns_are_found_or_named(images):
    file = csv(images, table().replace("path,label", "file_name,category"))
    assert load_splits(file).classes == ("cat", "dog")
    file = csv(images, table().replace("path,label", "photo,species"))
    assert load_splits(file, image_column="photo", label_column="species").classes == ("cat", "dog")
    with pytest.raises(DataError, match=r"table\.csv:1: columns photo, species: none of path, image"):
        load_splits(file)
    with pytest.raises(DataError, match="no column 'foto'; did you mean 'photo'"):
        load_splits(file, image_column="foto", label_column="species")
    with pytest.raises(DataError, match="several of label, class; name one with label_column="):
        load_splits(csv(images, "path,label,class\nimg 0.png,a,b\n"))


def test_integer_labels_are_numbered_by_value(images):
    rows = [{"path": path, "label": label} for (path, _), label in zip(ROWS, [10, 9, 100] * 4, strict=True)]
    splits = load_splits(jsonl(images, rows), val_fraction=0)
    assert splits.classes == ("9", "10", "100")
    np.testing.assert_array_equal(splits.train.labels[:3], [1, 0, 2])


def test_letters_that_differ_in_case_are_two_classes_with_a_note(images):
    splits = load_splits(csv(images, table().replace("dog", "CAT")))
    assert splits.classes == ("CAT", "cat")
    assert "labels that differ only in case are kept apart: 'CAT' and 'cat'" in splits.notes


@pytest.mark.row("C14", "labels of a table in NFC and NFD")
def test_labels_in_two_unicode_forms_are_refused(images):
    """`DataError` names both."""
    file = csv(images, table().replace("cat", "caf\u00e9").replace("dog", "cafe\u0301"))
    assert "differ only in Unicode form" in problems(file)[0]


@pytest.mark.row("C10", "rows missing, listed twice, with labels empty, negative or float")
def test_each_bad_row_is_named_by_line(images):
    """Each is listed by its line."""
    bad = ["img 1.png,cat", "gone.png,cat", ",cat", "img 0.png,", "text.csv,-1", "../img,1.5"]
    found = problems(csv(images, table("\n".join(bad))))
    assert [line.split(":")[:2] for line in found[:5]] == [["table.csv", str(n)] for n in (14, 15, 16, 17, 17)]
    for part in ("img 1.png was listed on line 3 already", "no such image: ", "path is ''", "the label is empty", "negative"):
        assert any(part in line for line in found), part
    assert any("label 1.5 is not a class" in line for line in found)


@pytest.mark.row("C10", "labels 1.0, null, true, a list and NaN in JSON lines")
@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (1.0, "label is 1.0"),
        (None, "label is None"),
        (True, "label is True"),
        (["cat"], "set multilabel=True"),
        ("NaN", "not a class"),
    ],
)
def test_bad_json_labels(images, label, reason):
    """`DataError` with the line."""
    rows = [{"path": path, "label": name} for path, name in ROWS[:-1]] + [{"path": ROWS[-1][0], "label": label}]
    (found,) = problems(jsonl(images, rows))
    assert found.startswith("table.jsonl:12: ") and reason in found


def test_missing_cell_of_one_row(images):
    rows = [{"path": path, "label": name} for path, name in ROWS] + [{"label": "cat"}, {"path": "a\ud800.png", "label": "cat"}]
    assert [line.split(";")[0] for line in problems(jsonl(images, rows))] == [
        "table.jsonl:13: path is None",
        r"table.jsonl:14: path is 'a\ud800.png'",
    ]


@pytest.mark.row("C15", "a table with missing quotes, NUL, a cell of 200,000 characters, a column twice, no rows")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (table("a.png,cat,extra\n"), r"table\.csv:14: 3 cells; expected 2 \(path, label\)"),
        (table('"open,cat\n'), r"table\.csv:14: unexpected end of data"),
        (table("a\0.png,cat\n"), r"table\.csv:14: holds a NUL character"),
        (table("a.png," + "x" * 200_000 + "\n"), r"table\.csv:14: field larger than field limit"),
        ("path,path,label\n", "column 'path' appears twice"),
        ("path,label\n", "no rows below the header"),
        ("", "no rows below the header"),
    ],
)
def test_malformed_csv(images, text, reason):
    """`DataError` with the line."""
    with pytest.raises(DataError, match=reason):
        load_splits(csv(images, text))


@pytest.mark.row("C15", "JSON lines with broken, nested or duplicate keys, or lists")
@pytest.mark.parametrize("line", ['{"path": "a"', "[1, 2]", '{"path": "a", "path": "b"}', "[" * 100_000])
def test_malformed_jsonl(images, line):
    """`DataError` with the line."""
    file = jsonl(images, [{"path": path, "label": label} for path, label in ROWS])
    file.write_text(file.read_text() + "\n" + line)
    with pytest.raises(DataError, match=r"table\.jsonl:13: "):
        load_splits(file)


@pytest.mark.row("C15", "a table in Latin-1")
def test_other_encodings_are_refused(images):
    """`DataError` with the byte."""
    (images / "table.csv").write_bytes(table("a.png,caf\xe9\n").encode("latin-1"))
    with pytest.raises(DataError, match=r"table\.csv: not UTF-8 at byte \d+; save the table as UTF-8"):
        load_splits(images / "table.csv")


def test_several_labels_per_image(images):
    texts = ["cat|dog", "", "dog", "emu"] * 3
    from_csv = load_splits(
        csv(images, "path,label\n" + "".join(f"{p},{t}\n" for (p, _), t in zip(ROWS, texts, strict=True))),
        multilabel=True,
        val_fraction=0,
    )
    rows = [{"path": path, "label": text.split("|") if text else []} for (path, _), text in zip(ROWS, texts, strict=True)]
    from_jsonl = load_splits(jsonl(images, rows), multilabel=True, val_fraction=0)
    assert from_csv.multilabel and from_csv.classes == ("cat", "dog", "emu") and from_csv.sha256 == from_jsonl.sha256
    assert from_csv.train.multilabel and from_csv.train.labels.dtype == np.float32
    np.testing.assert_array_equal(from_csv.train.labels[:4], [[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_several_labels_are_drawn_without_losing_a_row(images):
    file = csv(images, "path,label\n" + "".join(f"{path},a|b\n" for path, _ in ROWS))
    splits = load_splits(file, multilabel=True, val_fraction=0.25)
    assert (len(splits.train), len(splits.val)) == (9, 3)
    assert sorted(splits.fit_table("train+val").names) == sorted(f"{images}/{path}" for path, _ in ROWS)


def test_bad_lists_of_labels(images):
    file = csv(images, "path,label\nimg 0.png,a||b\nimg 1.png,a|a\nimg 2.png,b|a\n")
    found = problems(file, multilabel=True)
    assert found[0].startswith("table.csv:2: the label is empty") and "table.csv:3: label 'a|a' names a class twice" in found


def test_options_that_mean_nothing_are_refused(images):
    with pytest.raises(ConfigError, match=r"protocol means nothing for table\.csv"):
        load_splits(csv(images, table()), protocol="released")
    with pytest.raises(ConfigError, match="multilabel means nothing for digits"):
        load_splits("digits", multilabel=True)
