"""PEFT's own methods as runs: found, placed, counted, saved under a seal, refused whole; and no verb of ours does half of its work."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from pathlib import Path

import peft
import pytest
import torch
from nursery import Nursery
from test_train_resume import stopped

import inarch
import inarch.peft
from inarch import backbones
from inarch.cli import main
from inarch.container import container_of
from inarch.errors import CannotFold, CannotGraft, CheckpointError, ConfigError, Corrupt, InarchError, Incomplete, Mismatch, MissingExtra
from inarch.evaluate import evaluate
from inarch.inspect import inspect
from inarch.methods import configured, method_named, name_of
from inarch.peft.guests import kinds
from inarch.peft.offers import offered
from inarch.peft.planted import held_by
from inarch.planting import planting
from inarch.run import Run
from inarch.toml import to_toml
from inarch.train import stored_recipe, train

FILES = ("adapter_config.json", "adapter_model.safetensors", "guest.json")
KINDS = ["lora", "ln_tuning", "vera", "unilora",  # layers, norms, shared buffers, a shared bank; and more of each
         *(pytest.param(word, marks=pytest.mark.long) for word in ("ia3", "oft", "osf", "delora", "randlora", "shira"))]
SMALL = {"shira": {"r": 4}}  # on a width of 16
PLANT_SEED = 3


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


@pytest.fixture(scope="module")
def base(nursery: Nursery) -> torch.nn.Module:
    return backbones.load(nursery.vit, classes=3, head_init="library").model


def planted(model: torch.nn.Module, word: str = "lora", **fields) -> torch.nn.Module:
    planting(configured(f"peft:{word}", SMALL.get(word, {}) | fields)).plant(model, ("head",), PLANT_SEED)
    return model


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Every trained number moved, so that nothing stands at its start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    pixels = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return backbones.logits(model.eval(), pixels)


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# what is found

@pytest.mark.long
def test_every_kind_of_the_registry_is_a_method_and_ours_are_not() -> None:
    words = [kind.value.lower() for kind in kinds()]
    assert {"lora", "vera", "ln_tuning", "oft"} <= {*words} and not {"arc", "adaring", "vlpet"} & {*words}
    for word in words:
        kind = method_named(f"peft:{word}")
        assert name_of(kind) == f"peft:{word}" and method_named(f"peft:{word.upper()}") is kind
        assert kind.parse(kind().fields()) == kind() and to_toml({"set": kind().fields()})


@pytest.mark.parametrize(("fields", "told"), [
    ({"rr": 4}, "did you mean 'r'"), ({"r": 2.5}, "r=2.5; expected int"), ({"targets": ("q", "q")}, "each once"), ({"bias": "all"}, "bias"),
    ({"targets": ("q",), "target_modules": ("q_proj",)}, "one of them"),
])
def test_a_wrong_field_is_refused_by_name(fields: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configured("peft:lora", fields)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'lora'"):
        method_named("peft:loora")


@pytest.mark.parametrize(("word", "targets"), [
    ("lora", ("q", "v")), ("ia3", ("k", "v", "fc2")), ("ln_tuning", ("norms",)), ("beft", ("v",))])
def test_targets_are_those_of_pefts_own_table(word: str, targets: tuple[str, ...]) -> None:
    assert configured(f"peft:{word}", {}).chosen == targets


@pytest.mark.parametrize("word", ["lora", "oft", "unilora", "fourierft"])
def test_the_size_that_was_found_makes_it_larger(word: str) -> None:
    kind = method_named(f"peft:{word}")
    counts = []
    for more in (1, 2):
        model = torch.nn.Sequential(torch.nn.Linear(64, 64))
        method = kind(target_modules=("0",), **{kind.size: 8}).resized(8 * more)
        config = method.config(model)
        counts.append(sum(p.numel() for p in peft.get_peft_model(model, config).parameters() if p.requires_grad))
    assert counts[0] < counts[1]


def test_a_kind_without_such_a_field_says_so() -> None:
    assert method_named("peft:ia3").size == "" == method_named("peft:xlora").size
    with pytest.raises(ConfigError, match="no field that makes it larger"):
        configured("peft:ia3", {}).resized(4)


# on a model

@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("word", KINDS)
def test_what_trains_is_pefts_own_and_the_head(base, word: str) -> None:
    model = planted(copy.deepcopy(base), word)
    ours = planting(configured(f"peft:{word}", SMALL.get(word, {})))
    found = {name for name, p in model.named_parameters() if p.requires_grad}
    count, head = ours.count(model), {name for name in found if name.startswith("classifier.")}
    assert found == ours.trained(model) and head == {"classifier.weight", "classifier.bias"}
    trained = sum({id(p): p.numel() for p in model.parameters() if p.requires_grad}.values())
    assert (count.head, count.trainable, count.without_head) == (51, trained, trained - 51)
    assert count.total == sum(p.numel() for p in base.parameters()) + count.adapter
    generator = torch.random.get_rng_state()
    backbones.logits(model, torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    torch.random.set_rng_state(generator)


def test_lora_counts_what_its_formula_says(base) -> None:
    method = configured("peft:lora", {"r": 4, "targets": ("q", "v", "fc1"), "layers": (1,)})
    model = copy.deepcopy(base)
    planting(method).plant(model, ("head",), 0)
    assert planting(method).count(model).without_head == 4 * (2 * (16 + 16) + (16 + 32))


def test_fresh_values_come_from_the_seed_alone(base) -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    one = planted(copy.deepcopy(base))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12)
    assert alike(state(one), state(planted(copy.deepcopy(base))))
    assert torch.equal(logits(one), logits(copy.deepcopy(base)))


@pytest.mark.parametrize(("word", "fields", "reason"), [
    ("vblora", {}, "divisible by `vector_length`"), ("xlora", {}, "forward of PEFT's XLoraModel"), ("prompt_tuning", {}, "PromptEmbedding"),
    ("lora", {"init_lora_weights": "pissa"}, "rewrites the frozen weights"), ("trainable_tokens", {}, "train nothing"),
    ("lora", {"targets": ("attn",)}, "one matrix at a time"), ("lora", {"target_modules": ("nowhere",)}, "nowhere"),
    ("lora", {"r": 0}, "positive"),
])
def test_a_refusal_leaves_the_model_as_it_was(base, word: str, fields: dict, reason: str) -> None:
    model = copy.deepcopy(base)
    before, modules, flags = state(model), [*model.named_modules()], [p.requires_grad for p in model.parameters()]
    with pytest.raises(ConfigError, match=reason):
        planted(model, word, **fields)
    assert alike(before, state(model)) and modules == [*model.named_modules()]
    assert flags == [p.requires_grad for p in model.parameters()] and "peft_config" not in model.__dict__


@pytest.mark.parametrize("thaw", [("biases",), ("head", "norms")])
def test_pefts_layers_and_a_role_that_meet_are_refused(base, thaw: tuple[str, ...]) -> None:
    model = copy.deepcopy(base)
    before = state(model)
    with pytest.raises(ConfigError, match=r"trains modules whole|both take"):
        planting(configured("peft:ln_tuning", {})).plant(model, thaw, 0)
    assert alike(before, state(model)) and "inarch" not in model._modules


def test_pefts_layers_learn_while_the_base_stays_in_evaluation(base) -> None:
    model = planted(copy.deepcopy(base), lora_dropout=0.5)
    model.eval()
    container_of(model).train()
    layer = model.get_submodule("vit.layers.0.attention.q_proj")
    assert layer.training and layer.lora_dropout["default"].training and not layer.base_layer.training
    container_of(model).eval()
    assert not layer.training and not layer.lora_dropout["default"].training


@pytest.mark.parametrize(("verb", "error"), [
    (inarch.merge, CannotFold), (inarch.ungraft, CannotGraft), (lambda model: inarch.save(model, "nowhere"), CheckpointError),
    (lambda model: inarch.graft(model, inarch.ARC(rank=2), name="b"), CannotGraft)], ids=["merge", "ungraft", "save", "graft"])
def test_our_verbs_do_not_do_half_of_it(base, verb, error: type[InarchError]) -> None:
    model = planted(copy.deepcopy(base))
    before = logits(model)
    with pytest.raises(error, match="merge_and_unload"):
        verb(model)
    assert torch.equal(logits(model), before)


def test_graft_says_who_plants_it(base) -> None:
    with pytest.raises(CannotGraft, match="inarch train --method peft:lora"):
        inarch.graft(copy.deepcopy(base), configured("peft:lora", {}), thaw="head")


# files

def saved(base, folder: Path, word: str = "lora") -> torch.Tensor:
    model = shaken(planted(copy.deepcopy(base), word))
    planting(configured(f"peft:{word}", SMALL.get(word, {}))).save(model, folder, {"classes": ["a"]})
    return logits(model)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("word", KINDS)
def test_what_was_saved_comes_back_bit_for_bit(base, word: str, tmp_path: Path) -> None:
    expected, fresh = saved(base, tmp_path / "a", word), copy.deepcopy(base)
    ours = planting(configured(f"peft:{word}", SMALL.get(word, {})))
    assert ours.load(fresh, tmp_path / "a", PLANT_SEED) == {"classes": ["a"]}
    assert torch.equal(logits(fresh), expected)
    ours.save(fresh, tmp_path / "b", {"classes": ["a"]})
    assert [(tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in FILES] == [True] * 3
    assert ours.size(tmp_path / "a") == (tmp_path / "a" / FILES[1]).stat().st_size


@pytest.mark.parametrize("word", ["lora", pytest.param("vera", marks=pytest.mark.long), pytest.param("ln_tuning", marks=pytest.mark.long)])
def test_peft_alone_loads_the_folder_head_and_all(base, word: str, tmp_path: Path) -> None:
    expected = saved(base, tmp_path, word)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of norms, which LN tuning is made for
        found = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    assert torch.allclose(logits(found.base_model.model), expected, atol=1e-6)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_folder_is_refused_and_the_model_untouched(base, tmp_path: Path, name: str, damage: str) -> None:
    saved(base, tmp_path)
    path, model = tmp_path / name, copy.deepcopy(base)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data) if damage == "flip" else path.read_bytes()[:-3])
    if damage == "gone":
        path.unlink()
    before = state(model)
    with pytest.raises(Incomplete if damage == "gone" else Corrupt, match=name):
        planting(configured("peft:lora", {})).load(model, tmp_path, PLANT_SEED)
    assert alike(before, state(model))


def test_another_backbone_another_method_and_our_loader_are_refused(base, tmp_path: Path) -> None:
    saved(base, tmp_path)
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.vit.layers[0].attention.q_proj.weight += 1
    for model, fields, told in ((other, {}, "another backbone"), (copy.deepcopy(base), {"r": 4}, "other fields")):
        before = state(model)
        with pytest.raises(Mismatch, match=told):
            planting(configured("peft:lora", fields)).load(model, tmp_path, PLANT_SEED)
        assert alike(before, state(model))
    for read in (lambda: inarch.load(copy.deepcopy(base), tmp_path), lambda: inspect(tmp_path)):
        with pytest.raises(Mismatch, match=r"PeftModel\.from_pretrained"):
            read()


def test_a_file_of_another_version_of_peft_is_withdrawn(base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and sealed, but with a tensor that this PEFT does not know: it would pass over it."""
    from inarch.peft import hosted

    model = shaken(planted(copy.deepcopy(base)))
    own = hosted._values
    monkeypatch.setattr(hosted, "_values", lambda model, held: own(model, held) | {"base_model.model.more": torch.ones(2)})
    planting(configured("peft:lora", {})).save(model, tmp_path, {})
    monkeypatch.undo()
    fresh = copy.deepcopy(base)
    before = state(fresh)
    with pytest.raises(Mismatch, match="the version of peft"):
        planting(configured("peft:lora", {})).load(fresh, tmp_path, PLANT_SEED)
    assert alike(before, state(fresh))


def test_a_broken_value_is_not_written(base, tmp_path: Path) -> None:
    model = planted(copy.deepcopy(base))
    with torch.no_grad():
        held_by(model).own()[0].fill_(torch.nan)
    with pytest.raises(CheckpointError, match="not finite"):
        planting(configured("peft:lora", {})).save(model, tmp_path / "a", {})
    assert not (tmp_path / "a").exists()


# runs

@pytest.mark.long
@pytest.mark.parametrize(("word", "fields"), [("lora", {"lora_dropout": 0.3}), ("unilora", {}), ("adamss", {"r": 8, "num_subspaces": 2})])
def test_a_run_is_scored_again_and_a_stopped_one_ends_in_the_same_bits(nursery: Nursery, tmp_path: Path, word: str, fields: dict) -> None:
    method = {"method": f"peft:{word}", "set": fields}
    whole = train(nursery.recipe(tmp_path / "whole", **method))
    result = Run(whole).result()
    assert evaluate(whole)["loss"] == result["metrics"]["test"]["loss"]
    assert result["adapter_bytes"] == (whole / "adapter" / FILES[1]).stat().st_size and result["head_bytes"] == 4 * result["count"]["head"]
    halved = nursery.recipe(tmp_path / "halved", **method)
    assert stopped(halved, 1) == 130
    train(stored_recipe(tmp_path / "halved"), resume=True)
    assert [(whole / "adapter" / n).read_bytes() for n in FILES] == [(tmp_path / "halved" / "adapter" / n).read_bytes() for n in FILES]
    assert Run(tmp_path / "halved").result()["metrics"] == result["metrics"]


@pytest.mark.long
def test_the_command_line_counts_a_guest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["count", "peft:lora", "mini-vit", "--set", "r=8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["method"], found["config"]["r"], found["without_head"]) == ("peft:lora", 8, 6 * 2 * 8 * (128 + 128))


@pytest.mark.long
def test_offers_say_where_each_kind_sits_or_why_not(base) -> None:
    before = state(base)
    found = {offer.name: offer for offer in offered(base)}
    assert alike(before, state(base)) and len(found) == len(kinds())
    assert found["peft:lora"].numbers == 2 * 2 * 8 * (16 + 16) and found["peft:lora"].size == "r"
    assert found["peft:c3a"].fields == {"block_size": 16} and found["peft:c3a"].method.block_size == 16
    assert "forward of PEFT's XLoraModel" in found["peft:xlora"].reason
    for offer in found.values():
        assert bool(offer.reason) != bool(offer.numbers), offer
        if not offer.reason:
            model = copy.deepcopy(base)
            planting(offer.method).plant(model, ("head",), 0)
            assert planting(offer.method).count(model).without_head == offer.numbers, offer


def test_an_absent_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("inarch.peft")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"pip install 'inarch\[peft\]'"):
        method_named("peft:lora")
