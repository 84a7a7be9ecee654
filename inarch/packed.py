"""Quantised bases: tensors that hold no plain floating-point numbers, as bitsandbytes, torchao and PEFT's backends keep them.

A graft reads activations and never minds; what reads weights (fingerprints, merging) asks here.
"""

from __future__ import annotations

from torch import Tensor


def packed(tensor: Tensor) -> str:
    """What a quantised tensor is stored as (``int8``, ``Int8Tensor``); "" for plain floating-point numbers, sharded ones too."""
    if _wraps(tensor):
        return type(tensor).__name__
    return "" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def plain(tensor: Tensor) -> list[Tensor]:
    """The tensors that a wrapper is made of (values, scales, zero points); any other tensor itself."""
    if not _wraps(tensor):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    return [inner for name in names for inner in plain(getattr(tensor, name))]


def _wraps(tensor: Tensor) -> bool:
    return hasattr(tensor, "__tensor_flatten__") and not hasattr(tensor, "full_tensor")  # a DTensor is sharded, not quantised
