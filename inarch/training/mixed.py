"""Several tasks in one epoch: each update is of one task, with that task's own batch size, until all are used up.

    task k       rows of its own, in the order of (seed, epoch, k), cut into ceil(n_k / (b_k accumulate)) windows
    interleaved  each task's name as often as it has windows, shuffled by (seed, epoch), taken from the end
    published    VL-PET's released order: Random(epoch) shuffles the names, Generator(epoch) the rows of every task, whatever the seed
A run on one task is the same as ``Order`` makes it. Batch sizes: b_k = b share_k, over all processes and per backward pass.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from inarch.training.order import Window, keyed, permutation, windows


@dataclass(frozen=True)
class Share:
    """A task's rows ``first`` .. ``first + rows - 1``, and how many make a micro-batch."""

    name: str
    first: int
    rows: int
    batch_size: int


@dataclass(frozen=True, eq=False)
class Mixed:
    """The windows of every epoch over all tasks."""

    shares: tuple[Share, ...]
    accumulate: int
    seed: int
    published: bool = False

    @property
    def updates(self) -> int:
        """Updates per epoch."""
        return sum(map(self._updates, self.shares))

    def _updates(self, share: Share) -> int:
        return math.ceil(share.rows / (share.batch_size * self.accumulate))

    def names(self, epoch: int) -> list[str]:
        """Which task each update is of."""
        names = [share.name for share in self.shares for _ in range(self._updates(share))]
        random.Random(epoch if self.published else keyed(self.seed, "tasks", epoch)).shuffle(names)
        return names[::-1]

    def windows(self, epoch: int) -> list[Window]:
        left = {share.name: iter(windows(self._rows(share, epoch), share.batch_size, self.accumulate)) for share in self.shares}
        return [next(left[name]) for name in self.names(epoch)]

    def _rows(self, share: Share, epoch: int) -> Tensor:
        if self.published:  # torch's DistributedSampler, whose own seed is 0
            return share.first + torch.randperm(share.rows, generator=torch.Generator().manual_seed(epoch))
        alone = len(self.shares) == 1
        return share.first + permutation(share.rows, self.seed, "order", epoch, *(() if alone else (share.name,)))


def batch_size(base: int, share: tuple[int, int]) -> int:
    """A task's part of the base batch size; at least one.

    >>> [batch_size(500, share) for share in ((1, 1), (100, 60), (20, 60), (50, 60))]
    [500, 833, 166, 416]
    """
    return max(base * share[0] // share[1], 1)
