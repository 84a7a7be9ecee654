"""A pytest plugin for timm's own model tests: every model that they create bears adapters, whose values are no longer their start.

Of timm's models those are taken whose rows we have, the small ones; all their weights train beside the adapters, since timm asks that
each has a gradient. ``scripts/timm_matrix.py`` runs it, with the method in ``INARCH_CASES``, and reads the outcome.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

import inarch
from inarch.backbones.torchvision import mend_torchvision
from inarch.errors import CannotGraft

mend_torchvision()
import timm  # noqa: E402

from scripts.timm_matrix import MODELS  # noqa: E402

METHODS = {
    "ARC": inarch.ARC(rank=4), "AdaRing": inarch.AdaRing(ranks=(1, 2), bottleneck=6, layers=None, dropout=0.0, expert_dropout=0.0),
    "VLPET": inarch.VLPET(rank=8, gate_rank=4),
}
DOWNLOADS = ("test_model_inference", "test_model_load_pretrained", "test_model_features_pretrained")
create = timm.create_model


def grafted(*words: object, **settings: object) -> nn.Module:
    """What timm would make, with adapters on it; a case is left out where that is refused."""
    model = create(*words, **settings)
    try:
        inarch.graft(model, METHODS[os.environ["INARCH_CASES"]], thaw="all")
    except CannotGraft as reason:
        pytest.skip(str(reason))
    generator = torch.Generator().manual_seed(3)
    for parameter in model.inarch.parameters():
        if not parameter.is_meta:
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model


def pytest_configure() -> None:
    if "INARCH_CASES" in os.environ:
        timm.create_model = grafted


def pytest_collection_modifyitems(items: list) -> None:
    """One tag of each model is enough: weights are random in every case."""
    kept = {}
    for item in items:
        settings = item.callspec.params if hasattr(item, "callspec") else {}
        name = str(settings.get("model_name"))
        if name.partition(".")[0] in MODELS and item.originalname not in DOWNLOADS:
            kept.setdefault((item.originalname, item.callspec.id.replace(name, name.partition(".")[0])), item)
    items[:] = kept.values()
