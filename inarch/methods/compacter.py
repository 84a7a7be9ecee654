"""Compacter (Karimi Mahabadi et al., NeurIPS 2021, arXiv 2106.04647): bottleneck adapters whose matrices are sums of Kronecker products.

    H' = H + phi(H W_D + c) W_U + u      W = sum_n A_n (x) B_n        A_n [k, k] the n-th of k rules, B_n [in / k, out / k]
k is the hyper-complex division; rules are not shared and B is not factorised, as in VL-PET's scripts. It does not fold.
Trained per stack of L layers: L (2 (d r / k + k^3) + r + d); on 30 positions of BART-base at r = 96, k = 2: 2,238,240.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Built, Method, each_once, within
from inarch.errors import CannotGraft, ConfigError
from inarch.methods.bottleneck import Init, Sequential, Update
from inarch.ports import Stack

RULE_STD = 0.01
GAIN = math.sqrt(2)


@dataclass(frozen=True)
class Compacter(Method):
    """Compacter of width ``rank`` after the ``spans``, hyper-complex ``division`` k, which must divide ``rank`` and the width.

    init: ``normal`` (Glorot-uniform of gain sqrt(2), rules N(0, 0.01^2), biases zero: as released, not the identity at the start) or
    ``zero`` (B of the up-projection zero).
    """

    rank: int = 96
    spans: tuple[Literal["attn", "mlp", "cross"], ...] = ("attn", "mlp")
    division: int = 2
    init: Init = "normal"
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("Compacter", "division", self.division, 1, math.inf)
        within("Compacter", "rank", self.rank, 1, math.inf)
        each_once("Compacter", "spans", self.spans, "'attn', 'mlp', 'cross'")
        if self.rank % self.division:
            raise ConfigError(f"Compacter: division={self.division} does not divide rank={self.rank}")

    def wanted(self) -> tuple[str, ...]:
        return self.spans

    @property
    def identity_at_start(self) -> bool:
        return self.init == "zero"

    def build(self, stacks: list[Stack]) -> Built:
        return Built({s.name: Sequential(CompacterUpdate(s.depth, s.width_out, s.width_out, self.rank, self.init, self.division))
                      for s in stacks})


class CompacterUpdate(Update):
    """``down``, ``up``: ``Kronecker``; biases c ``[L, r]``, u ``[L, out]`` inside them."""

    def __init__(self, depth: int, dim: int, out: int, rank: int, init: Init, division: int = 2) -> None:
        super().__init__()
        self.down = Kronecker(depth, dim, rank, division)
        self.up = Kronecker(depth, rank, out, division, zero=init == "zero")

    def forward(self, source: Tensor, i: int) -> Tensor:
        return self.up(F.gelu(self.down(source, i), approximate="tanh"), i)


class Kronecker(nn.Module):
    """``x W + b`` per layer: ``rules`` A ``[L, k, k, k]``, ``blocks`` B ``[L, k, in / k, out / k]``, ``bias [L, out]``."""

    def __init__(self, depth: int, dim: int, out: int, division: int, *, zero: bool = False) -> None:
        super().__init__()
        if dim % division or out % division:
            raise CannotGraft(f"Compacter: division={division} does not divide the widths {dim} and {out}")
        self.rules = nn.Parameter(torch.randn(depth, division, division, division) * RULE_STD)
        self.blocks = nn.Parameter(torch.zeros(depth, division, dim // division, out // division))
        self.bias = nn.Parameter(torch.zeros(depth, out))
        for matrix in [] if zero else self.blocks.data.flatten(0, 1):
            nn.init.xavier_uniform_(matrix, gain=GAIN)

    def matrix(self, i: int) -> Tensor:
        """``[in, out]``."""
        return torch.einsum("nij,nab->iajb", self.rules[i], self.blocks[i]).flatten(2, 3).flatten(0, 1)

    def forward(self, x: Tensor, i: int) -> Tensor:
        return x @ self.matrix(i) + self.bias[i]
