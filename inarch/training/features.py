"""A linear probe's frozen trunk gives the same features every epoch: run it once, then train the head on what it reads.

    z = head(f(x)),  f frozen, in evaluation mode and without augmentation     =>     store f(x) [n, D], epochs cost n D C
Done only where it is exact: everything that trains lies in one ``nn.Linear`` whose output *is* the model's logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from inarch import roles
from inarch.training.cut import Cut


def before_the_head(net: nn.Module, as_net: Callable[[nn.Linear], nn.Module], first: Callable[[], Tensor]) -> Cut | None:
    """None where more than a head trains, or where its output is not the whole of the logits."""
    head = lone_head(net.model)  # type: ignore[arg-type]
    if head is None:
        return None
    features, exact = tapped(net, head, first())
    return Cut(as_net(head), lambda x: tapped(net, head, x)[0], features, "head") if exact else None


def lone_head(model: nn.Module) -> nn.Linear | None:
    """The linear head that holds everything trainable, or None when something else trains too."""
    paths = roles.head_paths(model)
    head = model.get_submodule(paths[0]) if len(paths) == 1 else None
    trained = [p for p in model.parameters() if p.requires_grad]
    own = set(map(id, head.parameters())) if isinstance(head, nn.Linear) else set()
    return head if trained and all(id(p) in own for p in trained) else None  # type: ignore[return-value]


class Tap:
    """In one forward: remembers what the head reads, and puts marked numbers in the place of what it says."""

    def __init__(self, head: nn.Linear) -> None:
        self.features: Tensor | None = None
        self.mark: Tensor | None = None
        self.handle = head.register_forward_hook(self)

    def __call__(self, _: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        self.features = args[0].detach()
        self.mark = torch.randn(output.shape, generator=generator).to(output)
        return self.mark


def tapped(net: nn.Module, head: nn.Linear, pixels: Tensor) -> tuple[Tensor, bool]:
    """Features of ``pixels``, and whether the logits are the head's output and nothing else.

    A fresh head is zero, so its own output would prove nothing: a mark in its place must come out unchanged.
    """
    tap = Tap(head)
    try:
        logits = net(pixels)
    finally:
        tap.handle.remove()
    if tap.features is None or tap.mark is None:
        return torch.empty(len(pixels), 0), False
    exact = tap.features.dim() == 2 and tap.mark.shape == logits.shape and torch.equal(tap.mark.to(logits.dtype), logits)
    return tap.features, exact
