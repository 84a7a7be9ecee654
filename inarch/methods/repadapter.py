"""RepAdapter (Luo et al., 2023, arXiv 2302.08106).

    H = U + s (dropout(U D_l^T + a_l) G_l + b_l)          U [*, d]  what enters attention or the MLP, after its norm
    D_l [r, d] Xavier-uniform, a_l [r], b_l [d] zero      G_l = diag(B_l1, ..., B_lk)  k groups, B_lg [r / k, d / k] zero
Linear, so it folds into whatever reads H (the paper's re-parameterisation).
Trained per stack of L layers: L (d r + d r / k + r + d); for both spans of ViT-B/16 at r = 8, k = 2: 239,808, of which 221,184 are the
matrices. The released training also adds the norm of every B to the loss, which is no part of this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, Pre, each_once, within
from inarch.errors import CannotGraft, ConfigError
from inarch.ports import Stack


@dataclass(frozen=True)
class RepAdapter(Method):
    """A linear bottleneck of width ``rank`` whose way up has ``groups``, before the ``spans``; ``("attn",)`` is the paper's smaller form.

    scale: s, which the release searched for per data set.
    """

    rank: int = 8
    groups: int = 2
    scale: float = 1.0
    dropout: float = 0.1
    spans: tuple[Literal["attn", "mlp"], ...] = ("attn", "mlp")
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("RepAdapter", "rank", self.rank, 1, math.inf)
        within("RepAdapter", "groups", self.groups, 1, math.inf)
        within("RepAdapter", "dropout", self.dropout, 0, 1, open_above=True)
        if self.rank % self.groups:
            raise ConfigError(f"RepAdapter: groups={self.groups} does not divide rank={self.rank}")
        if not self.scale:
            raise ConfigError("RepAdapter: scale=0 would train nothing; expected another number")
        each_once("RepAdapter", "spans", self.spans, "'attn', 'mlp' or both")

    def wanted(self) -> tuple[str, ...]:
        return self.spans

    @property
    def identity_at_start(self) -> bool:
        return True

    def build(self, stacks: list[Stack]) -> Built:
        for stack in stacks:
            if stack.width_in % self.groups:
                raise CannotGraft(f"RepAdapter: groups={self.groups} does not divide the width {stack.width_in} of {stack.name}")
        return Built({stack.name: GroupedAdapter(self, stack) for stack in stacks})


class GroupedAdapter(Adapter):
    """``down`` D ``[L, r, d]``, ``down_bias`` a ``[L, r]``, ``up`` B ``[L, k, r / k, d / k]``, ``up_bias`` b ``[L, d]``."""

    def __init__(self, config: RepAdapter, stack: Stack) -> None:
        super().__init__()
        self.scale, self.dropout = config.scale, config.dropout
        depth, dim, rank, k = stack.depth, stack.width_in, config.rank, config.groups
        self.down = nn.Parameter(torch.empty(depth, rank, dim).uniform_(-1, 1) * math.sqrt(6 / (dim + rank)))
        self.down_bias = nn.Parameter(torch.zeros(depth, rank))
        self.up = nn.Parameter(torch.zeros(depth, k, rank // k, dim // k))
        self.up_bias = nn.Parameter(torch.zeros(depth, dim))

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    def before(self, x: Tensor, i: int, given: Any) -> Tensor:
        z = F.dropout(F.linear(x, self.down[i], self.down_bias[i]), self.dropout, self.training)
        return x + (z @ torch.block_diag(*self.up[i]) + self.up_bias[i]) * self.scale

    def affine(self, i: int, given: Any) -> Pre:
        up = torch.block_diag(*self.up[i]) * self.scale
        return Pre(self.down[i].mT, up, self.down_bias[i] @ up + self.up_bias[i] * self.scale)
