"""MMA, the multi-modal adapter (Yang et al., CVPR 2024; released code at 547ee34).

    H' = H + s y_l      y_l = relu(relu(n D_l^T + c_l) S_l^T + e_l) U_l^T + u_l      H [*, d]  what leaves block l
                        n [*, d]  what the block's first norm leaves                  D_l [r, d], c_l [r], U_l [d, r], u_l [d]
    S_l [r, r], e_l [r]: of the l-th adapted block of every tower, where the gradients of the towers meet
Backward: the numbers of the adapter get their gradient as if s were 1, n its true one, s times that (``gradient_trick``).
Not affine: it does not fold. Trained: L (r^2 + r) + per tower L (2 d r + r + d); on both towers of ViT-B/16, blocks 5 to 12: 674,560.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, within
from inarch.errors import CannotGraft, ConfigError
from inarch.ports import Layers, Stack


@dataclass(frozen=True)
class MMA(Method):
    """Adapters of width ``rank`` beside whole blocks, by default the last eight of a tower; S is shared by the towers.

    scale: s. It alone makes the start small: weights are Kaiming-normal and nothing is zero but biases, so a fresh graft is not
    the identity. gradient_trick: as released; without it the adapter learns ``scale`` times more slowly at the same learning rate.
    """

    layers: Layers = field(default="-8:", kw_only=True)
    rank: int = 32
    scale: float = 0.001
    gradient_trick: bool = True
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("MMA", "rank", self.rank, 1, math.inf)
        if self.scale <= 0:
            raise ConfigError(f"MMA: scale={self.scale!r} is out of range; expected a number above 0")

    def wanted(self) -> tuple[str, ...]:
        return ("block",)

    @property
    def identity_at_start(self) -> bool:
        return False

    def build(self, stacks: list[Stack]) -> Built:
        layers: dict[str, list[int]] = {}
        for stack in stacks:
            layers[stack.tower] = sorted({*layers.get(stack.tower, []), *(site.layer for site in stack.sites)})
        depths = {tower: len(found) for tower, found in layers.items()}
        if len(set(depths.values())) > 1:
            found = ", ".join(f"{depth} of {tower}" for tower, depth in depths.items())
            raise CannotGraft(f"MMA: the towers share one projection per adapted block, but these are {found}; expected equally many: "
                              f"take at most layers='-{min(depths.values())}:', or name one tower")
        shared = Dense(max(depths.values()), self.rank, self.rank)
        return Built({stack.name: Beside(self, stack, layers[stack.tower]) for stack in stacks}, shared)


class Dense(nn.Module):
    """One linear per layer: ``weight [L, out, in]``, Kaiming-normal over the outputs for ReLU, ``bias [L, out]`` zero."""

    def __init__(self, depth: int, dim: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(depth, out, dim) * math.sqrt(2 / out))
        self.bias = nn.Parameter(torch.zeros(depth, out))

    def forward(self, x: Tensor, i: int) -> Tensor:
        return F.linear(x, self.weight[i], self.bias[i])


class Beside(Adapter):
    """``down`` D and c, ``up`` U and u of one stack; ``places``: which of the shared S each of its sites takes."""

    def __init__(self, config: MMA, stack: Stack, layers: list[int]) -> None:
        super().__init__()
        self.scale, self.trick = config.scale, config.gradient_trick
        self.places = [layers.index(site.layer) for site in stack.sites]
        self.down = Dense(stack.depth, stack.width_in, config.rank)
        self.up = Dense(stack.depth, config.rank, stack.width_out)

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        n = Rescale.apply(x, 1.0, self.scale) if self.trick else x
        z = torch.relu(given(torch.relu(self.down(n, i)), self.places[i]))
        out = self.up(z, i)
        return y + (Rescale.apply(out, self.scale, 1.0) if self.trick else out * self.scale)


class Rescale(torch.autograd.Function):
    """``value`` times the tensor forward, ``gradient`` times the gradient backward: two factors that need not agree.

    The release scales by s and then the gradient by 1 / s; passing it on as it came is the same without the overflow in half precision.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: float, gradient: float) -> Tensor:
        ctx.gradient = gradient
        return x.view_as(x) if value == 1.0 else x * value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return grad if ctx.gradient == 1.0 else grad * ctx.gradient, None, None
