"""Prompt tuning (Lester et al., EMNLP 2021, arXiv 2104.08691) of an encoder's input, as VL-Adapter and VL-PET ran it.

    tokens' = [P ; tokens]      P = tanh(E A^T + a) B^T + b          E [m, d], A [h, d], a [h], B [d, h], b [d]; P [m, d]
m vectors stand in front of the text embeddings, always visible, the same for every input; the two matrices only re-parametrise them.
It does not fold. Trained: m d + 2 d h + h + d; on BART-base at m = 40, h = 800: 1,261,088.
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
from inarch.methods.bottleneck import STD, Init, linears
from inarch.ports import Stack

PromptInit = Literal["normal", "library"]


@dataclass(frozen=True)
class Prompt(Method):
    """``length`` vectors in front of the text embeddings, through a hidden layer of width ``hidden``.

    init: ``normal`` (N(0, 0.02^2), biases zero: BART's initialiser) or ``library`` (PyTorch's own, E ~ N(0, 1)); None takes what was
    used on the backbone, else ``normal``. Only a model whose text embeddings can be lengthened, a ``vl:`` backbone, offers the place.
    """

    length: int = 40
    hidden: int = 800
    init: PromptInit | None = None

    unset: ClassVar[dict[str, Any]] = {"init": "normal"}
    size: ClassVar[str] = "length"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("Prompt", "length", self.length, 1, math.inf)
        within("Prompt", "hidden", self.hidden, 1, math.inf)

    def wanted(self) -> tuple[str, ...]:
        return ("tokens",)

    @property
    def identity_at_start(self) -> bool:
        return False

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: PromptAdapter(self, stack.depth, stack.width_out) for stack in stacks})


class PromptAdapter(Adapter):
    """``table`` E ``[L, m, d]``; ``into`` A ``[L, h, d]`` and ``into_bias`` a; ``out`` B ``[L, d, h]`` and ``out_bias`` b."""

    def __init__(self, config: Prompt, depth: int, dim: int) -> None:
        super().__init__()
        own = config.init == "library"
        init: Init = "zero" if own else "normal"  # of which none is zero here: all that is not normal is PyTorch's own
        self.table = nn.Parameter(torch.randn(depth, config.length, dim) * (1.0 if own else STD))
        self.into, self.into_bias = linears(depth, dim, config.hidden, init)
        self.out, self.out_bias = linears(depth, config.hidden, dim, init)

    def vectors(self, i: int) -> Tensor:
        """P ``[m, d]``."""
        return F.linear(torch.tanh(F.linear(self.table[i], self.into[i], self.into_bias[i])), self.out[i], self.out_bias[i])

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        return torch.cat([self.vectors(i).expand(y.shape[0], -1, -1), y], dim=1)

    def affine(self, i: int, given: Any) -> Fold:
        raise CannotFold("Prompt lengthens the input; no weight of the base could do that")
