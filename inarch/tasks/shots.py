"""Where the images of a few-shot run come from, and how often they come again.

    updates per epoch = clip(ceil(rows / batch), least / epochs, most / epochs)       further passes over the rows make up what is missing
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inarch.data import Table
from inarch.tasks.match import Shown
from inarch.tasks.task import Batch
from inarch.training.feed import ImageFeed
from inarch.training.order import Order, Window


@dataclass(frozen=True, eq=False)
class Paced:
    """An order whose epochs are lengthened by further passes, or cut; 0: no such bound."""

    order: Order
    epochs: int
    least: int = 0
    most: int = 0

    @property
    def updates(self) -> int:
        low = math.ceil(self.least / self.epochs)
        high = max(self.most // self.epochs, 1) if self.most else math.inf
        return int(min(max(self.order.updates, low), high))

    def windows(self, epoch: int) -> list[Window]:
        passes = math.ceil(self.updates / self.order.updates)
        every = [window for k in range(passes) for window in self.order.windows(epoch * passes + k)]
        return every[: self.updates]


class ShotFeed:
    """Pixels with labels and rows."""

    def __init__(self, images: ImageFeed) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[Batch]:
        self.images.images.set_epoch(epoch)
        for pixels, labels, chosen in self.images.workers.over(rows):
            yield Batch(Shown(pixels, labels, chosen), labels)

    def close(self) -> None:
        self.images.close()


class KeptFeed:
    """What the image tower kept of every image ``[n, ...]``, instead of its pixels."""

    def __init__(self, table: Table, kept: Tensor) -> None:
        self.kept, self.labels = kept, torch.from_numpy(table.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[Batch]:
        for chosen in rows:
            at = torch.as_tensor(chosen)
            yield Batch(Shown(self.kept[at], self.labels[at], at), self.labels[at])

    def close(self) -> None:
        """There are no workers."""
