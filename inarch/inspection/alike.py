"""Many matrices of one kind, one per layer: their sizes, their effective ranks, and how much each two of them say the same.

    cosine(M_l, M_k) = <M_l, M_k> / (|M_l| |M_k|)         between whole matrices: no choice of factors can change it
    M_l = P N_l Q^T with orthonormal P, Q                 the small N_l has the same norms, cosines and singular values
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from inarch.inspection import spectra

Square = list[list[float | None]]


@dataclass(frozen=True, eq=False)
class Alike:
    """``matrices`` ``[L, p, q]`` in double precision."""

    matrices: Tensor

    @cached_property
    def norms(self) -> list[float]:
        return self.matrices.flatten(1).norm(dim=1).tolist()

    @cached_property
    def ranks(self) -> list[float]:
        """Effective rank of every layer's matrix; 0 for a zero one."""
        return [spectra.effective_rank(values) for values in torch.linalg.svdvals(self.matrices)]

    def cosines(self) -> Square:
        """``[L, L]``; None where one of the two is zero."""
        return cosines(self.matrices)


def cosines(layers: Tensor) -> Square:
    """Of ``[L, ...]``, as ``Alike.cosines``."""
    flat = layers.flatten(1)
    norms = flat.norm(dim=1)
    ratio = (flat @ flat.mT / (norms[:, None] * norms)).tolist()
    there = (norms > 0).tolist()
    return [[value if there[i] and there[k] else None for k, value in enumerate(row)] for i, row in enumerate(ratio)]


def between(square: Square) -> tuple[float, float, float] | None:
    """Mean, least and largest over different layers; None where there are no two to compare."""
    pairs = [value for i, row in enumerate(square) for value in row[i + 1 :] if value is not None]
    return (sum(pairs) / len(pairs), min(pairs), max(pairs)) if pairs else None


def triangle(factor: Tensor) -> Tensor:
    """T ``[R, R]`` (or ``[n, R]``) with ``factor = Q T`` for an orthonormal Q: what of a tall factor ``[n, R]`` is not mere position."""
    return torch.linalg.qr(factor, mode="r").R


def told(found: Sequence[tuple[str, Square]]) -> str:
    """``down 0.98 (0.91 to 1.00), up 0.12 (-0.30 to 0.55)``; ``–`` where nothing can be compared."""
    said = []
    for name, square in found:
        spread = between(square)
        reach = f" ({spread[1]:.2f} to {spread[2]:.2f})" if spread and spread[1] < spread[2] else ""
        said.append(f"{name} –" if spread is None else f"{name} {spread[0]:.2f}{reach}")
    return ", ".join(said)
