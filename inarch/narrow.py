"""Over a base in half precision: what an adapter keeps of the base's tensors for backward, it keeps as narrow as they came.

    x [bf16]  ->  x' = x.to(fp32)  ->  adapter        autograd would keep x', four bytes a number, of every adapter that reads x
    kept: x itself, two bytes, once for all who read it; x' is made again in backward, the same to the bit
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C import _autograd

from inarch.rebuild import checkpointed, usable

Hook = Callable[[Any], Any]


def in_width(f: Callable[..., Tensor], dtype: torch.dtype, *tensors: Tensor) -> Tensor:
    """``f`` of ``tensors`` in ``dtype``; what it keeps of them is kept in the width they had."""
    wide = [tensor.to(dtype) for tensor in tensors]
    changed = [(w, t) for w, t in zip(wide, tensors, strict=True) if w is not t]
    if not changed or not _possible(changed):
        return f(*wide)
    keeper = Keeper({w.untyped_storage().data_ptr(): Narrow(t.detach(), dtype) for w, t in changed}, *_outer())
    with torch.autograd.graph.saved_tensors_hooks(keeper.pack, keeper.unpack):
        return f(*wide)


@dataclass(frozen=True, eq=False)
class Narrow:
    """A tensor of the base, to be had in ``dtype``."""

    tensor: Tensor
    dtype: torch.dtype

    def fits(self, saved: Tensor) -> bool:
        """Is it all of the widened tensor, whatever its shape, and not a part of it?"""
        return saved.dtype == self.dtype and saved.numel() == self.tensor.numel() and saved.is_contiguous() and self.tensor.is_contiguous()


@dataclass(frozen=True, eq=False)
class Kept:
    packed: Any  # the narrow tensor, as the hooks around ours keep it
    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Keeper:
    """Hooks on what is saved; those that stood before, whoever put them there, still see all of it."""

    narrow: dict[int, Narrow]
    outer_pack: Hook
    outer_unpack: Hook

    def pack(self, saved: Tensor) -> Any:
        known = self.narrow.get(saved.untyped_storage().data_ptr())
        if known is None or not known.fits(saved):
            return self.outer_pack(saved)
        return Kept(self.outer_pack(known.tensor), saved.shape, saved.dtype)

    def unpack(self, kept: Any) -> Tensor:
        if isinstance(kept, Kept):
            return self.outer_unpack(kept.packed).to(kept.dtype).view(kept.shape)  # type: ignore[no-any-return]
        return self.outer_unpack(kept)  # type: ignore[no-any-return]


def _possible(changed: list[tuple[Tensor, Tensor]]) -> bool:
    """Widened, in a graph, with storages that can be told apart; where blocks are computed again, little is kept anyway."""
    if checkpointed() or not _autograd._saved_tensors_hooks_is_enabled():  # type: ignore[attr-defined]
        return False
    return all(type(t) is Tensor and usable(t) and t.dtype.itemsize < w.dtype.itemsize and w.device.type != "meta" for w, t in changed)


def _outer() -> tuple[Hook, Hook]:
    hooks = _autograd._top_saved_tensors_default_hooks(True)
    return hooks if hooks is not None else (lambda tensor: tensor, lambda tensor: tensor)
