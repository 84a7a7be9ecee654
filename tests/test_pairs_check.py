"""Bad image-text data: each fault is named with its file and line or item, all of them in one list, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inarch.cli import main
from inarch.data.pairs import PROTOCOLS, Example, Pairs, check_pairs, check_tokens, read_pairs
from inarch.errors import DataError
from tests.vl_fixtures import (
    write_caption,
    write_gqa,
    write_how2qa,
    write_image_text,
    write_nlvr,
    write_own,
    write_tvc,
    write_tvqa,
    write_vqa,
)

QUESTION = {"image": "0.png", "question": "What?", "answer": "red", "split": "train"}


def problems(address: Path, task: str = "", **options: Any) -> list[str]:
    """What the check lists, without the way to the folder."""
    root = address if address.is_dir() else address.parent
    found = [str(problem).replace(f"{root}/", "") for problem in check_pairs(address, task, **options).problems]
    if found:
        with pytest.raises(DataError) as refused:
            read_pairs(address, task, **options)
        assert str(refused.value).startswith(f"{len(found)} problem(s) in the data:\n")
    return found


def items(file: Path, change: dict[int, Any]) -> None:
    """Replace items of a JSON list, or update them where both are objects; the value None cuts a key."""
    rows = json.loads(file.read_text())
    for i, new in change.items():
        rows[i] = {k: v for k, v in (rows[i] | new).items() if v is not None} if isinstance(new, dict) else new
    file.write_text(json.dumps(rows))


def one(folder: Path, *rows: dict[str, Any], images: int = 1) -> Path:
    return write_own(folder, [QUESTION, *rows], images)


# every bad row has its line

@pytest.mark.row("C15", "questions empty, blank, of 1 MB, with NUL or half a character; wrong split, image or id")
@pytest.mark.parametrize(("row", "reason"), [
    ({"question": ""}, "question is empty"),
    ({"question": " \t"}, "question is blank"),
    ({"question": None}, "key 'question' is null"),
    ({"question": 7}, "question is 7; expected a text"),
    ({"question": ["a"]}, "question is a list; expected a text"),
    ({"question": "a\0b"}, "question holds a NUL character"),
    ({"question": "a\ud800b"}, r"question holds half a character ('\ud800', a lone surrogate)"),
    ({"question": "a" * 1_000_000}, "question has 1,000,000 characters; at most 100,000 make one text"),
    ({"answer": ""}, "answer is empty"),
    ({"answer": "  "}, "answer is blank"),
    ({"answer": 3}, "answer is 3; expected a text"),
    ({"answers": ["x"]}, "has both answer and answers; expected one of them"),
    ({"split": "tets"}, "split is 'tets'; expected train, val or test"),
    ({"split": 3}, "split is 3; expected a text"),
    ({"image": ""}, "image is ''; expected the path of an image"),
    ({"image": "a\0.png"}, r"image is 'a\x00.png'; expected the path of an image"),
    ({"image": 5}, "image is 5; expected the path of an image"),
    ({"images": []}, "0 images; expected one or two"),
    ({"images": "0.png"}, "images is '0.png'; expected a list"),
    ({"images": ["0.png"] * 3}, "3 images; expected one or two"),
    ({"id": 1.5}, "id is 1.5; expected a word or a whole number"),
    ({"id": True}, "id is True; expected a word or a whole number"),
    ({"group": 4}, "group is 4; expected a text"),
    ({"imgae": "x"}, None),
    ({"spilt": "x"}, None),
])  # fmt: skip
def test_bad_questions(tmp_path: Path, row: dict, reason: str | None) -> None:
    """`DataError` with the line."""
    found = problems(one(tmp_path, QUESTION | row))
    assert found == ([f"own.jsonl:2: {reason}"] if reason else [])  # a slip beside the right key is a note


@pytest.mark.row("C15", "answers empty, of another type, with scores out of range")
@pytest.mark.parametrize(("row", "reason"), [
    ({"answers": []}, "answers is empty; expected at least one text"),
    ({"answers": ["x", ""]}, "answers[1] is empty"),
    ({"answers": ["x", 3]}, "answers[1] is 3; expected a text"),
    ({"answers": "x"}, "answers is 'x'; expected a list"),
    ({"answers": {}}, "answers holds no answer with a score; expected at least one"),
    ({"answers": {"x": 2}}, "the score of 'x' is 2; expected 0 to 1"),
    ({"answers": {"x": True}}, "the score of 'x' is True; expected 0 to 1"),
    ({"answers": {"x": float("nan")}}, "the score of 'x' is nan; expected 0 to 1"),
    ({"answers": {" ": 1}}, "an answer of answers is blank"),
    ({}, "key 'answer' is not there; known: image, question, split"),
    ({"anwser": "x"}, "unknown key 'anwser'; did you mean 'answer'?"),
])  # fmt: skip
def test_bad_answers(tmp_path: Path, row: dict, reason: str) -> None:
    """`DataError` with the line."""
    bare = {key: value for key, value in QUESTION.items() if key != "answer"}
    assert problems(one(tmp_path, bare | row))[0] == f"own.jsonl:2: {reason}"


@pytest.mark.row("C15", "captions empty, of 1 MB, with NUL or half a character")
@pytest.mark.parametrize(("row", "reason"), [
    ({"caption": ""}, "caption is empty"),
    ({"captions": ["a", "x" * 1_000_000]}, "captions[1] has 1,000,000 characters; at most 100,000 make one text"),
    ({"captions": ["a\0"]}, "captions[0] holds a NUL character"),
    ({"captions": ["\udfff"]}, r"captions[0] holds half a character ('\udfff', a lone surrogate)"),
    ({"captions": []}, "captions is empty; expected at least one text"),
    ({"captoins": ["a"]}, "unknown key 'captoins'; did you mean 'captions'?"),
])  # fmt: skip
def test_bad_captions(tmp_path: Path, row: dict, reason: str) -> None:
    """`DataError` with the line."""
    base = {"image": "0.png", "split": "train"}
    assert problems(write_own(tmp_path, [base | {"caption": "red"}, base | row], 1))[0] == f"own.jsonl:2: {reason}"


@pytest.mark.row("C15", "lines of broken JSON, duplicate keys, other encodings")
def test_broken_lines_and_good_ones_after_them(tmp_path: Path) -> None:
    """Each is listed by its line, and the lines after it are read."""
    file = one(tmp_path, QUESTION)
    lines = [file.read_bytes(), b'{"image": "0.png", "question"\n', b"[1, 2]\n", b'{"id": 1, "id": 2}\n', b"\xff\xfe\n",
             b"[" * 90_000 + b"\n", json.dumps(QUESTION | {"answer": ""}).encode() + b"\n"]
    file.write_bytes(b"".join(lines))
    found = problems(file)
    assert [line.split(": ")[0] for line in found] == [f"own.jsonl:{n}" for n in range(3, 9)]
    reasons = ("not a JSON object: Expecting ':' delimiter", "a list; expected an object with keys", "a key appears twice",
               "not UTF-8 at byte 0 of the line", "not a JSON object: ", "answer is empty")
    assert [reason in line for reason, line in zip(reasons, found, strict=True)] == [True] * 6


def test_ids_that_occur_twice(tmp_path: Path) -> None:
    rows = [QUESTION | {"id": "a"}, QUESTION | {"id": "b"}, QUESTION | {"id": "a"}, QUESTION | {"id": "a", "split": "test"}]
    assert problems(write_own(tmp_path, rows, 1)) == ["own.jsonl:3: the id a was at own.jsonl:1 already; expected ids that differ"]
    items(write_vqa(tmp_path, pictures=False) / "vqa/karpathy_train.json", {4: {"question_id": 1001}})
    twice = "vqa/karpathy_train.json[4]: the id 1001 was at vqa/karpathy_train.json[1] already; expected ids that differ"
    assert problems(tmp_path, "vqa") == [twice]
    items(write_gqa(tmp_path, pictures=False) / "GQA/valid.json", {0: {"question_id": "00000001"}})
    assert problems(tmp_path, "gqa") == ["GQA/valid.json[0]: the id 00000001 was at GQA/train.json[1] already; expected ids that differ"]


def test_rows_without_any_known_key(tmp_path: Path) -> None:
    file = write_own(tmp_path, [{"image": "0.png", "qustion": "What?"}], 1)
    with pytest.raises(DataError, match="no image-text data; expected question, caption or captions among its keys"):
        read_pairs(file)


# published formats

@pytest.mark.parametrize(("change", "reason"), [
    ({"sent": None, "sents": "x"}, "key 'sent' is not there; did you mean 'sents'?"),
    ({"img_id": None}, "key 'img_id' is not there; known: answer_type, label, question_id, question_type, sent"),
    ({"label": ["red"]}, "label is a list; expected {answer: score}"),
    ({"label": {"red": "1"}}, "the score of 'red' is '1'; expected 0 to 1"),
    ({"label": {"": 1.0}}, "an answer of label is empty"),
    ({"label": None}, "key 'label' is not there; known: answer_type, img_id, question_id, question_type, sent"),
    ({"sent": " "}, "sent is blank"),
    ({"question_id": 1.5}, "question_id is 1.5; expected a word or a whole number"),
    ({"answer_type": 3}, "answer_type is 3; expected a text"),
    ("a question", "'a question'; expected an object with keys"),
])  # fmt: skip
def test_bad_vqa(tmp_path: Path, change: Any, reason: str) -> None:
    items(write_vqa(tmp_path) / "vqa/karpathy_train.json", {2: change})
    assert problems(tmp_path, "vqa") == [f"vqa/karpathy_train.json[2]: {reason}"]


def test_annotations_broken_at_a_byte(tmp_path: Path) -> None:
    file = write_vqa(tmp_path) / "vqa/karpathy_train.json"
    whole = file.read_text().replace("square 0", "squäre 0")  # ä has two bytes
    at = whole.rindex(', "label"')
    broken = (whole[:at] + whole[at + 1 :]).encode()  # a comma is gone, after the ä
    reason = "vqa/karpathy_train.json: broken JSON at byte {:,} (line 1): Expecting ',' delimiter; fetch the file again"
    for mark in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(mark + broken)
        assert problems(tmp_path, "vqa") == [reason.format((mark + broken).rindex(b'"label"'))]
    file.write_bytes(b"\xef\xbb\xbf" + whole.encode())
    assert problems(tmp_path, "vqa") == []
    file.write_bytes(whole.encode("latin-1"))
    assert problems(tmp_path, "vqa")[0] == f"vqa/karpathy_train.json: not UTF-8 at byte {whole.index('ä')}; save it as UTF-8"
    file.write_text('{"a": 1}')
    assert problems(tmp_path, "vqa")[0] == "vqa/karpathy_train.json: an object; expected a list of objects"
    file.write_text("[" * 100_000)
    assert problems(tmp_path, "vqa")[0].startswith("vqa/karpathy_train.json: broken JSON")
    file.write_text("[]")
    assert problems(tmp_path, "vqa") == [f"{tmp_path}: no training examples found"]


def test_bad_official_answers(tmp_path: Path) -> None:
    file = write_vqa(tmp_path) / "vqa/v2_mscoco_val2014_annotations.json"
    found = json.loads(file.read_text())
    found["annotations"][0]["answers"][3] = {"answer": 3, "answer_confidence": "yes", "answer_id": 4}
    file.write_text(json.dumps(found))
    assert problems(tmp_path, "vqa") == ["vqa/v2_mscoco_val2014_annotations.json: annotations[0]: answers are not all texts; expected"
                                         " [{'answer': text}, ...]"]
    file.write_text(file.read_text()[:-30])
    assert problems(tmp_path, "vqa")[0].startswith("vqa/v2_mscoco_val2014_annotations.json: broken JSON at byte ")


@pytest.mark.parametrize(("change", "reason"), [
    ({"label": 2}, "label is 2; expected 0 to 1"),
    ({"label": "True"}, "label is 'True'; expected 0 to 1"),
    ({"img1": None}, "key 'img1' is not there; did you mean 'img0'?"),
    ({"sent": ""}, "sent is empty"),
])  # fmt: skip
def test_bad_nlvr(tmp_path: Path, change: Any, reason: str) -> None:
    items(write_nlvr(tmp_path) / "nlvr/valid.json", {1: change})
    assert problems(tmp_path, "nlvr") == [f"nlvr/valid.json[1]: {reason}"]


@pytest.mark.parametrize(("change", "reason"), [
    ({"split": "tset"}, "split is 'tset'; did you mean 'test'?"),
    ({"sentences": []}, "no captions; expected at least one"),
    ({"sentences": [{"raw": "a"}, {"raw": " "}]}, "caption 1 is blank"),
    ({"sentences": [{"raw": "a"}, {"row": "b"}]}, "caption 1 has no text 'raw'"),
    ({"filename": None}, "key 'filename' is not there; did you mean 'filepath'?"),
])  # fmt: skip
def test_bad_captions_of_coco(tmp_path: Path, change: Any, reason: str) -> None:
    file = write_caption(tmp_path) / "COCO/dataset_coco.json"
    found = json.loads(file.read_text())
    found["images"][2] = {k: v for k, v in (found["images"][2] | change).items() if v is not None}
    file.write_text(json.dumps(found))
    assert problems(tmp_path, "caption")[0] == f"COCO/dataset_coco.json: images[2]: {reason}"
    file.write_text('{"image": []}')
    reason = "no images; expected {'images': [...]} as Karpathy's dataset_coco.json has"
    assert problems(tmp_path, "caption") == [f"COCO/dataset_coco.json: {reason}"]


@pytest.mark.parametrize(("change", "reason"), [
    ({"answer_idx": 4}, "answer_idx is 4; expected 0 to 3"),
    ({"answer_idx": None}, "key 'answer_idx' is not there; known: a0, a1, a2, a3, q, qid, ts, vid_name"),
    ({"a2": None}, "key 'a2' is not there; known: a0, a1, a3, answer_idx, q, qid, ts, vid_name"),
    ({"q": " "}, "q is blank"),
    ({"ts": None}, "key 'ts' is not there; known: a0, a1, a2, a3, answer_idx, q, qid, vid_name"),
    ({"vid_name": "how2_99"}, "clip how2_99 has no line in video/ann/how2_subtitles.jsonl"),
])  # fmt: skip
def test_bad_video_questions(tmp_path: Path, change: dict, reason: str) -> None:
    file = write_how2qa(tmp_path) / "video/ann/how2qa/how2qa_train_release.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1] = {k: v for k, v in (rows[1] | change).items() if v is not None}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = problems(tmp_path, "how2qa")
    assert found == [f"video/ann/how2qa/how2qa_train_release.jsonl:2: {reason}"]


def test_bad_video_captions_and_subtitles(tmp_path: Path) -> None:
    file = write_tvc(tmp_path) / "video/ann/tvc/tvc_train_release.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    del row["descs"][1]["desc_id"]
    file.write_text(json.dumps(row) + "\n")
    assert problems(tmp_path, "tvc") == ["video/ann/tvc/tvc_train_release.jsonl:1: a caption has no desc_id; expected one per caption"]
    write_tvc(tmp_path)
    subtitles = tmp_path / "video/ann/tv_subtitles.jsonl"
    subtitles.write_text(subtitles.read_text().replace('"text": " hello there."', '"txt": ""', 1))
    assert problems(tmp_path, "tvc")[0] == "video/ann/tv_subtitles.jsonl:1: sub holds a line without text; expected [{'text': ...}, ...]"
    subtitles.unlink()
    assert problems(tmp_path, "tvc") == ["video/ann/tv_subtitles.jsonl: no such file; the training part needs it"]


# images and features

@pytest.mark.row("C15", "images of questions that are missing or truncated")
def test_missing_and_broken_images_are_all_listed(tmp_path: Path) -> None:
    """Each is listed once, with the number of questions that need it."""
    rows = [QUESTION | {"image": f"{n % 4}.png"} for n in range(8)]
    file = write_own(tmp_path, rows, 4)
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2.png").write_bytes(whole[:60] + bytes(20) + whole[80:])
    (tmp_path / "3.png").unlink()
    found = problems(file)
    assert [line.split(":")[0] for line in found] == ["1.png", "2.png", "3.png"]
    assert all(line.endswith("; 2 example(s) need it") for line in found) and "no such file" in found[2]
    assert "truncated" in found[0] and "a PNG file that cannot be decoded" in found[1]


def test_a_published_layout_is_compared_with_what_lies_below_it(tmp_path: Path) -> None:
    root = write_vqa(tmp_path)
    (root / "COCO/images/train2014/COCO_train2014_000000000002.jpg").unlink()
    torn = root / "COCO/images/val2014/COCO_val2014_000000000008.jpg"
    torn.write_bytes(torn.read_bytes()[:-60])
    report = check_pairs(root, "vqa")
    assert (report.counts["images"], report.counts["missing"], len(report.problems)) == (10, 1, 2)
    assert "COCO_val2014_000000000008.jpg" in report.problems[0].file and "truncated" in report.problems[0].reason
    where = f"{root}/COCO/images/train2014 or {root}/COCO/images/val2014"
    assert str(report.problems[1]) == f"COCO_train2014_000000000002: no image in {where}; 1 example(s) of train need it"
    features = root / "COCO/clip_features/data_clip_RN101_att"
    features.mkdir(parents=True)
    for n in range(9):
        (features / f"COCO_{'train' if n < 6 else 'val'}2014_{n:012d}.h5").touch()
    (lacking,) = check_pairs(root, "vqa").problems  # where features are stored, no image is opened
    assert str(lacking) == f"COCO_val2014_000000000009: no feature (.h5 file) in {features}; 1 example(s) of test need it"


def test_clips_without_features(tmp_path: Path) -> None:
    root = write_tvqa(tmp_path)
    (root / "video/vis_features/tv/clip-vit/s01e01_seg02_clip_00.npz").unlink()
    (lacking,) = check_pairs(root, "tvqa").problems
    assert str(lacking).startswith("s01e01_seg02_clip_00: no feature (.npz file) in ") and "1 example(s) of train" in str(lacking)
    report = check_pairs(write_gqa(tmp_path / "bare", pictures=False), "gqa")
    assert report.warnings == [f"neither features nor images below {tmp_path}/bare; only the annotations were checked"]


def test_features_that_are_named(tmp_path: Path) -> None:
    root = write_nlvr(tmp_path, pictures=False)
    there = {f"train-{n}-0-img{k}" for n in range(6) for k in (0, 1)} - {"train-3-0-img1"}
    found = problems(root, "nlvr", available=there)
    assert len(found) == 9 and found[0] == "train-3-0-img1: no image or feature; 1 example(s) of train need it"
    assert check_pairs(root, "nlvr", available=there).counts["missing"] == 9
    with pytest.raises(DataError) as refused:
        read_pairs(root, "nlvr", available=there)
    lines = str(refused.value).splitlines()
    assert lines[0] == "9 problem(s) in the data:" and lines[4] == "  and 6 more" and len(lines) == 6
    assert lines[5] == f"`inarch check-data {root} --task nlvr` lists all of them" and refused.value.exit_code == 3


# the tokenizer

class Tokens:
    """A word a token, two special ones around; words with a q are unknown."""

    unk_token_id, model_max_length = 3, 12

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0, *(3 if "q" in word else 9 for word in text.split()), 2] for text in texts]}


def pairs_of(task: str, *examples: tuple[str, Any], part: str = "train") -> Pairs:
    made = tuple(Example(str(i), ("a",), text, targets) for i, (text, targets) in enumerate(examples))
    return Pairs(PROTOCOLS[task], {part: made}, "", "here")


@pytest.mark.row("C15", "texts longer than the task allows")
def test_long_texts_are_counted() -> None:
    """Cut as configured, and counted in a note."""
    words = [(" ".join(["a"] * n), (("b", 1.0),)) for n in (17, 18, 19, 20)]
    report = check_tokens(pairs_of("vqa", *words), Tokens())
    assert report.counts == {"train texts cut": 2, "train targets cut": 0, "train targets outside the tokenizer": 0}
    assert report.problems == []
    assert report.warnings == ["2 of 4 texts of train have more than 20 tokens; they are cut, as published"]
    assert check_tokens(pairs_of("qa", *words), Tokens()).warnings == []


def test_text_without_a_limit_must_fit_the_model() -> None:
    report = check_tokens(pairs_of("nlvr", *[(" ".join(["a"] * n), (("true", 1.0),)) for n in (10, 11, 15)]), Tokens())
    reason = "2 texts of train have more than 12 tokens (up to 17), which the model cannot take; shorten them (first: 1)"
    assert [str(problem) for problem in report.problems] == [f"here: {reason}"]


@pytest.mark.row("C15", "answers longer than the task allows")
def test_long_answers_are_counted() -> None:
    """Cut as configured, and counted in a note."""
    long = " ".join(["b"] * 9)
    report = check_tokens(pairs_of("vqa", ("a", ((long, 0.3), ("b", 1.0))), ("a", (("b", 1.0),)), ("a", ()), part="val"), Tokens())
    assert report.counts["val targets cut"] == 1
    assert report.warnings == ["1 of 2 examples of val have a target of more than 10 tokens; it is cut, as published"]


def test_answers_outside_the_tokenizer() -> None:
    rows = [("a", (("quail", 1.0),)), ("b", (("quail", 1.0),)), ("c", (("quail", 0.3), ("bird", 1.0))), ("d", (("bird", 1.0),))]
    report = check_tokens(pairs_of("vqa", *rows), Tokens())
    assert [str(problem) for problem in report.problems] == [
        "here: the tokenizer cannot write the answer 'quail'; 2 training example(s) have no other"]
    assert report.counts["train targets outside the tokenizer"] == 3
    for task, part in (("vqa", "val"), ("caption", "train")):
        report = check_tokens(pairs_of(task, *rows, part=part), Tokens())
        assert report.problems == []
        assert report.warnings == [f"3 of 4 examples of {part} have a target that the tokenizer cannot write wholly (first: 'quail')"]


def test_a_real_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<unk>": 0, "red": 1, "What": 2, "?": 3, "vqa": 4, ":": 5}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<unk>")
    file = write_own(tmp_path, [QUESTION, QUESTION | {"answer": "infrared"}], 1)
    report = check_tokens(read_pairs(file), tokenizer)
    reason = "the tokenizer cannot write the answer 'infrared'; 1 training example(s) have no other"
    assert [problem.reason for problem in report.problems] == [reason]


# the command

def test_check_data_finds_image_text_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_image_text(tmp_path / "datasets")
    assert main(["check-data", str(root)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [f"{root} {task}" for task in ("vqa", "gqa", "nlvr", "caption")]
    assert said[0].endswith("train 6, val 2, test 2, images 10, missing 0")
    items(root / "GQA/train.json", {0: {"sent": ""}, 1: {"label": {}}})
    assert main(["check-data", str(root), "--task", "gqa,nlvr"]) == 3
    out, err = capsys.readouterr()
    assert "GQA/train.json[0]: sent is empty" in out and "GQA/train.json[1]: label has no answer with a score" in out
    assert "2 problem(s), listed above" in err
    assert main(["check-data", str(root), "--task", "vqqa"]) == 2


def test_check_data_reads_ones_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = one(tmp_path, QUESTION | {"answer": ""})
    assert main(["check-data", str(file)]) == 3
    assert "own.jsonl:2: answer is empty" in capsys.readouterr().out


def test_check_data_compares_with_stored_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_tvqa(tmp_path)
    stored = root / "video/vis_features/tv/clip-vit"
    assert main(["check-data", str(root), "--task", "tvqa", "--features", str(stored)]) == 0
    (stored / "s03e01_seg02_clip_00.npz").unlink()
    capsys.readouterr()
    assert main(["check-data", str(root), "--features", str(stored)]) == 3
    assert "s03e01_seg02_clip_00: no image or feature" in capsys.readouterr().out
