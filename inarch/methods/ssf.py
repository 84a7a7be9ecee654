"""SSF, scaling and shifting features (Lian et al., NeurIPS 2022, arXiv 2210.08823).

    y' = y * g_l + b_l      y [*, d]  what an operation leaves: patch embedding, each norm, q, k, v, o, fc1, fc2
                            g_l [d] ~ N(1, 0.02^2), b_l [d] ~ N(0, 0.02^2)
Affine, channel by channel, so it folds into the weights that make y. Trained: twice the widths of all these outputs, 205,824 on ViT-B/16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from inarch.adapter import Adapter, Built, Method, Scale, each_once
from inarch.methods.bottleneck import STD
from inarch.ports import Stack

Place = Literal["patches", "norm1", "q", "k", "v", "o", "norm2", "fc1", "fc2", "final"]
ENDS = ("patches", "final")  # outside the blocks


@dataclass(frozen=True)
class SSF(Method):
    """Scale and shift behind the operations in ``places``, by default all of an image tower that the paper names.

    ``patches`` and ``final`` (the norm behind the last block) lie in no layer: where ``layers`` chooses some, they stay as they are.
    init: ``published``, which is not the identity, or ``identity`` (g one, b zero).
    """

    places: tuple[Place, ...] = get_args(Place)
    init: Literal["published", "identity"] = "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        each_once("SSF", "places", self.places, "names such as 'norm1', 'q', 'fc1'")

    def wanted(self) -> tuple[str, ...]:
        return self.places if self.layers is None else tuple(place for place in self.places if place not in ENDS)

    @property
    def identity_at_start(self) -> bool:
        return self.init == "identity"

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: Rescaled(stack.depth, stack.width_out, STD if self.init == "published" else 0.0) for stack in stacks})


class Rescaled(Adapter):
    """``gain`` g ``[L, d]`` and ``shift`` b ``[L, d]``."""

    def __init__(self, depth: int, dim: int, std: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(1 + std * torch.randn(depth, dim))
        self.shift = nn.Parameter(std * torch.randn(depth, dim))

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        return y * self.gain[i] + self.shift[i]

    def affine(self, i: int, given: Any) -> Scale:
        return Scale(self.gain[i], self.shift[i])
