"""Few-shot tasks: the sampler against a naive one, base and novel halves, every kind of address, and one-by-one refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.data.draft import Draft, Part
from inarch.data.fewshot import FewShot, Half, prompts, read_fewshot, template_of
from inarch.data.fewshot.sampling import few
from inarch.data.table import Table
from inarch.errors import ConfigError, DataError
from tests.fewshot_fixtures import NAMES, SIZES, write_split
from tests.pictures import class_folders, pixels, png_bytes, three_parts


def naive_sample(rows: list, k: int) -> list:
    """Spec: group items by label in order of first appearance, then random.sample on the global stream."""
    by_label: dict = {}
    for row in rows:
        by_label.setdefault(row[1], []).append(row)
    chosen = []
    for label in by_label:
        items = by_label[label]
        chosen.extend(random.sample(items, k) if len(items) >= k else items)
    return chosen


def naive_half(content: dict, shots: int, seed: int, half: str) -> dict[str, list]:
    """Read, sample train then val over all classes right after seeding, keep the half, renumber."""
    state = random.getstate()
    random.seed(seed)
    train = naive_sample(content["train"], shots)
    val = naive_sample(content["val"], min(shots, 4))
    random.setstate(state)
    labels = sorted({row[1] for row in content["train"]})
    m = math.ceil(len(labels) / 2)
    kept = labels[:m] if half == "base" else labels[m:]
    parts = {"train": train, "val": val, "test": content["test"]}
    return {part: [(row[0], kept.index(row[1])) for row in rows if row[1] in kept] for part, rows in parts.items()}


def rows(table: Table, root: Path) -> list[tuple[str, int]]:
    return [(str(Path(name).relative_to(root)), int(label)) for name, label in zip(table.names, table.labels, strict=True)]


@pytest.fixture
def split(tmp_path: Path) -> tuple[str, dict, Path]:
    content = write_split(tmp_path / "split_zhou_Shapes.json", tmp_path / "images", classes=5)
    return f"split:{tmp_path}/split_zhou_Shapes.json@{tmp_path}/images", content, tmp_path / "images"


@pytest.mark.parametrize("shots", [1, 2, 5, 6])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_sample_is_that_of_the_reference(split, shots: int, seed: int) -> None:
    address, content, images = split
    task = read_fewshot(address, shots=shots, seed=seed)
    wanted = naive_half(content, shots, seed, "base")
    base = task.learn()
    assert {part: rows(getattr(base, part), images) for part in SIZES} == wanted
    assert rows(task.held().test, images) == naive_half(content, shots, seed, "novel")["test"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 8), st.integers(0, 2**31))
def test_sampler_against_naive(labels: list[int], k: int, seed: int) -> None:
    random.seed(seed)
    wanted = [row for row, _ in naive_sample(list(enumerate(labels)), k)]
    assert few(labels, k, random.Random(seed)) == wanted


def test_nobody_elses_stream_moves(split) -> None:
    random.seed(5)
    wanted = random.random()
    random.seed(5)
    read_fewshot(split[0], shots=2).learn()
    assert random.random() == wanted


def test_known_sample() -> None:
    """The stream of Python's generator is part of the format: these rows must never change."""
    assert few([0, 1] * 20, 3, random.Random(1)) == [8, 36, 4, 17, 7, 31]


def test_halves(split) -> None:
    task = read_fewshot(split[0], shots=2)
    base, novel = task.learn(), task.held()
    assert base.classes == tuple(name.replace("_", " ") for name in NAMES[:3]) and base.name == "base"
    assert novel.classes == tuple(name.replace("_", " ") for name in NAMES[3:5]) and novel.name == "novel"
    assert (len(base.train), len(base.val), len(base.test)) == (6, 6, 9)
    assert novel.train is None and novel.val is None and len(novel.test) == 6
    assert {*base.train.labels} == {0, 1, 2} and {*novel.test.labels} == {0, 1}
    assert task.learn() is base and task.held() is novel
    assert base.source == novel.source == split[0] and base.sha256 != novel.sha256


def test_all_classes(split) -> None:
    task = read_fewshot(split[0], shots=2, protocol="all")
    everything = task.learn()
    assert everything.name == "all" and len(everything.classes) == 5 and task.held() is None
    assert (len(everything.train), len(everything.val), len(everything.test)) == (10, 10, 15)
    assert task.about["images"] == {"all": {"train": 10, "val": 10, "test": 15}}


def test_no_shots_means_all_images(split) -> None:
    base = read_fewshot(split[0], shots=0).learn()
    assert (len(base.train), len(base.val)) == (18, 15) and base.notes == ()


@pytest.mark.row("C8", "a class with fewer images than shots")
def test_a_class_with_too_few_keeps_all(split) -> None:
    """All of them are used, and a note names the class."""
    base = read_fewshot(split[0], shots=16).learn()
    assert len(base.train) == 18 and len({*base.train.names}) == 18 and len(base.val) == 12
    assert base.notes == ("3 classes have fewer than 16 training images, and use all they have: "
                          "'red square' 6, 'green square' 6, 'blue square' 6",)  # fmt: skip


def test_about_is_for_the_run_card(split) -> None:
    task = read_fewshot(split[0], shots=2, seed=3)
    about = json.loads(json.dumps(task.about))
    assert about["classes"] == {"base": 3, "novel": 2} and about["shots"] == 2 and about["seed"] == 3
    assert about["images"] == {"base": {"train": 6, "val": 6, "test": 9}, "novel": {"test": 6}}
    assert about["dataset"] == "Shapes" == task.dataset and about["protocol"] == "base-to-novel"
    assert repr(task) == "FewShot(Shapes: {'base': 3, 'novel': 2}, shots=2, seed=3)"


def test_hash_of_the_chosen_items(split) -> None:
    address, content, _ = split
    random.seed(3)
    chosen = [("train", row) for row in naive_sample(content["train"], 2)] + [("val", row) for row in naive_sample(content["val"], 2)]
    lines = "".join(json.dumps([part, row[0], row[1]]) + "\n" for part, row in chosen)
    assert read_fewshot(address, shots=2, seed=3).about["items_sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert read_fewshot(address, shots=2, seed=1).about["items_sha256"] != read_fewshot(address, shots=2, seed=2).about["items_sha256"]


def test_hash_of_a_half_knows_images_and_labels(split) -> None:
    address, _, images = split
    before = read_fewshot(address, shots=2).learn().sha256
    assert read_fewshot(address, shots=2).learn().sha256 == before
    file = Path(read_fewshot(address, shots=2).learn().train.names[0])
    file.write_bytes((images / f"{NAMES[4]}/test_000.jpg").read_bytes())
    assert read_fewshot(address, shots=2).learn().sha256 != before


# other addresses

def npz(file: Path, **more) -> Path:
    x = {part: np.stack([pixels(seed) for seed in range(start, start + 4 * n)]) for part, start, n in (("train", 0, 5), ("test", 50, 3))}
    labels = {f"y_{part}": np.arange(len(images)) % 4 for part, images in x.items()}
    arrays = {f"x_{part}": images for part, images in x.items()} | labels | {"classes": ["a_b", "c", "d", "e"]} | more
    np.savez(file, **{key: value for key, value in arrays.items() if value is not None})
    return file


def test_arrays(tmp_path: Path) -> None:
    task = read_fewshot(npz(tmp_path / "a.npz"), shots=2, val_fraction=0.2)
    base, novel = task.learn(), task.held()
    assert base.classes == ("a b", "c") and novel.classes == ("d", "e")
    assert (len(base.train), len(base.val), len(base.test), len(novel.test)) == (4, 2, 6, 6)
    assert novel.test.image(0).tobytes() == pixels(52).tobytes()


@pytest.mark.parametrize("marks", [[0, 1, 0, 1], [False, True, False, True], np.array([0, 1, 0, 1], dtype=np.int8)])
def test_marked_base_classes(tmp_path: Path, marks) -> None:
    task = read_fewshot(npz(tmp_path / "a.npz", is_base=marks), shots=2)
    assert task.learn().classes == ("c", "e") and task.held().classes == ("a b", "d")
    assert {*task.learn().train.labels} == {0, 1} == {*task.held().test.labels}
    assert read_fewshot(tmp_path / "a.npz", protocol="all").learn().classes == ("a b", "c", "d", "e")


def test_marked_novel_classes_need_no_training_images(tmp_path: Path) -> None:
    labels = np.arange(20) % 2
    task = read_fewshot(npz(tmp_path / "a.npz", y_train=labels, is_base=[1, 1, 0, 0]), shots=2)
    assert len(task.learn().train) == 4 and len(task.held().test) == 6
    with pytest.raises(DataError, match="2 of 4 classes have no training image: 'd', 'e'"):
        read_fewshot(npz(tmp_path / "b.npz", y_train=labels), shots=2)
    with pytest.raises(DataError, match="'d', 'e'"):
        read_fewshot(tmp_path / "a.npz", protocol="all")


@pytest.mark.parametrize("marks, reason", [
    ([1, 0, 1], r"is_base is int64 \(3,\); expected true or false \(1 or 0\) for each of 4 classes"),
    ([1, 0, 2, 0], "is_base is int64"),
    ([1.0, 0.0, 1.0, 0.0], "is_base is float64"),
    ([1, 0, 0, 0], "1 base and 3 novel classes; base-to-novel needs 2 of each"),
    ([1, 1, 1, 1], "4 base and 0 novel classes"),
])  # fmt: skip
def test_bad_marks(tmp_path: Path, marks, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_fewshot(npz(tmp_path / "a.npz", is_base=marks))


def test_folders(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 10, "b": 10, "c": 10, "d": 10})
    task = read_fewshot(tmp_path, shots=3)
    base, novel = task.learn(), task.held()
    assert base.classes == ("a", "b") and novel.classes == ("c", "d")
    assert (len(base.train), len(base.val), len(base.test), len(novel.test)) == (6, 4, 4, 4)
    other = read_fewshot(tmp_path, shots=3, seed=2)
    assert other.learn().test.names == base.test.names and other.learn().train.names != base.train.names
    assert read_fewshot(tmp_path, shots=3, split_seed=1).learn().test.names != base.test.names


def test_digits() -> None:
    task = read_fewshot("digits", shots=4)
    assert task.learn().classes == ("0", "1", "2", "3", "4") and task.held().classes == ("5", "6", "7", "8", "9")
    assert len(task.learn().train) == 20 and task.dataset == "digits"


def test_too_few_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 base and 1 novel classes; .* or take protocol='all'"):
        read_fewshot(three_parts(tmp_path))
    assert read_fewshot(tmp_path, protocol="all").learn().classes == ("cat", "dog")


def test_nothing_to_test(tmp_path: Path) -> None:
    x = np.zeros((4, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(4), classes=list("abcd"))
    with pytest.raises(DataError, match="too few for test_fraction"):
        read_fewshot(tmp_path / "a.npz")
    with pytest.raises(DataError, match="no test images of the base classes; add a test part, or set test_fraction"):
        read_fewshot(tmp_path / "a.npz", test_fraction=0, val_fraction=0)


def test_several_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part([], ["k"], ["k"], [("a", "b")])
    draft = Draft("somewhere", {"train": part}, multilabel=True)
    monkeypatch.setattr("inarch.data.fewshot.drafts.read", lambda address, options: draft)
    with pytest.raises(DataError, match="somewhere: images have several labels; few-shot classification needs one each"):
        read_fewshot(tmp_path)


def test_a_saved_data_set(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["sea_lion", "b", "c", "d"])})
    content = {"image": [{"bytes": png_bytes(i), "path": None} for i in range(24)], "label": [i % 4 for i in range(24)]}
    rows = datasets.Dataset.from_dict(content, features=features)
    datasets.DatasetDict({"train": rows.select(range(16)), "test": rows.select(range(16, 24))}).save_to_disk(tmp_path / "saved")
    task = read_fewshot(tmp_path / "saved", shots=1)
    assert task.learn().classes == ("sea lion", "b") and len(task.learn().train) == 2 and len(task.held().test) == 4
    assert task.held().test.image(1).tobytes() == pixels(19).tobytes()


@pytest.mark.parametrize("names, reason", [
    (["a_b", "a b", "c", "d"], "classes 0, 1 are all named 'a b'"),
    (["", "b", "c", "d"], "the name of class 0 is empty"),
    (["_", "b", "c", "d"], "the name of class 0 is empty"),
    ([" a", "b", "c", "d"], "begins or ends with a blank"),
])  # fmt: skip
def test_bad_names(tmp_path: Path, names: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_fewshot(npz(tmp_path / "a.npz", classes=names))


@pytest.mark.parametrize("wish, reason", [
    ({"shots": -1}, "shots is -1; expected a whole number of at least 0"),
    ({"shots": True}, "shots is True"),
    ({"seed": 1.5}, "seed is 1.5"),
    ({"protocol": "novel"}, "expected 'base-to-novel' or 'all'"),
    ({"on_bad_image": "ignore"}, "expected 'refuse' or 'skip'"),
    ({"val_fraction": 1.0}, "val_fraction is 1.0"),
    ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training images"),
])  # fmt: skip
def test_bad_wishes(split, wish: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_fewshot(split[0], **wish)


@pytest.mark.row("C1", "a broken image among few-shot data")
def test_bad_images_of_the_half_that_is_asked_for(split) -> None:
    """`DataError` names the file when its half is opened."""
    address, content, images = split
    novel = next(row[0] for row in content["test"] if row[1] == 4)
    (images / novel).write_bytes(b"")
    task = read_fewshot(address, shots=2)
    task.learn()
    with pytest.raises(DataError, match=r"test_000\.jpg: the file is empty"):
        task.held()
    with pytest.raises(DataError, match="'skip' drops at most 1%"):
        read_fewshot(address, shots=2, on_bad_image="skip").held()


@pytest.mark.row("C1", "on_bad_image='skip' in few-shot data")
def test_skipped_images(tmp_path: Path) -> None:
    """Removed and counted, up to the share of 1 %."""
    write_split(tmp_path / "s.json", tmp_path, sizes={"train": 2, "val": 2, "test": 60})
    (tmp_path / NAMES[0] / "test_000.jpg").write_bytes(b"text")
    base = read_fewshot(tmp_path / "s.json", shots=2, on_bad_image="skip").learn()
    assert len(base.test) == 119 and base.notes[0].startswith("1 bad images were skipped (first: ")
    for i in (0, 1):
        (tmp_path / NAMES[0] / f"train_00{i}.jpg").write_bytes(b"text")
    with pytest.raises(DataError, match="3 of 128 images are bad"):
        read_fewshot(tmp_path / "s.json", shots=2, on_bad_image="skip").learn()
    with pytest.raises(DataError, match="class 'red square' has no readable training image left in the sample"):
        (tmp_path / NAMES[0] / "test_000.jpg").write_bytes((tmp_path / NAMES[0] / "test_001.jpg").read_bytes())
        read_fewshot(tmp_path / "s.json", shots=1, on_bad_image="skip").learn()


def test_progress(split) -> None:
    seen: list = []
    task = read_fewshot(split[0], shots=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == []
    task.learn()
    assert seen[-1] == (21, 21)
    task.held()
    assert seen[-1] == (6, 6)


def test_half_is_plain() -> None:
    assert [field.name for field in dataclasses.fields(Half)] == "name classes train val test sha256 source notes".split()
    assert FewShot.__doc__


# prompts

def test_templates() -> None:
    assert template_of() == template_of("default", "EuroSAT") == "a photo of a {}."
    assert template_of("coop", "UCF101") == "a photo of a person doing {}."
    assert template_of("a drawing of {} {here}") == "a drawing of {} {here}"
    assert prompts(["sea_or_lake", "{x}"], "a {}, seen") == ["a sea or lake, seen", "a {x}, seen"]
    assert prompts(["cat"]) == ["a photo of a cat."]


@pytest.mark.parametrize("template, times", [("a photo", 0), ("{} and {}", 2), ("{name}", 0), ("", 0)])
def test_bad_templates(template: str, times: int) -> None:
    with pytest.raises(ConfigError, match=f"{times} times; expected once"):
        prompts(["cat"], template)


def test_no_published_template() -> None:
    with pytest.raises(ConfigError, match="none is published for 'pets'; known: ImageNet"):
        template_of("coop", "pets")
