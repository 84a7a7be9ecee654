"""Which images, by address: id -> path or array.

    pets/                        every image below it; the id is its path from there without the suffix: ``cats/1``
    table.csv, table.jsonl       a column of paths from the table's folder; the id is the path as written: ``cats/1.jpg``
    questions.jsonl, vqa.npz     image-text data of one's own, as ``inarch train`` reads it; the ids are those of its examples
    datasets/ with tasks         every image that these published tasks need; the ids are the published ones
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch.data.draft import twins
from inarch.data.images import shown
from inarch.data.readers.folder import ACCEPTED
from inarch.data.readers.listing import IMAGE_COLUMNS, csv_rows, jsonl_rows, pick_column, unencodable
from inarch.errors import ConfigError, DataError
from inarch.features.survey import Image

TABLES = (".csv", ".jsonl", ".ndjson")


def images_at(address: str | Path, *, tasks: Sequence[str] = (), image_column: str | None = None) -> dict[str, Image]:
    """The images at ``address``; ``DataError`` lists what is missing or named twice.

    >>> images_at("pets")
    {'cats/1': PosixPath('pets/cats/1.jpg')}
    """
    place = Path(os.path.expanduser(address))
    if image_column is not None and (tasks or place.suffix.lower() not in TABLES):
        raise ConfigError(f"image_column means nothing for {shown(place)}; it names a column of a .csv or .jsonl table")
    if tasks:
        return _of_tasks(place, tasks)
    if place.is_dir():
        return _in_folder(place)
    if not place.is_file() or place.suffix.lower() not in (*TABLES, ".npz"):
        there = "a file of unknown kind" if place.exists() else "there is nothing"
        raise DataError(f"{shown(place)}: {there}; expected a folder of images, a .csv or .jsonl table, or image-text data (.jsonl, .npz)")
    if image_column is None and _asks(place):
        return _of_tasks(place, ("",))
    return _in_table(place, image_column)


def _in_folder(root: Path) -> dict[str, Image]:
    found: dict[str, Path] = {}
    double: list[str] = []
    for path in _files(root, (os.path.realpath(root),)):
        image = path.relative_to(root).with_suffix("").as_posix()
        if found.setdefault(image, path) != path:
            double.append(f"{shown(found[image])} and {shown(path)} would both be {image!r}")
    double += [f"{one!a} and {other!a} differ only in Unicode form" for one, other in twins(found, ignore_case=False)]
    if not found:
        raise DataError(f"{shown(root)}: no images in it; accepted are {', '.join(sorted(ACCEPTED))}")
    _refuse(double, f"{shown(root)}: {len(double)} ids are not unique", "rename one of each")
    return dict(found)


def _files(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Images below ``folder``, by name; hidden ones and circles of links are left out."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as problem:
        raise DataError(f"{shown(folder)}: cannot be listed: {problem.strerror}") from None
    for path in (folder / name for name in names if not name.startswith(".") and name != "__MACOSX"):
        if path.is_dir():
            real = os.path.realpath(path)
            yield from _files(path, (*above, real)) if real not in above else ()
        elif path.suffix.lower() in ACCEPTED:
            yield path


def _in_table(table: Path, column: str | None) -> dict[str, Image]:
    where = shown(table)
    rows = list(csv_rows(table) if table.suffix.lower() == ".csv" else jsonl_rows(table))
    if not rows:
        raise DataError(f"{where}: no rows; expected one per image")
    name = pick_column(f"{where}:1", list(dict.fromkeys(key for _, cells in rows for key in cells)), column, IMAGE_COLUMNS, "image_column")
    found: dict[str, Path] = {}
    wrong = []
    for line, cells in rows:
        cell = cells.get(name)
        if not isinstance(cell, str) or not cell.strip() or unencodable(cell):
            wrong.append(f"{where}:{line}: {name} is {cell!a}; expected the path of an image")
            continue
        image = Path(os.path.normpath(cell)).as_posix()
        found[image] = table.parent / image
    wrong += [f"no such image: {shown(path)}" for path in found.values() if not os.path.isfile(path)]
    _refuse(wrong, f"{where}: {len(wrong)} problem(s)", "mend the table")
    return dict(found)


def _asks(place: Path) -> bool:
    """Whether a file holds questions or captions; an ``.npz`` holds nothing else that has features."""
    from inarch.data.pairs.read import own_kind

    return place.suffix.lower() == ".npz" or (place.suffix.lower() != ".csv" and own_kind(place) is not None)


def _of_tasks(place: Path, tasks: Sequence[str]) -> dict[str, Image]:
    """The images that these tasks' examples are about."""
    from inarch.data.pairs.example import ordered_images
    from inarch.data.pairs.read import read_draft, refuse

    found: dict[str, Image] = {}
    missing: dict[str, None] = {}
    for task in tasks:
        draft = read_draft(place, task)
        refuse(draft, place, task)
        for image in ordered_images(example for part in draft.parts.values() for example in part):
            if image in draft.images:
                _add(found, image, draft.images)
            else:
                missing[image] = None
    _refuse(list(missing), f"{shown(place)}: {len(missing)} images are not there", "fetch them, or name their folder itself")
    return found


def _add(found: dict[str, Image], image: str, images: Mapping[str, Any]) -> None:
    source = images[image]
    known = found.setdefault(image, source)
    if isinstance(known, Path) and known != source:
        raise DataError(f"image id {image!r} is {shown(known)} in one task and {shown(source)} in another; extract their features apart")


def _refuse(wrong: list[str], what: str, cure: str) -> None:
    if wrong:
        more = [f"and {len(wrong) - 20} more"] if len(wrong) > 20 else []
        raise DataError(what + ":\n  " + "\n  ".join(wrong[:20] + more) + f"\n{cure}")
