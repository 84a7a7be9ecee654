"""All that is wrong with few-shot data or a table of captions in one list, every image opened, the novel ones too."""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path

from inarch.data.check import Progress, Report, remarks
from inarch.data.fewshot.address import is_fewshot, read_listing
from inarch.data.fewshot.caption_files import ARRAYS, CAPTION_COLUMNS, PREFIX, read_captioned
from inarch.data.fewshot.captions import look_at as look_at_captioned
from inarch.data.fewshot.captions import text_notes
from inarch.data.fewshot.halves import unlearnable
from inarch.data.fewshot.look import look_at
from inarch.data.images import MAX_PIXELS
from inarch.data.readers.listing import LABEL_COLUMNS


def check_fewshot(address: str | Path, *, max_pixels: int = MAX_PIXELS, progress: Progress | None = None) -> Report:
    """Every problem of the few-shot data at ``address``; raises only if there is nothing to read.

    >>> check_fewshot("coop:EuroSAT@datasets").problems[0]
    Problem(file='datasets/eurosat/split_zhou_EuroSAT.json: train[7]', reason='no such image: ...')
    """
    listing = read_listing(address)
    problems = listing.problems or ([] if listing.parts.keys() == {"test"} else unlearnable(listing, "all"))
    looks = look_at(listing.parts, listing.source, max_pixels, progress)
    bad = [look.problem for seen in looks.values() for look in seen if look.problem]
    counts = {part: len(pile) for part, pile in listing.parts.items()} | {"classes": len(listing.classes), "bad": len(bad)}
    return Report([*problems, *bad], counts, listing.notes + remarks(looks))


def check_captions(address: str | Path, *, max_pixels: int = MAX_PIXELS, progress: Progress | None = None) -> Report:
    """Every problem of a table of captions."""
    found = read_captioned(address)
    looks = look_at_captioned(found, max_pixels, progress)
    bad = [look.problem for look in looks if look.problem]
    counts = {"images": len(found.keys), "captions": len(found.captions), "bad": len(bad)}
    return Report(found.problems + bad, counts, [*found.notes, *text_notes(found, found.part_of), *remarks({"images": looks})])


def kind_at(address: str | Path) -> str | None:
    """``fewshot`` or ``captions`` where ``inarch check-data`` finds one of them, else None."""
    if is_fewshot(address):
        return "fewshot"
    file = Path(os.fspath(address)).expanduser()
    own = file.is_file() and (_columns(file) if file.suffix.lower() == ".csv" else _keys(file) if file.suffix.lower() == ARRAYS else False)
    return "captions" if own or os.fspath(address).startswith(PREFIX) else None


def _columns(file: Path) -> bool:
    """Whether a ``.csv`` has captions, and nothing that could be a label."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            columns = {cell.strip() for cell in next(csv.reader(handle), [])}
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return bool(columns & {*CAPTION_COLUMNS}) and not columns & {*LABEL_COLUMNS}


def _keys(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            names = {Path(name).stem for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False
    return "images" in names and bool(names & {"caption", "captions"})
