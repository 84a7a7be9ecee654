"""The eight published data sets, from fixtures in their real formats to exactly the examples that training sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inarch.data.pairs import Example, check_pairs, read_pairs, tasks_at
from inarch.errors import ConfigError, DataError
from tests.vl_fixtures import (
    coco_captions,
    dump,
    ten_answers,
    write_caption,
    write_gqa,
    write_how2qa,
    write_image_text,
    write_nlvr,
    write_tvc,
    write_tvqa,
    write_video_text,
    write_vqa,
    write_yc2c,
)


def edit(file: Path, change) -> None:
    """Apply ``change`` to a JSON file, or to every line of a JSONL file."""
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in file.read_text().splitlines()))
    else:
        file.write_text(json.dumps(change(json.loads(file.read_text()))))


def sizes(pairs) -> dict[str, int]:
    return {part: len(examples) for part, examples in pairs.parts.items()}


def test_vqa(tmp_path: Path) -> None:
    pairs = read_pairs(write_vqa(tmp_path), "vqa")
    assert sizes(pairs) == {"train": 6, "val": 2, "test": 2} and pairs.notes == ()
    assert pairs.parts["train"][:2] == (
        Example("1", ("COCO_train2014_000000000000",), "vqa: What color is the square 0?", (("red", 0.9), ("dark", 0.3)), (), "other"),
        Example("1001", ("COCO_train2014_000000000001",), "vqa: What color is the square 1?", (("green", 1.0),), (), "other"),
    )
    assert [example.key for example in pairs.parts["train"]] == [str(1000 * n + 1) for n in range(6)]
    assert pairs.parts["test"][0] == Example("8001", ("COCO_val2014_000000000008",), "vqa: What color is the square 8?",
                                             (("red", 0.9), ("dark", 0.3)), tuple(ten_answers(8)), "other")
    assert pairs.images["COCO_val2014_000000000008"] == tmp_path / "COCO/images/val2014/COCO_val2014_000000000008.jpg"


def test_vqa_without_the_official_annotations(tmp_path: Path) -> None:
    write_vqa(tmp_path)
    for file in (tmp_path / "vqa").glob("v2_*.json"):
        file.unlink()
    pairs = read_pairs(tmp_path, "vqa")
    assert {example.references for example in pairs.parts["val"]} == {()}
    assert sum("have no ten answers in vqa/v2_mscoco_val2014_annotations.json" in note for note in pairs.notes) == 2


def test_vqa_answers_beside_the_question(tmp_path: Path) -> None:
    write_vqa(tmp_path)
    edit(tmp_path / "vqa/karpathy_val.json", lambda rows: [r | {"answers": [{"answer": "x"}, {"answer": "y"}]} for r in rows])
    assert {example.references for example in read_pairs(tmp_path, "vqa").parts["val"]} == {("x", "y")}


def test_vqa_question_without_a_scored_answer_keeps_its_place(tmp_path: Path) -> None:
    write_vqa(tmp_path)
    edit(tmp_path / "vqa/karpathy_train.json", lambda rows: [rows[0] | {"label": {}}, rows[1] | {"label": {"a": 0, "b": 0.3}}, *rows[2:]])
    pairs = read_pairs(tmp_path, "vqa")
    assert pairs.parts["train"][0].targets == () and pairs.parts["train"][1].targets == (("b", 0.3),)
    assert pairs.notes == ("1 training questions have no answer with a score; they count with weight 0, as published",)


def test_vqa_questions_of_the_other_spelling(tmp_path: Path) -> None:
    """VL-T5's own splits call the sentence ``sent``, some copies ``question``."""
    write_vqa(tmp_path)
    before = read_pairs(tmp_path, "vqa")
    for part in ("train", "val", "test"):
        edit(tmp_path / f"vqa/karpathy_{part}.json", lambda rows: [{"question": r.pop("sent"), **r} for r in rows])
    assert read_pairs(tmp_path, "vqa").sha256 == before.sha256


def test_gqa(tmp_path: Path) -> None:
    pairs = read_pairs(write_gqa(tmp_path), "gqa")
    assert sizes(pairs) == {"train": 6, "val": 2}
    assert [example.key for example in pairs.parts["train"]] == [f"{n:08d}" for n in range(6)]  # train, then valid
    last = Example("00000005", ("2375405",), "gpa: Which color is square number 5?", (("green", 1.0),), ("green",))
    assert pairs.parts["train"][5] == last
    assert pairs.parts["val"][0].images == ("n2375406",) and pairs.parts["val"][0].references == ("blue",)
    assert pairs.images["2375405"] == tmp_path / "VG/VG_100K/2375405.jpg" and pairs.images["n2375406"].is_file()


def test_gqa_prompt_is_a_choice(tmp_path: Path) -> None:
    published, mended = (read_pairs(write_gqa(tmp_path), "gqa", prompt=prompt) for prompt in (None, "gqa: "))
    assert mended.parts["val"][0].text == "gqa: Which color is square number 6?" and mended.protocol.prompt == "gqa: "
    assert published.sha256 != mended.sha256


def test_nlvr(tmp_path: Path) -> None:
    pairs = read_pairs(write_nlvr(tmp_path), "nlvr")
    assert sizes(pairs) == {"train": 6, "val": 2, "test": 2}
    text = "nlvr: The left square is green in pair {}."
    assert pairs.parts["train"][:2] == (
        Example("nlvr2_train_0", ("train-0-0-img0", "train-0-0-img1"), text.format(0), (("false", 1.0),), ("false",)),
        Example("nlvr2_train_1", ("train-1-0-img0", "train-1-0-img1"), text.format(1), (("true", 1.0),), ("true",)),
    )
    assert pairs.parts["val"][0].key == "nlvr2_valid_6" and pairs.images["test1-8-0-img1"].name == "test1-8-0-img1.png"


def test_caption(tmp_path: Path) -> None:
    pairs = read_pairs(write_caption(tmp_path), "caption")
    assert sizes(pairs) == {"train": 30, "val": 2, "test": 2}  # a caption each in training, restval too
    said = tuple(text.strip() for text in coco_captions(0))
    assert pairs.parts["train"][2] == Example("COCO_train2014_000000000000#2", ("COCO_train2014_000000000000",), "caption: ",
                                              (("red on grey", 1.0),), said)
    assert pairs.parts["train"][-1].images == ("COCO_val2014_000000000005",)
    assert pairs.parts["test"][0] == Example("COCO_val2014_000000000008", ("COCO_val2014_000000000008",), "caption: ",
                                             (("A red square.", 1.0),), said)
    assert len(pairs.image_ids("train")) == 6


CHOICES = "[Choices] a0: red square 0. a1: green square 1. a2: blue square 2. a3: yellow square 3."


def test_tvqa(tmp_path: Path) -> None:
    pairs = read_pairs(write_tvqa(tmp_path), "tvqa")
    assert sizes(pairs) == {"train": 6, "val": 2, "test": 2} and pairs.images == {}
    text = "[Subs] hello there. Look at this! [Q] What is shown in clip 1? [TS] (1.5-4.25) " + CHOICES + " a4: red square 4. tvqa: "
    assert pairs.parts["train"][1] == Example("101", ("s02e01_seg02_clip_00",), text, (("a1", 1.0),), ("a1",), "Friends")
    assert pairs.parts["test"][0].targets == () == pairs.parts["test"][0].references


def test_how2qa(tmp_path: Path) -> None:
    pairs = read_pairs(write_how2qa(tmp_path), "how2qa")
    text = "[Subs] hello there. [Q] What is shown in clip 6? [TS] (6.5-9.25) " + CHOICES + " how2qa: "
    assert pairs.parts["val"][0] == Example("106", ("how2_6_0_60",), text, (("a2", 1.0),), ("a2",))


def test_tvc(tmp_path: Path) -> None:
    pairs = read_pairs(write_tvc(tmp_path), "tvc")
    assert sizes(pairs) == {"train": 12, "val": 2, "test": 2}  # per caption in training, per clip elsewhere
    told = tuple(f"A green square, told the {k}. time." for k in range(2))
    text = "[Subs] hello there. Look at this! [TS] ([1.5, 40.9]) tvc: "
    assert pairs.parts["train"][3] == Example("11", ("s02e01_seg02_clip_00",), text, ((told[1], 1.0),), told)
    val = pairs.parts["val"][0]
    assert (val.key, len(val.references), val.targets) == ("506", 4, ((val.references[0], 1.0),))
    assert pairs.parts["test"][0] == Example("508", ("s09e01_seg02_clip_00",),
                                             "[Subs] hello there. Look at this! I see it now. [TS] ([8.5, 40.9]) tvc: ", (), ())


def test_yc2c(tmp_path: Path) -> None:
    pairs = read_pairs(write_yc2c(tmp_path), "yc2c")
    told = ("A red square, told the 0. time.",)
    assert pairs.parts["train"][0] == Example("0", ("yc2-0_10_24",), "[Subs] hello there. yc2c: ", ((told[0], 1.0),), told)
    assert sizes(pairs) == {"train": 6, "val": 2, "test": 2}


def test_choices_lose_blanks_and_full_stops_at_their_ends(tmp_path: Path) -> None:
    write_tvqa(tmp_path)
    edit(tmp_path / "video/ann/tvqa/tvqa_train.jsonl", lambda row: row | {"a0": " ..so. it is . ", "a1": ""})
    assert "a0: so. it is. a1: . a2:" in read_pairs(tmp_path, "tvqa").parts["train"][0].text


def test_public_test_questions_where_value_s_are_absent(tmp_path: Path) -> None:
    write_tvqa(tmp_path)
    file = tmp_path / "video/ann/tvqa/tvqa_test_release.jsonl"
    file.rename(file.with_name("tvqa_test_public.jsonl"))
    assert sizes(read_pairs(tmp_path, "tvqa"))["test"] == 2


def test_a_clip_without_words(tmp_path: Path) -> None:
    write_yc2c(tmp_path)
    edit(tmp_path / "video/ann/yc2_subtitles.jsonl", lambda row: row | {"sub": []})
    assert read_pairs(tmp_path, "yc2c").parts["train"][0].text == "[Subs]  yc2c: "


# about all of them

def test_tasks_are_found_by_their_files(tmp_path: Path) -> None:
    assert tasks_at(tmp_path) == ()
    assert tasks_at(write_image_text(tmp_path)) == ("vqa", "gqa", "nlvr", "caption")
    assert tasks_at(write_video_text(tmp_path)) == ("vqa", "gqa", "nlvr", "caption", "tvqa", "how2qa", "tvc", "yc2c")


@pytest.mark.parametrize("task", ["vqa", "gqa", "nlvr", "caption", "tvqa", "how2qa", "tvc", "yc2c"])
def test_fixtures_are_sound_and_hashed(tmp_path: Path, task: str) -> None:
    root = write_video_text(write_image_text(tmp_path))
    report = check_pairs(root, task)
    assert report.problems == [] and report.counts["missing"] == 0 and report.counts["images"] > 3
    pairs = read_pairs(root, task)
    assert pairs.sha256 == read_pairs(str(root), task).sha256 and pairs.source == str(root)
    few = read_pairs(root, task, limit={"train": 3}, seed=1)
    assert len(few.parts["train"]) == 3 and few.sha256 != pairs.sha256
    assert few.notes[-1] == f"train: 3 of {len(pairs.parts['train'])} examples, drawn with seed 1"
    assert [example for example in pairs.parts["train"] if example in few.parts["train"]] == [*few.parts["train"]]


def test_a_missing_part_is_a_note_and_a_missing_training_file_an_error(tmp_path: Path) -> None:
    write_gqa(tmp_path)
    (tmp_path / "GQA/testdev.json").unlink()
    pairs = read_pairs(tmp_path, "gqa")
    assert sizes(pairs) == {"train": 6} and pairs.notes == (f"no val part: GQA/testdev.json is not below {tmp_path}",)
    (tmp_path / "GQA/valid.json").unlink()
    with pytest.raises(DataError, match=r"GQA/valid\.json: no such file; the training part needs it"):
        read_pairs(tmp_path, "gqa")


def test_tasks_that_are_not_there(tmp_path: Path) -> None:
    write_nlvr(tmp_path)
    with pytest.raises(ConfigError, match=r"task 'nvlr' of .*; expected one of vqa, gqa, .*; found below it: nlvr"):
        read_pairs(tmp_path, "nvlr")
    with pytest.raises(ConfigError, match="found below it: nlvr"):
        read_pairs(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read_pairs(tmp_path / "elsewhere", "vqa")
    with pytest.raises(ConfigError, match="limit: no part 'tset'; did you mean 'test'"):
        read_pairs(tmp_path, "nlvr", limit={"tset": 1})
    with pytest.raises(ConfigError, match="limit: test is 0; expected a whole number of at least 1"):
        read_pairs(tmp_path, "nlvr", limit={"test": 0})


def test_every_key_that_decides_changes_the_hash(tmp_path: Path) -> None:
    write_vqa(tmp_path)
    before = read_pairs(tmp_path, "vqa").sha256
    for key, value in (("sent", "Why?"), ("img_id", "COCO_val2014_000000000001"), ("label", {"b": 1}), ("answer_type", "number")):
        write_vqa(tmp_path)
        edit(tmp_path / "vqa/karpathy_train.json", lambda rows, k=key, v=value: [rows[0] | {k: v}, *rows[1:]])
        assert read_pairs(tmp_path, "vqa").sha256 != before, key
    write_vqa(tmp_path)
    edit(tmp_path / "vqa/karpathy_train.json", lambda rows: [row | {"is_topk_optimal": True} for row in rows])
    assert read_pairs(tmp_path, "vqa").sha256 == before
    dump(tmp_path / "vqa/trainval_label2ans.json", [])
    assert read_pairs(tmp_path, "vqa").sha256 == before
