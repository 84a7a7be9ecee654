"""Base and novel classes, and the rule that every class can be learned and every half be tested.

    base      the first ceil(classes / 2) labels, or those the data marks       novel      the rest
    label     renumbered from 0 within its half
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from inarch.data.fewshot.listing import PARTS, Listing, Pile, some
from inarch.data.table import Problem
from inarch.errors import DataError

Protocol = Literal["base-to-novel", "all"]
SMALLEST = 2  # classes of a half: with one, every answer is right


@dataclass(frozen=True)
class Plan:
    """One half before its images are opened."""

    name: str
    classes: tuple[str, ...]
    parts: dict[str, Pile]
    notes: tuple[str, ...]


def base_labels(listing: Listing) -> list[int]:
    """Labels of the base classes, in order."""
    count = len(listing.classes)
    return list(range(-(-count // 2))) if listing.base is None else [c for c in range(count) if listing.base[c]]


def novel_labels(listing: Listing) -> list[int]:
    return sorted({*range(len(listing.classes))} - {*base_labels(listing)})


def plan(listing: Listing, name: str, labels: list[int], parts: tuple[str, ...] = PARTS) -> Plan:
    """The images of ``labels``, numbered by their place in it."""
    number = np.full(len(listing.classes), -1, dtype=np.int64)
    number[labels] = np.arange(len(labels))
    kept = {}
    for part in parts:
        if part in listing.parts and np.isin(listing.parts[part].labels, labels).any():
            pile = listing.parts[part].pick(np.flatnonzero(number[listing.parts[part].labels] >= 0))
            kept[part] = Pile(pile.sources, pile.keys, pile.names, number[pile.labels])
    foreign = [name for c, name in enumerate(listing.classes) if number[c] < 0]
    notes = tuple(note for note in listing.notes if not any(repr(name) in note for name in foreign))
    return Plan(name, tuple(listing.classes[c] for c in labels), kept, notes)


def unlearnable(listing: Listing, protocol: Protocol) -> list[Problem]:
    """Classes without training images; only where the data marks the base classes may the novel ones have none."""
    if "train" not in listing.parts:
        return [Problem(listing.source, "no training images found; to be tested only, it needs protocol='all'")] * (protocol != "all")
    needed = base_labels(listing) if listing.base is not None and protocol != "all" else range(len(listing.classes))
    seen = {*listing.parts["train"].labels.tolist()}
    absent = [repr(listing.classes[c]) for c in needed if c not in seen]
    reason = f"{len(absent)} of {len(listing.classes)} classes have no training image: {some(absent)}; add some, or remove the class"
    return [Problem(listing.source, reason)] if absent else []


def check_halves(listing: Listing) -> None:
    """Refuse data that cannot be split into two halves of which both can be tested."""
    base, novel = base_labels(listing), novel_labels(listing)
    if min(len(base), len(novel)) < SMALLEST:
        found = f"{len(base)} base and {len(novel)} novel classes"
        raise DataError(f"{listing.source}: {found}; base-to-novel needs {SMALLEST} of each at least, or take protocol='all'")
    tested = {*listing.parts["test"].labels.tolist()} if "test" in listing.parts else set()
    for half, labels in (("base", base), ("novel", novel)):
        if not tested & {*labels}:
            raise DataError(f"{listing.source}: no test images of the {half} classes; add a test part, or set test_fraction")
