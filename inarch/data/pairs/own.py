"""One's own image-text data: JSON lines, one object per question or per captioned image.

    {"image": "a.jpg", "question": "What is it?", "answer": "a cat"}
    {"image": "a.jpg", "question": "How many?", "answers": ["2", "2", "two"], "split": "train", "id": "q7"}
    {"images": ["a.jpg", "b.jpg"], "question": "Are both open?", "answers": {"yes": 1.0, "no": 0.3}}
    {"image": "a.jpg", "captions": ["a cat on a mat", "a cat"]}                                         or "caption": "..."

    answers as a list    weight of an answer = times it is given / times the most frequent one is given

Paths are relative to the file's folder. Blanks around texts are dropped. Without ``split`` the parts are drawn by seed, so
that no image is in two of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections import Counter
from pathlib import Path

from inarch.data.draft import PART_NAMES
from inarch.data.pairs.annotations import jsonl_rows
from inarch.data.pairs.coco import add_captions
from inarch.data.pairs.draft import Draft, Row, unfit, whole_target
from inarch.data.pairs.example import Example, Targets
from inarch.data.readers.listing import unencodable

PLAIN = {"image", "images", "split", "id"}
ASKED = {*PLAIN, "question", "answer", "answers", "group"}
CAPTIONED = {*PLAIN, "caption", "captions"}


def read_own(file: Path, draft: Draft) -> None:
    rows = list(jsonl_rows(file, draft))
    captioned = draft.protocol.metric == "cider"
    split = any("split" in row.cells for row in rows)
    draft.whole = split
    unused: Counter[str] = Counter()
    for row in rows:
        _known_keys(row, CAPTIONED if captioned else ASKED, unused)
        part = _part(row) if split else "train"
        images = _images(row, file.parent)
        (_add_captioned if captioned else _add_asked)(draft, part, row, images)
    if unused:
        draft.notes.append(f"keys that are not used: {', '.join(f'{key} ({count} rows)' for key, count in sorted(unused.items()))}")
    _settle(draft, file.parent)


def _known_keys(row: Row, known: set[str], unused: Counter[str]) -> None:
    """A key that is nearly one of ours is a slip of the pen; any other is someone's own note."""
    for key in sorted(row.cells.keys() - known):
        close = [name for name in difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.8) if abs(len(name) - len(key)) < 2]
        if close and close[0] not in row.cells:
            row.wrong(f"unknown key {key!r}; did you mean {close[0]!r}?")
        else:
            unused[key] += 1


def _part(row: Row) -> str:
    split = row.words("split")
    part = PART_NAMES.get(split.casefold(), "")
    if row.sound and not part:
        row.wrong(f"split is {split!r}; expected train, val or test")
    return part


def _images(row: Row, folder: Path) -> tuple[str, ...]:
    """Ids of the images: their paths from the file's folder, in one spelling."""
    cells = row.items("images") if "images" in row.cells else [row.cell("image")]
    if row.sound and not 1 <= len(cells) <= 2:
        row.wrong(f"{len(cells)} images; expected one or two")
    for cell in cells if row.sound else ():
        if not isinstance(cell, str) or not cell.strip() or unencodable(cell):
            row.wrong(f"image is {cell!a}; expected the path of an image")
    return tuple(row.draft.share(Path(os.path.normpath(cell)).as_posix()) for cell in cells) if row.sound else ()


def _add_asked(draft: Draft, part: str, row: Row, images: tuple[str, ...]) -> None:
    text = draft.share(draft.protocol.frame(row.text("question").strip()))
    said, targets = _answers(row, needed=part != "test")
    choices = draft.protocol.choices
    for answer, _ in targets if choices else ():
        if answer not in choices:
            row.wrong(f"the answer is {answer!r}; expected one of {', '.join(choices)}")
    key = row.ident("id") if "id" in row.cells else str(row.place[1])
    group = row.words("group") if "group" in row.cells else ""
    draft.add(part, row, Example(key, images, text, draft.share(targets), draft.share(said), draft.share(group)))


def _answers(row: Row, *, needed: bool) -> tuple[tuple[str, ...], Targets]:
    """What was answered, and the weighted targets; a test row may have neither."""
    cell = row.cells.get("answers")
    if "answer" in row.cells or (needed and cell is None):
        if cell is not None:
            row.wrong("has both answer and answers; expected one of them")
        answer = row.draft.share(row.text("answer").strip())
        return (answer,), whole_target(answer)
    if cell is None:
        return (), ()
    if isinstance(cell, dict):
        targets = tuple((answer.strip(), score) for answer, score in row.scores("answers"))
        if row.sound and not targets:
            row.wrong("answers holds no answer with a score; expected at least one")
        return tuple(answer for answer, _ in targets), targets
    said = _texts(row, "answers")
    counts = Counter(said)
    return said, tuple((answer, count / max(counts.values())) for answer, count in counts.items())


def _texts(row: Row, key: str) -> tuple[str, ...]:
    """A list of texts, none of them blank."""
    found = row.items(key)
    if row.sound and not found:
        row.wrong(f"{key} is empty; expected at least one text")
    for k, text in enumerate(found):
        if reason := unfit(text) if isinstance(text, str) else f"is {text!a}; expected a text":
            row.wrong(f"{key}[{k}] {reason}")
    return tuple(row.draft.share(text.strip()) for text in found) if row.sound else ()


def _add_captioned(draft: Draft, part: str, row: Row, images: tuple[str, ...]) -> None:
    captions = _texts(row, "captions") if "captions" in row.cells else (row.text("caption").strip(),)
    key = row.ident("id") if "id" in row.cells else str(row.place[1])
    add_captions(draft, part, row, key, images, captions, [f"{key}#{k}" for k in range(len(captions))])


def _settle(draft: Draft, folder: Path) -> None:
    """As many images per row as the first row has, and where they lie."""
    count = next((len(example.images) for part in draft.parts.values() for example in part), 1)
    draft.protocol = dataclasses.replace(draft.protocol, images=count)
    for part, examples in draft.parts.items():
        for example in examples:
            if len(example.images) != count:
                found = f"{len(example.images)} images where the first row has {count}"
                Row({}, draft.seen[part][example.key], draft).wrong(f"{found}; expected as many in every row")
    draft.images = {image: folder / image for examples in draft.parts.values() for example in examples for image in example.images}
