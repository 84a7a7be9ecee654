"""Where inputs come from: images read and transformed, or rows computed once; both in the order that they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from inarch.data import ImageSet, Table, Transform, batches
from inarch.tasks.task import Batch
from inarch.training.interrupt import ignore_interrupts

CACHE_CAP = 1 << 29  # bytes of transformed pixels kept in memory


class Workers:
    """A ``DataLoader`` over ``dataset`` whose processes live as long as they are asked for the same order."""

    def __init__(self, dataset: Any, workers: int, collate: Callable[[list[Any]], Any] | None = None) -> None:
        self.dataset, self.workers, self.collate = dataset, workers, collate
        self.kept: tuple[Any, DataLoader] | None = None

    def over(self, rows: Any) -> Iterator[Any]:
        if self.kept is None or self.kept[0] != rows:
            self.kept = rows, self._loader(rows)
        return batches(self.kept[1])

    def close(self) -> None:
        """End the workers now: torch would report the death of one wherever this process happens to be, saving or unlocking."""
        kept, self.kept = self.kept, None
        if kept is not None and self.workers and kept[1]._iterator is not None:
            kept[1]._iterator._shutdown_workers()  # type: ignore[attr-defined]

    def _loader(self, rows: Any) -> DataLoader:
        options: dict[str, Any] = {"worker_init_fn": ignore_interrupts, "persistent_workers": True} if self.workers else {}
        # a generator of its own: a loader draws a seed from the global one otherwise
        return DataLoader(self.dataset, batch_sampler=rows, num_workers=self.workers, collate_fn=self.collate,
                          generator=torch.Generator(), **options)


class ImageFeed:
    """Images through a transform, by ``workers`` processes; without augmentation their pixels are kept where they fit."""

    def __init__(self, table: Table, transform: Transform, seed: int, workers: int) -> None:
        side = transform.preprocess.size
        small = len(table) * side * side * 3 <= CACHE_CAP
        self.table = table
        self.view = f"{transform.augment} {transform.only}" if transform.only else "plain"  # as the first view is
        self.images = ImageSet(table, transform, seed, cache=transform.augment == "none" and workers == 0 and small)
        self.workers = Workers(self.images, workers)

    def seen_as(self, view: int) -> ImageFeed:
        """The same images, always in this view of the transform; these where it has no other, with the pixels that they keep."""
        transform = self.images.transform
        if transform.views == 1:
            return self
        return ImageFeed(self.table, replace(transform, only=view), self.images.seed, self.workers.workers)

    def first(self, count: int) -> Tensor:
        """Pixels of the first images, ``[count or fewer, 3, side, side]``."""
        return torch.stack([self.images[i][0] for i in range(min(count, len(self)))])

    def __len__(self) -> int:
        return len(self.table)

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[Batch]:
        self.images.set_epoch(epoch)
        for pixels, labels, _ in self.workers.over(rows):
            yield Batch(pixels, labels)

    def close(self) -> None:
        self.workers.close()


class Rows(Protocol):
    """What was computed of every image, by its number: ``rows[[3, 1]]`` is ``[2, ...]``."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Tensor: ...


class RowFeed:
    """``views[v][i]``: what was computed of image i in view v of its transform; an epoch draws the view that its pixels would have."""

    def __init__(self, images: ImageFeed, views: Sequence[Rows], dtype: torch.dtype) -> None:
        self.table, self.views, self.dtype = images.table, views, dtype
        self.transform, self.seed = images.images.transform, images.images.seed
        self.labels = torch.from_numpy(self.table.labels)

    def __len__(self) -> int:
        return len(self.table)

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[Batch]:
        for chosen in rows:
            yield Batch(self._rows(chosen, epoch).to(self.dtype), self.labels[chosen])

    def _rows(self, chosen: Any, epoch: int) -> Tensor:
        if len(self.views) == 1:
            return self.views[0][chosen]
        drawn = [self.views[self.transform.drawn((self.seed, epoch, int(i)))][[int(i)]] for i in chosen]
        return torch.cat(drawn)

    def close(self) -> None:
        """There are no worker processes."""
