"""Unconstrained full-rank adaptation: the analysis behind ARC's small rank (its Figures 3-4).

    H = U (I + dA_l) + b_l          dA_l [D, D] zero at the start, b_l [D], one pair per site
Its sorted singular values per block show how few directions an adaptation uses. Trained per stack of L layers: L (D^2 + D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from inarch.adapter import Adapter, Built, Method, Pre, each_once
from inarch.ports import Stack


@dataclass(frozen=True)
class FullRank(Method):
    """A dense ``dA`` per site of ``spans``: for analysis, not for use (14.2 M numbers on ViT-B)."""

    spans: tuple[Literal["attn", "mlp"], ...] = ("attn", "mlp")

    def __post_init__(self) -> None:
        super().__post_init__()
        each_once("FullRank", "spans", self.spans, "'attn', 'mlp' or both")

    def wanted(self) -> tuple[str, ...]:
        return self.spans

    @property
    def identity_at_start(self) -> bool:
        return True

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: FullRankAdapter(stack.depth, stack.width_in) for stack in stacks})


class FullRankAdapter(Adapter):
    """``delta`` dA ``[L, D, D]`` and ``bias`` b ``[L, D]``."""

    def __init__(self, depth: int, dim: int) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(depth, dim, dim))
        self.bias = nn.Parameter(torch.zeros(depth, dim))

    def before(self, x: Tensor, i: int, given: Any) -> Tensor:
        return x + x @ self.delta[i] + self.bias[i]

    def affine(self, i: int, given: Any) -> Pre:
        eye = torch.eye(self.delta.shape[-1], dtype=self.delta.dtype, device=self.delta.device)
        return Pre(self.delta[i], eye, self.bias[i])
