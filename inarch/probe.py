"""Look, do not trust the row: one dry forward and backward finds which weights read a span and whether its ports react at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from inarch import anatomy
from inarch.joint import Hook, Joint
from inarch.ports import Site

_READERS = {F.linear: (1, "weight"), F.multi_head_attention_forward: (5, "in_proj_weight")}  # where the weight is among the arguments


@dataclass
class Seen:
    """What the dry run showed of one site: paths of the weights that read it, and the gradients at its two ports."""

    site: Site
    readers: set[str] = field(default_factory=set)
    entered: Tensor | None = None
    left: Tensor | None = None

    @property
    def alive(self) -> bool:
        """Whether a change at the enter port and one at the leave port both reach the output."""
        return all(t is not None and t.grad is not None and bool(t.grad.any()) for t in (self.entered, self.left))


class _Tap(Joint):
    """A joint that adds a zero which asks for its gradient."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen.site)
        self.seen = seen
        self.now: Tensor | None = None

    def _zero(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zero = torch.zeros_like(x, requires_grad=True)
        return zero, x + zero

    def enter(self, x: Tensor) -> Tensor:
        self.seen.entered, edited = self._zero(x)
        self.now = edited
        return edited

    def leave(self, y: Tensor) -> Tensor:
        self.seen.left, edited = self._zero(y)
        return edited


class _Watch(TorchFunctionMode):
    """Notes every matrix product whose input shares its storage with what a tap let in."""

    def __init__(self, taps: list[_Tap], names: dict[int, str]) -> None:
        super().__init__()
        self.taps, self.names = taps, names

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in _READERS:
            position, name = _READERS[func]
            weight = (kwargs or {}).get(name) if len(args) <= position else args[position]
            source = args[0].untyped_storage().data_ptr()
            for tap in self.taps:
                if tap.now is not None and tap.now.untyped_storage().data_ptr() == source:
                    tap.seen.readers.add(self.names.get(id(weight), "?"))
        return func(*args, **(kwargs or {}))


def probe(model: nn.Module, forward: Callable[[nn.Module], Tensor], spans: tuple[str, ...] = ("attn", "mlp")) -> list[Seen]:
    """Run ``forward(model)`` once with every site of ``spans`` tapped; the model is left as it was."""
    taps = [_Tap(Seen(site)) for site in anatomy.sites(model, spans)]
    names = {id(p): name for name, p in model.named_parameters()}
    handles = []
    for tap in taps:
        block = model.get_submodule(tap.site.block)
        span = tap.site.span
        handles += [Hook(tap, gesture, port).attach(block) for gesture, port in (("enter", span.enter), ("leave", span.leave))]
    try:
        with torch.enable_grad(), _Watch(taps, names):
            out = forward(model)
        weights = torch.arange(1, out.numel() + 1, dtype=out.dtype, device=out.device).cos().view_as(out)
        inputs = [t for tap in taps for t in (tap.seen.entered, tap.seen.left) if t is not None]
        (out * weights).sum().backward(inputs=inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [tap.seen for tap in taps]
