"""Published few-shot samples: the ``.jsonl`` files of 2SFS, one chosen image per line.

    {"_impath": "dtd/images/banded/banded_0002.jpg", "_label": 0, "_domain": 0, "_classname": "banded"}

``..._train.jsonl`` brings its ``..._val.jsonl`` along where that lies beside it. On a data set, each line is found by the end of its
path among the images of the same part; test images and class names are the data set's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inarch.data.fewshot.gather import Gather
from inarch.data.fewshot.listing import Listing, prompt_name
from inarch.data.images import shown
from inarch.data.pairs.annotations import jsonl_rows
from inarch.data.pairs.draft import Draft, Row, shown_place
from inarch.data.pairs.protocols import PROTOCOLS
from inarch.data.table import Problem
from inarch.errors import DataError

TRAIN, VAL = "_train.jsonl", "_val.jsonl"


def chosen(file: Path, listing: Listing) -> Listing:
    """``listing`` with its train and val parts cut to the lines of ``file``."""
    files = _files(file)
    for part in ("train", "val"):
        rows = _rows(part, files[part], listing) if part in files else []
        if part in listing.parts:
            listing.parts[part] = listing.parts[part].pick(rows)
            if not rows:
                del listing.parts[part]
    if "val" not in files:
        listing.notes.append(f"no {VAL} beside {shown(file)}: no validation images")
    listing.sampled, listing.source = True, shown(file)
    return listing


def alone(file: Path, images: Path) -> Listing:
    """The sample by itself; its paths begin at ``images``, and there is nothing to test on."""
    gather = Gather(shown(file), images)
    for part, lines in _files(file).items():
        for row in _lines(lines, gather.problems):
            path, label, name = (row.cells.get(key) for key in ("_impath", "_label", "_classname"))
            gather.add(part, shown_place(row.place), path, label, name)
    listing = gather.listing(file.stem)
    listing.sampled = True
    return listing


def _files(file: Path) -> dict[str, Path]:
    if not file.is_file():
        raise DataError(f"{shown(file)}: no such file; expected a sample, such as shot_16-seed_1_train.jsonl")
    beside = file.with_name(file.name.removesuffix(TRAIN) + VAL)
    return {"train": file} | ({"val": beside} if file.name.endswith(TRAIN) and beside.is_file() else {})


def _lines(file: Path, problems: list[Problem]) -> Iterator[Row]:
    """The objects of ``file``; what is wrong with its lines goes to ``problems``."""
    draft = Draft(PROTOCOLS["qa"], shown(file), problems=problems)
    empty = True
    for row in jsonl_rows(file, draft):
        empty = False
        if row.sound:
            yield row
    if empty and not problems:
        problems.append(Problem(shown(file), "holds no lines; expected one chosen image per line"))


def _rows(part: str, file: Path, listing: Listing) -> list[int]:
    """Rows of the part that the lines of ``file`` choose."""
    pile = listing.parts.get(part)
    place = {key: i for i, key in enumerate(pile.keys)} if pile else {}
    seen: dict[int, str] = {}
    for row in _lines(file, listing.problems):
        path, label, name = row.text("_impath"), row.number("_label", len(listing.classes)), row.text("_classname")
        if not row.sound:
            continue
        i = next((place[tail] for tail in _tails(path) if tail in place), None)
        if i is None or pile is None:
            row.wrong(f"{path} is no {part} image of {listing.dataset}; expected a sample of that data set")
        elif label != pile.labels[i] or prompt_name(name) != listing.classes[label]:
            known = f"{pile.labels[i]}, {listing.classes[pile.labels[i]]!r}"
            row.wrong(f"{path} is of class {label}, {name!r}; {listing.dataset} has it as {known}")
        elif i in seen:
            row.wrong(f"{path} was chosen before, at {seen[i]}; expected each image once")
        else:
            seen[i] = shown_place(row.place)
    return list(seen)


def _tails(path: str) -> Iterator[str]:
    """The path, and what is left of it without its first folders."""
    steps = path.split("/")
    return ("/".join(steps[i:]) for i in range(len(steps)))
