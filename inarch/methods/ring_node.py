"""AdaRing's bottleneck as one autograd node that keeps one tensor and rebuilds the rest.

    h = n Bhat^T [R]   z = h CS^T + c [E m]   a = drop(phi(z))   t = a SC^T [R]   y = t Ahat^T [d]
    kept for backward: where n = norm(u), u [d], which the norm keeps anyway, else n; where a number was dropped (a byte each)
    rebuilt: n, h, z, a, t, by the norm and a few thin products
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from inarch.rebuild import Rebuilder, Source, casting

Optional = Tensor | None


def update(n: Tensor, into: Optional, down: Tensor, bias: Optional, up: Tensor, out: Optional, kind: str, dropout: float,
           source: Source | None = None) -> Tensor:
    """y ``[*, d]``; ``into`` and ``out`` None where they are multiplied into ``down`` and ``up``. ``dropout``: 0 outside of training.

    ``source``: how n can be made again.
    """
    keep = n.new_empty(*n.shape[:-1], down.shape[0], dtype=torch.bool).bernoulli_(1 - dropout) if dropout else None
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():  # a compiler chooses what to rebuild by itself
        return computed(n, into, down, bias, up, out, keep, kind, dropout)
    again = None if source is None else (source.entered, Rebuilder(source, n.dtype))
    return RingNode.apply(n, into, down, bias, up, out, keep, kind, dropout, again)  # type: ignore[no-any-return]


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
                dropout: float, again: tuple[Tensor, Rebuilder] | None = None) -> Tensor:
        kept, ctx.rebuild = (n, None) if again is None else again
        ctx.save_for_backward(kept, into, down, bias, up, out, keep)
        ctx.kind, ctx.dropout, ctx.cast = kind, dropout, casting(n.device.type)
        return computed(n, into, down, bias, up, out, keep, kind, dropout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        kept, *others, keep = ctx.saved_tensors
        inputs = [kept if ctx.rebuild is None else ctx.rebuild(kept), *others]
        fresh = [None if x is None else x.detach().requires_grad_(need) for x, need in zip(inputs, ctx.needs_input_grad, strict=False)]
        wanted = [x for x in fresh if x is not None and x.requires_grad]
        with torch.enable_grad(), torch.autocast(**ctx.cast):
            n, into, down, bias, up, out = fresh
            y = computed(n, into, down, bias, up, out, keep, ctx.kind, ctx.dropout)  # type: ignore[arg-type]
        found = iter(torch.autograd.grad(y, wanted, grad.to(y.dtype)))
        return (*(next(found) if x is not None and x.requires_grad else None for x in fresh), None, None, None, None)
