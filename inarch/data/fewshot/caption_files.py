"""Tables of images and captions as found: ``.csv``, ``.jsonl`` and ``.npz``, with every problem met.

    image,caption,split                     {"image": "a.jpg", "captions": ["a cat", "a cat on a mat"], "split": "train"}
    a.jpg,a cat on a mat,train              {"image": "b.jpg", "caption": "a dog"}

    images      uint8 [m, height, width] or [m, height, width, 3]           image_name   text [m], their names (optional)
    captions    text [n], or caption                                        image_id     int [n], row of ``images``; else 0, 1, ...
    split       int [m], 0 train, 1 val, 2 test (optional)

Paths are relative to the table. An image may have several rows; all of them must name the same split.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inarch.data.draft import PART_NAMES
from inarch.data.fewshot.listing import PARTS
from inarch.data.images import shown
from inarch.data.pairs.annotations import jsonl_rows
from inarch.data.pairs.draft import Draft, Row, unfit
from inarch.data.pairs.protocols import PROTOCOLS
from inarch.data.readers.arrays import DAMAGED
from inarch.data.readers.listing import IMAGE_COLUMNS, SPLIT_COLUMN, csv_rows, pick_column, unencodable
from inarch.data.table import Problem, Sources
from inarch.errors import DataError, nearest

CAPTION_COLUMNS = ("caption", "captions", "text")
NUMBERS = ("image_id", "split")
KEYS = ("images", "captions", "caption", "image_name", *NUMBERS)
PREFIX = "captions:"  # for `inarch check-data`, where the same file could be read as something else
TABLES, ARRAYS = (".csv", ".jsonl", ".ndjson"), ".npz"


@dataclass
class Captioned:
    """Images by first appearance, captions with the row of their image, the part of every image where the data says so."""

    source: str
    sources: Sources = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    image: list[int] = field(default_factory=list)
    part_of: list[str] = field(default_factory=list)
    split: bool = False
    row_of: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_captioned(address: str | Path, image_column: str | None = None, caption_column: str | None = None) -> Captioned:
    file = Path(os.fspath(address).removeprefix(PREFIX)).expanduser()
    if not file.is_file() or file.suffix.lower() not in (*TABLES, ARRAYS):
        raise DataError(f"{shown(file)}: no table of captions; expected a .csv, .jsonl or .npz of images and captions")
    found = _arrays(file) if file.suffix.lower() == ARRAYS else _table(file, image_column, caption_column)
    if not found.captions and not found.problems:
        found.problems.append(Problem(found.source, "no captions found; expected at least one"))
    return found


def _table(file: Path, image_column: str | None, caption_column: str | None) -> Captioned:
    found = Captioned(shown(file))
    draft = Draft(PROTOCOLS["captions"], found.source, problems=found.problems)
    rows = list(_rows(file, draft))
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    if not columns:
        return found
    image = pick_column(found.source, columns, image_column, IMAGE_COLUMNS, "image_column")
    caption = pick_column(found.source, columns, caption_column, CAPTION_COLUMNS, "caption_column")
    found.split = SPLIT_COLUMN in columns
    for row in rows:
        key, captions, part = _key(row, image, file.parent), _captions(row, caption), _part(row, found.split)
        if row.sound:
            _add(found, row, key, captions, part)
    files = [file.parent / key for key in found.keys]
    found.sources, found.names = files, [shown(path) for path in files]
    return found


def _add(found: Captioned, row: Row, key: str, captions: list[str], part: str) -> None:
    at = found.row_of.setdefault(key, len(found.keys))
    if at == len(found.keys):
        found.keys.append(key)
        found.part_of.append(part)
    elif found.part_of[at] != part:
        row.wrong(f"{key} is in {found.part_of[at]} by an earlier row, here in {part}; an image may be in one part only")
    found.captions += captions
    found.image += [at] * len(captions)


def _rows(file: Path, draft: Draft) -> Iterable[Row]:
    if file.suffix.lower() == ".csv":
        return [Row(cells, (f"{shown(file)}:", line, ""), draft) for line, cells in csv_rows(file)]
    return jsonl_rows(file, draft)


def _key(row: Row, column: str, folder: Path) -> str:
    """The image's path in one spelling; a file that is not there is a problem."""
    cell = row.cell(column)
    if row.sound and (not isinstance(cell, str) or not cell.strip() or unencodable(cell)):
        row.wrong(f"{column} is {cell!a}; expected the path of an image")
    if not row.sound:
        return ""
    key = Path(os.path.normpath(cell)).as_posix()
    if not os.path.isfile(folder / key):
        row.wrong(f"no such image: {shown(folder / key)}")
    return key


def _captions(row: Row, column: str) -> list[str]:
    """One text, or a list of them; each must say something."""
    cell = row.cells.get(column)
    texts: list[Any] = cell if isinstance(cell, list) else [cell]
    if not texts:
        row.wrong(f"{column} is an empty list; expected at least one caption")
    for k, text in enumerate(texts):
        place = f"{column}[{k}]" if isinstance(cell, list) else column
        if reason := unfit(text) if isinstance(text, str) else f"is {text!a}; expected a text":
            row.wrong(f"{place} {reason}")
    return [text.strip() for text in texts] if row.sound else []


def _part(row: Row, split: bool) -> str:
    word = str(row.cells.get(SPLIT_COLUMN))
    part = PART_NAMES.get(word.casefold()) if split else "train"
    if part is None:
        row.wrong(f"{SPLIT_COLUMN} is {word!r}; expected train, val or test")
    return part or "train"


def _arrays(file: Path) -> Captioned:
    where, arrays = shown(file), _load(file)
    images = arrays["images"]
    count, captions = len(images), arrays["captions"].tolist()
    names = [str(name) for name in arrays.get("image_name", np.arange(count))]
    if len(names) != count or len({*names}) != count:
        raise DataError(f"{where}: image_name has {len({*names})} names for {count} images; expected one for each")
    about = _numbers(where, "image_id", arrays.get("image_id", np.arange(len(captions))), len(captions), count)
    parts = _numbers(where, "split", arrays.get("split", np.zeros(count, np.int64)), count, len(PARTS))
    found = Captioned(where, images, names, [f"{where}: image {name}" for name in names], split="split" in arrays)
    found.captions, found.image, found.part_of = [text.strip() for text in captions], about, [PARTS[part] for part in parts]
    found.problems += [Problem(f"{where}: captions[{c}]", reason) for c, text in enumerate(captions) if (reason := unfit(text))]
    silent = sorted({*range(count)} - {*about})
    if silent:
        found.problems.append(Problem(where, f"{len(silent)} images have no caption (first: {names[silent[0]]}); remove them"))
    return found


def _load(file: Path) -> dict[str, np.ndarray]:
    where = shown(file)
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files if key in KEYS}
    except DAMAGED as error:
        reason = f"{where}: cannot be read as an .npz of plain arrays: {error}"
        raise DataError(f"{reason}; write it with numpy.savez_compressed, without object arrays") from error
    if "caption" in arrays:
        arrays.setdefault("captions", arrays.pop("caption"))
    for key in ("images", "captions"):
        if key not in arrays:
            raise DataError(f"{where}: no array {key!r}; {nearest(key, arrays)}")
    images = arrays["images"]
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or 0 in images.shape:
        raise DataError(f"{where}: images is {images.dtype} {images.shape}; expected uint8 [m, h, w] or [m, h, w, 3]")
    for key in arrays.keys() - {"images"}:
        kinds, word = ("iu", "whole numbers") if key in NUMBERS else ("U", "texts")
        if arrays[key].ndim != 1 or arrays[key].dtype.kind not in kinds:
            raise DataError(f"{where}: {key} is {arrays[key].dtype} {arrays[key].shape}; expected one row of {word}")
    return arrays


def _numbers(where: str, key: str, values: np.ndarray, count: int, below: int) -> list[int]:
    """``count`` whole numbers from 0 to ``below`` - 1."""
    if len(values) != count:
        raise DataError(f"{where}: {key} has {len(values)} rows; expected {count}")
    outside = np.flatnonzero((values < 0) | (values >= below))
    if len(outside):
        raise DataError(f"{where}: {key}[{outside[0]}] is {values[outside[0]]}; expected 0 to {below - 1}")
    return [int(value) for value in values]
