"""The few-shot sample of the reference code: seeded at once before, train then val, over all classes, before any is set aside.

    items of a label, labels in order of first appearance      random.sample(items, k)       all of them where there are fewer
    k                                                          shots in train, min(shots, 4) in val; 0 means all images

The stream of ``random.seed(seed)`` is drawn from an own generator, so that nobody else's draws move and are moved.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

from inarch.data.fewshot.listing import Listing, Pile, item_lines, some

VAL_SHOTS = 4


def few(labels: Iterable[int], k: int, rng: random.Random) -> list[int]:
    """Rows of ``k`` items per label.

    >>> few([5, 5, 5, 2], 2, random.Random(1))
    [0, 2, 3]
    """
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        groups.setdefault(label, []).append(row)
    return [row for rows in groups.values() for row in (rng.sample(rows, k) if len(rows) >= k else rows)]


def sample(listing: Listing, shots: int, seed: int) -> None:
    """Cut train and val of ``listing`` to the sample; its test images stay."""
    if not shots or listing.sampled:
        return
    rng = random.Random(seed)
    for part, k in (("train", shots), ("val", min(shots, VAL_SHOTS))):
        if part in listing.parts:
            pile = listing.parts[part]
            listing.parts[part] = pile.pick(few(pile.labels.tolist(), k, rng))


def short_classes(pile: Pile, classes: tuple[str, ...], shots: int) -> list[str]:
    """A note on classes that have fewer than ``shots`` training images: all of theirs are used, none twice."""
    counts = {name: int((pile.labels == c).sum()) for c, name in enumerate(classes)}
    few_of = [f"{name!r} {count}" for name, count in counts.items() if count < shots]
    return [f"{len(few_of)} classes have fewer than {shots} training images, and use all they have: {some(few_of)}"] if few_of else []


def items_sha256(listing: Listing) -> str:
    """SHA-256 of the chosen training and validation items of all classes, a JSON line ``[part, key, label]`` each."""
    total = hashlib.sha256()
    for part in ("train", "val"):
        if part in listing.parts:
            total.update(item_lines(part, listing.parts[part]))
    return total.hexdigest()
