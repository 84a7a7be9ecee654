"""AdaptFormer (Chen et al., NeurIPS 2022, arXiv 2205.13535).

    H' = H + s dropout(relu(x D_l^T + c_l)) U_l^T + s u_l          x [*, d]  the residual stream before the MLP's norm
                                                                   H [*, d]  what leaves the MLP
    D_l [r, d] Kaiming-uniform; c_l [r], U_l [d, r], u_l [d] zero
Not affine, and what it reads is what the skip connection carries: it does not fold.
Trained per stack of L layers: L (2 d r + r + d); on ViT-B/16 at r = 64: 1,189,632, at r = 8: 156,768.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Fold, Method, within
from inarch.errors import CannotFold, ConfigError
from inarch.methods.lora import factors
from inarch.ports import Stack


@dataclass(frozen=True)
class AdaptFormer(Method):
    """A bottleneck of width ``rank`` beside the MLP; ``scale`` is s. Its layer norm, which the release switches off, is left out."""

    rank: int = 64
    scale: float = 0.1
    dropout: float = 0.1
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("AdaptFormer", "rank", self.rank, 1, math.inf)
        within("AdaptFormer", "dropout", self.dropout, 0, 1, open_above=True)
        if not self.scale:
            raise ConfigError("AdaptFormer: scale=0 would train nothing; expected another number")

    def wanted(self) -> tuple[str, ...]:
        return ("mlp",)

    @property
    def identity_at_start(self) -> bool:
        return True

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: BesideMlp(self, stack) for stack in stacks})


class BesideMlp(Adapter):
    """``down`` D ``[L, r, d]``, ``down_bias`` c ``[L, r]``, ``up`` U ``[L, d, r]``, ``up_bias`` u ``[L, d]``."""

    reads = "residual"

    def __init__(self, config: AdaptFormer, stack: Stack) -> None:
        super().__init__()
        self.scale, self.dropout = config.scale, config.dropout
        self.down, self.up = factors(stack.depth, stack.width_in, stack.width_out, config.rank)
        self.down_bias = nn.Parameter(torch.zeros(stack.depth, config.rank))
        self.up_bias = nn.Parameter(torch.zeros(stack.depth, stack.width_out))

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        z = F.dropout(F.relu(F.linear(x, self.down[i], self.down_bias[i])), self.dropout, self.training)
        return y + F.linear(z, self.up[i], self.up_bias[i]) * self.scale

    def affine(self, i: int, given: Any) -> Fold:
        raise CannotFold("AdaptFormer is not affine (a ReLU), and reads the residual stream, which no weight of the MLP sees")
