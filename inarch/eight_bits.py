"""Frozen linear layers stored in eight bits, a quarter of fp32, by torchao: what a graft stands on, whatever its method.

    W = s q       q: int8 or fp8, one s per output channel; products in the width of what comes in
    y = x Wᵀ + b,    dL/dx = dL/dy W          W is made again in backward: kept, it would be the base in fp32 once more
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch import roles
from inarch.errors import ConfigError, need
from inarch.packed import packed

EIGHT_BITS = {"int8": "Int8WeightOnlyConfig", "fp8": "Float8WeightOnlyConfig"}


def quantise(model: nn.Module, kind: Literal["int8", "fp8"]) -> nn.Module:
    """Store the weights of the base's linear layers in eight bits (torchao, a scale per output channel); to be done before ``graft``.

    Products are computed in the width of what comes in. Left as they are: heads, what always trains beside a method, weights that two
    modules share, and the linear layers inside torch's own attention, which reads their weights itself. Raises ``MissingExtra``
    without torchao, ``ConfigError`` for another kind, or where nothing was left to store.
    """
    if kind not in EIGHT_BITS:
        raise ConfigError(f"a base cannot be stored as {kind!r}; there are {', '.join(EIGHT_BITS)}")
    chosen = _linears(model)
    if not chosen:
        raise ConfigError(f"{type(model).__name__} has no frozen linear layers to store as {kind}; leave quantised_base out")
    torchao = _torchao()
    torchao.quantize_(model, getattr(torchao, EIGHT_BITS[kind])(), filter_fn=lambda module, path: path in chosen)
    for path in chosen:
        model.get_submodule(path).__class__ = Quantised
    return model


class Quantised(nn.Linear):
    """A linear layer whose weight is quantised and frozen; its bias may train."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Product.apply(x, self.weight)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class Product(torch.autograd.Function):
    """``[..., in] -> [..., out]``; keeps nothing but the weight as it is stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return grad @ weight.dequantize().to(grad.dtype), None


def _linears(model: nn.Module) -> set[str]:
    """Paths of the linear layers whose weights stay frozen, are theirs alone and are read by nobody else."""
    spared = (*(path + "." for path in roles.head_paths(model)), "inarch.")
    trained, owners = roles.always(model), Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    return {path for path, module in model.named_modules() if type(module) is nn.Linear and not f"{path}.".startswith(spared)
            and f"{path}.weight" not in trained and owners[id(module.weight)] == 1 and not packed(module.weight)}


def _torchao() -> Any:
    try:
        with _quiet("torchao", "torch.utils._pytree"):
            from torchao import quantization
    except ImportError:
        raise need("torchao", "quant") from None
    return quantization


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """torchao tells on import which kernels of other machines it could not load."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
