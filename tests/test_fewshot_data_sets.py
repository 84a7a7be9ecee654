"""The fifteen published sets in their real layouts, samples as 2SFS publishes them, and what is refused in each."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from inarch.data.fewshot import SETS, published, read_fewshot
from inarch.errors import ConfigError, DataError
from tests.fewshot_fixtures import NAMES, SIZES, classnames, save, wnid, write_lines, write_sample, write_sets, write_split

TESTED_ONLY = ("ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR")
SPLIT = [name for name, row in SETS.items() if row.split]


@pytest.fixture(scope="module")
def all_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("datasets"))


def one(tmp_path: Path, name: str) -> Path:
    write_sets(tmp_path, names=[name])
    return tmp_path / SETS[name].folder


def refused(tmp_path: Path, name: str, reason: str, **wish) -> None:
    with pytest.raises(DataError, match=reason):
        read_fewshot(f"coop:{name}@{tmp_path}", **({"protocol": "all"} | wish))


# all fifteen

@pytest.mark.parametrize("name", [name for name in SETS if name not in TESTED_ONLY])
def test_base_and_novel(all_sets: Path, name: str) -> None:
    task = read_fewshot(f"coop:{name}@{all_sets}", shots=2, seed=1)
    base, novel = task.learn(), task.held()
    assert task.dataset == name and (len(base.classes), len(novel.classes)) == (2, 2)
    assert len(base.train) == 4 and len(base.test) == len(novel.test) == 6
    assert base.val is None if name == "ImageNet" else len(base.val) == 4
    assert base.train.image(0).size == (32, 32)
    sizes = "24/0/12" if name == "ImageNet" else "24/20/12"
    row = SETS[name]
    found = f"4 classes and {sizes} train/val/test images; {name} was published with {row.classes} and {'/'.join(map(str, row.sizes))}"
    assert base.notes == (found,)


@pytest.mark.parametrize("name", SETS)
def test_all_classes(all_sets: Path, name: str) -> None:
    everything = read_fewshot(f"coop:{name}@{all_sets}", shots=2, protocol="all").learn()
    few = name in ("ImageNetA", "ImageNetR")
    spelled = [n.replace("_", "-") for n in NAMES[:3]] + ["DC 10"] if name == "FGVCAircraft" else [n.replace("_", " ") for n in NAMES[:4]]
    assert everything.classes == tuple(spelled[1::2] if few else spelled)
    assert len(everything.test) == 3 * len(everything.classes)
    assert (everything.train is None) == (name in TESTED_ONLY)


@pytest.mark.parametrize("name", TESTED_ONLY)
def test_shifted_sets_have_nothing_to_learn_from(all_sets: Path, name: str) -> None:
    with pytest.raises(DataError, match="no training images found; to be tested only, it needs protocol='all'"):
        read_fewshot(f"coop:{name}@{all_sets}")


def test_table_of_sets() -> None:
    assert len(SETS) == 15 and len(SPLIT) == 9
    assert sum(row.classes for name, row in SETS.items() if name not in TESTED_ONLY) == 2191
    assert SETS["DescribableTextures"].split == "split_zhou_DescribableTextures.json"
    assert all(row.template.count("{}") == 1 for row in SETS.values())
    assert published("dtd") is published("Describable_Textures") is SETS["DescribableTextures"]
    assert published("imagenet-a") is SETS["ImageNetA"]


def test_unknown_sets_and_places(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data set 'EuroStar'; did you mean 'EuroSAT'"):
        read_fewshot(f"coop:EuroStar@{tmp_path}")
    with pytest.raises(ConfigError, match="expected coop:NAME@ROOT"):
        read_fewshot("coop:EuroSAT")
    with pytest.raises(DataError, match="eurosat: no such folder; EuroSAT is expected there"):
        read_fewshot(f"coop:EuroSAT@{tmp_path}")
    with pytest.raises(ConfigError, match=re.escape("expected split:FILE.json@IMAGES")):
        read_fewshot("split:pets")
    with pytest.raises(DataError, match=r"split_zhou_EuroSAT\.json: cannot be read: No such file"):
        (tmp_path / "eurosat/2750").mkdir(parents=True)
        read_fewshot(f"coop:EuroSAT@{tmp_path}")


# ImageNet and its relatives

def test_imagenet_is_numbered_by_its_sorted_folders(tmp_path: Path) -> None:
    place = one(tmp_path, "ImageNet")
    lines = (place / "classnames.txt").read_text().splitlines()
    write_lines(place / "classnames.txt", reversed(lines))
    everything = read_fewshot(f"coop:ImageNet@{tmp_path}", shots=0, protocol="all").learn()
    assert everything.classes == tuple(n.replace("_", " ") for n in NAMES[:4])
    assert [Path(name).parent.name for name in everything.train.names[::6]] == [wnid(c) for c in range(4)]


def test_imagenet_v2_is_numbered_by_the_lines(tmp_path: Path) -> None:
    place = one(tmp_path, "ImageNetV2")
    save(place / "imagenetv2-matched-frequency-format-val/2/last.jpeg", 2, 5)
    everything = read_fewshot(f"coop:ImageNetV2@{tmp_path}", protocol="all").learn()
    assert [(everything.test.labels == c).sum() for c in range(4)] == [3, 3, 4, 3]


def test_class_names_of_imagenet_serve_its_relatives(tmp_path: Path) -> None:
    one(tmp_path, "ImageNet")
    (one(tmp_path, "ImageNetA") / "classnames.txt").unlink()
    assert read_fewshot(f"coop:ImageNetA@{tmp_path}", protocol="all").learn().classes == ("green square", "yellow square")


def test_names_that_imagenet_has_twice_are_noted(tmp_path: Path) -> None:
    place = one(tmp_path, "ImageNet")
    write_lines(place / "classnames.txt", [f"{wnid(c)} {'sunglasses' if c < 2 else f'thing {c}'}" for c in range(4)])
    base = read_fewshot(f"coop:ImageNet@{tmp_path}", shots=2).learn()
    assert base.classes == ("sunglasses", "sunglasses")
    assert "1 names are shared by two classes, as published: sunglasses" in base.notes


def test_broken_imagenet(tmp_path: Path) -> None:
    place = one(tmp_path, "ImageNet")
    names = place / "classnames.txt"
    write_lines(names, classnames(3))
    refused(tmp_path, "ImageNet", rf"train/{wnid(3)}: classnames.txt has no line for {wnid(3)}")
    write_lines(names, [*classnames(4), wnid(9)])
    refused(tmp_path, "ImageNet", rf"classnames.txt:5: '{wnid(9)}'; expected 'WNID name'")
    write_lines(names, [*classnames(4), f"{wnid(0)} again"])
    refused(tmp_path, "ImageNet", rf"classnames.txt:5: {wnid(0)} was named before")
    names.unlink()
    refused(tmp_path, "ImageNet", r"classnames.txt: no such file; it belongs to the data set")
    write_lines(names, classnames(5))
    save(place / "images/val" / wnid(4) / "x.JPEG", 4, 1)
    refused(tmp_path, "ImageNet", f"folders that train/ lacks: {wnid(4)}")
    shutil.rmtree(place / "images/val")
    (place / "images/val").mkdir()
    refused(tmp_path, "ImageNet", "images/val: no class folders; expected one per class")


@pytest.mark.row("C8", "an empty class folder of ImageNet")
def test_an_empty_class_folder(tmp_path: Path) -> None:
    """`DataError` names it."""
    place = one(tmp_path, "ImageNetSketch")
    shutil.rmtree(place / "images" / wnid(3))
    (place / "images" / wnid(3)).mkdir()
    refused(tmp_path, "ImageNetSketch", f"{wnid(3)}: a class folder without images")


def test_a_missing_numbered_folder(tmp_path: Path) -> None:
    images = one(tmp_path, "ImageNetV2") / "imagenetv2-matched-frequency-format-val"
    (images / "3").rename(images / "9")
    refused(tmp_path, "ImageNetV2", "no images of class 3, 'yellow square'; fetch the data set again")
    refused(tmp_path, "ImageNetV2", r"9: expected folders 0 to 3, one per line of classnames\.txt")


def test_no_image_root(tmp_path: Path) -> None:
    shutil.rmtree(one(tmp_path, "EuroSAT") / "2750")
    with pytest.raises(DataError) as error:
        read_fewshot(f"coop:EuroSAT@{tmp_path}")
    assert str(error.value).startswith("1 problem(s) in the data:") and "eurosat/2750: no such folder" in str(error.value)


def test_broken_aircraft(tmp_path: Path) -> None:
    place = one(tmp_path, "FGVCAircraft")
    file = place / "images_variant_test.txt"
    lines = file.read_text().splitlines()
    write_lines(file, [*lines, f"{lines[0].split()[0]} red-squares"])
    refused(tmp_path, "FGVCAircraft", r"variant_test\.txt:13: variant 'red-squares' is not in variants\.txt; did you mean 'red-square'")
    write_lines(file, [*lines, "9999999 DC 10"])
    refused(tmp_path, "FGVCAircraft", r"test\.txt:13: no such image: .*images/9999999\.jpg")
    write_lines(file, [*lines, "0000000 red-square"])
    refused(tmp_path, "FGVCAircraft", r"0000000\.jpg is in train too \(.*images_variant_train\.txt:1\)")
    write_lines(file, lines)
    write_lines(place / "variants.txt", ["red-square", "green-square", "blue-square", "DC 10", "Concorde"])
    refused(tmp_path, "FGVCAircraft", "1 of 5 classes have no training image: 'Concorde'")


# split files

def content(tmp_path: Path) -> dict:
    return write_split(tmp_path / "s.json", tmp_path)


BAD_ROWS = {
    "too short": (["red_square/train_000.jpg", 0], r"train\[0\]: is \['red_square.*', 0\]; expected \[path, label, class name\]"),
    "an object": ({"path": "a.jpg"}, "expected .path, label, class name."),
    "a text as label": (["red_square/train_000.jpg", "0", "red_square"], "the label is '0'; expected a whole number from 0"),
    "a fraction": (["red_square/train_000.jpg", 0.0, "red_square"], r"the label is 0\.0"),
    "a truth": (["red_square/train_000.jpg", False, "red_square"], "the label is False"),
    "below zero": (["red_square/train_000.jpg", -1, "red_square"], "the label is -1"),
    "no name": (["red_square/train_000.jpg", 0, None], "the class name is None; expected a text"),
    "absolute": (["/etc/passwd", 0, "red_square"], r"train\[0\]: the path /etc/passwd is absolute"),
    "absolute elsewhere": (["C:\\a.jpg", 0, "red_square"], "is absolute; expected one from"),
    "above": (["red_square/../../a.jpg", 0, "red_square"], r"holds '\.\.'; an image must lie below"),
    "above elsewhere": (["..\\a.jpg", 0, "red_square"], r"holds '\.\.'"),
    "no path": (["", 0, "red_square"], "the path is ''; expected the path of an image"),
    "no text": ([7, 0, "red_square"], "the path is 7"),
    "NUL": (["a\0.jpg", 0, "red_square"], "the path is"),
    "absent": (["red_square/nowhere.jpg", 0, "red_square"], "no such image: .*red_square/nowhere.jpg"),
    "a folder": (["red_square", 0, "red_square"], "no such image"),
}


@pytest.mark.row("C10", "rows of a published split file with other types, labels, paths")
@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows(tmp_path: Path, kind: str) -> None:
    """`DataError` with part and row."""
    row, reason = BAD_ROWS[kind]
    rows = content(tmp_path)
    rows["train"][0] = row
    (tmp_path / "s.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=reason):
        read_fewshot(f"split:{tmp_path}/s.json")


BAD_FILES = {
    "no val": (lambda rows: rows.pop("val"), "no key 'val'; known: test, train"),
    "a fourth key": (lambda rows: rows.update(extra=[]), "unknown key 'extra'; expected exactly train, val and test"),
    "no list": (lambda rows: rows.update(val={}), "val is dict; expected a list"),
    "overlap": (lambda rows: rows["test"].append(rows["train"][0]),
                r"test\[12\]: red_square/train_000.jpg is in train too \(.*s.json: train\[0\]\); an image may be in one part only"),
    "overlap in other words": (lambda rows: rows["test"].append(("red_square/./train_000.jpg", 0, "red_square")), "is in train too"),
    "two names": (lambda rows: rows["test"].append((rows["test"].pop()[0], 3, "lemon")),
                  r"test\[11\]: label 3 is named 'lemon' here and 'yellow_square' at .*s.json: train\[3\]"),
    "one name": (lambda rows: rows.update({part: [(p, c, NAMES[0] if c == 2 else n) for p, c, n in rows[part]] for part in rows}),
                 "classes 0, 2 are all named 'red square'; a prompt could not tell them apart"),
    "an empty name": (lambda rows: rows.update({part: [(p, c, "" if c == 2 else n) for p, c, n in rows[part]] for part in rows}),
                      "the name of class 2 is empty"),
    "a gap": (lambda rows: rows.update({part: [row for row in rows[part] if row[1] != 1] for part in rows}),
              "labels run to 3, but there is no image of label 1; expected no gaps"),
    "nothing to learn from": (lambda rows: rows.update(train=[row for row in rows["train"] if row[1] != 3]),
                              "1 of 4 classes have no training image: 'yellow square'"),
    "nothing to test": (lambda rows: rows.update(test=[row for row in rows["test"] if row[1] < 2]), "no test images of the novel classes"),
    "no images": (lambda rows: rows.update(train=[], val=[], test=[]), "no training images found"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(tmp_path: Path, kind: str) -> None:
    change, reason = BAD_FILES[kind]
    rows = content(tmp_path)
    change(rows)
    (tmp_path / "s.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=reason):
        read_fewshot(f"split:{tmp_path}/s.json")


@pytest.mark.row("C15", "a split file that is broken JSON, nested, of another encoding")
@pytest.mark.parametrize("text, reason", [
    (b"{", "broken JSON: .*; fetch the split file again"),
    (b"[]", "a JSON list; expected an object with train, val and test"),
    (b'{"train": [], "train": []}', "a key appears twice"),
    (b"\xff\xfe", "not UTF-8 at byte 0"),
])  # fmt: skip
def test_broken_json(tmp_path: Path, text: bytes, reason: str) -> None:
    """`DataError` names the file."""
    (tmp_path / "s.json").write_bytes(text)
    with pytest.raises(DataError, match=reason):
        read_fewshot(f"split:{tmp_path}/s.json")


def test_repeats_in_a_part_are_noted(tmp_path: Path) -> None:
    rows = content(tmp_path)
    rows["test"].append(rows["test"][0])
    (tmp_path / "s.json").write_text(json.dumps(rows))
    assert "1 images are listed more than once in their part" in read_fewshot(tmp_path / "s.json", shots=2).learn().notes


def test_addresses_of_a_split_file(tmp_path: Path) -> None:
    write_split(tmp_path / "a@b" / "s.json", tmp_path / "a@b" / "x.json@y")
    assert len(read_fewshot(f"split:{tmp_path}/a@b/s.json@{tmp_path}/a@b/x.json@y", shots=2).learn().train) == 4
    with pytest.raises(DataError, match=r"56 problem\(s\)"):
        read_fewshot(tmp_path / "a@b" / "s.json")


# 2SFS samples

def test_published_sample(tmp_path: Path) -> None:
    root = write_sets(tmp_path, names=["EuroSAT"])
    sample = write_sample(root, "EuroSAT", 3)
    task = read_fewshot(f"shots:{sample}@coop:EuroSAT@{root}", shots=3)
    base = task.learn()
    assert [Path(name).name for name in base.train.names[:3]] == [f"train_{i:03}.jpg" for i in range(3)]
    assert (len(base.train), len(base.val), len(base.test), len(task.held().test)) == (6, 6, 6, 6)
    assert read_fewshot(f"shots:{sample}@coop:EuroSAT@{root}", shots=0).learn().sha256 == base.sha256
    sample.with_name("shot_3-seed_1_val.jsonl").unlink()
    base = read_fewshot(f"shots:{sample}@split:{root}/eurosat/split_zhou_EuroSAT.json@{root}/eurosat/2750", shots=3).learn()
    assert base.val is None and base.notes[-1].startswith("no _val.jsonl beside ")


def test_sample_of_other_size(tmp_path: Path) -> None:
    root = write_sets(tmp_path, names=["EuroSAT"])
    with pytest.raises(ConfigError, match="holds a sample of up to 3 training images of a class, not shots=16; set shots=3"):
        read_fewshot(f"shots:{write_sample(root, 'EuroSAT', 3)}@coop:EuroSAT@{root}")


def test_sample_alone(tmp_path: Path) -> None:
    root = write_sets(tmp_path, names=["EuroSAT"])
    sample = write_sample(root, "EuroSAT", 3)
    everything = read_fewshot(f"shots:{sample}@{root}", shots=3, protocol="all").learn()
    assert (len(everything.train), len(everything.val), everything.test) == (12, 12, None)
    with pytest.raises(DataError, match="no test images of the base classes"):
        read_fewshot(f"shots:{sample}@{root}", shots=3)


BAD_LINES = {
    "elsewhere": ({"_impath": "eurosat/2750/red_square/nowhere.jpg"}, "train.jsonl:1: .* is no train image of EuroSAT"),
    "of another part": ({"_impath": "red_square/test_000.jpg"}, "is no train image of EuroSAT"),
    "another label": ({"_label": 1}, "is of class 1, 'red_square'; EuroSAT has it as 0, 'red square'"),
    "another name": ({"_classname": "lemon"}, "is of class 0, 'lemon'"),
    "label outside": ({"_label": 4}, "_label is 4; expected 0 to 3"),
    "no path": ({"_impath": None}, "key '_impath' is null"),
    "twice": ({"_impath": "x/red_square/train_001.jpg"}, "was chosen before, at .*train.jsonl:1"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_bad_lines(tmp_path: Path, kind: str) -> None:
    change, reason = BAD_LINES[kind]
    root = write_sets(tmp_path, names=["EuroSAT"])
    sample = write_sample(root, "EuroSAT", 3)
    lines = sample.read_text().splitlines()
    write_lines(sample, [json.dumps(json.loads(lines[0]) | change), *lines[1:]])
    with pytest.raises(DataError, match=reason):
        read_fewshot(f"shots:{sample}@coop:EuroSAT@{root}", shots=3)


def test_broken_samples(tmp_path: Path) -> None:
    root = write_sets(tmp_path, names=["EuroSAT"])
    for text, reason in (("{", "jsonl:1: not a JSON object"), ("", "holds no lines; expected one chosen image per line")):
        (tmp_path / "x.jsonl").write_text(text)
        with pytest.raises(DataError, match=reason):
            read_fewshot(f"shots:{tmp_path}/x.jsonl@coop:EuroSAT@{root}", shots=3)
    with pytest.raises(DataError, match=r"y\.jsonl: no such file; expected a sample"):
        read_fewshot(f"shots:{tmp_path}/y.jsonl@coop:EuroSAT@{root}", shots=3)
    with pytest.raises(ConfigError, match=re.escape("expected shots:FILE.jsonl@DATA")):
        read_fewshot(f"shots:{tmp_path}/x.jsonl", shots=3)


def test_sizes_of_the_fixtures() -> None:
    assert SIZES == {"train": 6, "val": 5, "test": 3}
