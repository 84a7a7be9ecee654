"""LoRA (Hu et al., ICLR 2022, arXiv 2106.09685).

    y = x M^T + m + g (dropout(x) A_l^T) B_l^T      A_l [r, in] Kaiming-uniform, B_l [out, r] zero, per target and layer; g = alpha / r
Linear in x, so it folds onto the target: M' = M + g B_l A_l. Trained per target of L layers: L r (in + out).
CLIP-LoRA (Zanella & Ben Ayed, CVPRW 2024, arXiv 2405.18541) is this on both towers with g = alpha / sqrt(r):
``LoRA(rank=2, targets=("q", "k", "v"), alpha=1, dropout=0.25, scaling="sqrt")``, 184,320 on ViT-B/16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, Parallel, each_once, within
from inarch.errors import ConfigError
from inarch.methods.bottleneck import Init, Update
from inarch.ports import Stack


@dataclass(frozen=True)
class LoRA(Method):
    """LoRA of rank ``rank`` on the matrices ``targets`` (``q k v qkv o fc1 fc2``); the default is the paper's q and v.

    scaling: g is alpha / r (``rank``) or alpha / sqrt(r) (``sqrt``); ``alpha`` None means g = 1.
    """

    rank: int = 8
    targets: tuple[str, ...] = ("q", "v")
    alpha: float | None = None
    dropout: float = 0.0
    scaling: Literal["rank", "sqrt"] = "rank"
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("LoRA", "rank", self.rank, 1, math.inf)
        within("LoRA", "dropout", self.dropout, 0, 1, open_above=True)
        if self.alpha == 0:
            raise ConfigError("LoRA: alpha=0 would train nothing; expected another number, or None for g = 1")
        each_once("LoRA", "targets", self.targets, "matrix names such as 'q', 'v', 'fc1'")

    def wanted(self) -> tuple[str, ...]:
        return self.targets

    @property
    def identity_at_start(self) -> bool:
        return True

    @property
    def gain(self) -> float:
        """g."""
        return 1.0 if self.alpha is None else self.alpha / (self.rank if self.scaling == "rank" else math.sqrt(self.rank))

    def build(self, stacks: list[Stack]) -> Built:
        for stack in stacks:
            within("LoRA", f"rank (on {stack.name})", self.rank, 1, min(stack.width_in, stack.width_out))
        return Built({stack.name: LoraAdapter(self, stack) for stack in stacks})


class LoraAdapter(Adapter):
    """``down`` A ``[L, r, in]`` and ``up`` B ``[L, out, r]``."""

    def __init__(self, config: LoRA, stack: Stack) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.gain = config.gain
        self.down, self.up = factors(stack.depth, stack.width_in, stack.width_out, config.rank)

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        z = F.linear(F.dropout(x, self.dropout, self.training), self.down[i])
        return y + F.linear(z * self.gain, self.up[i])

    def affine(self, i: int, given: Any) -> Parallel:
        return Parallel(self.down[i].mT, self.up[i].mT * self.gain)


class LoraUpdate(Update):
    """``dH = x A_l^T B_l^T`` as the modification under another method's gate; it reads what enters, and always starts at zero."""

    reads = "input"

    def __init__(self, depth: int, dim: int, out: int, rank: int, init: Init) -> None:
        super().__init__()
        self.down, self.up = factors(depth, dim, out, rank)

    def forward(self, source: Tensor, i: int) -> Tensor:
        return F.linear(F.linear(source, self.down[i]), self.up[i])


def factors(depth: int, dim: int, out: int, rank: int) -> tuple[nn.Parameter, nn.Parameter]:
    """A ``[L, r, in]`` Kaiming-uniform and B ``[L, out, r]`` zero."""
    down = nn.Parameter(torch.empty(depth, rank, dim))
    for matrix in down.data:
        nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))
    return down, nn.Parameter(torch.zeros(depth, out, rank))
