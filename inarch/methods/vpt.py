"""VPT, visual prompt tuning (Jia et al., ECCV 2022, arXiv 2203.12119).

    shallow  X_0' = [P ; X_0]      P [p, d]  in front of the tokens X_0 [*, N, d] that enter the first adapted block
    deep     X_l' = [P_l ; X_l]    P_l [p, d]  at every adapted block; what the block makes of them is thrown away
Behind the last adapted block the p tokens are taken out again: pooling and norm see the image's own. Attention without positions
does not ask where they stand. They take part in a softmax, so they do not fold. Trained: shallow p d, deep L p d.
On ViT-B/16 at p = 50: 38,400 and 460,800. P starts uniform in +-v, v = sqrt(6 / (3 s^2 + d)) for patches of s x s pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Fold, Method, within
from inarch.errors import CannotFold
from inarch.ports import Stack


@dataclass(frozen=True)
class VPT(Method):
    """``length`` learned tokens, once (``shallow``) or at every block (``deep``).

    patch: s, the side of the backbone's patches in pixels, in the start alone. dropout: of the numbers in P.
    """

    form: Literal["shallow", "deep"] = "deep"
    length: int = 50
    dropout: float = 0.0
    patch: int = 16
    size: ClassVar[str] = "length"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("VPT", "length", self.length, 1, math.inf)
        within("VPT", "patch", self.patch, 1, math.inf)
        within("VPT", "dropout", self.dropout, 0, 1, open_above=True)

    def wanted(self) -> tuple[str, ...]:
        return ("stream",)

    @property
    def identity_at_start(self) -> bool:
        return False

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: Prompts(self, stack) for stack in stacks})


class Prompts(Adapter):
    """``vectors`` P ``[1, p, d]`` or, deep, ``[L, p, d]``."""

    def __init__(self, config: VPT, stack: Stack) -> None:
        super().__init__()
        self.deep, self.dropout, self.last = config.form == "deep", config.dropout, stack.depth - 1
        bound = math.sqrt(6 / (3 * config.patch**2 + stack.width_in))
        count = stack.depth if self.deep else 1
        self.vectors = nn.Parameter(torch.empty(count, config.length, stack.width_in).uniform_(-bound, bound))

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    def before(self, x: Tensor, i: int, given: Any) -> Tensor:
        if i and not self.deep:
            return x
        prompts = self.vectors[i].expand(x.shape[0], -1, -1)
        return torch.cat([F.dropout(prompts, self.dropout, self.training), x], dim=1)

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        return y[:, self.vectors.shape[1] :] if self.deep or i == self.last else y

    def affine(self, i: int, given: Any) -> Fold:
        raise CannotFold("VPT adds tokens that attention reads beside the image's own; no weight of the base could do that")
