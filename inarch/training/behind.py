"""Blocks below the first adapted one are frozen: each image goes through them once, then every epoch starts behind them.

    x_k(image) = what enters block k, the first with a trained number     =>     store x_k [n, tokens, dim], epochs cost blocks k ..
Done only where it is exact: a first batch's logits must come out the same from what was kept of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from inarch import anatomy
from inarch.errors import ConfigError
from inarch.prefix import Prefix
from inarch.training.cut import Cut

CLOSE = 1e-5  # kernels may round a batch of another size otherwise


class Behind(nn.Module):
    """``x_k [batch, tokens, dim]`` to what ``net`` says of the images that they were made of; ``blank [1, C, H, W]``: pixels of none."""

    def __init__(self, net: nn.Module, prefix: Prefix, blank: Tensor) -> None:
        super().__init__()
        self.net, self.prefix = net, prefix
        self.blank: Tensor
        self.register_buffer("blank", blank, persistent=False)

    def forward(self, kept: Tensor) -> Tensor:
        with self.prefix.play(kept):
            return self.net(self.blank.expand(len(kept), *self.blank.shape[1:]))


def before_a_block(net: nn.Module, first: Callable[[], Tensor]) -> Cut:
    """``ConfigError`` where nothing lies below the first adapted block, or what does could not be kept exactly."""
    prefix = _prefix(net.model)  # type: ignore[arg-type]
    pixels = first()
    said, kept = prefix.record(lambda: net(pixels))
    behind = Behind(net, prefix, torch.zeros_like(pixels[:1]))
    if not torch.allclose(behind(kept), said, rtol=CLOSE, atol=CLOSE * float(said.abs().max())):
        raise ConfigError(f"the logits do not follow from what enters block {prefix.first} alone; nothing below it can be kept")
    note = f"blocks below {prefix.first} are frozen and went over every image once; every epoch starts behind them"
    return Cut(behind, lambda x: prefix.record(lambda: net(x))[1], kept, f"block {prefix.first}", note)


def _prefix(model: nn.Module) -> Prefix:
    """Of the one tower of blocks that has something below its first adapted one."""
    towers = {block.tower for block in anatomy.blocks(model) if block.row.matrices}
    if len(towers) != 1:
        raise ConfigError(f"{type(model).__name__} has {len(towers)} towers of blocks; what is frozen is kept of models with one")
    prefix = Prefix(model, towers.pop())
    if not prefix.keeps:
        raise ConfigError("the first block is adapted, or something before it: nothing is frozen below; adapt upper blocks alone "
                          "(layers='-6:')")
    return prefix
