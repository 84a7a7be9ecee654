"""What is frozen says the same of an image in every epoch: it is asked once, and every epoch starts from what it said.

    row (image i, view v) = what enters the first thing that trains        epochs cost only what lies from there on
A view is one outcome of an augmentation that has few (``flip``: two). Done only where it is exact: in evaluation mode, and where a
first batch comes out of the net the same from its rows. The two places to cut at: features.py (a head), behind.py (a block).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from inarch.errors import ConfigError
from inarch.tasks.task import Tick
from inarch.training.behind import before_a_block
from inarch.training.cut import Cut
from inarch.training.features import before_the_head
from inarch.training.feed import ImageFeed, RowFeed, Rows

Head = Callable[[nn.Linear], nn.Module]  # a lone head, as the net that is trained


class Shelf(Protocol):
    """Where rows are kept: in memory, or in a folder (shelf.py). ``batch``: images at a time."""

    @property
    def batch(self) -> int: ...

    def check_room(self, cut: Cut, images: int) -> None:
        """``ConfigError`` where so many rows have no room, before any of them is computed."""

    def rows(self, engine: Any, feed: ImageFeed, cut: Cut, tick: Tick | None) -> Rows:
        """Of every image of ``feed``, in order."""


@dataclass(frozen=True, eq=False)
class Started:
    """What is trained from here on, what it is fed with and watched on, and what is to be told of it."""

    net: nn.Module
    feed: RowFeed
    val: RowFeed | None
    note: str


def start(engine: Any, net: nn.Module, head: Head, feed: ImageFeed, val: ImageFeed | None, shelf: Shelf, *,
          noise: bool = False, tick: Tick | None = None) -> Started:
    """Ask once for all of ``feed``, in every view of its transform, and of ``val``; ``ConfigError`` says why that cannot be.

    ``noise``: the frozen blocks are to drop what passes, in every epoch something else.
    """
    transform = feed.images.transform
    if noise:
        raise ConfigError("backbone_noise lets the frozen blocks drop something else in every epoch")
    if not transform.views:
        raise ConfigError(f"augment={transform.augment!r} shows an image in more ways than can be counted; use 'none' or 'flip'")
    views = [feed.seen_as(view) for view in range(transform.views)]
    net.eval()
    with torch.no_grad():
        cut = _cut(net, head, cache(lambda: views[0].first(shelf.batch).to(engine.device)))
    shelf.check_room(cut, len(views) * len(feed) + (0 if val is None else len(val)))

    def row_feed(images: ImageFeed, parts: Sequence[ImageFeed]) -> RowFeed:
        return RowFeed(images, [_rows(engine, part, cut, shelf, tick) for part in parts], cut.dtype)

    return Started(cut.net, row_feed(feed, views), None if val is None else row_feed(val, [val]), cut.note)


def _cut(net: nn.Module, head: Head, first: Callable[[], Tensor]) -> Cut:
    return before_the_head(net, head, first) or before_a_block(net, first)


def _rows(engine: Any, part: ImageFeed, cut: Cut, shelf: Shelf, tick: Tick | None) -> Rows:
    try:
        return shelf.rows(engine, part, cut, tick)
    finally:
        part.close()
