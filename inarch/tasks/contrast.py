"""Images and captions drawn to each other: the loss of a batch of pairs, and how many are found again.

    P_ij = 1 where image i has the text of pair j      z = logits [b, b]      p = softmax of rows, q = softmax of columns
    loss_i = - 1/2 (sum_j P_ij log p_ij / sum_j P_ij + sum_j P_ji log q_ji / sum_j P_ji) + extra_i
    recall@k, image to text: of all images, those of which a right text is among the k likeliest of all texts; text to image alike
Symmetric InfoNCE (CLIP, arXiv 2103.00020); where several are right, UniCL's mean over them (arXiv 2204.03610). Equal captions are
one text. A wrong candidate that ties with the right one stands before it, so that features that are all equal find nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from inarch.data.fewshot import CaptionTable
from inarch.tasks.learner import Learner
from inarch.tasks.match import Shown
from inarch.tasks.task import Batch
from inarch.training.feed import ImageFeed

KS = (1, 5, 10)
CHUNK = 256  # queries ranked at a time


class Paired(NamedTuple):
    """``logits [b, b]`` of the batch, which of them are ``right`` ``[b, b]``, ``extra [b]`` beside the loss."""

    logits: Tensor
    right: Tensor
    extra: Tensor


class PairLearner(nn.Module):
    """``Shown`` of pairs to ``Paired``: labels are texts, rows are images; ``has [n, t]``: image has text."""

    def __init__(self, learner: Learner, has: Tensor) -> None:
        super().__init__()
        self.learner = learner
        self.has = has

    @property
    def net(self) -> nn.Module:
        return self.learner.net

    def forward(self, shown: Shown) -> Paired:
        w, f = self.learner.w(shown.labels), self.learner.f(shown.seen)
        logits = self.learner.net.scores(f, w)
        right = self.has[shown.rows][:, shown.labels]
        return Paired(logits, right, self.learner.extra(shown, shown.labels, w, f, logits))


def contrastive(logits: Tensor, right: Tensor) -> Tensor:
    """``[b]``."""
    there = right.to(logits.dtype)
    texts = (torch.log_softmax(logits, dim=1) * there).sum(1) / there.sum(1)
    images = (torch.log_softmax(logits, dim=0) * there).sum(0) / there.sum(0)
    return -(texts + images) / 2


class PairFeed:
    """Pairs of a caption table, row c for caption c: pixels, or what was ``kept`` of every image, with its text and its image."""

    def __init__(self, pairs: Pairs, images: ImageFeed, kept: Tensor | None) -> None:
        self.pairs, self.images, self.kept = pairs, images, kept

    def __len__(self) -> int:
        return len(self.pairs.image)

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[Batch]:
        pairs = self.pairs
        if self.kept is not None:
            for chosen in map(torch.as_tensor, rows):
                image = pairs.image[chosen]
                yield Batch(Shown(self.kept[image], pairs.text[chosen], image), chosen)
            return
        self.images.images.set_epoch(epoch)
        for pixels, text, chosen in self.images.workers.over(rows):
            yield Batch(Shown(pixels, text, pairs.image[chosen]), chosen)

    def close(self) -> None:
        self.images.close()


class Pairs(NamedTuple):
    """``texts``: the distinct ones; of caption c its ``text[c]`` among them and its ``image[c]``; ``has [n, t]``."""

    texts: tuple[str, ...]
    text: Tensor
    image: Tensor
    has: Tensor

    @staticmethod
    def of(table: CaptionTable, rows: list[int] | None = None) -> Pairs:
        """Of all captions, or of these ``rows``."""
        chosen = np.arange(len(table.captions)) if rows is None else np.array(rows)
        _, first, text = np.unique(table.text[chosen], return_index=True, return_inverse=True)
        image = torch.from_numpy(table.image[chosen])
        has = torch.zeros(len(table.images), len(first), dtype=torch.bool)
        has[image, torch.from_numpy(text)] = True
        return Pairs(tuple(table.captions[chosen[c]] for c in first), torch.from_numpy(text), image, has)


def recalls(images: Tensor, texts: Tensor, has: Tensor) -> dict[str, float]:
    """Of normalised features ``[n, d]`` and ``[t, d]``; ``recall`` is the mean of all six."""
    found = {f"{name}@{k}": float((places < k).double().mean())
             for name, places in (("image_to_text", places(images, texts, has)), ("text_to_image", places(texts, images, has.T)))
             for k in KS}
    return found | {"recall": sum(found.values()) / len(found)}


def places(queries: Tensor, among: Tensor, right: Tensor) -> Tensor:
    """How many wrong ones stand before the first right one ``[n]``; queries without a right one are left out.

    >>> places(torch.eye(2), torch.eye(2), torch.tensor([[True, False], [True, False]]))
    tensor([0, 1])
    """
    pieces = []
    for some, own in zip(queries.split(CHUNK), right.split(CHUNK), strict=True):
        likeness = some @ among.T
        best = likeness.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
        pieces.append(((likeness >= best) & ~own).sum(1)[own.any(1)])
    return torch.cat(pieces)
