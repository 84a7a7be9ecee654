"""Every core of AdaRing once, and what they say in a forward.

    unit        the stacks of one tower and width d: they share the feature cores A [a, d, b] and B [c, d, a]
    owner       of the cores between the features: one unit, or "all" where units of equal depth share them
    adapter     down  D_l = CS_l Bhat,  CS_l = sum_b C[a,k,b] S[b,l,c]        up  U_l = Ahat SC_l,  SC_l = sum_c S'[b,l,c] C'[c,k,a]
    linear      dW_l = Ahat (S_l kron I) Bhat
Experts of several ranks stand side by side: one thin product in and one out serve the whole bank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.methods import tensor_ring as ring

HEAD = 64  # width of an attention head of every CLIP
Slices = Literal["identity", "orthogonal"]


@dataclass(frozen=True)
class Ranks:
    """Of one expert: ``around`` a, ``left`` b and ``right`` c of the slices ``[b, L, c]``."""

    around: int
    left: int
    right: int

    @property
    def terms(self) -> int:
        """Of the sum that an entry of a matrix is."""
        return self.around * self.left


@dataclass(frozen=True)
class Draw:
    """How cores start: the ``slices`` of down, and the standard deviations of B, A, C and C'.

    ``open``: up is not zero at the start either; D has variance 2 / m and U variance 2 / d (MMA's, for the parity mode).
    """

    slices: Slices = "identity"
    open: bool = False

    def features(self, ranks: Ranks, dim: int, width: int | None, first: int) -> tuple[float, float]:
        """Of B and A; ``first``: d of the unit whose A is as large as C'."""
        if not self.open or width is None:
            return 1 / math.sqrt(dim), 1 / math.sqrt(ranks.terms)
        c, c_up = self.hidden(ranks, width, first)
        return math.sqrt(2 / width / ranks.terms) / c, math.sqrt(2 / dim / ranks.terms) / c_up

    def hidden(self, ranks: Ranks, width: int, first: int) -> tuple[float, float]:
        """Of C and C'; with S = I an entry of C S B has variance a b var(C) var(B)."""
        if not self.open:
            return 1 / math.sqrt(ranks.terms), math.sqrt(2 / width)
        return (2 / width / ranks.terms) ** 0.25, (2 / first / ranks.terms) ** 0.25


@dataclass(frozen=True)
class Unit:
    """``name`` (``vision_768``), ``dim`` d, ``places`` slices it needs, ``owner`` of the cores between its features."""

    name: str
    dim: int
    places: int
    owner: str


class Features(nn.Module):
    """``into`` B ``[c, d, a]`` and ``out`` A ``[a, d, b]`` of one expert and unit."""

    def __init__(self, ranks: Ranks, dim: int, spread: tuple[float, float]) -> None:
        super().__init__()
        self.into = nn.Parameter(torch.randn(ranks.right, dim, ranks.around) * spread[0])
        self.out = nn.Parameter(torch.randn(ranks.around, dim, ranks.left) * spread[1])

    def forward(self, patterns: Patterns | None) -> tuple[Tensor, Tensor]:
        return self.into, self.out


class HeadFeatures(nn.Module):
    """The same with d = heads x 64: ``into`` H ``[c, n, w]`` and ``out`` ``[a, n, w]``, whose patterns within a head are everybody's."""

    def __init__(self, ranks: Ranks, dim: int, spread: tuple[float, float]) -> None:
        super().__init__()
        heads, within = dim // HEAD, ranks.left
        self.into = nn.Parameter(torch.randn(ranks.right, heads, within) / math.sqrt(heads))
        self.out = nn.Parameter(torch.randn(ranks.around, heads, within) / math.sqrt(ranks.around))

    def forward(self, patterns: Patterns | None) -> tuple[Tensor, Tensor]:
        """B[c,(h,p),a] = sum_w H[c,h,w] P[w,p,a], and A in the same way."""
        assert patterns is not None  # the bank gives them with such features
        into = torch.einsum("chw,wpa->chpa", self.into, patterns.into).flatten(1, 2)
        return into, torch.einsum("ahw,wpb->ahpb", self.out, patterns.out).flatten(1, 2)


class Patterns(nn.Module):
    """``into`` P ``[w, 64, a]`` and ``out`` ``[w, 64, b]`` of one expert: shared by layers and towers."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.into = nn.Parameter(torch.randn(ranks.left, HEAD, ranks.around) / math.sqrt(HEAD * ranks.left))
        self.out = nn.Parameter(torch.randn(ranks.left, HEAD, ranks.left) / ranks.left)


class Hidden(nn.Module):
    """Between the features, m wide: ``down`` C ``[a, m, b]``, ``down_slices`` S, ``up_slices`` S', ``up`` C' ``[c, m, a]``."""

    def __init__(self, ranks: Ranks, width: int, places: int, draw: Draw, first: int) -> None:
        super().__init__()
        around, left, right = ranks.around, ranks.left, ranks.right
        down, up = draw.hidden(ranks, width, first)
        self.down = nn.Parameter(torch.randn(around, width, left) * down)
        self.down_slices = nn.Parameter(first_slices(left, places, right, draw.slices))
        start = first_slices(left, places, right, draw.slices) if draw.open else torch.zeros(left, places, right)
        self.up_slices = nn.Parameter(start)
        self.up = nn.Parameter(torch.randn(right, width, around) * up)


class Line(nn.Module):
    """Between the features of a linear update: ``slices`` S ``[b, L, c]`` alone, zero at the start."""

    def __init__(self, ranks: Ranks, places: int) -> None:
        super().__init__()
        self.slices = nn.Parameter(torch.zeros(ranks.left, places, ranks.right))


def first_slices(left: int, places: int, right: int, kind: Slices) -> Tensor:
    """``[b, L, c]``: the identity in every layer, or for each layer a random orthogonal matrix of its own."""
    if kind == "identity":
        return torch.eye(left, right).unsqueeze(1).repeat(1, places, 1)
    return torch.stack([nn.init.orthogonal_(torch.empty(left, right)) for _ in range(places)], dim=1)


class Bank(nn.Module):
    """All cores: ``features[unit][e]``, ``between[owner][e]`` and, for heads, ``patterns[e]``. ``width`` None: linear updates."""

    def __init__(self, experts: Sequence[Ranks], units: Sequence[Unit], width: int | None, heads: bool, draw: Draw) -> None:
        super().__init__()
        kind = HeadFeatures if heads else Features
        self.experts, self.owners = tuple(experts), {unit.name: unit.owner for unit in units}
        self.gates = nn.ParameterDict()  # of each unit, as the method says
        first = {unit.owner: unit for unit in reversed(units)}
        self.features = nn.ModuleDict({unit.name: nn.ModuleList(
            kind(r, unit.dim, draw.features(r, unit.dim, width, first[unit.owner].dim)) for r in experts) for unit in units})
        self.between = nn.ModuleDict({owner: nn.ModuleList(
            Line(r, unit.places) if width is None else Hidden(r, width, unit.places, draw, unit.dim) for r in experts)
            for owner, unit in first.items()})
        self.patterns = nn.ModuleList(Patterns(r) for r in experts) if heads else None

    def cores(self, unit: str) -> list[tuple[Tensor, Tensor]]:
        """(B, A) of every expert."""
        patterns = self.patterns if self.patterns is not None else [None] * len(self.experts)
        found: Any = self.features[unit]
        return [of(p) for of, p in zip(found, patterns, strict=True)]

    def thin(self, unit: str) -> tuple[Tensor, Tensor]:
        """Bhat ``[sum ca, d]`` and Ahat ``[d, sum ba]`` of all experts."""
        cores = self.cores(unit)
        return torch.cat([ring.columns(b) for b, _ in cores]), torch.cat([ring.rows(a) for _, a in cores], dim=1)

    def bottleneck(self, unit: str, at: slice) -> tuple[Tensor, Tensor]:
        """Block-diagonal over experts, for the layers ``at``: CS ``[L, E m, sum ca]`` and SC ``[L, sum ba, E m]``."""
        found: Any = self.between[self.owners[unit]]
        down = [ring.folded(e.down, e.down_slices[:, at]) for e in found]
        up = [ring.folded_up(e.up_slices[:, at], e.up) for e in found]
        return diagonal(down), diagonal(up)

    def diagonal_line(self, unit: str, at: slice, gates: Tensor) -> Tensor:
        """``g_e S_e kron I_a`` block-diagonal over experts ``[L, sum ba, sum ca]`` for the places ``at``; gates ``[L, E]``."""
        found: Any = self.between[self.owners[unit]]
        blocks = [ring.middles(e.slices[:, at], r.around) for e, r in zip(found, self.experts, strict=True)]
        return diagonal([block * gates[:, e, None, None] for e, block in enumerate(blocks)])


def diagonal(blocks: Sequence[Tensor]) -> Tensor:
    """``[L, sum n, sum m]`` of blocks ``[L, n, m]``."""
    total, before, rows = sum(b.shape[2] for b in blocks), 0, []
    for block in blocks:
        rows.append(F.pad(block, (before, total - before - block.shape[2])))
        before += block.shape[2]
    return torch.cat(rows, dim=1)
