"""What a trained adaptation does, read from its factors: spectra and subspaces without the dense matrix.

    dA = F G                   F [D, r], G [r, E];   thin QR: F = P R, G^T = Q S   ->   dA = P (R S^T) Q^T
    singular values of dA      are those of the r x r core R S^T
    dA = W diag(c) W^T         has the symmetric core R diag(c) R^T with W = P R: its eigenvalues, those of
                               diag(c) W^T W, are real and signed (negative: the direction is damped, -1: removed)
All in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING = 1e-12  # singular values below this share of the largest are rounding, their vectors arbitrary


@dataclass(frozen=True, eq=False)
class Spectrum:
    """``dA = reads diag(singular) writes^T``: singular ``[k]`` sorted, reads ``[D, k]``, writes ``[E, k]`` orthonormal columns.

    ``eigenvalues`` ``[k]``, sorted by size, exist for a symmetric dA only.
    """

    singular: Tensor
    reads: Tensor
    writes: Tensor
    eigenvalues: Tensor | None = None

    @property
    def rank(self) -> int:
        """How many singular values are more than rounding."""
        return int((self.singular > NOTHING * self.singular.max()).sum())

    def leading(self, k: int) -> Tensor:
        """The (at most) k strongest input directions, ``[D, min(k, rank)]``."""
        return self.reads[:, : min(k, self.rank)]


def factored(down: Tensor, up: Tensor) -> Spectrum:
    """The spectrum of ``down up`` from an r x r problem, or from the matrix itself where r is no bottleneck."""
    down, up = down.double(), up.double()
    if down.shape[1] >= min(down.shape[0], up.shape[1]):
        left, singular, right = torch.linalg.svd(down @ up, full_matrices=False)
        return Spectrum(singular, left, right.mT)
    p, r = torch.linalg.qr(down)
    q, s = torch.linalg.qr(up.mT)
    left, singular, right = torch.linalg.svd(r @ s.mT)
    return Spectrum(singular, p @ left, q @ right.mT)


def symmetric(basis: Tensor, scale: Tensor) -> Spectrum:
    """The spectrum of ``W diag(c) W^T``, W ``[D, r]`` with r <= D, c ``[r]``."""
    p, r = torch.linalg.qr(basis.double())
    values, vectors = torch.linalg.eigh((r * scale.double()) @ r.mT)
    order = values.abs().argsort(descending=True)
    values, reads = values[order], p @ vectors[:, order]
    return Spectrum(values.abs(), reads, reads * values.sign(), values)


def energy(singular: Tensor) -> Tensor:
    """Share of ``||dA||^2`` in the first k directions, ``[k]``; zeros for dA = 0."""
    squares = singular.double().square()
    return squares.cumsum(0) / squares.sum().clamp(min=torch.finfo(torch.float64).tiny)


def energy_rank(singular: Tensor, share: float) -> int:
    """How many directions hold ``share`` of ``||dA||^2``; 0 for dA = 0."""
    return 0 if singular.max() == 0 else int((energy(singular) < share - NOTHING).sum()) + 1


def effective_rank(singular: Tensor) -> float:
    """``exp`` of the entropy of the normalised singular values (Roy and Vetterli, 2007); 0 for dA = 0."""
    if singular.max() == 0:
        return 0.0
    p = singular.double() / singular.double().sum()
    return float(torch.special.entr(p).sum().exp())


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Angles in radians, smallest first, between the column spaces of orthonormal ``a`` ``[D, j]`` and ``b`` ``[D, k]``.

    From sines and cosines together: the arc cosine alone loses half the digits of a small angle.
    """
    if a.shape[1] < b.shape[1]:
        a, b = b, a
    inner = a.mT @ b
    cosines = torch.linalg.svdvals(inner)
    sines = torch.linalg.svdvals(b - a @ inner).flip(0)
    return torch.atan2(sines, cosines)


def overlap(a: Tensor, b: Tensor) -> float | None:
    """Mean squared cosine of the principal angles: 1 the same space, ``k / D`` expected by chance; None for an empty space."""
    smaller = min(a.shape[1], b.shape[1])
    return float((a.mT @ b).square().sum()) / smaller if smaller else None
