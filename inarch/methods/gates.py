"""The granularity-controlled matrix G of VL-PET (Hu et al., ICCV 2023, arXiv 2308.09804, Fig. 3c), as the released code computes it.

    H~ = H + dH      X [B, N, d] the residual stream that enters the sub-layer, H [B, N, d] what leaves it, sigma the logistic function

    large     G = s sigma(phi(X D^T + c) U^T + u)                 [B, N, d]   one number per token and channel
    middleX   G = s sigma((X + H~) w + b)                         [B, N, 1]   per token
    middleY   G = s (1 + z)                                       [d]         per channel, the same for every input
    small     G = s mean_N sigma([X ; H~] w + b)                  [B, 1, 1]   per sample
The figure differs from the code in three places, each a named choice: the gates read H instead of H~ (``reads="output"``), middleY is
s (1 + sigma(z)) (``middle_y="sigmoid"``), and X is the sub-layer's own input, after the norm (the caller's choice of X).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.methods.bottleneck import STD, BottleneckUpdate, Init, linears

Kind = Literal["small", "middleX", "middleY", "large"]


class Gate(nn.Module):
    """G of one stack of sites, without its scale s; ``reads_stream``: whether it looks at X."""

    reads_stream = True

    def forward(self, x: Tensor, h: Tensor, i: int, visible: Tensor | None) -> Tensor:
        """``x`` is X, ``h`` what the gate reads of the output, ``visible [B, N]`` the tokens that are no padding (None: all)."""
        raise NotImplementedError(f"{type(self).__name__} makes no gate")


class Large(Gate):
    """``look``: D ``[L, r, d]``, c ``[L, r]``, U ``[L, d, r]``, u ``[L, d]``."""

    def __init__(self, depth: int, dim: int, rank: int, init: Init) -> None:
        super().__init__()
        self.look = BottleneckUpdate(depth, dim, dim, rank, init)

    def forward(self, x: Tensor, h: Tensor, i: int, visible: Tensor | None) -> Tensor:
        return torch.sigmoid(self.look(x, i))


class MiddleX(Gate):
    """``weight`` w ``[L, 1, d]``, ``bias`` b ``[L, 1]``."""

    def __init__(self, depth: int, dim: int, init: Init) -> None:
        super().__init__()
        self.weight, self.bias = linears(depth, dim, 1, init, zero=init == "zero")

    def forward(self, x: Tensor, h: Tensor, i: int, visible: Tensor | None) -> Tensor:
        return torch.sigmoid(F.linear(x + h, self.weight[i], self.bias[i]))


class MiddleY(Gate):
    """``z [L, d]``."""

    reads_stream = False

    def __init__(self, depth: int, dim: int, init: Init, form: Literal["linear", "sigmoid"]) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.zeros(depth, dim) if init == "zero" else torch.randn(depth, dim) * STD)
        self.form = form

    def forward(self, x: Tensor, h: Tensor, i: int, visible: Tensor | None) -> Tensor:
        return 1 + (self.z[i] if self.form == "linear" else torch.sigmoid(self.z[i]))


class Small(Gate):
    """``weight`` w ``[L, 1, 2 d]``, X before H~, ``bias`` b ``[L, 1]``; the mean is over all N tokens, as released, or the visible."""

    def __init__(self, depth: int, dim: int, init: Init, mean: Literal["all", "visible"]) -> None:
        super().__init__()
        self.weight, self.bias = linears(depth, 2 * dim, 1, init, zero=init == "zero")
        self.mean = mean

    def forward(self, x: Tensor, h: Tensor, i: int, visible: Tensor | None) -> Tensor:
        of_x, of_h = self.weight[i].chunk(2, dim=-1)  # [X ; H~] w without the copy of both
        opened = torch.sigmoid(F.linear(x, of_x, self.bias[i]) + F.linear(h, of_h))
        if self.mean == "all" or visible is None:
            return opened.mean(dim=-2, keepdim=True)
        seen = visible[..., None].to(opened.dtype)
        return (opened * seen).sum(dim=-2, keepdim=True) / seen.sum(dim=-2, keepdim=True)
