"""Annotation files as rows: JSON lists and JSON lines. What is broken becomes a problem with its byte or line, and reading goes on.

    vqa/karpathy_train.json[12]          item 12, counted from 0, of a JSON list
    tvqa/tvqa_train.jsonl:12             line 12, counted from 1
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inarch.data.images import shown
from inarch.data.pairs.draft import Draft, Row, kind_of
from inarch.data.table import Problem

Files = Mapping[str, tuple[str, ...]]  # part -> its files below the root; all of them make the part
BOM = b"\xef\xbb\xbf"


def json_parts(root: Path, files: Files, draft: Draft) -> Iterator[tuple[str, Row]]:
    """Every item of every part's JSON lists, in order."""
    for part, file in present(root, files, draft):
        for row in json_rows(file, draft):
            yield part, row


def jsonl_parts(root: Path, files: Files, draft: Draft) -> Iterator[tuple[str, Row]]:
    """Every line of every part's JSON lines, in order."""
    for part, file in present(root, files, draft):
        for row in jsonl_rows(file, draft):
            yield part, row


def present(root: Path, files: Files, draft: Draft) -> Iterator[tuple[str, Path]]:
    """The files that are there. Training needs all of its own; a missing validation or test file leaves that part out."""
    for part, names in files.items():
        absent = [name for name in names if not (root / name).is_file()]
        if absent and part == "train":
            draft.problems += [Problem(shown(root / name), "no such file; the training part needs it") for name in absent]
        elif absent:
            draft.notes.append(f"no {part} part: {', '.join(absent)} is not below {shown(root)}")
        else:
            yield from ((part, root / name) for name in names)


def json_rows(file: Path, draft: Draft, member: str = "", hook: Callable[[dict[str, Any]], Any] | None = None) -> Iterator[Row]:
    """The items of the list in ``file``, or of its ``member``; each is let go once it was read."""
    where = shown(file)
    items = _parsed(file, draft, hook)
    if member and isinstance(items, dict):
        items, where = items.get(member), f"{where}: {member}"
    if items is None:
        return
    if not isinstance(items, list):
        draft.problems.append(Problem(where, f"{kind_of(items)}; expected a list of objects"))
        return
    for i in range(len(items)):
        cells, items[i] = items[i], None
        yield Row(cells, (f"{where}[", i, "]"), draft)


def _parsed(file: Path, draft: Draft, hook: Callable[[dict[str, Any]], Any] | None) -> Any:
    """The file's content, or None with a problem."""
    try:
        data = file.read_bytes()
        text = data.decode("utf-8-sig")
        skipped = len(BOM) if data.startswith(BOM) else 0
        del data
        return json.loads(text, object_hook=hook)
    except json.JSONDecodeError as error:
        byte = skipped + len(text[: error.pos].encode())
        reason = f"broken JSON at byte {byte:,} (line {error.lineno}): {error.msg}; fetch the file again"
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 at byte {error.start:,}; save it as UTF-8"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        reason = f"broken JSON: {error}"
    draft.problems.append(Problem(shown(file), reason))
    return None


def jsonl_rows(file: Path, draft: Draft) -> Iterator[Row]:
    """The object on each line that is not blank; a broken line is a problem, the next is read all the same."""
    where = shown(file)
    try:
        with file.open("rb") as handle:
            for line, data in enumerate(handle, start=1):
                try:
                    cells = _object_of(data, first=line == 1)
                except (ValueError, RecursionError) as error:
                    draft.problems.append(Problem(f"{where}:{line}", f"not a JSON object: {_why(error)}"))
                    continue
                if cells is not None:
                    yield Row(cells, (f"{where}:", line, ""), draft)
    except OSError as error:
        draft.problems.append(Problem(where, f"cannot be read: {error.strerror}"))


def _object_of(data: bytes, *, first: bool) -> Any:
    text = (data.removeprefix(BOM) if first else data).decode()  # the mark is an editor's habit, not data
    return json.loads(text, object_pairs_hook=_unique) if text.strip() else None


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start} of the line"
    return str(error)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key appears twice in {[key for key, _ in pairs]}")
    return found
