"""The published sets in the folders that CoOp's code expects; those without a split file have a layout of their own.

    ImageNet        images/{train,val}/WNID/; label = place of the folder among the sorted ones; val is the test part
    FGVCAircraft    images_variant_{train,val,test}.txt with "number variant" lines; label = line of variants.txt
    ImageNetV2      .../0/ to .../999/, numbered by the line of classnames.txt
    Sketch, A, R    WNID folders; label = place among the sorted ones
    classnames.txt  "WNID name with blanks" lines; beside the images, or that of imagenet/
"""

from __future__ import annotations

import os
from pathlib import Path

from inarch.data.fewshot.gather import Gather
from inarch.data.fewshot.listing import Listing, some
from inarch.data.fewshot.sets import Published, published
from inarch.data.fewshot.split_json import read_split
from inarch.data.images import shown
from inarch.errors import DataError, nearest

VARIANTS, CLASSNAMES = "variants.txt", "classnames.txt"


def read_published(name: str, root: Path) -> Listing:
    """The data set ``name`` below ``root``."""
    row = published(name)
    place = root / row.folder
    if not place.is_dir():
        raise DataError(f"{shown(place)}: no such folder; {row.name} is expected there, in the layout of CoOp's DATASETS.md")
    if row.layout == "split":
        listing = read_split(place / row.split, place / row.images, row.name)
    else:
        gather = Gather(shown(place), place / row.images)
        if gather.there:
            READERS[row.layout](place, gather)
        listing = gather.listing(row.name, twins=row.layout != "aircraft")
    _compare(row, listing)
    return listing


def _compare(row: Published, listing: Listing) -> None:
    sizes = tuple(len(listing.parts[part]) if part in listing.parts else 0 for part in ("train", "val", "test"))
    if (len(listing.classes), sizes) != (row.classes, row.sizes):
        found = f"{len(listing.classes)} classes and {'/'.join(map(str, sizes))} train/val/test images"
        listing.notes.append(f"{found}; {row.name} was published with {row.classes} and {'/'.join(map(str, row.sizes))}")


def _aircraft(place: Path, gather: Gather) -> None:
    variants = [line for _, line in _lines(place / VARIANTS)]
    for label, name in enumerate(variants):
        gather.declare(label, name, f"{shown(place / VARIANTS)}:{label + 1}")
    label_of = {name: label for label, name in enumerate(variants)}
    for part in ("train", "val", "test"):
        file = place / f"images_variant_{part}.txt"
        for number, line in _lines(file):
            image, _, name = line.partition(" ")
            if name in label_of:
                gather.add(part, f"{shown(file)}:{number}", f"{image}.jpg", label_of[name], name)
            else:
                gather.wrong(f"{shown(file)}:{number}", f"variant {name!r} is not in {VARIANTS}; {nearest(name, label_of)}")


def _imagenet(place: Path, gather: Gather) -> None:
    names = dict(_classnames(place, gather))
    folders = _folders(gather.root / "train", gather)
    _wnids(gather, "train", folders, names)
    strangers = [folder for folder in _folders(gather.root / "val", gather) if folder not in folders]
    if strangers:
        gather.wrong(shown(gather.root / "val"), f"folders that train/ lacks: {some(strangers)}; expected the same classes")
    for label, folder in enumerate(folders):
        _class_folder(gather, "test", f"val/{folder}", label, names.get(folder))


def _sorted_folders(place: Path, gather: Gather) -> None:
    _wnids(gather, "test", _folders(gather.root, gather), dict(_classnames(place, gather)))


def _wnids(gather: Gather, part: str, folders: list[str], names: dict[str, str]) -> None:
    for label, folder in enumerate(folders):
        path = f"{part}/{folder}" if part == "train" else folder
        if folder in names:
            gather.declare(label, names[folder], shown(gather.root / path))
        else:
            gather.wrong(shown(gather.root / path), f"{CLASSNAMES} has no line for {folder}; add it, or remove the folder")
        if not _class_folder(gather, part, path, label, names.get(folder)):
            gather.wrong(shown(gather.root / path), "a class folder without images; add images or remove it")


def _numbered(place: Path, gather: Gather) -> None:
    lines = _classnames(place, gather)
    for label, (_, name) in enumerate(lines):
        gather.declare(label, name, f"{CLASSNAMES}:{label + 1}")
        if not _class_folder(gather, "test", str(label), label, name):
            gather.wrong(shown(gather.root / str(label)), f"no images of class {label}, {name!r}; fetch the data set again")
    known = {str(label) for label in range(len(lines))}
    for folder in _folders(gather.root, gather):
        if folder not in known:
            gather.wrong(shown(gather.root / folder), f"expected folders 0 to {len(lines) - 1}, one per line of {CLASSNAMES}")


def _class_folder(gather: Gather, part: str, path: str, label: int, name: str | None) -> int:
    """Take every file of one class folder; how many there are."""
    files = _listed(gather.root / path, folders=False) if (gather.root / path).is_dir() else []
    for file in files if name is not None else ():
        gather.add(part, shown(gather.root / path / file), f"{path}/{file}", label, name, exists=True)
    return len(files)


def _folders(place: Path, gather: Gather) -> list[str]:
    found = _listed(place, folders=True) if place.is_dir() else []
    if not found:
        gather.wrong(shown(place), "no class folders; expected one per class, named by its WordNet id or number")
    return found


def _listed(place: Path, *, folders: bool) -> list[str]:
    """Names in one order on every file system; hidden ones are nobody's images."""
    with os.scandir(place) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir() == folders)


def _classnames(place: Path, gather: Gather) -> list[tuple[str, str]]:
    """(WordNet id, name) of each line."""
    beside = place / CLASSNAMES
    file = beside if beside.is_file() else place.parent / "imagenet" / CLASSNAMES
    found: dict[str, str] = {}
    for number, line in _lines(file):
        wnid, _, name = line.partition(" ")
        if not name.strip() or wnid in found:
            reason = f"{wnid} was named before; expected one line for each" if wnid in found else f"{line!r}; expected 'WNID name'"
            gather.wrong(f"{shown(file)}:{number}", reason)
        found.setdefault(wnid, name.strip())
    return list(found.items())


def _lines(file: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{shown(file)}: no such file; it belongs to the data set") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(file)}: cannot be read as UTF-8 text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


READERS = {"imagenet": _imagenet, "aircraft": _aircraft, "numbered": _numbered, "wnids": _sorted_folders}
