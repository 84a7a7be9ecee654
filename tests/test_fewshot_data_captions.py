"""Tables of images and captions: three formats, parts drawn by image, equal texts, every problem by name; and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from inarch.cli import main
from inarch.data.fewshot import CaptionTable, check_captions, check_fewshot, read_captions
from inarch.errors import ConfigError, DataError
from tests.fewshot_fixtures import write_sample, write_sets, write_split
from tests.pictures import pixels, png_bytes


def jsonl(folder: Path, rows: list[dict], images: int = 10) -> Path:
    for k in range(images):
        (folder / f"{k}.png").write_bytes(png_bytes(k))
    file = folder / "captions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def ten(**more) -> list[dict]:
    return [{"image": f"{k}.png", "captions": [f"number {k}", "a  Picture"]} | more for k in range(10)]


def everything(table: CaptionTable) -> list[tuple[str, str]]:
    return [(Path(table.images.names[i]).name, caption) for i, caption in zip(table.image, table.captions, strict=True)]


def test_lines(tmp_path: Path) -> None:
    rows = [
        {"image": "0.png", "captions": [" a cat", "a Cat  on a mat"], "split": "train"},
        {"image": "./1.png", "captions": ["A cat"], "split": "Training"},
        {"image": "0.png", "captions": ["an animal"], "split": "train"},
        {"image": "2.png", "captions": ["a cat on a mat"], "split": "valid"},
        {"image": "3.png", "captions": ["a dog"], "split": "test"},
    ]
    found = read_captions(jsonl(tmp_path, rows))
    assert everything(found.train) == [("0.png", "a cat"), ("0.png", "a Cat  on a mat"), ("1.png", "A cat"), ("0.png", "an animal")]
    assert found.train.image.tolist() == [0, 0, 1, 0] and found.train.text.tolist() == [0, 1, 0, 2]
    assert everything(found.val) == [("2.png", "a cat on a mat")] and found.val.text.tolist() == [1]
    assert everything(found.test) == [("3.png", "a dog")] and found.test.images.image(0).tobytes() == pixels(3).tobytes()
    assert found.train.images.labels.tolist() == [0, 1]
    assert repr(found.train) == "CaptionTable(2 images, 4 captions)" and found.source == f"{tmp_path}/captions.jsonl"
    assert found.notes == ("2 captions repeat the text of another; every image that has the text is right for it",
                           "1 texts of val are texts of train too")  # fmt: skip


def test_right_answers_of_retrieval(tmp_path: Path) -> None:
    rows = [{"image": f"{k}.png", "caption": caption} for k, caption in ((0, "a cat"), (1, "A cat"), (0, "an animal"), (2, "a dog"))]
    table = read_captions(jsonl(tmp_path, rows), val_fraction=0, test_fraction=0).train
    wanted = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
    np.testing.assert_array_equal(table.right(), wanted)
    np.testing.assert_array_equal(table.right([2, 0]), wanted[[2, 0]])


def test_csv_is_the_same(tmp_path: Path) -> None:
    lines = jsonl(tmp_path, [{"image": f"{k}.png", "caption": f"number {k}, seen", "split": "train"} for k in range(10)])
    table = tmp_path / "captions.csv"
    table.write_text("image,caption,split\n" + "".join(f'{k}.png,"number {k}, seen",train\n' for k in range(10)))
    one, other = read_captions(lines), read_captions(table)
    assert everything(one.train) == everything(other.train) and one.sha256 == other.sha256
    assert one.val is None and one.test is None


def test_columns_by_name(tmp_path: Path) -> None:
    file = jsonl(tmp_path, [{"photo": "0.png", "words": "a cat", "title": "x"}])
    options = {"val_fraction": 0, "test_fraction": 0}
    assert len(read_captions(file, image_column="photo", caption_column="words", **options).train.captions) == 1
    with pytest.raises(DataError, match="columns photo, words, title: none of path, image"):
        read_captions(file)
    with pytest.raises(DataError, match="no column 'word'; did you mean 'words'"):
        read_captions(file, image_column="photo", caption_column="word")


def npz(file: Path, **more) -> Path:
    arrays = {"images": np.stack([pixels(k) for k in range(4)]), "captions": ["a", "b", "A", "d"]} | more
    np.savez(file, **{key: value for key, value in arrays.items() if value is not None})
    return file


def test_arrays(tmp_path: Path) -> None:
    found = read_captions(npz(tmp_path / "a.npz", split=[0, 0, 0, 2], image_id=[0, 1, 2, 3], image_name=list("wxyz")))
    assert found.train.captions == ("a", "b", "A") and found.train.text.tolist() == [0, 1, 0] and found.val is None
    assert found.test.images.image(0).tobytes() == pixels(3).tobytes() and found.test.images.names[0].endswith("image z")
    several = read_captions(npz(tmp_path / "b.npz", captions=["a", "b", "c", "d", "e"], image_id=[3, 0, 1, 2, 0], split=[0] * 4))
    assert several.train.image.tolist() == [3, 0, 1, 2, 0]


@pytest.mark.parametrize("more, reason", [
    ({"images": None}, "no array 'images'"),
    ({"captions": None}, "no array 'captions'"),
    ({"images": np.zeros((4, 8, 8, 2), np.uint8)}, "expected uint8"),
    ({"captions": [1, 2, 3, 4]}, "captions is int64"),
    ({"captions": ["a", "b", " ", "d"]}, r"captions\[2\]: is blank"),
    ({"captions": ["a", "b"]}, "2 images have no caption"),
    ({"captions": ["a"] * 5}, r"image_id\[4\] is 4; expected 0 to 3"),
    ({"image_id": [0, 1]}, "image_id has 2 rows; expected 4"),
    ({"image_id": [0, 1, 2, 9]}, r"image_id\[3\] is 9; expected 0 to 3"),
    ({"split": [0, 1, 2, 3]}, r"split\[3\] is 3"),
    ({"split": [1, 1, 2, 2]}, "no training images found"),
    ({"image_name": ["a", "a", "b", "c"]}, "image_name has 3 names for 4 images"),
])  # fmt: skip
def test_bad_arrays(tmp_path: Path, more: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_captions(npz(tmp_path / "a.npz", **more))


def test_parts_are_drawn_by_image(tmp_path: Path) -> None:
    file = jsonl(tmp_path, ten())
    found = read_captions(file, val_fraction=0.2, test_fraction=0.3)
    sizes = [len(table.images) for table in (found.train, found.val, found.test)]
    assert sizes == [5, 2, 3] and [len(t.captions) for t in (found.train, found.val, found.test)] == [10, 4, 6]
    names = [set(table.images.names) for table in (found.train, found.val, found.test)]
    assert len(set.union(*names)) == 10
    again, other = (read_captions(file, val_fraction=0.2, test_fraction=0.3, seed=seed) for seed in (0, 1))
    assert again.sha256 == found.sha256 != other.sha256 and set(other.test.images.names) != names[2]


def test_copies_stay_together(tmp_path: Path) -> None:
    file = jsonl(tmp_path, ten())
    for k in range(1, 5):
        (tmp_path / f"{k}.png").write_bytes(png_bytes(0))
    for seed in range(5):
        found = read_captions(file, val_fraction=0.3, test_fraction=0.2, seed=seed)
        parts = [{name for name, _ in everything(table)} for table in (found.train, found.val, found.test)]
        assert sum(bool(names & {f"{k}.png" for k in range(5)}) for names in parts) == 1


def test_hash_knows_captions_and_pixels(tmp_path: Path) -> None:
    before = read_captions(jsonl(tmp_path, ten())).sha256
    rows = ten()
    rows[3]["captions"][1] = "a  picture"
    assert read_captions(jsonl(tmp_path, rows)).sha256 != before
    file = jsonl(tmp_path, ten())
    assert read_captions(file).sha256 == before
    (tmp_path / "4.png").write_bytes(png_bytes(99))
    assert read_captions(file).sha256 != before


BAD = {
    "no image": ({"image": "gone.png"}, "captions.jsonl:3: no such image: .*gone.png"),
    "an empty path": ({"image": " "}, "image is ' '; expected the path of an image"),
    "a number": ({"image": 7}, "image is 7"),
    "no caption": ({"captions": None}, "captions is None; expected a text"),
    "no captions": ({"captions": []}, "captions is an empty list"),
    "an empty caption": ({"captions": ["a", ""]}, r"captions\[1\] is empty"),
    "a blank caption": ({"captions": ["  "]}, r"captions\[0\] is blank"),
    "no text": ({"captions": [3]}, r"captions\[0\] is 3; expected a text"),
    "NUL": ({"captions": ["a\0"]}, "holds a NUL character"),
    "half a character": ({"captions": ["a\ud800"]}, "holds half a character"),
    "a megabyte": ({"captions": ["a" * (1 << 20)]}, "has 1,048,576 characters; at most 100,000 make one text"),
    "unknown part": ({"split": "dev"}, "split is 'dev'; expected train, val or test"),
    "two parts": ({"image": "0.png", "split": "test"}, "0.png is in train by an earlier row, here in test"),
}


@pytest.mark.row("C15", "captions empty, blank, of 1 MB, with NUL or half a character; missing image, wrong split, an image in two parts")
@pytest.mark.parametrize("kind", BAD)
def test_bad_rows(tmp_path: Path, kind: str) -> None:
    """`DataError` with the line."""
    change, reason = BAD[kind]
    rows = ten(split="train")
    rows[2] |= change
    with pytest.raises(DataError, match=reason):
        read_captions(jsonl(tmp_path, rows))


@pytest.mark.row("C15", "several bad rows and a bad image in one table of captions")
def test_all_problems_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`inarch check-data` lists all of them (exit 3)."""
    rows = ten()
    for k, (change, _) in enumerate([BAD["no image"], BAD["an empty caption"], BAD["NUL"]]):
        rows[k] |= change
    file = jsonl(tmp_path, rows)
    file.write_text(file.read_text() + "{\n")
    (tmp_path / "5.png").write_bytes(b"")
    assert len(check_captions(file).problems) == 5
    assert main(["check-data", f"captions:{file}"]) == 3
    assert "captions.jsonl:11: not a JSON object" in capsys.readouterr().out
    with pytest.raises(DataError, match=f"`inarch check-data captions:{file}` lists all of them"):
        read_captions(file)


def test_bad_wishes(tmp_path: Path) -> None:
    file = jsonl(tmp_path, ten())
    for wish, reason in (({"val_fraction": -1}, "val_fraction is -1"), ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training"),
                         ({"seed": -1}, "seed is -1")):  # fmt: skip
        with pytest.raises(ConfigError, match=reason):
            read_captions(file, **wish)
    with pytest.raises(DataError, match=r"too few for test_fraction=0\.01"):
        read_captions(file, test_fraction=0.01)
    with pytest.raises(DataError, match=r"no table of captions; expected a \.csv, \.jsonl or \.npz"):
        read_captions(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="no captions found"):
        read_captions(tmp_path / "empty.jsonl")


@pytest.mark.row("C1", "a broken image in a table of captions")
def test_unreadable_image(tmp_path: Path) -> None:
    """`DataError` names the file."""
    file = jsonl(tmp_path, ten())
    (tmp_path / "5.png").write_bytes(b"words")
    with pytest.raises(DataError, match=r"5\.png: not an image"):
        read_captions(file)


# the command

def test_check_data_reads_few_shot_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_sets(tmp_path, names=["EuroSAT", "ImageNetA"])
    assert main(["check-data", f"coop:EuroSAT@{root}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"coop:EuroSAT@{root}: train 24, val 20, test 12, classes 4, bad 0"
    assert main(["check-data", f"coop:imagenet-a@{root}"]) == 0
    assert main(["check-data", f"shots:{write_sample(root, 'EuroSAT', 2)}@coop:EuroSAT@{root}"]) == 0
    assert main(["check-data", f"{root}/eurosat/split_zhou_EuroSAT.json"]) == 3  # the images are elsewhere
    assert main(["check-data", f"coop:EuroStar@{root}"]) == 2
    capsys.readouterr()


def test_check_data_lists_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_split(tmp_path / "s.json", tmp_path)
    (tmp_path / rows["test"][3][0]).write_bytes(b"")  # of a novel class
    rows["train"][0] = ("/a.jpg", 0, "red_square")
    rows["val"][1] = ("gone.jpg", 1, "green_square")
    rows["test"].append(rows["train"][5])
    (tmp_path / "s.json").write_text(json.dumps(rows))
    assert main(["check-data", f"split:{tmp_path}/s.json"]) == 3
    out, err = capsys.readouterr()
    for reason in ("train[0]: the path /a.jpg is absolute", "val[1]: no such image", "test[12]: green_square/train_001.jpg is in train too",
                   "yellow_square/test_000.jpg: the file is empty"):  # fmt: skip
        assert reason in out
    assert "4 problem(s), listed above" in err
    assert len(check_fewshot(f"split:{tmp_path}/s.json").problems) == 4


def test_check_data_finds_captions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl(tmp_path, [])
    (tmp_path / "c.csv").write_text("image,caption\n0.png,a cat\n1.png,\n")
    assert main(["check-data", f"{tmp_path}/c.csv"]) == 3
    assert "c.csv:3: caption is empty" in capsys.readouterr().out
    (tmp_path / "c.csv").write_text("image,caption\n0.png,a cat\n1.png,A cat\n")
    assert main(["check-data", f"{tmp_path}/c.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path}/c.csv: images 2, captions 2, bad 0"
    assert main(["check-data", str(npz(tmp_path / "a.npz"))]) == 0
    (tmp_path / "l.csv").write_text("image,text,label\n0.png,a cat,x\n1.png,b,y\n")
    assert main(["check-data", f"{tmp_path}/l.csv"]) == 0 and "classes 2" in capsys.readouterr().out
