"""NLVR2 as LXMERT and VL-T5 store it, below ``nlvr/``: is the sentence true of the two images?

    train.json   [{"uid", "identifier", "img0", "img1", "sent", "label": 0 or 1}]        valid.json, test.json (test-P) alike
"""

from __future__ import annotations

from pathlib import Path

from inarch.data.pairs.annotations import json_parts
from inarch.data.pairs.draft import Draft, whole_target
from inarch.data.pairs.example import Example

FILES = {"train": ("nlvr/train.json",), "val": ("nlvr/valid.json",), "test": ("nlvr/test.json",)}
WORDS = ("false", "true")
TARGETS = tuple(map(whole_target, WORDS))
REFERENCES = tuple((word,) for word in WORDS)


def read_nlvr(root: Path, draft: Draft) -> None:
    for part, row in json_parts(root, FILES, draft):
        images = (draft.share(row.ident("img0")), draft.share(row.ident("img1")))
        text = draft.share(draft.protocol.frame(row.text("sent")))
        label = row.number("label", below=2)
        draft.add(part, row, Example(row.ident("uid"), images, text, TARGETS[label], REFERENCES[label]))
