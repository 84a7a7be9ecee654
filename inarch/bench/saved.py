"""Memory of a training step without noise: the bytes autograd keeps for the backward pass.

    saved(B) = sum of the distinct storages that the graph of one forward holds, parameters and buffers left out
    per example = saved(2) - saved(1)       fixed = saved(1) - per example
Also exact: which blocks the graph reaches, since below the first adapter there is nothing to differentiate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from inarch import anatomy
from inarch.training.kept import counted

Loss = Callable[[], Tensor]


@dataclass(frozen=True)
class Saved:
    """Bytes kept per example of the batch, and whatever does not grow with it."""

    per_image: int
    fixed: int


def saved_bytes(model: nn.Module, loss: Loss) -> int:
    """Bytes that one forward keeps for its backward."""
    with counted(model) as kept:
        loss()
    return kept.bytes


def saved(model: nn.Module, loss: Callable[[int], Tensor]) -> Saved:
    """The slope between batch 1 and batch 2, and the rest; ``loss`` takes the number of examples."""
    one, two = (saved_bytes(model, lambda size=size: loss(size)) for size in (1, 2))  # type: ignore[misc]
    return Saved(two - one, one - (two - one))


def blocks_in_graph(model: nn.Module, loss: Loss) -> list[bool]:
    """Per block, in order, whether its output belongs to the graph of the loss."""
    reached: list[bool] = []

    def note(block: nn.Module, args: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        reached.append((output[0] if isinstance(output, tuple) else output).requires_grad)

    layers = [block for block in anatomy.blocks(model) if block.row.matrices]  # what has no matrix is a place, not a block
    handles = [block.module.register_forward_hook(note) for block in layers]
    try:
        loss()
    finally:
        for handle in handles:
            handle.remove()
    return reached
