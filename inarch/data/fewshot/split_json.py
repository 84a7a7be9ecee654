"""CoOp's split files: one JSON object with ``train``, ``val`` and ``test``, each a list of ``[path, label, class name]``.

    {"train": [["Faces/image_0274.jpg", 0, "face"], ...], "val": [...], "test": [...]}

Paths are relative to the image root of the data set; labels run from 0 without gaps; ``_`` in a name is a blank in a prompt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inarch.data.fewshot.gather import Gather
from inarch.data.fewshot.listing import PARTS, Listing
from inarch.data.images import shown
from inarch.errors import DataError, nearest

SHOWN = 10


def read_split(file: Path, images: Path, dataset: str = "") -> Listing:
    """The rows of ``file`` with images below ``images``."""
    where = shown(file)
    gather = Gather(where, images)
    content = _parsed(file)
    for part in PARTS:
        if part not in content:
            gather.wrong(where, f"no key {part!r}; {nearest(part, content)}")
    for key in content.keys() - set(PARTS):
        gather.wrong(where, f"unknown key {key!r}; expected exactly train, val and test")
    for part in PARTS:
        _add_part(gather, where, part, content.get(part, []))
    return gather.listing(dataset or file.stem.removeprefix("split_zhou_"))


def _add_part(gather: Gather, where: str, part: str, rows: Any) -> None:
    if not isinstance(rows, list):
        gather.wrong(where, f"{part} is {type(rows).__name__}; expected a list of [path, label, class name]")
        return
    for i, row in enumerate(rows):
        place = f"{where}: {part}[{i}]"
        if isinstance(row, list) and len(row) == 3:
            gather.add(part, place, *row)
        else:
            gather.wrong(place, f"is {ascii(row)[:60]}; expected [path, label, class name]")


def _parsed(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_object)
    except OSError as error:
        raise DataError(f"{shown(file)}: cannot be read: {error.strerror}; expected a split file of CoOp's form") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(file)}: not UTF-8 at byte {error.start}; fetch the split file again") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown(file)}: broken JSON: {error}; fetch the split file again") from error
    if not isinstance(content, dict):
        raise DataError(f"{shown(file)}: a JSON {type(content).__name__}; expected an object with train, val and test")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key appears twice in {[key for key, _ in pairs][:SHOWN]}")
    return found
