"""Memory of a training step without noise: the bytes autograd keeps for the backward pass.

    saved(B) = sum of the distinct storages that the graph of one forward holds, parameters and buffers left out
    per image = saved(2) - saved(1)         fixed = saved(1) - per image
Also exact: which blocks the graph reaches, since below the first adapter there is nothing to differentiate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch import anatomy
from inarch.backbones.backbone import logits

Batch = Callable[[int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Saved:
    """Bytes kept per image of the batch, and whatever does not grow with it."""

    per_image: int
    fixed: int


def loss(model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits(model, pixels), labels)


def saved_bytes(model: nn.Module, pixels: Tensor, labels: Tensor) -> int:
    """Bytes that one forward keeps for its backward."""
    owned = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}  # holds them, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(model, pixels, labels)
    return sum(storage.nbytes() for address, storage in kept.items() if address not in owned)


def saved(model: nn.Module, batch: Batch) -> Saved:
    """The slope between batch 1 and batch 2, and the rest."""
    one, two = (saved_bytes(model, *batch(size)) for size in (1, 2))
    return Saved(two - one, one - (two - one))


def blocks_in_graph(model: nn.Module, pixels: Tensor) -> list[bool]:
    """Per block, in order, whether its output belongs to the graph of the loss."""
    reached: list[bool] = []

    def note(block: nn.Module, args: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        reached.append((output[0] if isinstance(output, tuple) else output).requires_grad)

    handles = [block.module.register_forward_hook(note) for block in anatomy.blocks(model)]
    try:
        logits(model, pixels)
    finally:
        for handle in handles:
            handle.remove()
    return reached
