"""Tables of image paths and labels: ``.csv`` with a header, or ``.jsonl`` with one object per line.

    path,label,split          {"path": "a.jpg", "label": "cat", "split": "train"}
    a.jpg,cat,train           {"path": "b.jpg", "label": ["cat", "dog"]}            multi-label; in csv: cat|dog

Paths are relative to the table's folder; blanks around a csv cell are dropped; ``split`` is optional. Every problem
carries its line number.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inarch.data.draft import PART_NAMES, PARTS, Draft, Options, Part, class_name, doubtful, file_part, twins
from inarch.data.images import shown
from inarch.data.table import Problem
from inarch.errors import DataError, nearest

IMAGE_COLUMNS = ("path", "image", "file", "filename", "file_name", "image_path", "filepath")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target")
SPLIT_COLUMN = "split"
CAP = 1 << 30  # bytes of a table, which is held in memory

Row = tuple[int, dict[str, Any]]  # line number, cells by column


def read_listing(table: Path, options: Options) -> Draft:
    """The table's rows as parts; without a ``split`` column all rows are training rows, to be split by seed."""
    rows = list(jsonl_rows(table) if table.suffix.lower() != ".csv" else csv_rows(table))
    if not rows:
        raise DataError(f"{shown(table)}: no rows below the header; expected one row per image")
    listing = _Listing(table, options, list(dict.fromkeys(column for _, cells in rows for column in cells)))
    for line, cells in rows:
        listing.add(line, cells)
    return listing.draft()


def _text(table: Path) -> str:
    if (size := table.stat().st_size) > CAP:
        raise DataError(f"{shown(table)}: {size:,} bytes; at most {CAP:,} are read: split the table, or use a folder or .npz")
    try:
        text = table.read_text(encoding="utf-8-sig")  # a leading byte-order mark is an editor's habit, not data
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(table)}: not UTF-8 at byte {error.start}; save the table as UTF-8") from error
    except OSError as error:
        raise DataError(f"{shown(table)}: cannot be read: {error.strerror}") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{shown(table)}:{line}: holds a NUL character; expected text")
    return text


def csv_rows(table: Path) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(_text(table), newline=""), skipinitialspace=True, strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if header is None:
                header = _header(table, cells)
                continue
            if len(cells) != len(header):
                where = f"{shown(table)}:{reader.line_num}"
                raise DataError(f"{where}: {len(cells)} cells; expected {len(header)} ({', '.join(header)})")
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{shown(table)}:{reader.line_num}: {error}") from error


def _header(table: Path, cells: list[str]) -> list[str]:
    twice = {cell for cell in cells if cells.count(cell) > 1}
    if twice:
        raise DataError(f"{shown(table)}:1: column {sorted(twice)[0]!r} appears twice; expected distinct names")
    return cells


def jsonl_rows(table: Path) -> Iterator[Row]:
    for line, text in enumerate(_text(table).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            cells = json.loads(text, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shown(table)}:{line}: not a JSON object: {error}") from error
        if not isinstance(cells, dict):
            raise DataError(f"{shown(table)}:{line}: a JSON {type(cells).__name__}; expected an object with path and label")
        yield line, cells


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"a key appears twice in {keys}")
    return dict(pairs)


def pick_column(where: str, columns: list[str], wanted: str | None, usual: tuple[str, ...], option: str) -> str:
    """The column the caller named, or the only one with a usual name."""
    if wanted is not None:
        if wanted not in columns:
            raise DataError(f"{where}: no column {wanted!r}; {nearest(wanted, columns)}")
        return wanted
    found = [name for name in usual if name in columns]
    if len(found) != 1:
        some = f"several of {', '.join(found)}" if found else f"none of {', '.join(usual)}"
        raise DataError(f"{where}: columns {', '.join(columns)}: {some}; name one with {option}=")
    return found[0]


class _Listing:
    """Rows on their way into parts: paths resolved, labels checked, problems kept with their line."""

    def __init__(self, table: Path, options: Options, columns: list[str]) -> None:
        self.table, self.options = table, options
        self.image = pick_column(f"{shown(table)}:1", columns, options.image_column, IMAGE_COLUMNS, "image_column")
        self.label = pick_column(f"{shown(table)}:1", columns, options.label_column, LABEL_COLUMNS, "label_column")
        self.has_split = SPLIT_COLUMN in columns
        self.files: dict[str, list[Path]] = {part: [] for part in PARTS}
        self.labels: dict[str, list[tuple[str, ...]]] = {part: [] for part in PARTS}
        self.line_of: dict[str, int] = {}
        self.spellings: set[str] = set()
        self.problems: list[Problem] = []

    def add(self, line: int, cells: dict[str, Any]) -> None:
        reasons: list[str] = []
        file = self._file(cells.get(self.image), line, reasons)
        labels = self._labels(cells.get(self.label), reasons)
        part = self._part(cells.get(SPLIT_COLUMN), reasons)
        self.problems += [Problem(f"{shown(self.table)}:{line}", reason) for reason in reasons]
        if not reasons:
            self.files[part].append(file)
            self.labels[part].append(labels)

    def _file(self, cell: Any, line: int, reasons: list[str]) -> Path:
        if not isinstance(cell, str) or not cell or unencodable(cell):
            reasons.append(f"{self.image} is {cell!a}; expected the path of an image")
            return self.table
        file = self.table.parent / cell
        first = self.line_of.setdefault(os.path.normpath(file), line)
        if first != line:
            reasons.append(f"{cell} was listed on line {first} already; expected one row per image")
        elif not os.path.isfile(file):  # Path.is_file raises on a name that is too long
            reasons.append(f"no such image: {shown(file)}")
        return file

    def _labels(self, cell: Any, reasons: list[str]) -> tuple[str, ...]:
        labels = self._several(cell) if self.options.multilabel else (cell,)
        if isinstance(cell, list) and not self.options.multilabel:
            reasons.append(f"{self.label} is a list; for several labels per image set multilabel=True")
            return ()
        names = tuple(str(label) if isinstance(label, int) and not isinstance(label, bool) else label for label in labels)
        wrong = [f"{self.label} is {name!r}; expected a name or a whole number" for name in names if not isinstance(name, str)]
        wrong = wrong or [reason for name in names if (reason := doubtful(name))]
        if not wrong and len(set(names)) != len(names):
            wrong = [f"{self.label} {cell!r} names a class twice"]
        reasons += wrong
        self.spellings.update(names if not wrong else ())
        return tuple(map(class_name, names)) if not wrong else ()

    def _several(self, cell: Any) -> tuple[Any, ...]:
        """``"a|b"`` or ``["a", "b"]``; an empty cell means: none of the classes."""
        if cell is None or cell == "":
            return ()
        return tuple(cell) if isinstance(cell, list) else tuple(str(cell).split("|"))

    def _part(self, cell: Any, reasons: list[str]) -> str:
        part = PART_NAMES.get(str(cell).casefold()) if self.has_split else "train"
        if part is None:
            reasons.append(f"{SPLIT_COLUMN} is {cell!r}; expected train, val or test")
        return part or "train"

    def draft(self) -> Draft:
        parts: dict[str, Part] = {"train": file_part(self.table.parent, self.files["train"], self.labels["train"])}
        for part in PARTS[1:]:
            if self.files[part]:
                parts[part] = file_part(self.table.parent, self.files[part], self.labels[part])
        source = shown(self.table)
        for one, other in twins(self.spellings, ignore_case=False):
            self.problems.append(Problem(source, f"labels {one!a} and {other!a} differ only in Unicode form; write one of them"))
        case = [f"{one!r} and {other!r}" for one, other in twins(self.spellings, ignore_case=True)]
        notes = [f"labels that differ only in case are kept apart: {', '.join(case[:5])}"] if case else []
        return Draft(source, parts, multilabel=self.options.multilabel, problems=self.problems, notes=notes)


def unencodable(text: str) -> bool:
    """Whether ``text`` cannot be a file name: NUL, or a surrogate that JSON let through."""
    return any(c == "\0" or 0xD800 <= ord(c) < 0xE000 for c in text)
