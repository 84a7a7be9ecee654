"""CLIP-Adapter (Gao et al., IJCV 2024, arXiv 2110.04544).

    f' = m relu(relu(f D^T) U^T) + (1 - m) f        f [*, d]  a tower's final feature, before it is normalised
                                                    D [d / k, d], U [d, d / k], no biases
Not affine: it does not fold. Trained per tower: 2 d (d // k); on features of width 512 at k = 4: 131,072.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, within
from inarch.errors import CannotGraft
from inarch.ports import Stack


@dataclass(frozen=True)
class CLIPAdapter(Method):
    """A two-layer network of width d // ``reduction`` on the final features of ``towers``, ``mix`` of it and 1 - ``mix`` of the feature.

    towers: ``image`` (as released), ``sentence``, or both with None; only a model of two towers offers the place. Weights start as
    PyTorch's own, so a fresh graft is not the identity.
    """

    towers: tuple[str, ...] | None = field(default=("image",), kw_only=True)
    reduction: int = 4
    mix: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        within("CLIPAdapter", "reduction", self.reduction, 1, math.inf)
        within("CLIPAdapter", "mix", self.mix, 0, 1)

    def wanted(self) -> tuple[str, ...]:
        return ("features",)

    @property
    def identity_at_start(self) -> bool:
        return self.mix == 0

    def build(self, stacks: list[Stack]) -> Built:
        for stack in stacks:
            if self.reduction > stack.width_out:
                raise CannotGraft(f"CLIPAdapter: reduction={self.reduction} leaves nothing of the width {stack.width_out} of {stack.name}; "
                                  f"expected 1..{stack.width_out}")
        return Built({stack.name: Mixed(self, stack) for stack in stacks})


class Mixed(Adapter):
    """``down`` D ``[L, d // k, d]``, ``up`` U ``[L, d, d // k]``."""

    def __init__(self, config: CLIPAdapter, stack: Stack) -> None:
        super().__init__()
        self.mix, dim, rank = config.mix, stack.width_out, stack.width_out // config.reduction
        self.down = nn.Parameter(torch.empty(stack.depth, rank, dim).uniform_(-1, 1) / math.sqrt(dim))
        self.up = nn.Parameter(torch.empty(stack.depth, dim, rank).uniform_(-1, 1) / math.sqrt(rank))

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        adapted = F.relu(F.linear(F.relu(F.linear(y, self.down[i])), self.up[i]))
        return self.mix * adapted + (1 - self.mix) * y
