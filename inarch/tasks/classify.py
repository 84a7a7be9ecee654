"""The classification task: a loss per image, and the numbers that say how good the logits are.

    one label    l_i = w_y (logsumexp(z_i) - z_iy)                       loss = sum l_i / sum w_y     over a whole update
    several      l_i = mean over classes of -(p_c t log s(z) + (1 - t) log(1 - s(z)))                 loss = sum l_i / n
    balanced     w_c = n / (C n_c)  over the C classes with images       p_c = (n - n_c) / n_c
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch import backbones
from inarch.data import Table
from inarch.width import HALVES


class Classifier(nn.Module):
    """Pixels to logits ``[batch, classes]``: the one forward of training, scoring and prediction, so that their numbers agree."""

    def __init__(self, model: nn.Module, precision: str = "fp32") -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, pixels: Tensor) -> Tensor:
        if self.precision in HALVES:
            with torch.autocast(pixels.device.type, HALVES[self.precision]):
                return backbones.logits(self.model, pixels).float()
        return backbones.logits(self.model, pixels.to(torch.float64) if self.precision == "fp64" else pixels)


@dataclass(frozen=True, eq=False)
class Objective:
    """``weights [classes]``: of the classes (one label) or of their positives (several); None: all one."""

    multilabel: bool = False
    weights: Tensor | None = None

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """``[batch]``, weighted; to be divided by ``mass`` of all images of the update."""
        weights = None if self.weights is None else self.weights.to(logits)
        if self.multilabel:
            labels = labels.to(logits.dtype)
            return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="none").mean(1)
        return F.cross_entropy(logits, labels, weight=weights, reduction="none")

    def mass(self, labels: Tensor) -> float:
        """What a sum of losses is divided by: the images, each with its class's weight."""
        if self.multilabel or self.weights is None:
            return float(len(labels))
        return float(self.weights[labels].sum())


def objective(table: Table, classes: int, balanced: bool) -> Objective:
    """The loss for ``table``, its classes weighted to count the same where ``balanced``."""
    counts = class_counts(table, classes)
    if not balanced:
        return Objective(table.multilabel)
    if table.multilabel:  # a class without positives has nothing to weigh
        weights = np.where(counts > 0, (len(table) - counts) / np.maximum(counts, 1), 1.0)
    else:
        weights = len(table) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return Objective(table.multilabel, torch.from_numpy(weights))


def class_counts(table: Table, classes: int) -> np.ndarray:
    """Images per class."""
    return table.labels.sum(0) if table.multilabel else np.bincount(table.labels, minlength=classes)


def draw_weights(table: Table, classes: int) -> Tensor:
    """How likely each image is drawn when all classes are to be drawn equally often."""
    return torch.from_numpy(1.0 / np.maximum(class_counts(table, classes), 1))[torch.from_numpy(table.labels)]


def score(logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], multilabel: bool) -> dict[str, Any]:
    """Every number of ``inarch.metrics`` for this kind of task, as plain JSON."""
    from inarch import metrics

    measure = metrics.multilabel if multilabel else metrics.classification
    return measure(logits, labels, classes)


def headline(multilabel: bool) -> str:
    """The metric that selects an epoch and leads a table."""
    return "mAP" if multilabel else "accuracy"


def scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """The single numbers of a score, for a log line."""
    return {key: value for key, value in metrics.items() if isinstance(value, int | float) and not isinstance(value, bool)}
