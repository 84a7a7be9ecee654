"""Seeded draws: the same images, in the same order, on every machine and for every file system.

    drawn from class c    q_c = count * n_c / n, rounded down; the largest remainders get one more; never a whole class
"""

from __future__ import annotations

import numpy as np


def stratified(rows: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``rows`` as (kept, drawn): ``count`` drawn in proportion to the classes, each class keeping at least one."""
    classes, members = np.unique(labels, return_inverse=True)
    sizes = np.bincount(members, minlength=len(classes))
    rng = np.random.default_rng([seed, count, len(rows)])
    chosen = np.zeros(len(rows), dtype=bool)
    for c, quota in enumerate(_quotas(sizes, count)):
        chosen[rng.permutation(np.flatnonzero(members == c))[:quota]] = True
    return rows[~chosen], rows[chosen]


def _quotas(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many to draw from each class: proportional, largest remainder first, and at most all but one."""
    share = count * sizes / max(int(sizes.sum()), 1)
    quotas = np.minimum(np.floor(share).astype(int), sizes - 1)
    for c in np.argsort(-(share - quotas), kind="stable"):
        if quotas.sum() < count and quotas[c] < sizes[c] - 1:
            quotas[c] += 1
    return quotas


def drawn(rows: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``rows`` as (kept, drawn) without classes: what is left for images of several labels each."""
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[np.random.default_rng([seed, count, len(rows)]).permutation(len(rows))[:count]] = True
    return rows[~chosen], rows[chosen]
