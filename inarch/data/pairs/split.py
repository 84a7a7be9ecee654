"""Parts by seed, drawn image by image: no image, and no copy of one, is in two parts.

    group      examples joined by an image, or by two images with equal pixels        (two images of one example join both)
    part       groups in a seeded order, as long as they fit into round(fraction * examples)
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from inarch.data.pairs.example import Example
from inarch.errors import ConfigError, DataError, nearest

Parts = dict[str, list[Example]]


def by_image(examples: Sequence[Example], fractions: Mapping[str, float], seed: int, same: Mapping[str, Hashable]) -> Parts:
    """``examples`` as train and the parts of ``fractions``; ``same[image]`` is equal for images that are copies."""
    groups = _groups(examples, same)
    order = np.random.default_rng([seed, len(examples), len(groups)]).permutation(len(groups)).tolist()
    part_of: dict[int, str] = {}
    for part, fraction in fractions.items():
        taken = 0
        quota = round(fraction * len(examples))
        for g in order:
            if g not in part_of and taken + len(groups[g]) <= quota:
                part_of[g], taken = part, taken + len(groups[g])
        if fraction and not taken:
            few = f"{len(groups)} groups of examples that share no image are too few for {part}_fraction={fraction}"
            raise DataError(f"{few}; add a split column, or set {part}_fraction=0")
    where = {i: part_of.get(g, "train") for g, members in enumerate(groups) for i in members}
    return {part: chosen for part in ("train", *fractions) if (chosen := [e for i, e in enumerate(examples) if where[i] == part])}


def _groups(examples: Sequence[Example], same: Mapping[str, Hashable]) -> list[list[int]]:
    """Rows that must stay together, each group in order."""
    above: dict[Hashable, Hashable] = {}

    def top(name: Hashable) -> Hashable:
        while above.setdefault(name, name) != name:
            above[name] = name = above[above[name]]  # halves the way for the next one
        return name

    for example in examples:
        first = top(same[example.images[0]])
        for image in example.images[1:]:
            above[top(same[image])] = first
    found: dict[Hashable, list[int]] = {}
    for i, example in enumerate(examples):
        found.setdefault(top(same[example.images[0]]), []).append(i)
    return list(found.values())


def limited(parts: Parts, limit: Mapping[str, int], seed: int, notes: list[str]) -> Parts:
    """At most ``limit[part]`` examples of a part, drawn by seed, in their old order; said in ``notes``."""
    kept = dict(parts)
    for part, count in limit.items():
        if part not in parts:
            raise ConfigError(f"limit: no part {part!r}; {nearest(part, parts)}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"limit: {part} is {count!r}; expected a whole number of at least 1")
        total = len(parts[part])
        if count < total:
            rows = np.sort(np.random.default_rng([seed, total, count]).permutation(total)[:count])
            kept[part] = [parts[part][i] for i in rows.tolist()]
            notes.append(f"{part}: {count} of {total} examples, drawn with seed {seed}")
    return kept
