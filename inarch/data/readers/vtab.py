"""VTAB-1k list folders: ``train800.txt``, ``val200.txt``, ``train800val200.txt``, ``test.txt``, a "path label" per line.

    protocol None or "clean"    train = train800, val = val200            choose on val, refit on both
    protocol "released"         train = train800val200, no val            the research code's rule, for comparison only

Labels are integers and the classes are named by them. A draw of 1000 images misses classes of the larger tasks, so the
number of classes of the nineteen tasks is stated here, by the folder's name.
"""

from __future__ import annotations

import os
from pathlib import Path

from inarch.data.draft import Draft, Options, Part, file_part
from inarch.data.images import shown
from inarch.data.readers.arrays import unseen
from inarch.data.table import Problem
from inarch.errors import ConfigError, DataError

CLASSES = {
    "cifar": 100, "caltech101": 102, "dtd": 47, "oxford_flowers102": 102, "oxford_iiit_pet": 37, "svhn": 10, "sun397": 397,
    "patch_camelyon": 2, "eurosat": 10, "resisc45": 45, "diabetic_retinopathy": 5,
    "clevr_count": 8, "clevr_dist": 6, "dmlab": 6, "kitti": 4,
    "dsprites_loc": 16, "dsprites_ori": 16, "smallnorb_azi": 18, "smallnorb_ele": 9,
}  # fmt: skip
LISTS = ("train800.txt", "train800val200.txt")
PROTOCOLS = {
    "clean": {"train": "train800.txt", "val": "val200.txt", "test": "test.txt"},
    "released": {"train": "train800val200.txt", "test": "test.txt"},
}


def is_vtab(folder: Path) -> bool:
    return any((folder / name).is_file() for name in LISTS)


def read_vtab(root: Path, options: Options) -> Draft:
    """The lists that ``options.protocol`` names, as they are: nothing is drawn."""
    protocol = options.protocol or "clean"
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
    problems: list[Problem] = []
    parts = {part: _read_list(root, root / name, problems) for part, name in PROTOCOLS[protocol].items()}
    labels = {int(label) for part in ("train", "val") if part in parts for (label,) in parts[part].labels}
    count = max([CLASSES.get(Path(os.path.abspath(root)).name, 0), *(label + 1 for label in labels)])
    classes = tuple(map(str, range(count)))
    return Draft(shown(root), parts, classes=classes, whole=True, problems=problems, notes=unseen(parts["train"], classes))


def _read_list(root: Path, file: Path, problems: list[Problem]) -> Part:
    """One list; a path may hold blanks, because the label is split off once, from the right."""
    files: list[Path] = []
    labels: list[tuple[str, ...]] = []
    seen: dict[str, int] = {}
    for line, text in enumerate(_lines(file), start=1):
        if not text.strip():
            continue
        path, label = text.strip().rsplit(maxsplit=1) if len(text.split()) > 1 else (text.strip(), "")
        first = seen.setdefault(os.path.normpath(path), line)
        reason = _wrong(root / path, path, label, first if first != line else None)
        if reason:
            problems.append(Problem(f"{shown(file)}:{line}", reason))
        else:
            files.append(root / path)
            labels.append((str(int(label)),))
    return file_part(root, files, labels)


def _wrong(file: Path, path: str, label: str, first: int | None) -> str | None:
    if not (label.isascii() and label.isdigit()):
        return f"the label is {label!a}; expected 'path label' with a whole number of at least 0"
    if len(label) > 5:  # a label makes all classes below it
        return f"the label is {label[:20]}; expected fewer than 100,000 classes"
    if first is not None:
        return f"{path} was listed on line {first} already; expected one line per image"
    return None if os.path.isfile(file) else f"no such image: {shown(file)}"


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise DataError(f"{shown(file)}: no such file; a VTAB-1k folder needs it (or choose another protocol)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(file)}: cannot be read as UTF-8 text: {error}") from error
