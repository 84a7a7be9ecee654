"""Blocks computed again in backward: each keeps what entered it, and nothing that it made (Chen et al. 2016, arXiv 1604.06174).

    kept   L tensors of tokens x width, and one block at a time in backward          price   another forward of every block
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from inarch import anatomy

CACHES = ("past_key_value", "past_key_values")  # a second run would write into them once more


@dataclass(frozen=True, eq=False)
class Again:
    """In the place of a block's forward; dropout draws the same numbers again."""

    forward: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled() or any(kwargs.get(name) is not None for name in CACHES):
            return self.forward(*args, **kwargs)
        return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)


def recompute(model: nn.Module) -> None:
    """Every block of every tower, from now on."""
    for block in anatomy.blocks(model):
        if block.row.matrices:
            block.module.__dict__["forward"] = Again(block.module.forward)
