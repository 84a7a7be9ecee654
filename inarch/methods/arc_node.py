"""ARC as one autograd node that keeps what entered the norm before it, and the bottleneck:

    z = drop(n M) [r],  M = W diag(c)        h = n + z U + b [D]
    kept for backward: u [D] with n = norm(u), which the norm keeps anyway; z [r], and a byte per number of z where some were dropped
    g_z = drop'(g U^T)    g_n = g + g_z M^T    g_U = z^T g    g_M = n^T g_z    g_W = g_M diag(c)    g_c = diag(W^T g_M)    g_b = sum g
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from inarch.rebuild import Rebuilder, Source

Optional = Tensor | None


def update(n: Tensor, source: Source, down: Tensor, up: Tensor, scale: Optional, bias: Optional, dropout: float) -> Tensor:
    """h ``[*, D]``; ``down`` W ``[D, r]``, ``up`` U ``[r, D]``, ``scale`` c ``[r]``, ``bias`` b ``[D]``; no ``dropout`` in evaluation."""
    return ArcNode.apply(n, source.entered, down, up, scale, bias, dropout, Rebuilder(source, n.dtype))  # type: ignore[no-any-return]


class ArcNode(torch.autograd.Function):
    """``entered`` is kept and gets no gradient here: the norm's own node hands on what n gets."""

    @staticmethod
    def forward(ctx: Any, n: Tensor, entered: Tensor, down: Tensor, up: Tensor, scale: Optional, bias: Optional, dropout: float,
                rebuild: Rebuilder) -> Tensor:
        z = n @ (down if scale is None else down * scale)
        z, keep = torch.native_dropout(z, dropout, True) if dropout else (z, None)
        ctx.save_for_backward(entered, down, up, scale, z, keep)
        ctx.rebuild, ctx.dropout = rebuild, dropout
        h = z @ up
        h = h.add_(n) if h.dtype == n.dtype else h + n  # autocast makes h narrower
        return h if bias is None else h.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        entered, down, up, scale, z, keep = ctx.saved_tensors
        with torch.autocast(**ctx.rebuild.cast):
            g_z = g @ up.mT
            g_z = g_z if keep is None else g_z * keep * (1 / (1 - ctx.dropout))
            g_n = g + g_z @ (down if scale is None else down * scale).mT if ctx.needs_input_grad[0] else None
            g_up, g_mixed = _flat(z).mT @ _flat(g), _flat(ctx.rebuild(entered)).mT @ _flat(g_z)
        g_mixed = g_mixed.to(down.dtype)
        g_down, g_scale = (g_mixed, None) if scale is None else (g_mixed * scale, (g_mixed * down).sum(0))
        g_bias = _flat(g).sum(0) if ctx.needs_input_grad[5] else None
        return g_n, None, g_down, g_up.to(up.dtype), g_scale, g_bias, None, None


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])
