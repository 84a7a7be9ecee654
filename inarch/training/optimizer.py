"""What moves the trained numbers: AdamW or SGD over groups of one rate and one decay.

AdamW runs as one kernel for all tensors: adapters have many small ones, and calls would take most of its time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from inarch.container import container_of
from inarch.recipe import Recipe

BETAS = (0.9, 0.999)  # torch's defaults, as in ARC's released training
MOMENTUM = 0.9  # of SGD [MMA]


def optimizer(trained: dict[str, nn.Parameter], recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """As the recipe says; what the method paces has a rate of its own in every group's ``pace``."""
    groups = _groups(trained, recipe, container_of(model).scion("default").method.paces)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM)
    return adamw(groups, lr=recipe.lr, betas=BETAS, eps=recipe.adam_eps)


def adamw(of: Iterable[Any], **settings: Any) -> torch.optim.AdamW:
    """Of parameters or groups of them, with torch's other defaults."""
    return torch.optim.AdamW(of, fused=True, **settings)


def _groups(trained: dict[str, nn.Parameter], recipe: Recipe, paces: dict[str, float]) -> list[dict[str, Any]]:
    """By rate and decay; what has a pace of its own never decays, nor do biases (by the word in the name) with ``decay="no-bias"``."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        pace = next((pace for word, pace in paces.items() if f".{word}." in name), None)
        spared = pace is not None or (recipe.decay == "no-bias" and "bias" in name)
        groups.setdefault((pace or 1.0, 0.0 if spared else recipe.weight_decay), []).append(parameter)
    return [{"params": parameters, "weight_decay": decay, "pace": pace} for (pace, decay), parameters in groups.items()]
