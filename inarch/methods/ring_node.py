"""AdaRing's bottleneck as one autograd node that keeps one tensor and rebuilds the rest.

    h = n Bhat^T [R]   z = h CS^T + c [E m]   a = drop(phi(z))   t = a SC^T [R]   y = t Ahat^T [d]
    kept for backward: where n = norm(u), u [d], which the norm keeps anyway, else n; where a number was dropped (a byte each)
    rebuilt: n, h, z, a, t, by the norm and a few thin products
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from inarch.rebuild import Source, thin

Optional = Tensor | None


def update(n: Tensor, into: Optional, down: Tensor, bias: Optional, up: Tensor, out: Optional, kind: str, dropout: float,
           source: Source | None = None) -> Tensor:
    """y ``[*, d]``; ``into`` and ``out`` None where they are multiplied into ``down`` and ``up``. ``dropout``: 0 outside of training.

    ``source``: how n can be made again.
    """
    keep = n.new_empty(*n.shape[:-1], down.shape[0], dtype=torch.bool).bernoulli_(1 - dropout) if dropout else None
    made = partial(computed, kind=kind, dropout=dropout)
    return thin(made, (n, into, down, bias, up, out, keep), sources=(source,))


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

