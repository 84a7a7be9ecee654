"""Examples of image and text as batches: tokens padded to the longest of the whole micro-batch, features from their stores.

Padding is that of the micro-batch over all processes, so that what a process computes does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inarch.data.pairs.sampling import sampled_target
from inarch.tasks.generate import PAD, Prompt, Target
from inarch.tasks.task import Batch
from inarch.tasks.texts import Corpus, Words
from inarch.training.feed import Workers

if TYPE_CHECKING:
    from inarch.features import FeatureStore


class GridSet(Dataset[Tensor]):
    """Features ``[images, tokens, width]`` of every row, read by worker processes where there are some."""

    def __init__(self, table: Rows, store: FeatureStore) -> None:
        self.table, self.store = table, store

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Tensor:
        found, i = self.table.place(row)
        return self.store.batch(found.examples[i].images)


class Rows:
    """All corpora as one table: row r is example ``r - first[k]`` of corpus k."""

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self.corpora = tuple(corpora)
        self.first = np.concatenate([[0], np.cumsum([len(corpus) for corpus in corpora])]).astype(int)

    def __len__(self) -> int:
        return int(self.first[-1])

    def place(self, row: int) -> tuple[Corpus, int]:
        k = int(np.searchsorted(self.first, row, side="right")) - 1
        return self.corpora[k], row - int(self.first[k])

    def names(self, rows: Sequence[int]) -> list[str]:
        """``vqa 262148000``."""
        return [f"{found.protocol.name} {found.examples[i].key}" for found, i in map(self.place, rows)]


class TextFeed:
    """Prompts and targets of rows; ``rows.whole()`` says which micro-batch each list of rows belongs to."""

    def __init__(self, corpora: Sequence[Corpus], store: FeatureStore, pad: int, seed: int, workers: int) -> None:
        self.table, self.pad, self.seed = Rows(corpora), pad, seed
        self.workers = Workers(GridSet(self.table, store), workers, torch.stack)

    def __len__(self) -> int:
        return len(self.table)

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[Batch]:
        for mine, whole, features in zip(rows, rows.whole(), self.workers.over(rows), strict=True):
            yield self._batch(mine, whole.tolist(), features, epoch)

    def close(self) -> None:
        self.workers.close()

    def mass(self, rows: Sequence[int], epoch: int) -> float:
        """Examples, or the tokens of their targets; all rows of an update are of one task."""
        found, _ = self.table.place(rows[0])
        if found.protocol.loss != "token":
            return float(len(rows))
        told, targets = self._told(found, [self.table.place(row)[1] for row in rows], epoch)[0], found.targets
        return float(targets.ids.lengths[told].sum()) if targets else 0.0

    def _batch(self, mine: list[int], whole: list[int], features: Tensor, epoch: int) -> Batch:
        found, _ = self.table.place(whole[0])
        places = {row: self.table.place(row)[1] for row in whole}
        all_of, own = list(places.values()), [places[row] for row in mine]
        texts = found.texts.ids
        width = max(int(texts.lengths[found.text[all_of]].max()), 1)
        ids = texts.padded(found.text[own].tolist(), width, self.pad)
        mask = torch.arange(width) < torch.from_numpy(texts.lengths[found.text[own]])[:, None]
        labels, scale = self._targets(found, all_of, own, epoch)
        return Batch(Prompt(ids, mask.long(), features, labels, found.protocol.name), Target(labels, scale))

    def _targets(self, found: Corpus, all_of: list[int], own: list[int], epoch: int) -> tuple[Tensor, Tensor]:
        if found.targets is None:
            return torch.zeros(len(own), 0, dtype=torch.int64), torch.zeros(len(own))
        lengths = found.targets.ids.lengths
        width = max(int(lengths[self._told(found, all_of, epoch)[0]].max()), 1)
        told, weights = self._told(found, own, epoch)
        labels = found.targets.ids.padded(told.tolist(), width, PAD)
        return labels, torch.from_numpy(scales(found.protocol.loss, weights, lengths[told]))

    def _told(self, found: Corpus, places: list[int], epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The row of the drawn target, and its weight, of each example."""
        drawn = [sampled_target(found.examples[i], self.seed, epoch) for i in places]
        targets: Words = found.targets  # type: ignore[assignment]
        return targets.rows(text for text, _ in drawn), np.array([weight for _, weight in drawn])


def scales(loss: str, weights: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """s_i of each example: see ``inarch.tasks.generate``."""
    if loss == "token":
        return np.ones(len(tokens))
    return (weights if loss == "soft" else 1.0) / np.maximum(tokens, 1)
