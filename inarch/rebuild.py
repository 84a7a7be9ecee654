"""A norm's output rebuilt from its input: autograd keeps that input for the norm anyway, so an adapter need not keep the output too.

    n = norm(u)     an adapter that reads n keeps u instead, and calls the norm again in backward
One unit of tokens x width a site stays unsaved: the 20 % by which a trained down-projection stands above the floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Source:
    """How to make a span's input again: the norm, what entered it and what left it."""

    norm: nn.Module
    entered: Tensor
    left: Tensor

    def made(self, x: Tensor) -> bool:
        """Is x that output, the object itself? Windows that were cut, or another adapter's edit, are not."""
        return x is self.left


class Rebuilder:
    """Without tensors, for an autograd node to carry: calls the norm on what it kept, under the casting of the forward, to ``dtype``."""

    def __init__(self, source: Source, dtype: torch.dtype) -> None:
        self.norm, self.dtype, self.cast = source.norm, dtype, casting(source.entered.device.type)

    def __call__(self, entered: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(**self.cast):
            return self.norm.forward(entered).to(self.dtype)


def casting(device: str) -> dict[str, Any]:
    """How numbers are cast at present, to rebuild them in the same way; nothing is cast on a device without autocast, such as meta."""
    if not torch.amp.is_autocast_available(device):
        return {"device_type": "cpu", "enabled": False}
    return {"device_type": device, "enabled": torch.is_autocast_enabled(device), "dtype": torch.get_autocast_dtype(device)}


def usable(x: Any) -> bool:
    """May a node stand here? A compiler chooses itself what to keep, symbolic tracing sees no values, without a graph nothing is kept."""
    return isinstance(x, Tensor) and torch.is_grad_enabled() and not torch.compiler.is_compiling()
