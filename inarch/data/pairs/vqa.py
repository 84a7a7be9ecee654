"""VQAv2 as LXMERT and VL-T5 store it, below ``vqa/``, with the ten answers of the official annotations.

    karpathy_train.json   [{"question_id", "img_id", "sent", "label": {answer: soft score}, "answer_type", ...}]
    v2_mscoco_val2014_annotations.json   {"annotations": [{"question_id", "answers": [{"answer", ...}, ...]}]}

The soft score of an answer is min(1, annotators who gave it / 3) with the official leave-one-out mean. A question whose
``label`` is empty keeps its place in training, with a target of weight 0. References are read for validation and test only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inarch.data.pairs.annotations import json_parts, json_rows
from inarch.data.pairs.draft import Draft, Row, unscored
from inarch.data.pairs.example import Example

FILES = {part: (f"vqa/karpathy_{part}.json",) for part in ("train", "val", "test")}
OFFICIAL = ("vqa/v2_mscoco_val2014_annotations.json", "vqa/v2_mscoco_train2014_annotations.json")


def read_vqa(root: Path, draft: Draft) -> None:
    official = Official(root, draft)
    for part, row in json_parts(root, FILES, draft):
        question = row.text("question" if "question" in row.cells and "sent" not in row.cells else "sent")
        key, image = row.ident("question_id"), draft.share(row.ident("img_id"))
        targets = row.scores("label") if part == "train" or "label" in row.cells else ()
        references = () if part == "train" else _answers(row) or official.of(key)
        text = draft.share(draft.protocol.frame(question))
        draft.add(part, row, Example(key, (image,), text, draft.share(targets), references, _group(row)))
    _remark(draft)


def _group(row: Row) -> str:
    return row.draft.share(row.words("answer_type")) if "answer_type" in row.cells else ""


def _answers(row: Row) -> tuple[str, ...]:
    """The ten answers where they stand beside the question."""
    if "answers" not in row.cells:
        return ()
    found = [answer.get("answer") if isinstance(answer, dict) else answer for answer in row.items("answers")]
    texts = tuple(row.draft.share(answer) for answer in found if isinstance(answer, str))
    if len(texts) < len(found):
        row.wrong("answers are not all texts; expected [{'answer': text}, ...]")
    return row.draft.share(texts)


def _remark(draft: Draft) -> None:
    if count := unscored(draft.parts.get("train", ())):
        draft.notes.append(f"{count} training questions have no answer with a score; they count with weight 0, as published")
    for part in ("val", "test"):
        if count := sum(not example.references for example in draft.parts.get(part, ())):
            where = " or ".join(OFFICIAL)
            draft.notes.append(f"{count} questions of {part} have no ten answers in {where}; VQA accuracy cannot count them")


class Official:
    """Question id -> its ten answers. A file is read when the first question needs it: those of 2014 are large."""

    def __init__(self, root: Path, draft: Draft) -> None:
        self.draft, self.unread = draft, [root / name for name in OFFICIAL if (root / name).is_file()]
        self.answers: dict[str, tuple[str, ...]] = {}

    def of(self, key: str) -> tuple[str, ...]:
        while key not in self.answers and self.unread:
            for row in json_rows(self.unread.pop(0), self.draft, member="annotations", hook=_slim):
                self.answers[row.ident("question_id")] = _answers(row)
        return self.answers.get(key, ())


def _slim(found: dict[str, Any]) -> Any:
    """While the parser runs: an annotator's record shrinks to its answer, one string instead of two million objects."""
    return found.get("answer") if "answer_confidence" in found else found
