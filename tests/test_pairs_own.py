"""One's own questions and captions: JSON lines beside the pictures, arrays in one file, parts drawn image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.data.pairs import PROTOCOLS, Example, read_pairs, tasks_at
from inarch.data.pairs.split import by_image
from inarch.errors import ConfigError, DataError
from tests.vl_fixtures import colour_of, picture, save, write_own


def asked(count: int, per_image: int = 2, **more) -> list[dict]:
    """``per_image`` questions about each picture in turn."""
    about = [n // per_image for n in range(count)]
    return [{"image": f"{k}.png", "question": f"What is {n}?", "answer": colour_of(k), **more} for n, k in enumerate(about)]


def test_questions(tmp_path: Path) -> None:
    rows = [
        {"image": "0.png", "question": " What is it? ", "answer": " red ", "split": "train", "id": "q1", "group": "colour"},
        {"image": "./1.png", "question": "Which?", "answers": ["2", "two", "2", "2 "], "split": "Training"},
        {"image": "2.png", "question": "Why?", "answers": {"so": 1, "because": 0.3, "never": 0}, "split": "valid"},
        {"image": "3.png", "question": "Who?", "split": "test"},
    ]
    pairs = read_pairs(write_own(tmp_path, rows, images=4))
    assert pairs.protocol == PROTOCOLS["qa"] and pairs.source == f"{tmp_path}/own.jsonl"
    assert pairs.parts == {
        "train": (
            Example("q1", ("0.png",), "vqa: What is it?", (("red", 1.0),), ("red",), "colour"),
            Example("2", ("1.png",), "vqa: Which?", (("2", 1.0), ("two", 1 / 3)), ("2", "two", "2", "2")),
        ),
        "val": (Example("3", ("2.png",), "vqa: Why?", (("so", 1.0), ("because", 0.3)), ("so", "because")),),
        "test": (Example("4", ("3.png",), "vqa: Who?", ()),),
    }
    assert pairs.images["1.png"] == tmp_path / "1.png" and set(pairs.images) == {f"{n}.png" for n in range(4)}


def test_captions(tmp_path: Path) -> None:
    rows = [{"image": "0.png", "captions": [" a square", "red"], "split": "train", "id": "x"},
            {"image": "1.png", "caption": "green", "split": "train"},
            {"image": "2.png", "captions": ["blue", "a blue one"], "split": "val"}]
    pairs = read_pairs(write_own(tmp_path, rows, images=3))
    assert pairs.protocol == PROTOCOLS["captions"]
    assert pairs.parts["train"] == (
        Example("x#0", ("0.png",), "caption: ", (("a square", 1.0),), ("a square", "red")),
        Example("x#1", ("0.png",), "caption: ", (("red", 1.0),), ("a square", "red")),
        Example("2#0", ("1.png",), "caption: ", (("green", 1.0),), ("green",)),
    )
    assert pairs.parts["val"] == (Example("3", ("2.png",), "caption: ", (("blue", 1.0),), ("blue", "a blue one")),)


def test_two_images_and_a_protocol_by_name(tmp_path: Path) -> None:
    rows = [{"images": ["0.png", "1.png"], "question": "Are both red?", "answer": answer, "split": "train"} for answer in ("true", "false")]
    file = write_own(tmp_path, rows, images=2)
    assert read_pairs(file).protocol.images == 2 and read_pairs(file).protocol.name == "qa"
    pairs = read_pairs(file, "nlvr")
    assert pairs.protocol == PROTOCOLS["nlvr"] and pairs.parts["train"][1].text == "nlvr: Are both red?"
    write_own(tmp_path, [rows[0], rows[1] | {"answer": "no"}])
    with pytest.raises(DataError, match=r"own\.jsonl:2: the answer is 'no'; expected one of true, false"):
        read_pairs(file, "nlvr")
    with pytest.raises(ConfigError, match=r"task 'caption' does not suit .*own\.jsonl, which holds qa"):
        read_pairs(file, "caption")
    with pytest.raises(ConfigError, match="task 'vqaa'; did you mean 'vqa'"):
        read_pairs(file, "vqaa")
    write_own(tmp_path, [rows[0], {"image": "0.png", "question": "Is it red?", "answer": "true", "split": "train"}])
    with pytest.raises(DataError, match=r"own\.jsonl:2: 1 images where the first row has 2; expected as many in every row"):
        read_pairs(file)


@pytest.mark.row("C15", "a byte-order mark and blank lines in JSON lines")
def test_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    """Read as if they were not there."""
    plain = read_pairs(write_own(tmp_path, asked(6, split="train"), images=3)).sha256
    file = tmp_path / "own.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes() + b"\r\n   \n")
    assert read_pairs(file).sha256 == plain


def test_the_hash_knows_the_pictures(tmp_path: Path) -> None:
    file = write_own(tmp_path, asked(6, split="train"), images=4)
    before = read_pairs(file).sha256
    save(tmp_path / "3.png", 9)  # needed by nobody
    assert read_pairs(file).sha256 == before
    save(tmp_path / "2.png", 9)
    assert read_pairs(file).sha256 != before


def test_keys_of_ones_own_are_a_note(tmp_path: Path) -> None:
    pairs = read_pairs(write_own(tmp_path, asked(4, split="train", author="me", caption="no"), images=2))
    assert pairs.notes[0] == "keys that are not used: author (4 rows), caption (4 rows)"


# parts by seed

def test_parts_are_drawn_image_by_image(tmp_path: Path) -> None:
    file = write_own(tmp_path, asked(60, 3), images=20)
    pairs = read_pairs(file, val_fraction=0.2, test_fraction=0.1, seed=4)
    assert {part: len(examples) for part, examples in pairs.parts.items()} == {"train": 42, "val": 12, "test": 6}
    assert sorted(example.key for part in pairs.parts.values() for example in part) == sorted(str(n + 1) for n in range(60))
    parts = [set(pairs.image_ids(part)) for part in pairs.parts]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert read_pairs(file, test_fraction=0.1, seed=4).sha256 == pairs.sha256
    assert read_pairs(file, test_fraction=0.1, seed=5).sha256 != pairs.sha256
    assert [*read_pairs(file, val_fraction=0).parts] == ["train"]


def test_a_copy_of_an_image_stays_with_it(tmp_path: Path) -> None:
    """Twelve files, but only six pictures: a copy in another part would be a question seen in training."""
    file = write_own(tmp_path, asked(12, 1), images=6)
    for n in range(6):
        picture(n).save(tmp_path / f"{n + 6}.png", compress_level=1)
    for seed in range(8):
        pairs = read_pairs(file, val_fraction=0.5, seed=seed)
        seen = [{int(image.split(".")[0]) % 6 for image in pairs.image_ids(part)} for part in ("train", "val")]
        assert len(pairs.parts["val"]) == 6 and not seen[0] & seen[1]
    assert "6 images of train repeat another one of train, pixel for pixel" in pairs.notes


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=2), min_size=2, max_size=30), st.integers(0, 5),
       st.sampled_from([0.1, 0.3]), st.sampled_from([0.0, 0.3]))
def test_no_image_is_in_two_parts(images: list[list[str]], seed: int, val: float, test: float) -> None:
    examples = [Example(str(i), tuple(names), "", ()) for i, names in enumerate(images)]
    same = {letter: letter if letter != "j" else "a" for letter in "abcdefghij"}  # j is a copy of a
    try:
        parts = by_image(examples, {"test": test, "val": val}, seed, same)
    except DataError as error:
        assert "too few for" in str(error)
        return
    seen = [{same[image] for example in part for image in example.images} for part in parts.values()]
    assert sum(map(len, parts.values())) == len(examples) and sum(map(len, seen)) == len(set().union(*seen))
    assert len(parts.get("val", ())) <= round(val * len(examples)) and len(parts.get("test", ())) <= round(test * len(examples))
    assert all([*part] == sorted(part, key=lambda e: int(e.key)) for part in parts.values())


def test_fractions_that_cannot_be(tmp_path: Path) -> None:
    file = write_own(tmp_path, asked(4, 4), images=1)
    with pytest.raises(DataError, match=r"1 groups of examples that share no image are too few for val_fraction=0\.2; add a split column"):
        read_pairs(file)
    for options in ({"val_fraction": 1.0}, {"val_fraction": 0.6, "test_fraction": 0.4}, {"seed": -1}):
        with pytest.raises(ConfigError):
            read_pairs(file, **options)


# arrays

def arrays(folder: Path, **more) -> Path:
    images = np.stack([np.asarray(picture(n, 16)) for n in range(3)])
    base = {"images": images, "question": ["a?", "b?", "c?", "d?"], "answer": ["x", "y", "x", "y"], "image_id": [0, 0, 1, 2],
            "split": [0, 0, 1, 2]}
    np.savez(folder / "set.npz", **{key: value for key, value in (base | more).items() if value is not None})
    return folder / "set.npz"


def test_arrays(tmp_path: Path) -> None:
    file = arrays(tmp_path, answer_type=["o", "c", "o", "c"], organ=["h"] * 4)
    assert tasks_at(file) == ("",)
    pairs = read_pairs(file)
    assert pairs.parts["train"] == (Example("0", ("0",), "vqa: a?", (("x", 1.0),), ("x",), "o"),
                                    Example("1", ("0",), "vqa: b?", (("y", 1.0),), ("y",), "c"))
    assert [*pairs.parts] == ["train", "val", "test"] and pairs.notes == ("arrays that are not used: organ",)
    np.testing.assert_array_equal(pairs.images["2"], np.asarray(picture(2, 16)))


def test_arrays_that_are_looked_up(tmp_path: Path) -> None:
    plain = read_pairs(arrays(tmp_path))
    file = arrays(tmp_path, question=None, questions=["d?", "c?", "b?", "a?"], question_id=[3, 2, 1, 0], answer=None, answers=["y", "x"],
                  answer_id=[1, 0, 1, 0])
    assert read_pairs(file).sha256 == plain.sha256
    named = read_pairs(arrays(tmp_path, image_name=["p.jpg", "q.jpg", "r.jpg"]))
    assert named.parts["test"][0].images == ("r.jpg",) and named.images["p.jpg"].shape == (16, 16, 3)


def test_sentences_of_arrays(tmp_path: Path) -> None:
    file = arrays(tmp_path, question=None, answer=None, sentence=["a", "b", "c", "d"], label=[1, 0, 0, 1], identifier=["i", "j", "k", "l"])
    pairs = read_pairs(file)
    assert pairs.protocol.name == "nlvr" and pairs.protocol.images == 1 and pairs.protocol.share == (1, 1)
    assert pairs.parts["train"][1] == Example("j", ("0",), "nlvr: b", (("false", 1.0),), ("false",))


def test_arrays_without_parts_are_split(tmp_path: Path) -> None:
    pairs = read_pairs(arrays(tmp_path, split=None), val_fraction=0.25)
    assert {part: len(examples) for part, examples in pairs.parts.items()} == {"train": 3, "val": 1}


@pytest.mark.parametrize(("more", "reason"), [
    ({"image_id": [0, 0, 1, 3]}, r"image_id\[3\] is 3; expected 0 to 2"),
    ({"split": [0, 0, 1]}, "split has 3 rows for 4 texts"),
    ({"split": [0, 0, 1, -1]}, r"split\[3\] is -1; expected 0 to 2"),
    ({"answer": ["x"]}, "1 answers for 4 questions"),
    ({"answer": None, "answers": None}, "no array 'answer'; known: image_id, images, question, split"),
    ({"answer": [1, 2, 3, 4]}, r"answer is int64 \(4,\); expected one row of texts"),
    ({"images": np.zeros((3, 4, 4))}, r"images is float64 \(3, 4, 4\); expected uint8"),
    ({"images": None, "image": np.zeros((3, 4, 4), np.uint8)}, "no array 'images'; "),
    ({"answer": ["x", " ", "x", "y"]}, "row 1: answer is blank"),
    ({"question": ["a?", "", "c?", "d?"]}, "row 1: question is empty"),
    ({"image_name": ["a", "a", "b"]}, "image_name has 2 names for 3 images"),
    ({"identifier": ["a", "b", "a", "a"], "split": [0, 0, 0, 1]}, "row 2: the id a was at .*: row 0 already"),
    ({"image_id": None}, r"image_id\[3\] is 3; expected 0 to 2"),
])  # fmt: skip
def test_arrays_that_do_not_fit(tmp_path: Path, more: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_pairs(arrays(tmp_path, **more))


def test_arrays_that_are_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=np.zeros((2, 4, 4), np.uint8), y_train=[0, 1])
    assert tasks_at(tmp_path / "x.npz") == ()
    with pytest.raises(DataError, match="no image-text data; expected question and answer, or sentence and label among its keys"):
        read_pairs(tmp_path / "x.npz")
    file = arrays(tmp_path)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"set\.npz: cannot be read as an \.npz of plain arrays: "):
        read_pairs(file)
    np.savez(tmp_path / "o.npz", images=np.zeros((1, 4, 4), np.uint8), question=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"cannot be read as an \.npz of plain arrays: Object arrays cannot be loaded"):
        read_pairs(tmp_path / "o.npz")
