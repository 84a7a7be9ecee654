"""Bottleneck adapters after a sub-layer (Houlsby et al., ICML 2019, arXiv 1902.00751; "single adapter" of VL-Adapter, CVPR 2022).

    H' = H + dH      dH = phi(H D_l^T + c_l) U_l^T + u_l          H [*, d]  what leaves the span, phi the tanh form of GELU, or ReLU
                                                                  D_l [r, d], c_l [r], U_l [d, r], u_l [d]
Not affine: it does not fold. Trained per stack of L layers: L (2 d r + r + d); on 30 positions of BART-base at r = 96: 4,449,600.
Of Houlsby et al. (``houlsby``): after attention and MLP, on ViT-B/16 at r = 64: 2,379,264. Of Pfeiffer et al., EACL 2021, arXiv
2005.00247 (``pfeiffer``): after the MLP alone, ReLU, at r = 48: 894,528, at r = 8: 156,768.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, each_once, within
from inarch.ports import Stack
from inarch.rebuild import Source, thin, trained

Init = Literal["normal", "zero"]
Activation = Literal["gelu", "relu"]
STD = 0.02  # of BART's own initialiser
NEAR = 1e-3  # of the adapters released with BERT
HOULSBY: dict[str, Any] = {"rank": 64, "init": "near"}
PFEIFFER: dict[str, Any] = {"rank": 48, "spans": ("mlp",), "activation": "relu"}  # 48: a sixteenth of the width, as published


@dataclass(frozen=True)
class Bottleneck(Method):
    """Adapters of width ``rank`` after the ``spans`` (``attn``, ``mlp``, and in a decoder ``cross``).

    init: ``normal`` (weights N(0, 0.02^2), biases zero: BART's initialiser, not the identity at the start), ``near`` (weights
    N(0, 0.001^2) cut at two deviations, biases zero: as released with BERT) or ``zero`` (PyTorch's own with U and u zero).
    VL-Adapter and Houlsby et al. also train every norm: ``thaw="norms"``.
    """

    rank: int = 96
    spans: tuple[Literal["attn", "mlp", "cross"], ...] = ("attn", "mlp")
    init: Literal["normal", "zero", "near"] = "normal"
    activation: Activation = "gelu"
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("Bottleneck", "rank", self.rank, 1, math.inf)
        each_once("Bottleneck", "spans", self.spans, "'attn', 'mlp', 'cross'")

    def wanted(self) -> tuple[str, ...]:
        return self.spans

    @property
    def identity_at_start(self) -> bool:
        return self.init == "zero"

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: Sequential(self.update(stack.depth, stack.width_out)) for stack in stacks})

    def update(self, depth: int, dim: int) -> BottleneckUpdate:
        """A stack's dH, as it starts."""
        update = BottleneckUpdate(depth, dim, dim, self.rank, "zero" if self.init == "zero" else "normal", self.activation)
        for weight in (update.down, update.up) if self.init == "near" else ():
            nn.init.trunc_normal_(weight, std=NEAR, a=-2 * NEAR, b=2 * NEAR)
        return update


class Update(nn.Module):
    """A modification dH of what leaves a span; ``reads`` says what it is made from: the span's own output H, or its input."""

    reads: Literal["output", "input"] = "output"

    def forward(self, source: Tensor, i: int) -> Tensor:
        """dH ``[*, out]`` at site i from ``source [*, in]``."""
        raise NotImplementedError(f"{type(self).__name__} makes no update")


class BottleneckUpdate(Update):
    """``down`` D ``[L, r, in]``, ``down_bias`` c ``[L, r]``, ``up`` U ``[L, out, r]``, ``up_bias`` u ``[L, out]``."""

    def __init__(self, depth: int, dim: int, out: int, rank: int, init: Init, activation: Activation = "gelu") -> None:
        super().__init__()
        self.activation = activation
        self.down, self.down_bias = linears(depth, dim, rank, init)
        self.up, self.up_bias = linears(depth, rank, out, init, zero=init == "zero")

    def forward(self, source: Tensor, i: int) -> Tensor:
        z = F.linear(source, self.down[i], self.down_bias[i])
        z = F.relu(z) if self.activation == "relu" else F.gelu(z, approximate="tanh")
        return F.linear(z, self.up[i], self.up_bias[i])


class Sequential(Adapter):
    """``H' = H + dH(H)``."""

    rewrites = True

    def __init__(self, update: Update) -> None:
        super().__init__()
        self.update = update

    def after(self, x: Tensor, y: Tensor, i: int, given: Any, wrote: Source | None = None) -> Tensor:
        return thin(partial(self._changed, i), (y,), reads=trained(self), sources=(wrote,))

    def _changed(self, i: int, y: Tensor) -> Tensor:
        return y + self.update(y, i)


def linears(depth: int, dim: int, out: int, init: Init, *, zero: bool = False) -> tuple[nn.Parameter, nn.Parameter]:
    """``[L, out, in]`` and ``[L, out]`` of one linear per layer: ``normal``, PyTorch's own otherwise, or ``zero`` in both."""
    weight, bias = torch.zeros(depth, out, dim), torch.zeros(depth, out)
    if init == "normal":
        weight.normal_(0, STD)
    elif not zero:
        bound = 1 / math.sqrt(dim)  # nn.Linear: Kaiming-uniform with a = sqrt(5)
        weight.uniform_(-bound, bound)
        bias.uniform_(-bound, bound)
    return nn.Parameter(weight), nn.Parameter(bias)
