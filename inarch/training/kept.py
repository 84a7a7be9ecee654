"""Memory of a training step without noise: the bytes autograd keeps for the backward pass.

    kept = sum of the distinct storages that the graph of a forward holds, parameters and buffers left out
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Kept:
    """``bytes`` is known once the forward is over; ``examples``: how many it held, where somebody counts them."""

    bytes: int = 0
    examples: int = 0
    storages: dict[int, torch.UntypedStorage] = field(default_factory=dict, repr=False)

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.storages[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor


@contextmanager
def counted(model: nn.Module) -> Iterator[Kept]:
    """Counts what a forward of ``model`` inside keeps for its backward."""
    owned = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept = Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        yield kept
    kept.bytes = sum(storage.nbytes() for address, storage in kept.storages.items() if address not in owned)
    kept.storages = {}
