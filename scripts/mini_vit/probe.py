"""How good are the frozen features? Logistic regression on the class token, standardised, C = 0.1 fixed: train -> val.

The same probe on a random mini-vit of the same shape says what the training brought. Scikit-learn's digits, which no part of the
training saw, are probed last, for information only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mini_vit.distil import pixels
from mini_vit.sources import Array, Part, plain


@torch.inference_mode()
def class_tokens(model: Any, images: Array, batch: int = 200) -> Array:
    """The class token after the final norm, ``[N, 128]``."""
    chunks = [pixels(images[first : first + batch]) for first in range(0, len(images), batch)]
    return torch.cat([model.vit(pixel_values=chunk).last_hidden_state[:, 0] for chunk in chunks]).numpy()


def probe(model: Any, x_train: Array, y_train: Array, x_val: Array, y_val: Array) -> float:
    """Accuracy on val, in percent."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    regression.fit(class_tokens(model, x_train), y_train)
    return round(100 * float(regression.score(class_tokens(model, x_val), y_val)), 1)


def squash(images: Array) -> Array:
    return np.stack([plain(image) for image in images])


def probe_part(models: dict[str, Any], part: Part) -> dict[str, float]:
    """One set under each model."""
    known = part.y_train >= 0
    data = squash(part.x_train[known]), part.y_train[known], squash(part.x_val), part.y_val
    return {name: probe(model, *data) for name, model in models.items()}


def probe_digits(models: dict[str, Any]) -> dict[str, float]:
    """8 x 8 grey digits enlarged to 64: 1000 to train, 797 to test. Never seen in training, used for no choice."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = squash((digits.images * 15.9375).astype(np.uint8))
    data = images[:1000], digits.target[:1000], images[1000:], digits.target[1000:]
    return {name: probe(model, *data) for name, model in models.items()}
