"""The images of one half looked at once, as everywhere before training: bad ones refused or skipped, the rest as tables with a hash."""

from __future__ import annotations

import numpy as np

from inarch.data.check import Look, Progress, remarks, survey
from inarch.data.draft import Draft, Part
from inarch.data.fewshot.listing import Pile, refuse
from inarch.data.load import MAX_BAD_SHARE
from inarch.data.table import Table, fingerprint
from inarch.errors import DataError

Tables = dict[str, Table]


def looked(
    classes: tuple[str, ...], parts: dict[str, Pile], address: object, *, skip: bool, max_pixels: int, progress: Progress | None
) -> tuple[Tables, str, list[str]]:
    """Tables by part, the hash of exactly these images and labels, and notes."""
    looks = look_at(parts, str(address), max_pixels, progress)
    notes = _judge(classes, parts, looks, address, skip)
    good = {part: [i for i, look in enumerate(seen) if look.problem is None] for part, seen in looks.items()}
    kept = {part: pile.pick(good[part]) if len(good[part]) < len(pile) else pile for part, pile in parts.items()}
    tables = {part: Table(pile.sources, pile.labels, pile.names, max_pixels=max_pixels) for part, pile in kept.items()}
    seen = {part: [looks[part][i] for i in rows] for part, rows in good.items()}
    sha256 = fingerprint(classes, {part: (tables[part], [look.content for look in seen[part]]) for part in tables})
    return tables, sha256, notes + remarks(seen)


def look_at(parts: dict[str, Pile], source: str, max_pixels: int, progress: Progress | None) -> dict[str, list[Look]]:
    piles = {part: Part(pile.sources, pile.keys, pile.names) for part, pile in parts.items()}
    return survey(Draft(source, piles), max_pixels=max_pixels, progress=progress)


def _judge(classes: tuple[str, ...], parts: dict[str, Pile], looks: dict[str, list[Look]], address: object, skip: bool) -> list[str]:
    bad = [look.problem for seen in looks.values() for look in seen if look.problem]
    if not skip:
        refuse(bad, address)
    total = sum(map(len, looks.values()))
    if len(bad) > MAX_BAD_SHARE * total:
        found = f"{len(bad)} of {total} images are bad ({len(bad) / total:.1%}); first: {bad[0]}"
        raise DataError(f"{found}\non_bad_image='skip' drops at most {MAX_BAD_SHARE:.0%}; restore the files, or remove them")
    if "train" in parts:
        good = np.array([look.problem is None for look in looks["train"]], dtype=bool)
        emptied = sorted({*parts["train"].labels.tolist()} - {*parts["train"].labels[good].tolist()})
        if emptied:
            name = classes[emptied[0]]
            raise DataError(f"class {name!r} has no readable training image left in the sample; restore its files, or change the seed")
    return [f"{len(bad)} bad images were skipped (first: {bad[0]})"] if bad else []
