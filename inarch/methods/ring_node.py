"""AdaRing's bottleneck as one autograd node that keeps n alone and rebuilds the rest: of 1,098 floats per token on ViT-B/16, 792 stay.

    h = n Bhat^T [R]   z = h CS^T + c [E m]   a = drop(phi(z))   t = a SC^T [R]   y = t Ahat^T [d]
    kept for backward: n [d], and where a number was dropped (a byte each)        rebuilt: h, z, a, t, a few thin products
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Optional = Tensor | None


def update(n: Tensor, into: Optional, down: Tensor, bias: Optional, up: Tensor, out: Optional, kind: str, dropout: float) -> Tensor:
    """y ``[*, d]``; ``into`` and ``out`` None where they are multiplied into ``down`` and ``up``. ``dropout``: 0 outside of training."""
    keep = n.new_empty(*n.shape[:-1], down.shape[0], dtype=torch.bool).bernoulli_(1 - dropout) if dropout else None
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():  # a compiler chooses what to rebuild by itself
        return computed(n, into, down, bias, up, out, keep, kind, dropout)
    return RingNode.apply(n, into, down, bias, up, out, keep, kind, dropout)  # type: ignore[no-any-return]


def computed(n: Tensor, into: Optional, down: Tensor, bias: Optional, up: Tensor, out: Optional, keep: Optional, kind: str,
             dropout: float) -> Tensor:
    """The equations, one after another."""
    z = F.linear(n if into is None else F.linear(n, into), down, bias)
    a = activated(z, kind)
    a = a if keep is None else a * keep * (1 / (1 - dropout))
    t = F.linear(a, up)
    return t if out is None else F.linear(t, out)


def activated(z: Tensor, kind: str) -> Tensor:
    """phi: ``relu``, ``quick_gelu`` or ``none``."""
    if kind == "relu":
        return torch.relu(z)
    return z * torch.sigmoid(1.702 * z) if kind == "quick_gelu" else z


class RingNode(torch.autograd.Function):
    """``computed`` with nothing of it left behind."""

    @staticmethod
    def forward(ctx: Any, n: Tensor, into: Optional, down: Tensor, bias: Optional, up: Tensor, out: Optional, keep: Optional, kind: str,
                dropout: float) -> Tensor:
        ctx.save_for_backward(n, into, down, bias, up, out, keep)
        ctx.kind, ctx.dropout, ctx.cast = kind, dropout, _casting(n.device.type)
        return computed(n, into, down, bias, up, out, keep, kind, dropout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        *inputs, keep = ctx.saved_tensors
        fresh = [None if x is None else x.detach().requires_grad_(need) for x, need in zip(inputs, ctx.needs_input_grad, strict=False)]
        wanted = [x for x in fresh if x is not None and x.requires_grad]
        with torch.enable_grad(), torch.autocast(**ctx.cast):
            n, into, down, bias, up, out = fresh
            y = computed(n, into, down, bias, up, out, keep, ctx.kind, ctx.dropout)  # type: ignore[arg-type]
        found = iter(torch.autograd.grad(y, wanted, grad.to(y.dtype)))
        return (*(next(found) if x is not None and x.requires_grad else None for x in fresh), None, None, None)


def _casting(device: str) -> dict[str, Any]:
    """How numbers are cast at present, to rebuild them in the same way."""
    return {"device_type": device, "enabled": torch.is_autocast_enabled(device), "dtype": torch.get_autocast_dtype(device)}
