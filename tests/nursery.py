"""A tiny backbone and tiny data on disk, and recipes that train on them in a fraction of a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from inarch.recipe import Recipe

CLASSES, SIDE = 3, 16
PARTS = {"train": 22, "val": 7, "test": 9}


class Nursery:
    """``data.npz`` (squares of a colour per class, with noise) and ``vit/``, a random ViT of two layers, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.vit = str(folder / "data.npz"), str(folder / "vit")
        np.savez(self.data, **arrays())
        _save_vit(self.vit)

    def recipe(self, out: Path | str, **changes: Any) -> Recipe:
        """ARC of rank 2 for two epochs; ``changes`` override any field."""
        fields = {"data": self.data, "backbone": self.vit, "method": "arc", "set": {"rank": 2}, "out": str(out), "epochs": 2,
                  "batch_size": 8, "lr": 0.02, "eval_batch_size": 8, "tensorboard": False, "report": False, "device": "cpu"}
        if changes.get("method", "arc") != "arc":
            fields["set"] = {}
        return Recipe.parse(fields | changes)


def arrays(seed: int = 0, side: int = SIDE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {"classes": np.array(["amber", "beryl", "coral"])}
    for part, n in PARTS.items():
        labels = np.arange(n) % CLASSES
        images = rng.integers(0, 120, size=(n, side, side, 3))
        images[np.arange(n), 4:12, 4:12, labels] += 120
        found |= {f"x_{part}": images.astype(np.uint8), f"y_{part}": labels}
    return found


def _save_vit(folder: str, **changes: Any) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": SIDE,
             "patch_size": 8, "num_labels": 2} | changes
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ViTForImageClassification(ViTConfig(**shape)).save_pretrained(folder)
