"""Blocks below the first adapted one are frozen: each image goes through them once, then every epoch starts behind them.

    x_k(image) = what enters block k, the first with a trained number     =>     store x_k [n, tokens, dim], epochs cost blocks k ..
Done only where it is exact: evaluation mode, no augmentation, and a first batch whose logits come out the same from what was kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inarch import anatomy
from inarch.errors import ConfigError
from inarch.prefix import Prefix
from inarch.tasks.task import Tick
from inarch.training.feed import FeatureFeed, ImageFeed
from inarch.training.score import collect

CAP = 1 << 30  # bytes kept in memory; a constant, so that no run depends on what else the machine is doing
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


@dataclass(frozen=True, eq=False)
class Started:
    """What is trained from here on, and what it is fed with and watched on."""

    net: Behind
    feed: FeatureFeed
    val: FeatureFeed | None

    @property
    def note(self) -> str:
        first = self.net.prefix.first
        return f"blocks below {first} are frozen and went over every image once; every epoch starts behind them"


def behind(engine: Any, net: nn.Module, feed: ImageFeed, val: ImageFeed | None, batch: int, tick: Tick | None) -> Started | None:
    """None where nothing lies below the first adapted block, or what does could not be kept exactly."""
    prefix = _prefix(net.model)  # type: ignore[arg-type]
    if prefix is None:
        return None
    net.eval()
    recorder = Recorder(net, prefix, len(feed) + (len(val) if val else 0))
    try:
        kept = [None if part is None else FeatureFeed(part.table, collect(engine, part, batch, recorder, tick)) for part in (feed, val)]
    except ConfigError:  # this family hands on more than its stream, or keeps too much of it
        return None
    finally:
        for part in (feed, val):
            if part is not None:
                part.close()
    assert kept[0] is not None and recorder.behind is not None
    return Started(recorder.behind, kept[0], kept[1]) if recorder.exact else None


def _prefix(model: nn.Module) -> Prefix | None:
    """Of the one tower of blocks; None where there are several, or nothing to keep."""
    towers = {block.tower for block in anatomy.blocks(model) if block.row.matrices}
    if len(towers) != 1:
        return None
    prefix = Prefix(model, towers.pop())
    return prefix if prefix.keeps else None


class Recorder:
    """Pixels to ``x_k``; the first batch also shows whether the net says the same from what was kept."""

    def __init__(self, net: nn.Module, prefix: Prefix, images: int) -> None:
        self.net, self.prefix, self.images = net, prefix, images
        self.behind: Behind | None = None
        self.exact = False

    def __call__(self, pixels: Tensor) -> Tensor:
        said, kept = self.prefix.record(lambda: self.net(pixels))
        if self.behind is None:
            if kept[:1].nbytes * self.images > CAP:
                raise ConfigError(f"what is kept of {self.images} images fills more than {CAP} bytes")
            self.behind = Behind(self.net, self.prefix, torch.zeros_like(pixels[:1]))
            self.exact = torch.allclose(self.behind(kept), said, rtol=CLOSE, atol=CLOSE * float(said.abs().max()))
        return kept
