"""COCO captions in Karpathy's split: ``COCO/dataset_coco.json``.

    {"images": [{"filename", "split": train | restval | val | test, "sentences": [{"raw": caption}, ...]}]}

restval trains too. In training each caption is one example; in validation and test each image is one, and its captions
(five, mostly) are what a prediction is scored against. Blanks around a caption are dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inarch.data.images import shown
from inarch.data.pairs.annotations import json_rows, present
from inarch.data.pairs.draft import Draft, Row, unfit, whole_target
from inarch.data.pairs.example import Example
from inarch.data.table import Problem
from inarch.errors import nearest

FILE = "COCO/dataset_coco.json"
SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def read_coco(root: Path, draft: Draft) -> None:
    for _, file in present(root, {"train": (FILE,)}, draft):
        for row in json_rows(file, draft, member="images"):
            _read_image(row, draft)
        if not draft.parts and not draft.problems:
            draft.problems.append(Problem(shown(file), "no images; expected {'images': [...]} as Karpathy's dataset_coco.json has"))


def _read_image(row: Row, draft: Draft) -> None:
    split = row.words("split")
    if row.sound and split not in SPLITS:
        row.wrong(f"split is {split!r}; {nearest(split, SPLITS)}")
    image = row.text("filename").partition(".")[0]
    captions = _captions(row)
    add_captions(draft, SPLITS.get(split, ""), row, image, (draft.share(image),), captions, [f"{image}#{k}" for k in range(len(captions))])


def _captions(row: Row) -> tuple[str, ...]:
    return tuple(caption.strip() for caption in captions_of(row, row.items("sentences"), "raw"))


def captions_of(row: Row, records: list[Any], key: str) -> tuple[str, ...]:
    """The caption under ``key`` of each record, the faults among them said."""
    found = [record.get(key) if isinstance(record, dict) else None for record in records]
    if row.sound and not found:
        row.wrong("no captions; expected at least one")
    for k, caption in enumerate(found):
        if reason := unfit(caption) if isinstance(caption, str) else f"has no text {key!r}":
            row.wrong(f"caption {k} {reason}")
    return tuple(caption if isinstance(caption, str) else "" for caption in found)


def add_captions(
    draft: Draft, part: str, row: Row, key: str, images: tuple[str, ...], captions: tuple[str, ...], keys: list[str], text: str = ""
) -> None:
    """In training an example per caption, named by ``keys``; elsewhere one per image or clip, named by ``key``."""
    framed = draft.share(draft.protocol.frame(text))
    if part != "train":
        draft.add(part, row, Example(key, images, framed, whole_target(captions[0]) if captions else (), captions))
        return
    for name, caption in zip(keys, captions, strict=True):
        draft.add(part, row, Example(name, images, framed, whole_target(caption), captions))
