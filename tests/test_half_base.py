"""Frozen weights in half precision: what trains stays fp32, the run learns the same, and is rebuilt as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chatter import Chatter
from matching_run import Field
from nursery import Nursery
from test_behind import outcome
from test_train_resume import stopped

import inarch
from inarch import backbones
from inarch.container import container_of
from inarch.errors import ConfigError
from inarch.evaluate import rebuild, table_logits
from inarch.fingerprint import fingerprint
from inarch.recipe import Recipe
from inarch.run import Run
from inarch.tasks.classification import read_data
from inarch.train import train
from inarch.training.job import grafted

SMALL = {"arc": {"rank": 2}, "adaring": {"bottleneck": 4}}
VISION = ("arc", "adaring", "lora", "fullrank", "bitfit", "vlpet", "bottleneck", "compacter", "fact", "adaptformer", "repadapter", "ssf",
          "vpt")
HALF = {"precision": "bf16", "half_base": True}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


LONG = pytest.mark.long


@pytest.mark.parametrize("settings", [
    {"method": "arc", "set": {"rank": 2}}, *(pytest.param(more, marks=LONG) for more in (
        {"method": "lora", "set": {"rank": 2}}, {"method": "vlpet"}, {"method": "arc", "set": {"rank": 2}, "recompute": True}))])
def test_a_run_over_a_half_base_learns_as_over_a_whole_one(nursery, tmp_path, settings):
    runs = {half: train(nursery.recipe(tmp_path / str(half), **settings, precision="bf16", half_base=half)) for half in (True, False)}
    losses = {half: outcome(run)[0] for half, run in runs.items()}
    assert losses[True] != losses[False] and losses[True] == pytest.approx(losses[False], rel=0.05)
    rebuilt = rebuild(runs[True])
    widths = {name: p.dtype for name, p in rebuilt.net.model.named_parameters()}
    own = {name for name in widths if name.startswith("inarch.")} | {name for name in widths if name.startswith("classifier.")}
    thin = {name for name, p in rebuilt.net.model.named_parameters() if p.dim() == 1}
    assert all(widths[name] == (torch.float32 if name in own | thin else torch.bfloat16) for name in widths)
    table = read_data(rebuilt.recipe, rebuilt.recipe.data).test
    assert np.array_equal(table_logits(rebuilt, table, 8), outcome(runs[True])[1])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["bart", "t5", "towers"])
def test_text_is_learned_and_towers_are_over_a_half_base(tmp_path, kind):
    """Two towers and two that generate: about the losses of a whole base, and matrices of the base in half when it is rebuilt."""
    world = Field(tmp_path) if kind == "towers" else Chatter(tmp_path, kind)
    runs = {half: train(world.recipe(tmp_path / str(half), precision="bf16", half_base=half)) for half in (True, False)}
    losses = {half: [line["loss"] for line in Run(run).lines()] for half, run in runs.items()}
    assert losses[True] == pytest.approx(losses[False], rel=0.1)
    matrices = [p.dtype for name, p in rebuild(runs[True]).net.model.named_parameters()
                if p.dim() > 1 and not p.requires_grad and not name.startswith("inarch.")]
    assert matrices and set(matrices) == {torch.bfloat16}


@pytest.mark.long
def test_a_resumed_run_over_a_half_base_is_the_uninterrupted_one(nursery, tmp_path):
    whole = train(nursery.recipe(tmp_path / "whole", **HALF))
    recipe = nursery.recipe(tmp_path / "stopped", **HALF)
    assert stopped(recipe, 3) == 130
    again = train(recipe, resume=True)
    assert outcome(again)[0] == outcome(whole)[0] and np.array_equal(outcome(again)[1], outcome(whole)[1])


def test_the_adapter_of_a_half_base_belongs_to_the_whole_one_too(nursery, tmp_path):
    """The fingerprints agree at the narrower width."""
    run = train(nursery.recipe(tmp_path / "run", **HALF))
    model = backbones.load(nursery.vit, classes=3).model
    whole = fingerprint(model)
    inarch.load(model, run)
    assert fingerprint(model)["float32"] == whole["float32"] and container_of(model).active()


@pytest.mark.parametrize("name", VISION)
def test_every_method_takes_a_half_base(nursery, name):
    """One forward and backward in bf16: finite, and every gradient in fp32."""
    recipe = Recipe.parse({"data": nursery.data, "backbone": nursery.vit, "method": name, "set": SMALL.get(name, {}), **HALF})
    model = backbones.load(nursery.vit, classes=3).model
    grafted(recipe, model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = backbones.logits(model, torch.randn(2, 3, 16, 16)).float().square().mean()
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in trained)
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in trained) and any(p.grad is not None for p in trained)


@pytest.mark.parametrize(("settings", "said"), [({"precision": "fp32"}, "precision='bf16'"), ({"method": "full"}, "needs a frozen base")])
def test_a_half_base_needs_half_precision_and_a_frozen_base(nursery, tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        nursery.recipe(tmp_path, **HALF | settings)
