"""Our AdaRing: its strength, what folds, what is saved, where it runs and what it refuses."""

import copy

import pytest
import torch
from families import FAMILIES
from families import pristine as family_of
from naive_adaring import QUIET, moved, toy
from naive_fewshot import batch, features

import inarch
from inarch import AdaRing
from inarch.errors import CannotFold, CannotGraft, ConfigError, Mismatch
from inarch.recipe import Recipe
from inarch.switching import strength

LORA = {"site": "lora", "ranks": (1, 2), "dropout": 0.0, "expert_dropout": 0.0}


# strength, folding, saving


@pytest.mark.parametrize("settings", [{}, {"gate": "router"}, {"bias": True}, {"site": "lora"}, {"site": "post"},
                                      {"init": "mma", "ranks": (3,), "bias": True}], ids=str)
def test_at_strength_zero_it_is_the_frozen_model(settings):
    drop = ["bottleneck"] * ("site" in settings) + ["expert_dropout"] * ("init" in settings)
    model, _ = moved(AdaRing(**{key: value for key, value in QUIET.items() if key not in drop} | settings))
    with torch.no_grad():
        on = features(model)
        with inarch.disabled(model):
            frozen = features(model)
        with strength(model, 0.0):
            assert torch.equal(features(model), frozen)
        with strength(model, 0.5):
            half = features(model)
        assert torch.equal(features(model), on)
    assert not torch.equal(half, frozen) and not torch.equal(half, on)


@pytest.mark.parametrize(("family", "settings"), [
    ("clip", {**LORA, "targets": ("q", "k", "v", "o", "fc1", "fc2")}), ("clip", LORA | {"site": "post"}),
    ("clip-open", LORA | {"site": "post"}), ("clip-open", {**LORA, "targets": ("fc1", "fc2")})], ids=str)
def test_linear_sites_fold_in_single_precision(family, settings):
    kind, model = FAMILIES[family], copy.deepcopy(family_of(family)).float()
    x = {key: value.float() if value.is_floating_point() else value for key, value in kind.inputs().items()}
    inarch.graft(model, AdaRing(**settings))
    torch.manual_seed(2)
    for parameter in model.inarch.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def logits() -> torch.Tensor:
        f, w = kind.forward(model, x).split(16, dim=-1)
        return model.logits(f, w) / model.scale  # cosines

    with torch.no_grad():
        before = logits()
        inarch.merge(model)
        assert (logits() - before).abs().max() <= 1e-5
        inarch.unmerge(model)
        assert torch.equal(logits(), before) and all(torch.equal(state[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("activation", ["relu", "none"])
def test_a_parallel_site_does_not_fold(activation):
    model, _ = moved(AdaRing(**QUIET, activation=activation))
    with pytest.raises(CannotFold, match="site='post' and site='lora' fold"):
        inarch.merge(model)


def test_saved_are_the_cores_once_and_nothing_else(tmp_path):
    model = toy(AdaRing(ranks=(1, 2, 4))).float()
    for parameter in model.inarch.parameters():
        parameter.data.copy_(torch.randn_like(parameter))
    inarch.save(model, tmp_path)
    (weights,) = tmp_path.glob("*.safetensors")
    assert 0 < weights.stat().st_size - 4 * inarch.count(model).adapter < 6_000
    fresh = toy().float()
    inarch.load(fresh, tmp_path)
    model.eval(), fresh.eval()  # no dropout
    assert fresh.inarch.default.method == model.inarch.default.method
    x = {"pixel_values": batch()[0].float(), "input_ids": batch()[1]}
    assert torch.equal(fresh(**x).logits_per_text, model(**x).logits_per_text)
    with pytest.raises(Mismatch, match="another architecture"):
        inarch.load(toy(text=16).float(), tmp_path)


# where it runs, and what it refuses


@pytest.mark.parametrize("family", ["hf-vit", "vl-bart", "vl-t5", "timm-swin"])
@pytest.mark.parametrize("settings", [{}, {"gate": "router"}], ids=str)
def test_other_backbones(family, settings):
    """A classifier, an encoder-decoder and a tower of several widths; at its defaults, dropout and all."""
    kind, model = FAMILIES[family], copy.deepcopy(family_of(family))
    inarch.graft(model, AdaRing(**{"bottleneck": 8, "ranks": (1, 2), **settings}))
    with torch.no_grad(), inarch.disabled(model):
        frozen = kind.run(model)
    model.inarch.train()
    assert torch.equal(kind.run(model).detach(), frozen)
    for parameter in model.inarch.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    kind.run(model).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.inarch.default.trained().values())
    assert not any(p.grad is not None for n, p in model.named_parameters() if not p.requires_grad)


@pytest.mark.parametrize(("settings", "message"), [
    ({"ranks": ()}, r"ranks=\(\); expected at least one"), ({"ranks": (0,)}, "ranks and bottleneck=0"), ({"bottleneck": 0}, "bottleneck=0"),
    ({"scale": 0.0}, "scale=0.0"), ({"dropout": 1.0}, "dropout=1.0"), ({"expert_dropout": 1.0}, "expert_dropout=1.0"),
    ({"site": "lora", "bottleneck": 8}, "bottleneck=8 has no meaning at site='lora'"), ({"targets": ("v",)}, "at site='parallel'"),
    ({"site": "post", "targets": ("v",)}, "has no meaning at site='post'"), ({"site": "post", "bias": True}, "bias=True has no meaning"),
    ({"site": "lora", "activation": "none"}, "activation='none' has no"), ({"site": "lora", "slices": "orthogonal"}, "slices='orthogonal'"),
    ({"site": "lora", "path": "dense"}, "path='dense' has no meaning"), ({"site": "lora", "ranks": (4,), "init": "mma"}, "init='mma'"),
    ({"site": "lora", "gate": "router"}, "could not be folded"), ({"ranks": (4,), "gate": "uniform"}, "gate='uniform' has no"),
    ({"ranks": (4,), "expert_dropout": 0.3}, "expert_dropout=0.3 has no meaning with a single rank"), ({"init": "mma"}, "single ring"),
    ({"form": "train", "tensorize": "heads64"}, "is of form='ring'"), ({"gate": "soft"}, "gate='soft'"), ({"site": "x"}, "site='x'"),
], ids=str)
def test_settings_that_say_nothing_or_too_much(settings, message):
    with pytest.raises(ConfigError, match=message):
        AdaRing(**settings)


@pytest.mark.parametrize(("said", "ranks"), [("1,2", (1, 2)), (4, (4,)), ([2, 4], (2, 4)), ("1, 3,4", (1, 3, 4))])
def test_ranks_as_flags_and_recipes_say_them(said, ranks):
    """A recipe of several ranks has a probe, one of a single rank has no gates to find."""
    assert AdaRing.parse({"ranks": said}).ranks == ranks
    recipe = Recipe.parse({"data": "x", "backbone": "clip:x", "method": "adaring", "set": {"ranks": said}})
    assert recipe.probe == ("gates" if len(ranks) > 1 else "off") and recipe.method_config().ranks == ranks


@pytest.mark.parametrize("said", ["1,x", "1.5", "", 1.5, True, "-1"])
def test_ranks_that_are_none(said):
    with pytest.raises(ConfigError, match="AdaRing: ranks="):
        AdaRing.parse({"ranks": said})


@pytest.mark.parametrize(("settings", "message"), [
    ({"ranks": (6,)}, "rank 6 of a ring spans 36 directions, text_32 has 32"), ({"bottleneck": 40}, "bottleneck=40 is wider than text_32"),
    ({"form": "train", "ranks": (33,)}, "rank 33 of a train spans 33 directions"), ({"tensorize": "heads64"}, "multiples of 64"),
    ({"site": "lora", "targets": ("cross.q",)}, "cross.q")], ids=str)
def test_models_that_are_too_narrow_for_it(settings, message):
    with pytest.raises(CannotGraft, match=message):
        toy(AdaRing(**settings))
