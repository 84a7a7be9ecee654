"""Memory of a training step without noise: the bytes autograd keeps for the backward pass.

    kept = sum of the distinct storages that the graph of a forward holds, parameters and buffers left out
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from inarch.packed import plain


@dataclass
class Kept:
    """``bytes`` is known once the forward is over; ``examples``: how many it held, where somebody counts them."""

    bytes: int = 0
    examples: int = 0
    storages: dict[int, torch.UntypedStorage] = field(default_factory=dict, repr=False)

    def pack(self, tensor: Tensor) -> Tensor:
        self.storages |= _storages(tensor)  # held, so that no address is used twice
        return tensor


def _storages(tensor: Tensor) -> dict[int, torch.UntypedStorage]:
    """By address; a quantised tensor has several."""
    found = [part.untyped_storage() for part in plain(tensor)]
    return {storage.data_ptr(): storage for storage in found}


@contextmanager
def counted(model: nn.Module) -> Iterator[Kept]:
    """Counts what a forward of ``model`` inside keeps for its backward."""
    owned = {address for t in [*model.parameters(), *model.buffers()] for address in _storages(t)}
    kept = Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        yield kept
    kept.bytes = sum(storage.nbytes() for address, storage in kept.storages.items() if address not in owned)
    kept.storages = {}
