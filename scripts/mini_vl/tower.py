"""The eyes of mini-vl: a small ResNet that learns, cell by cell, what lies where in plain scenes.

    loss = CE(kind or nothing) + CE(color) + CE(size) + BCE(centre lies here) + |offset of the centre|       per cell of the 6 x 6 grid
The heads are for the training only; what the language model reads is the grid before them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.scenes.world import COLORS, KINDS, SIDE, SIZES, Scene

CELL = 8  # pixels
GRID = SIDE // CELL
WIDTH = 128
SHAPE: dict[str, Any] = {"embedding_size": 48, "hidden_sizes": [64, WIDTH], "depths": [1, 2], "layer_type": "basic", "num_labels": 2}
SIZE_NAMES = ("", *SIZES)
PARTS = (len(KINDS) + 1, len(COLORS), len(SIZE_NAMES), 1, 2)  # the columns of the heads


def new_classifier() -> Any:
    """The tower as it ships: transformers knows its ResNets with and without a head; the file will hold none."""
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(ResNetConfig(**SHAPE))


def new_tower() -> Any:
    return new_classifier().resnet.to(memory_format=torch.channels_last)


def pixels(images: np.ndarray) -> Tensor:
    """uint8 ``[n, side, side, 3]`` to ``[n, 3, side, side]`` in -1 .. 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last).float() / 127.5 - 1


def grid(tower: Any, x: Tensor) -> Tensor:
    """Features ``[n, 36, WIDTH]``, row by row from the top left."""
    return tower(pixel_values=x).last_hidden_state.flatten(2).transpose(1, 2)


def labels(scene: Scene) -> np.ndarray:
    """``[36, 6]``: kind (0 nothing), color, size (-100 where nothing is), centre, offset to the centre in cells (x, y)."""
    found = np.zeros((GRID, GRID, 6), np.float32)
    found[..., 1:3] = -100
    y, x = (np.mgrid[:GRID, :GRID] + 0.5) * CELL
    away = np.stack([np.hypot(x - thing.x, y - thing.y) / thing.radius for thing in scene.things])
    nearest, near = away.argmin(0), away.min(0) < 1.0
    for number, thing in enumerate(scene.things):
        row, column = int(thing.y // CELL), int(thing.x // CELL)
        own = near & (nearest == number)
        own[row, column] = True
        found[own, :3] = KINDS.index(thing.kind) + 1, COLORS.index(thing.color), SIZE_NAMES.index(thing.size)
        found[row, column, 3] = 1
        found[own, 4], found[own, 5] = (thing.x - x[own]) / CELL, (thing.y - y[own]) / CELL
    return found.reshape(-1, 6)


def heads() -> nn.Linear:
    return nn.Linear(WIDTH, sum(PARTS))


def dense_loss(said: Tensor, wanted: Tensor) -> Tensor:
    """``said`` [n, 36, sum(PARTS)], ``wanted`` [n, 36, 6]."""
    kind, color, size, centre, offset = said.flatten(0, 1).split(PARTS, dim=1)
    wanted = wanted.flatten(0, 1)
    there = wanted[:, 0] > 0
    classes = sum(F.cross_entropy(s, wanted[:, k].long()) for k, s in enumerate((kind, color, size)))
    return classes + F.binary_cross_entropy_with_logits(centre[:, 0], wanted[:, 3]) + (offset - wanted[:, 4:])[there].abs().mean()


@torch.inference_mode()
def cell_accuracy(said: Tensor, wanted: Tensor) -> dict[str, float]:
    """At the cells that hold a centre: kind, digits alone, color; over all cells: whether a centre lies there."""
    kind, color, _, centre, _ = said.flatten(0, 1).split(PARTS, dim=1)
    wanted = wanted.flatten(0, 1)
    here = wanted[:, 3] > 0
    digit = here & (wanted[:, 0] > len(KINDS) - 10)
    right = {
        "kind": (kind.argmax(1) == wanted[:, 0])[here], "digit": (kind.argmax(1) == wanted[:, 0])[digit],
        "color": (color.argmax(1) == wanted[:, 1])[here], "centre": (centre[:, 0] > 0) == here,
    }
    return {name: round(100 * float(hits.float().mean()), 1) for name, hits in right.items()}
