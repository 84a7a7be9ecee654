"""What a classifier did, in numbers, from logits and labels alone.

    confusion[t, p] = images of class t called p         precision_c = TP / (TP + FP)       recall_c = TP / (TP + FN)
    F1_c = 2 TP / (2 TP + FP + FN)                       balanced accuracy = mean recall of the classes with images
    loss = mean(logsumexp(z) - z_y)                      AP_c = sum over distinct scores of (R_k - R_{k-1}) P_k,  mAP = their mean
What has no value is ``None`` (0 / 0: no image and no prediction of a class), is left out of every mean, and is named beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inarch.errors import ConfigError, DataError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def classification(logits: Floats, labels: Ints, classes: Sequence[str]) -> dict[str, Any]:
    """All numbers of a one-label task, as plain JSON: ``logits [n, classes]``, ``labels [n]``.

    Between equal logits the first class wins. ``macro_f1`` is the mean over classes with an image or a prediction; ``absent``
    names the classes without an image.
    """
    scores = _scores(logits, classes)
    truth = _class_numbers(labels, scores.shape)
    found = confusion(scores.argmax(1), truth, len(classes))
    support, called, hit = found.sum(1), found.sum(0), found.diagonal()
    recall, f1 = _ratio(hit, support), _ratio(2 * hit, support + called)
    return {
        "n": len(truth),
        "loss": float(np.mean(cross_entropy(scores, truth))),
        "accuracy": float(hit.sum() / len(truth)),
        **({"top5": float(np.mean(ranks(scores, truth) < 5))} if len(classes) > 5 else {}),
        "balanced_accuracy": _mean(recall),
        "macro_f1": _mean(f1),
        "absent": [str(name) for name, n in zip(classes, support, strict=True) if n == 0],
        "per_class": _table(classes, precision=_ratio(hit, called), recall=recall, f1=f1, support=support),
        "confusion": found.tolist(),
    }


def multilabel(logits: Floats, labels: Floats, classes: Sequence[str], threshold: float = 0.5) -> dict[str, Any]:
    """All numbers of a many-label task, as plain JSON: ``logits`` and ``labels [n, classes]``, labels 0 or 1.

    A label is predicted from probability ``threshold`` on. ``absent`` names the classes without a positive: they have no AP and
    no recall, and mAP is the mean over the others.
    """
    if not 0 < threshold < 1:
        raise ConfigError(f"threshold={threshold}; expected a probability between 0 and 1")
    scores = _scores(logits, classes)
    truth = _indicators(labels, scores.shape)
    said = probabilities(scores, multilabel=True) >= threshold
    hit, called, support = (said & truth).sum(0), said.sum(0), truth.sum(0)
    f1, ap = _ratio(2 * hit, support + called), [average_precision(scores[:, c], truth[:, c]) for c in range(len(classes))]
    return {
        "n": len(truth),
        "loss": float(np.mean(np.logaddexp(0, scores) - scores * truth)),
        "mAP": _mean(ap),
        "micro_f1": _ratio(np.array([2 * hit.sum()]), np.array([support.sum() + called.sum()]))[0],
        "macro_f1": _mean(f1),
        "exact": float(np.mean((said == truth).all(1))),
        "threshold": threshold,
        "absent": [str(name) for name, n in zip(classes, support, strict=True) if n == 0],
        "per_class": _table(classes, ap=ap, precision=_ratio(hit, called), recall=_ratio(hit, support), f1=f1, support=support),
    }


def confusion(predicted: Ints, labels: Ints, classes: int) -> Ints:
    """``[true, predicted]`` counts."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def cross_entropy(logits: Floats, labels: Ints) -> Floats:
    """Per image, in nats; the largest logit is taken off first, so none overflows."""
    shifted = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]


def ranks(logits: Floats, labels: Ints) -> Ints:
    """How many classes stand before the true one; rank 0 is the prediction, also among equal logits."""
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > own) | ((logits == own) & earlier)).sum(1)


def probabilities(logits: Floats, *, multilabel: bool = False) -> Floats:
    """Softmax over classes, or each class's own sigmoid."""
    if multilabel:
        return np.exp(-np.logaddexp(0, -logits))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def average_precision(scores: Floats, truth: NDArray[np.bool_]) -> float | None:
    """Area under the step curve of precision over recall; images of equal score enter together. None without a positive."""
    positives = int(truth.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return float(np.sum(np.diff(hits[ends], prepend=0) / positives * hits[ends] / (ends + 1)))


def _ratio(above: Ints, below: Ints) -> list[float | None]:
    return [float(a / b) if b else None for a, b in zip(above, below, strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _table(classes: Sequence[str], *, support: Ints, **columns: Sequence[float | None]) -> list[dict[str, Any]]:
    rows = zip(*columns.values(), strict=True)
    return [{"name": str(name), **dict(zip(columns, row, strict=True)), "support": int(n)}
            for name, row, n in zip(classes, rows, support, strict=True)]


def _scores(logits: Floats, classes: Sequence[str]) -> NDArray[np.float64]:
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(classes) or not scores.size:
        raise DataError(f"logits of shape {list(scores.shape)}; expected [images, {len(classes)}], a column per class")
    bad = np.flatnonzero(~np.isfinite(scores).all(1))
    if len(bad):
        raise DataError(f"logits of {len(bad)} of {len(scores)} images are not finite (first: row {bad[0]}); "
                        "train again with a smaller lr or in precision fp32")
    return scores


def _class_numbers(labels: Ints, shape: tuple[int, int]) -> NDArray[np.int64]:
    truth = np.asarray(labels)
    if truth.shape != shape[:1] or truth.dtype.kind not in "iu":
        raise DataError(f"labels: {truth.dtype} {list(truth.shape)}; expected a whole number for each of {shape[0]} images")
    if truth.min() < 0 or truth.max() >= shape[1]:
        raise DataError(f"labels from {truth.min()} to {truth.max()}; expected 0 to {shape[1] - 1}: another class list?")
    return truth.astype(np.int64)


def _indicators(labels: Floats, shape: tuple[int, int]) -> NDArray[np.bool_]:
    truth = np.asarray(labels)
    if truth.shape != shape:
        raise DataError(f"labels of shape {list(truth.shape)}; expected {list(shape)}: a 0 or 1 for every image and class")
    if not np.isin(truth, (0, 1)).all():
        raise DataError(f"multi-label values such as {truth[~np.isin(truth, (0, 1))][0]}; expected 0 or 1")
    return truth.astype(bool)
