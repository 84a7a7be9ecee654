"""Frozen linear layers in eight bits by a word in the recipe: the run learns, is resumed and rebuilt as it was, and says what cannot be."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import test_bench
import torch
from chatter import Chatter
from families import FAMILIES
from matching_run import Field
from nursery import Nursery
from test_behind import outcome
from test_half_base import SMALL, VISION
from test_packed import four_bit
from test_train_dist import far, launch, weights
from test_train_resume import stopped
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

import inarch
from inarch import backbones
from inarch.bench import vision
from inarch.bench.memory import memory_of
from inarch.bench.saved import saved_bytes
from inarch.eight_bits import Product, quantise
from inarch.errors import ConfigError, Mismatch, MissingExtra
from inarch.evaluate import rebuild, table_logits
from inarch.packed import packed
from inarch.recipe import Recipe
from inarch.run import Run
from inarch.tasks.classification import read_data
from inarch.train import train
from inarch.training.job import grafted

KINDS = ("int8", "fp8")


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


@pytest.fixture
def torchao():
    return pytest.importorskip("torchao", reason="torchao is not installed; tests/test_torchao.py brings it")


pytestmark = pytest.mark.filterwarnings("ignore")  # torchao's own


def linears(model: nn.Module) -> dict[str, bool]:
    """Path of every linear layer of the base -> whether it is quantised."""
    return {path: bool(packed(module.weight)) for path, module in model.named_modules()
            if isinstance(module, nn.Linear) and not path.startswith("inarch.")}


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16"}, {"recompute": True}, {"cache_features": False}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_learns_about_what_it_learns_over_a_whole_base_and_is_rebuilt_to_the_bit(torchao, nursery, tmp_path, kind, settings):
    runs = {base: train(nursery.recipe(tmp_path / str(base), quantised_base=base, **settings)) for base in (kind, None)}
    losses = {base: outcome(run)[0] for base, run in runs.items()}
    assert losses[kind] != losses[None] and losses[kind] == pytest.approx(losses[None], rel=0.05)
    rebuilt = rebuild(runs[kind])
    assert {path: is_so for path, is_so in linears(rebuilt.net.model).items() if not is_so} == {"classifier": False}
    table = read_data(rebuilt.recipe, rebuilt.recipe.data).test
    assert np.array_equal(table_logits(rebuilt, table, 8), outcome(runs[kind])[1])


@pytest.mark.parametrize("kind", ["bart", "t5", "towers"])
def test_text_is_learned_and_towers_are(torchao, tmp_path, kind):
    """Two towers and two that generate: about the losses of a whole base, and what is rebuilt is quantised again."""
    world = Field(tmp_path) if kind == "towers" else Chatter(tmp_path, kind)
    runs = {base: train(world.recipe(tmp_path / str(base), quantised_base=base)) for base in ("int8", None)}
    losses = {base: [line["loss"] for line in Run(run).lines()] for base, run in runs.items()}
    assert losses["int8"] != losses[None] and losses["int8"] == pytest.approx(losses[None], rel=0.1)
    assert sum(linears(rebuild(runs["int8"]).net.model).values()) > 8


def test_a_resumed_run_is_the_uninterrupted_one(torchao, nursery, tmp_path):
    whole = train(nursery.recipe(tmp_path / "whole", quantised_base="int8"))
    recipe = nursery.recipe(tmp_path / "stopped", quantised_base="int8")
    assert stopped(recipe, 3) == 130
    again = train(recipe, resume=True)
    assert outcome(again)[0] == outcome(whole)[0] and np.array_equal(outcome(again)[1], outcome(whole)[1])


@pytest.mark.dist
def test_two_processes_learn_what_one_does(torchao, nursery, tmp_path):
    one = train(nursery.recipe(tmp_path / "one", quantised_base="int8", batch_size=7))
    ended = launch(nursery.recipe(tmp_path / "two", quantised_base="int8", batch_size=7))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert far(weights(tmp_path / "two"), weights(one)) < 1e-4


@pytest.mark.parametrize("name", VISION)
def test_every_method_takes_it_and_computes_with_the_widened_weights(torchao, nursery, name):
    """Logits are those of a base whose weights are what the eight bits stand for; every gradient is there, in fp32."""
    recipe = Recipe.parse({"data": nursery.data, "backbone": nursery.vit, "method": name, "set": SMALL.get(name, {}),
                           "quantised_base": "int8"})
    model, twin = (backbones.load(nursery.vit, classes=3).model for _ in range(2))
    grafted(recipe, model)
    for path, module in twin.named_modules():
        if linears(model).get(path):
            module.weight.data = model.get_submodule(path).weight.dequantize()
    grafted(recipe.model_copy(update={"quantised_base": None}), twin)
    pixels = torch.randn(2, 3, 16, 16)
    logits = backbones.logits(model, pixels)
    assert torch.allclose(logits, backbones.logits(twin, pixels), atol=1e-5)
    F.cross_entropy(logits, torch.tensor([0, 2])).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in trained) and any(p.grad is not None for p in trained)


@pytest.mark.row("D5", "the product with a weight that is stored in eight bits, against finite differences in fp64")
def test_the_gradient_of_the_product_is_checked():
    """The gradient of what comes in agrees with finite differences."""
    weight = torch.randn(5, 4).mul(8).round().double() / 8  # widening rounds to fp32: nothing to round here
    assert gradcheck(Product.apply, (torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True), weight))
    assert torch.equal(Product.apply(torch.eye(4, dtype=torch.float64), weight), weight.mT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_keeps_what_it_keeps_over_a_whole_base(torchao, nursery, kind):
    """Not one widened weight: they would be the base in fp32 once more."""
    kept = []
    for base in (kind, None):
        model = backbones.load(nursery.vit, classes=3).model
        grafted(nursery.recipe("nowhere", quantised_base=base), model)
        kept.append(saved_bytes(model, lambda model=model: backbones.logits(model, torch.zeros(2, 3, 16, 16)).sum()))
    assert kept[0] == kept[1]


@pytest.mark.compile
@pytest.mark.parametrize("kind", KINDS)
def test_it_compiles_to_one_graph(torchao, nursery, kind):
    model = backbones.load(nursery.vit, classes=3).model
    grafted(nursery.recipe("nowhere", quantised_base=kind), model)
    whole = torch.compile(lambda pixels: backbones.logits(model, pixels), backend="aot_eager", fullgraph=True)
    pixels, found = torch.randn(2, 3, 16, 16), []
    for forward in (whole, lambda pixels: backbones.logits(model, pixels)):
        model.zero_grad()
        logits = forward(pixels)
        logits.square().sum().backward()
        found.append([logits, *(p.grad for p in model.parameters() if p.grad is not None)])
    torch._dynamo.reset()
    assert len(found[0]) > 5
    for compiled, eager in zip(*found, strict=True):
        assert torch.allclose(compiled, eager, atol=1e-6)


def test_the_bench_measures_it_as_a_run_has_it(torchao):
    """Counted by hand: a byte per number of a linear layer, a scale and a zero point per output channel, all else as it was."""
    kind = replace(vision.VISION, batch=test_bench.batch, loss=test_bench.loss)
    eight, whole = (kind.prepared(test_bench.pristine(), name) for name in ("arc-int8", "arc"))
    found = [memory_of(kind, model, kind.batch) for model in (eight, whole)]
    layers = [whole.get_submodule(path) for path, is_so in linears(eight).items() if is_so]
    spared = sum(3 * layer.weight.numel() - (4 + 1) * layer.out_features for layer in layers)
    assert layers and found[1]["frozen_bytes"] - found[0]["frozen_bytes"] == spared
    assert found[0]["saved_per_image"] == found[1]["saved_per_image"] and found[0]["trained"] == found[1]["trained"]


def test_its_adapter_belongs_to_the_base_as_it_was_stored(torchao, nursery, tmp_path):
    run = train(nursery.recipe(tmp_path / "run", quantised_base="int8"))
    plain = backbones.load(nursery.vit, classes=3).model
    with pytest.raises(Mismatch, match="a quantised base is recognised by its source"):
        inarch.load(plain, run)
    assert not hasattr(plain, "inarch")
    inarch.load(quantise(backbones.load(nursery.vit, classes=3).model, "int8"), run)


def test_what_is_shared_or_always_trains_is_left_whole(torchao):
    found = linears(quantise(FAMILIES["vl-bart"].model().float(), "int8"))
    assert sum(found.values()) > 20
    assert {path for path, is_so in found.items() if not is_so} == {"language.lm_head", "visual.feature", "visual.box"}


@pytest.mark.parametrize(("settings", "said"), [
    ({"precision": "fp64"}, "checks of a whole base"), ({"method": "full"}, "needs a frozen base"), ({"quantised_base": "int4"}, "int8"),
    ({"precision": "bf16", "half_base": True}, "choose one")])
def test_contradictions_are_refused(nursery, tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        nursery.recipe(tmp_path, **{"quantised_base": "int8"} | settings)


def test_the_extra_is_named_where_it_is_absent(nursery, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    model = backbones.load(nursery.vit, classes=3).model
    with pytest.raises(MissingExtra, match=r"inarch\[quant\]"):
        quantise(model, "int8")
    with pytest.raises(MissingExtra, match=r"inarch\[quant\]"):
        vision.VISION.prepared(model, "arc-int8")


def test_another_kind_and_a_base_without_linears_are_refused(nursery):
    with pytest.raises(ConfigError, match="'nf4'; there are int8, fp8"):
        quantise(backbones.load(nursery.vit, classes=3).model, "nf4")
    with pytest.raises(ConfigError, match="has no frozen linear layers to store as int8"):
        quantise(four_bit(), "int8")
