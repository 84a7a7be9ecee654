"""BitFit where the base has no biases (T5), as in Ladder Side-Tuning's baselines (Sung et al., NeurIPS 2022, arXiv 2206.06522).

    y' = y + b_l      y [*, out]: what every linear leaves (q, k, v, o, fc1, fc2, those of cross-attention), what every norm leaves
                      (in a block: what enters the sub-layer behind it), and the logits of the LM head; b_l zero at the start
A bias of keys cancels in the softmax; it is there because it was counted there. Nothing folds: norms and LM head have no bias.
Trained: the widths of all these outputs, 282,568 on T5-base (the projector's own norms, which had one too, are left out: 1,536).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inarch.adapter import Adapter, Built, Fold, Method
from inarch.errors import CannotFold
from inarch.ports import Stack

NORMED = ("attn", "mlp", "cross")  # spans that begin where a norm ends
LINEAR = ("q", "k", "v", "o", "fc1", "fc2", "decoders.cross.q", "decoders.cross.k", "decoders.cross.v", "decoders.cross.o")


@dataclass(frozen=True)
class AddedBias(Method):
    """A bias on every linear, norm and LM head of a base that has none; one that has them, such as BART, takes ``BitFit``."""

    def wanted(self) -> tuple[str, ...]:
        return ("leaves", "attn", "mlp", "decoders.cross", *LINEAR)

    @property
    def identity_at_start(self) -> bool:
        return True

    def build(self, stacks: list[Stack]) -> Built:
        return Built({s.name: Entering(s.depth, s.width_in) if s.span in NORMED else Leaving(s.depth, s.width_out) for s in stacks})


class Entering(Adapter):
    """``bias`` b ``[L, in]``, on what enters the spans."""

    def __init__(self, depth: int, dim: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(depth, dim))

    def before(self, x: Tensor, i: int, given: Any) -> Tensor:
        return x + self.bias[i]

    def affine(self, i: int, given: Any) -> Fold:
        raise CannotFold("AddedBias adds to norms and to the LM head, which have no bias in this base")


class Leaving(Adapter):
    """``bias`` b ``[L, out]``, on what leaves the spans."""

    def __init__(self, depth: int, dim: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(depth, dim))

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        return y + self.bias[i]

    def affine(self, i: int, given: Any) -> Fold:
        raise CannotFold("AddedBias adds to norms and to the LM head, which have no bias in this base")
