"""GQA as LXMERT and VL-T5 store it, below ``GQA/``: training on train + valid, validation on testdev.

    train.json   [{"question_id", "img_id", "sent", "label": {answer: 1.0}}]

The test part's answers are with the organisers (``submit.json``); it is not read. Images of train and valid are Visual
Genome's, those of testdev GQA's own.
"""

from __future__ import annotations

from pathlib import Path

from inarch.data.pairs.annotations import json_parts
from inarch.data.pairs.draft import Draft
from inarch.data.pairs.example import Example

FILES = {"train": ("GQA/train.json", "GQA/valid.json"), "val": ("GQA/testdev.json",)}


def read_gqa(root: Path, draft: Draft) -> None:
    for part, row in json_parts(root, FILES, draft):
        key, image = row.ident("question_id"), draft.share(row.ident("img_id"))
        targets = draft.share(row.scores("label"))
        if row.sound and not targets:
            row.wrong("label has no answer with a score; expected {answer: 1.0}")
        references = draft.share(tuple(draft.share(answer) for answer, _ in targets))
        draft.add(part, row, Example(key, (image,), draft.share(draft.protocol.frame(row.text("sent"))), targets, references))
