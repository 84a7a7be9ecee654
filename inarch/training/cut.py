"""Where a net is cut in two: below, what is frozen; above, what trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Cut:
    """``below``: pixels to rows ``[batch, ...]``; ``net``: rows to what the whole net says of them; ``sample``: rows of a first batch.

    ``place``: what lies above it, in a word or two: rows of one place are not those of another.
    """

    net: nn.Module
    below: Callable[[Tensor], Tensor]
    sample: Tensor
    place: str
    note: str = ""

    @property
    def dtype(self) -> torch.dtype:
        return self.sample.dtype
