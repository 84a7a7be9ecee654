"""Which images make up which update: a pure function of (seed, epoch), so that a resumed run needs no memory of it.

    epoch -> rows [n]              a permutation, or n balanced draws with replacement, from Generator(seed, epoch)
    rows  -> windows               batch_size * accumulate rows per update; the last window of an epoch may be shorter
    window -> micro-batches        batch_size rows per backward pass, over all processes
    micro-batch -> shard           every P-th row from the r-th on for process r of P; an empty shard borrows a row of weight zero
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Window = Sequence[Tensor]


def keyed(*parts: object) -> int:
    """A 63-bit seed that belongs to these parts and to no others."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


@dataclass(frozen=True, eq=False)
class Order:
    """The windows of every epoch; ``draw`` gives the rows' chances where they are drawn with replacement."""

    rows: int
    batch_size: int
    accumulate: int
    seed: int
    draw: Tensor | None = None

    @property
    def updates(self) -> int:
        """Updates per epoch."""
        return math.ceil(self.rows / (self.batch_size * self.accumulate))

    def epoch(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(keyed(self.seed, "order", epoch))
        if self.draw is not None:
            return torch.multinomial(self.draw, self.rows, replacement=True, generator=generator)
        return torch.randperm(self.rows, generator=generator)

    def windows(self, epoch: int) -> list[Window]:
        return [window.split(self.batch_size) for window in self.epoch(epoch).split(self.batch_size * self.accumulate)]


class Shards:
    """A batch sampler: this process's rows of every micro-batch of one epoch, from window ``first`` on."""

    def __init__(self, order: Order, rank: int = 0, processes: int = 1) -> None:
        self.order, self.rank, self.processes = order, rank, processes
        self.place(0, 0)

    def place(self, epoch: int, first: int) -> list[Window]:
        """Choose the epoch and its first window; returns the windows that iteration will cover."""
        self.windows = self.order.windows(epoch)[first:]
        return self.windows

    def __len__(self) -> int:
        return sum(map(len, self.windows))

    def __iter__(self) -> Iterator[list[int]]:
        for window in self.windows:
            for micro in window:
                yield (self.mine(micro) if self.has(micro) else micro[:1]).tolist()

    def mine(self, micro: Tensor) -> Tensor:
        return micro[self.rank :: self.processes]

    def has(self, micro: Tensor) -> bool:
        """Whether this process has a row of its own in the micro-batch."""
        return self.rank < len(micro)
