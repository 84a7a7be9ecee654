"""Which rows make up which update: a pure function of (seed, epoch), so that a resumed run needs no memory of it.

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

from inarch.tasks.task import Plan

Window = Sequence[Tensor]


def keyed(*parts: object) -> int:
    """A 63-bit seed that belongs to these parts and to no others."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


def permutation(rows: int, *parts: object) -> Tensor:
    """Of ``rows`` rows, drawn by these parts."""
    return torch.randperm(rows, generator=torch.Generator().manual_seed(keyed(*parts)))


def some(rows: int, most: int, seed: int, *parts: object) -> list[int]:
    """At most ``most`` of ``rows`` rows, in their order; which ones is drawn from the seed."""
    return sorted(permutation(rows, seed, "some", *parts)[:most].tolist())


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
        if self.draw is not None:
            generator = torch.Generator().manual_seed(keyed(self.seed, "order", epoch))
            return torch.multinomial(self.draw, self.rows, replacement=True, generator=generator)
        return permutation(self.rows, self.seed, "order", epoch)

    def windows(self, epoch: int) -> list[Window]:
        return windows(self.epoch(epoch), self.batch_size, self.accumulate)


def windows(rows: Tensor, batch_size: int, accumulate: int) -> list[Window]:
    """``rows`` in their order, cut into windows of micro-batches."""
    return [window.split(batch_size) for window in rows.split(batch_size * accumulate)]


class Shards:
    """A batch sampler: this process's rows of every micro-batch of one epoch, from window ``first`` on."""

    def __init__(self, order: Plan, rank: int = 0, processes: int = 1) -> None:
        self.order, self.rank, self.processes = order, rank, processes
        self.place(0, 0)

    def place(self, epoch: int, first: int) -> list[Window]:
        """Choose the epoch and its first window; returns the windows that iteration will cover."""
        self.epoch, self.windows = epoch, list(self.order.windows(epoch)[first:])
        return self.windows

    def __len__(self) -> int:
        return sum(map(len, self.windows))

    def __iter__(self) -> Iterator[list[int]]:
        for micro in self.whole():
            yield (self.mine(micro) if self.has(micro) else micro[:1]).tolist()

    def whole(self) -> Iterator[Tensor]:
        """The micro-batches that the shards are of: what is padded is padded alike in all of them."""
        for window in self.windows:
            yield from window

    def mine(self, micro: Tensor) -> Tensor:
        return micro[self.rank :: self.processes]

    def has(self, micro: Tensor) -> bool:
        """Whether this process has a row of its own in the micro-batch."""
        return self.rank < len(micro)


class Chunks:
    """Rows 0 .. rows - 1 in batches; each process gets as many of every batch, the last row repeated where they run out."""

    def __init__(self, rows: int, batch: int, rank: int = 0, processes: int = 1) -> None:
        self.rows, self.batch, self.rank, self.processes = rows, batch, rank, processes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chunks) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch)

    def __iter__(self) -> Iterator[list[int]]:
        for micro in self.whole():
            chunk = micro.tolist()
            chunk += [chunk[-1]] * (-len(chunk) % self.processes)
            yield chunk[self.rank :: self.processes]

    def whole(self) -> Iterator[Tensor]:
        yield from torch.arange(self.rows).split(self.batch)
