"""Blocks computed again in backward (activation checkpointing of transformers): adapters see there what they saw in the forward."""

import copy

import pytest
import torch
from families import FAMILIES, pristine
from grid import METHODS

import inarch


def gradients(model: torch.nn.Module, family: str) -> dict[str, torch.Tensor]:
    model.zero_grad()
    FAMILIES[family].run(model).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("family", "method"), [
    ("hf-vit", "arc"), ("hf-vit", "arc-trunk"), ("hf-vit", "toy-gate"), ("hf-vit", "vlpet-small"), ("hf-clip", "toy-gate"),
    ("hf-swin", "toy-prepared"), ("vl-bart", "toy-gate"), ("vl-t5", "toy-gate")])
def test_gradients_are_equal(family, method):
    """Hooks of the block itself run once, those inside of it twice: the residual stream must be read inside."""
    model = copy.deepcopy(pristine(family))
    inarch.graft(model, METHODS[method])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    model.train()
    plain = gradients(model, family)
    getattr(model, "language", model).activation_checkpointing_enable()
    again = gradients(model, family)
    assert set(plain) == set(again) and all((plain[name] - again[name]).abs().max() < 1e-11 for name in plain)
    assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
