"""What need not be kept for backward since it can be made again: a norm's output from its input, an adapter's middle from its ends.

    n = norm(u)       autograd keeps u for the norm anyway: whoever reads n keeps u instead, and calls the norm again in backward
    y = u O^T         u is what attention keeps of itself: whoever edits y keeps u instead, for one product of width x width
    h = f(n, y)       ``thin`` keeps y and n, or u in its place, and nothing that f makes on the way
One unit of tokens x width a site stays unsaved: the 20 % by which a trained down-projection stands above the floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils import checkpoint as checkpointing

Optional = Tensor | None
_PLAIN = ContextVar("_PLAIN", default=False)


@dataclass(frozen=True, eq=False)
class Source:
    """How to make a tensor again: the module that it left, a norm or a frozen projection, and what entered there."""

    module: nn.Module
    entered: Tensor
    left: Tensor


def maker(source: Source | None, x: Tensor) -> Source | None:
    """``source``, if x is what left it, the object itself; windows that were cut, or another adapter's edit, are not."""
    return source if source is not None and source.left is x else None


class Rebuilder:
    """Without tensors, for an autograd node to carry: calls the module on what it kept, under the casting of the forward, to ``dtype``."""

    def __init__(self, source: Source, dtype: torch.dtype) -> None:
        self.module, self.dtype, self.cast = source.module, dtype, casting(source.entered.device.type)

    def __call__(self, entered: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(**self.cast):
            return self.module.forward(entered).to(self.dtype)


def casting(device: str) -> dict[str, Any]:
    """How numbers are cast at present, to rebuild them in the same way; nothing is cast on a device without autocast, such as meta."""
    if not torch.amp.is_autocast_available(device):
        return {"device_type": "cpu", "enabled": False}
    return {"device_type": device, "enabled": torch.is_autocast_enabled(device), "dtype": torch.get_autocast_dtype(device)}


def usable(x: Any) -> bool:
    """May a node stand here? A compiler chooses itself what to keep, symbolic tracing sees no values, without a graph nothing is kept."""
    return isinstance(x, Tensor) and torch.is_grad_enabled() and not torch.compiler.is_compiling()


@contextmanager
def plainly() -> Iterator[None]:
    """Within it ``thin`` is a call like any other, and autograd keeps what it likes."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def checkpointed() -> bool:
    """Is this a run that is run again in backward, or that second run? What came in from outside may then be kept only as it came."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    if top is None:
        return True
    hooks = top(True)
    return hooks is not None and getattr(hooks[0], "__module__", "") == checkpointing.__name__


def thin(f: Callable[..., Tensor], inputs: Sequence[Optional], *, reads: Sequence[Tensor] = (), sources: Sequence[Source | None] = ()
         ) -> Tensor:
    """``f(*inputs)``, computed again in backward. ``reads``: trained tensors that ``f`` finds by itself; ``sources``: of the inputs,
    each of which is what its source made, in that width or widened.

    ``f`` draws nothing at random and changes nothing.
    """
    if not usable(next((x for x in inputs if x is not None), None)) or _PLAIN.get():
        return f(*inputs)
    known = list(zip_longest(inputs, sources))
    again = [None if x is None or source is None else Rebuilder(source, x.dtype) for x, source in known]
    kept = [x if x is None or source is None else source.entered for x, source in known]
    return Thin.apply(f, again, kept, *inputs, *reads)  # type: ignore[no-any-return]


class Thin(torch.autograd.Function):
    """Keeps the inputs alone, or what they are made of."""

    @staticmethod
    def forward(ctx: Any, f: Callable[..., Tensor], again: list[Rebuilder | None], kept: list[Optional], *tensors: Optional) -> Tensor:
        ctx.save_for_backward(*kept)
        ctx.f, ctx.again, ctx.reads = f, again, tensors[len(kept) :]
        ctx.cast = casting(next(x for x in tensors if x is not None).device.type)
        return f(*tensors[: len(kept)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        needs = ctx.needs_input_grad[3:]
        made = [x if again is None else again(x) for x, again in zip(ctx.saved_tensors, ctx.again, strict=True)]
        inputs = [x if x is None else x.detach().requires_grad_(need) for x, need in zip(made, needs, strict=False)]
        wanted = [x for x, need in zip([*inputs, *ctx.reads], needs, strict=True) if need]
        with torch.enable_grad(), torch.autocast(**ctx.cast):
            y = ctx.f(*inputs)
        found = iter(torch.autograd.grad(y, wanted, grad.to(y.dtype), allow_unused=True))
        return (None, None, None, *(next(found) if need else None for need in needs))


def trained(module: nn.Module) -> tuple[Tensor, ...]:
    """What of a module gets a gradient."""
    return tuple(p for p in module.parameters() if p.requires_grad)
