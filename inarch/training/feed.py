"""Where inputs come from: images read and transformed, or features computed once; both in the order that they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from inarch.data import ImageSet, Table, Transform, batches
from inarch.training.interrupt import ignore_interrupts

CACHE_CAP = 1 << 29  # bytes of transformed pixels kept in memory


class Feed(Protocol):
    """Inputs and labels of rows of one table."""

    table: Table

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """``(inputs, labels)`` for each list of rows in the iterable ``rows``."""
        ...

    def close(self) -> None:
        """Let go of worker processes."""
        ...


class ImageFeed:
    """Images through a transform, by ``workers`` processes; without augmentation their pixels are kept where they fit."""

    def __init__(self, table: Table, transform: Transform, seed: int, workers: int) -> None:
        side = transform.preprocess.size
        small = len(table) * side * side * 3 <= CACHE_CAP
        self.table, self.workers = table, workers
        self.kept: tuple[Any, DataLoader] | None = None  # workers live as long as they are asked for the same order
        self.images = ImageSet(table, transform, seed, cache=transform.augment == "none" and workers == 0 and small)

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        self.images.set_epoch(epoch)
        if self.kept is None or self.kept[0] != rows:
            self.kept = rows, self._loader(rows)
        for pixels, labels, _ in batches(self.kept[1]):
            yield pixels, labels

    def close(self) -> None:
        """End the workers now: torch would report the death of one wherever this process happens to be, saving or unlocking."""
        kept, self.kept = self.kept, None
        if kept is not None and self.workers and kept[1]._iterator is not None:
            kept[1]._iterator._shutdown_workers()  # type: ignore[attr-defined]

    def _loader(self, rows: Any) -> DataLoader:
        options: dict[str, Any] = {"worker_init_fn": ignore_interrupts, "persistent_workers": True} if self.workers else {}
        # a generator of its own: a loader draws a seed from the global one otherwise
        return DataLoader(self.images, batch_sampler=rows, num_workers=self.workers, generator=torch.Generator(), **options)


class FeatureFeed:
    """Features in memory."""

    def __init__(self, table: Table, features: Tensor) -> None:
        self.table, self.features = table, features
        self.labels = torch.from_numpy(table.labels)

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in rows:
            yield self.features[chosen], self.labels[chosen]

    def close(self) -> None:
        """There are none."""


def chunks(rows: int, batch: int, rank: int = 0, processes: int = 1) -> Sequence[list[int]]:
    """Rows 0 .. rows - 1 in batches; each process gets as many of every batch, the last row repeated where they run out."""
    parts = []
    for start in range(0, rows, batch):
        chunk = list(range(start, min(start + batch, rows)))
        chunk += [chunk[-1]] * (-len(chunk) % processes)
        parts.append(chunk[rank::processes])
    return parts
