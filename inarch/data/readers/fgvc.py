"""FGVC folders in VPT's split: ``train.json``, ``val.json``, ``test.json``, each one object ``{"path of an image": class id}``.

Paths begin in ``images/`` (CUB, NABirds), ``Images/`` (Dogs), or in the folder itself (Flowers, Cars), as in VPT's code (repository
KMnP/vpt at 7f3942e, json_dataset.py). A class is called by its id; the numbering is that of the training file, for every part.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from inarch.data.draft import PARTS, Draft, Options, Part, file_part
from inarch.data.images import shown
from inarch.data.table import Problem
from inarch.errors import Corrupt, DataError
from inarch.strict_json import parse_json

NEEDED = ("train.json", "test.json")
IMAGE_FOLDERS = ("images", "Images")


def is_fgvc(folder: Path) -> bool:
    return all((folder / name).is_file() for name in NEEDED)


def read_fgvc(root: Path, options: Options) -> Draft:
    """The parts that have a file, as they are: nothing is drawn where ``val.json`` is there."""
    problems: list[Problem] = []
    images = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), root)
    files = {part: root / f"{part}.json" for part in PARTS}
    parts = {part: _part(root, images, file, problems) for part, file in files.items() if file.is_file()}
    return Draft(shown(root), parts, whole="val" in parts, problems=problems + _shared(root, parts))


def _part(root: Path, images: Path, file: Path, problems: list[Problem]) -> Part:
    paths: list[Path] = []
    labels: list[tuple[str, ...]] = []
    for name, number in _pairs(file).items():
        reason = _wrong(images, name, number)
        if reason:
            problems.append(Problem(f"{shown(file)}: {name!r}", reason))
        else:
            paths.append(images / name)
            labels.append((str(number),))
    return file_part(root, paths, labels)


def _pairs(file: Path) -> dict[str, Any]:
    try:
        return parse_json(file.read_bytes(), file)
    except Corrupt as problem:
        raise DataError(f"{problem}; expected VPT's form, {{\"path\": class id}} with every path once") from None
    except OSError as problem:
        raise DataError(f"{shown(file)}: cannot be read: {problem.strerror}") from problem


def _wrong(images: Path, name: str, number: Any) -> str | None:
    if type(number) is not int or number < 0:
        return f"the class id is {number!r}; expected a whole number of at least 0"
    if not name or os.path.isabs(name) or ".." in Path(name).parts:
        return f"the path leaves {shown(images)}; expected one below it"
    return None if os.path.isfile(images / name) else f"no such image: {shown(images / name)}"


def _shared(root: Path, parts: dict[str, Part]) -> list[Problem]:
    """Images of two parts: what is learned from must not be scored."""
    seen: dict[str, str] = {}
    found = []
    for part, images in parts.items():
        for key in images.keys:
            if (first := seen.setdefault(key, part)) != part:
                found.append(Problem(f"{shown(root)}: {key!r}", f"in {first}.json and in {part}.json; expected in one of them"))
    return found
