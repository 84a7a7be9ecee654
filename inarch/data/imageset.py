"""A table as a torch ``Dataset``: ``dataset[i]`` is (pixels, label, i), and says which file when one goes bad."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from inarch.data.table import Table
from inarch.data.transforms import Transform
from inarch.errors import ConfigError, DataError


class ImageSet(Dataset[tuple[torch.Tensor, Any, int]]):
    """Image ``i`` of ``table`` through ``transform``, drawn by ``(seed, epoch, i)``.

    ``label`` is an int, or ``float32[classes]`` when the table is multi-label. ``cache=True`` keeps the fitted pixels (uint8) in
    memory after their first use; each worker process fills its own, so it pays with ``num_workers=0``.
    """

    def __init__(self, table: Table, transform: Transform, seed: int = 0, *, cache: bool = False) -> None:
        if cache and transform.augment != "none":
            raise ConfigError(f"cache=True keeps one view of each image, but augment is {transform.augment!r}; choose one")
        self.table, self.transform, self.seed = table, transform, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # seen by workers that live longer than an epoch
        size = transform.preprocess.size
        self._cache = np.empty((len(table) if cache else 0, size, size, 3), dtype=np.uint8)
        self._cached = np.zeros(len(self._cache), dtype=bool)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Call before each epoch's iterator is made: the epoch is part of every sample's key."""
        self._epoch.fill_(epoch)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, Any, int]:
        label = self.table.labels[i]
        target = torch.from_numpy(label.copy()) if self.table.multilabel else int(label)
        return self.transform.normalise(self._pixels(i)), target, i

    def _pixels(self, i: int) -> np.ndarray:
        if not len(self._cache):
            return self._fresh(i)
        if not self._cached[i]:
            self._cache[i] = self._fresh(i)
            self._cached[i] = True
        return self._cache[i]

    def _fresh(self, i: int) -> np.ndarray:
        try:
            return self.transform.pixels(self.table.image(i), key=(self.seed, self.epoch, i))
        except DataError as error:
            lost = f"{error} (image {i}, epoch {self.epoch})"
            raise DataError(f"{lost}; it was readable at the start: restore the file and resume") from error


@contextmanager
def workers_alive() -> Iterator[None]:
    """Put the training loop inside: torch reports a dead worker wherever the main process happens to be."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise DataError(f"a data worker process died: {error}; use fewer workers, or none, and resume") from error


def batches(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches of a ``DataLoader``; a worker that dies, that fails, or whose pipe breaks, is a ``DataError``."""
    with workers_alive():
        try:
            yield from loader
        except (OSError, EOFError) as error:
            raise DataError(f"a data worker process died: {error!r}; use fewer workers, or none, and resume") from error
        except Exception as error:
            if "in DataLoader worker process" not in str(error):
                raise
            raise _from_worker(error) from error


def _from_worker(error: Exception) -> DataError:
    """What a worker said, without the traceback that torch puts before it."""
    kind, ours, said = str(error).rpartition(f"{DataError.__module__}.{DataError.__name__}: ")
    if ours:
        return DataError(said.strip())
    last = kind.strip().splitlines()[-1] if kind else str(error).strip().splitlines()[-1]
    return DataError(f"a data worker process failed: {last}; resume with workers=0 to see where")
