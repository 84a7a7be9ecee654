"""Blocks computed again in backward (activation checkpointing of transformers): adapters see there what they saw in the forward."""

import copy

import pytest
import torch
from families import FAMILIES, pristine
from grid import METHODS
from nursery import Nursery

import inarch
from inarch import files
from inarch.run import Run
from inarch.train import train
from inarch.training.recompute import recompute


def gradients(model: torch.nn.Module, family: str) -> dict[str, torch.Tensor]:
    model.zero_grad()
    FAMILIES[family].run(model).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("family", "method"), [
    ("hf-vit", "arc"), ("hf-vit", "arc-trunk"), ("hf-vit", "toy-gate"), ("hf-vit", "vlpet-small"), ("hf-clip", "toy-gate"),
    ("hf-swin", "toy-prepared"), ("hf-clip", "mma"), ("hf-vit", "vpt-deep"), ("hf-vit", "adaptformer"),
    ("hf-clip", "adaring"), ("vl-bart", "toy-gate"), ("vl-t5", "toy-gate")])
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


@pytest.mark.parametrize("method", ["arc-trunk", "toy-gate"])
def test_nothing_of_the_second_run_stays(method):
    """Hooks at the block's end do not run again: what was meant for them must reach neither a later forward nor a copy."""
    model = copy.deepcopy(pristine("hf-vit"))
    inarch.graft(model, METHODS[method])
    with inarch.disabled(model), torch.no_grad():
        bare = FAMILIES["hf-vit"].run(model)
    model.train().activation_checkpointing_enable()
    gradients(model, "hf-vit")
    copy.deepcopy(model)
    with inarch.disabled(model), torch.no_grad():
        assert torch.equal(FAMILIES["hf-vit"].run(model.eval()), bare)


# the recipe's own option, whatever the library

@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


@pytest.mark.parametrize("changes", [{"method": "arc", "set": {"rank": 2, "dropout": 0.3}}, {"method": "houlsby", "set": {"rank": 2}},
                                     {"method": "lora", "backbone_noise": True, "accumulate": 2}])
def test_a_run_that_recomputes_is_the_run_without_and_keeps_less(nursery, tmp_path, changes):
    runs = [Run(train(nursery.recipe(tmp_path / str(flag), recompute=flag, **changes))) for flag in (False, True)]
    plain, again = (run.result() for run in runs)
    assert [line["loss"] for line in runs[0].lines()] == [line["loss"] for line in runs[1].lines()]
    assert plain["adapter_bytes"] == again["adapter_bytes"] and again["saved_bytes"] < 0.6 * plain["saved_bytes"]
    values = [files.read(next(run.adapter.glob("*.safetensors"))) for run in runs]
    assert values[0] == values[1]


@pytest.mark.parametrize(("family", "method"), [
    ("timm-vit", "arc"), ("timm-swin", "bottleneck"), ("vl-bart", "toy-gate"), ("vl-bart", "vlpet"), ("vl-bart", "vlpet-middleX"),
    ("vl-t5", "vlpet-small"), ("hf-clip", "adaring")])
def test_blocks_of_every_library_are_computed_again(family, method):
    model = copy.deepcopy(pristine(family))
    inarch.graft(model, METHODS[method])
    plain = gradients(model, family)
    recompute(model)
    again = gradients(copy.deepcopy(model), family)
    assert set(plain) == set(again) and all((plain[name] - again[name]).abs().max() < 1e-11 for name in plain)
