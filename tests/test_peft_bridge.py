"""The bridge to PEFT on real architectures; PEFT's own matrix runs in tests/test_peft_matrix.py."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from families import FAMILIES, pristine
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model
from peft.utils import PeftType
from safetensors.torch import load_file
from torch import nn

import inarch
from inarch.errors import CannotFold, CannotGraft, ConfigError, Mismatch
from inarch.peft import AdaRingConfig, ARCConfig, VLPETConfig, from_inarch, to_inarch
from inarch.peft.kinds import member

CONFIGS = {"arc": lambda: ARCConfig(r=4), "adaring": lambda: AdaRingConfig(ranks=(1, 2), bottleneck=8, dropout=0.0, expert_dropout=0.0),
           "vlpet": lambda: VLPETConfig(rank=4, gate="large", gate_rank=4)}
VIT = FAMILIES["hf-vit"]


def base() -> nn.Module:
    return copy.deepcopy(pristine("hf-vit"))


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """As after a training: every trained tensor moved."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return model.eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_bridge_is_the_graft(name):
    """The same numbers train, under the same seed with the same values, and the same output comes out."""
    model, plain = base(), base()
    torch.manual_seed(3)
    bridged = trained(get_peft_model(model, CONFIGS[name]()))
    torch.manual_seed(3)
    config = CONFIGS[name]()
    inarch.graft(plain, config.method())
    scion, ours = model.inarch.grafts["default"], plain.inarch.default
    for key, value in scion.trained().items():
        ours.trained()[key].data.copy_(value)
    names = {f"{name}_{key.partition('.')[0]}" for key in ours.trained()}
    assert set(model.inarch.adapter_layer_names) >= names
    trainable = sum(p.numel() for p in bridged.parameters() if p.requires_grad)
    assert trainable == inarch.count(plain).trainable
    if name != "vlpet":  # its norms train as copies of PEFT's making
        assert torch.equal(VIT.run(model), VIT.run(plain.eval()))


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded_in_three_ways(name, tmp_path):
    model = trained(get_peft_model(base(), CONFIGS[name]()))
    out = VIT.run(model.get_base_model())
    model.save_pretrained(tmp_path)
    keys = load_file(tmp_path / "adapter_model.safetensors")
    assert not any(".default." in key for key in keys) and sum(v.numel() for v in keys.values()) == sum(
        p.numel() for p in model.parameters() if p.requires_grad)
    again = PeftModel.from_pretrained(base(), str(tmp_path))
    assert torch.equal(VIT.run(again.get_base_model()), out)
    again.load_adapter(str(tmp_path), "other")
    again.set_adapter("other")
    assert torch.equal(VIT.run(again.get_base_model()), out)
    native = base()
    native.load_adapter(str(tmp_path))  # transformers' own
    assert torch.equal(VIT.run(native.eval()), out)
    assert PeftModel.from_pretrained(base(), str(tmp_path), low_cpu_mem_usage=True).peft_config["default"].peft_type == name.upper()


def test_merging_is_exact_and_undone_bit_for_bit():
    model = trained(get_peft_model(base(), ARCConfig(r=4)))
    vit = model.get_base_model()
    out, before = VIT.run(vit), {n: p.clone() for n, p in vit.named_parameters()}
    model.merge_adapter()
    assert torch.allclose(VIT.run(vit), out, rtol=1e-12, atol=1e-12)
    model.unmerge_adapter()
    assert torch.equal(VIT.run(vit), out) and all(torch.equal(p, before[n]) for n, p in vit.named_parameters())
    plain = model.merge_and_unload(safe_merge=True)
    assert torch.allclose(VIT.run(plain), out, rtol=1e-12, atol=1e-12)
    assert set(plain.state_dict()) == set(base().state_dict())


def test_what_cannot_fold_refuses_and_stays_as_it_was():
    model = trained(get_peft_model(base(), CONFIGS["vlpet"]()))
    out = VIT.run(model.get_base_model())
    with pytest.raises(CannotFold):
        model.merge_adapter()
    assert torch.equal(VIT.run(model.get_base_model()), out) and not model.get_base_model().inarch.merged


def test_a_broken_adapter_is_never_merged():
    model = trained(get_peft_model(base(), ARCConfig(r=4)))
    before = {n: p.clone() for n, p in model.get_base_model().named_parameters() if "inarch" not in n}
    next(iter(model.get_base_model().inarch.grafts["default"].trained().values())).data[0] = float("nan")
    with pytest.raises(CannotFold, match="not finite"):
        model.merge_adapter()
    assert all(torch.equal(p, before[n]) for n, p in model.get_base_model().named_parameters() if n in before)


def test_several_adapters_switch_add_up_and_go():
    model = trained(get_peft_model(base(), ARCConfig(r=4)))
    vit = model.get_base_model()
    one = VIT.run(vit)
    model.add_adapter("second", ARCConfig(r=2, layers="1:"))
    assert torch.equal(VIT.run(vit), one) and model.active_adapters == ["default"]
    model.set_adapter("second")
    trained(model, seed=1)
    two = VIT.run(vit)
    model.base_model.set_adapter(["default", "second"])
    both = VIT.run(vit)
    assert not torch.allclose(one, two) and not torch.allclose(one, both) and not torch.allclose(two, both)
    model.delete_adapter("second")
    assert torch.equal(VIT.run(vit), one)
    with model.disable_adapter():
        assert torch.equal(VIT.run(vit), VIT.run(base()))
    assert torch.equal(VIT.run(model.unload()), VIT.run(base()))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_copy_and_a_pickle_own_their_adapters(name):
    model = trained(get_peft_model(base(), CONFIGS[name]()))
    out = VIT.run(model.get_base_model())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        trained(other, seed=5)
        assert not torch.equal(VIT.run(other.get_base_model()), out) and torch.equal(VIT.run(model.get_base_model()), out)


def test_injected_without_a_wrapper():
    vit = trained(inject_adapter_in_model(ARCConfig(r=4, modules_to_save=["classifier"]), base()))
    state = get_peft_model_state_dict(vit)
    other = inject_adapter_in_model(ARCConfig(r=4, modules_to_save=["classifier"]), base())
    assert peft.set_peft_model_state_dict(other, state).unexpected_keys == []
    assert torch.equal(VIT.run(other.eval()), VIT.run(vit))


def test_a_mixed_batch_is_an_error_never_ignored():
    model = get_peft_model(base(), ARCConfig(r=4))
    model.add_adapter("other", ARCConfig(r=4))
    with pytest.raises(ConfigError, match="adapter_names"):
        model(torch.zeros(2, 3, 32, 32).double(), adapter_names=["default", "other"])


@pytest.mark.parametrize(("fields", "words"), [
    ({"bias": "all"}, "thaw='biases'"), ({"target_modules": ["query"]}, "named by role, with spans"), ({"rnak": 4}, "did you mean 'rank'"),
    ({"spans": ("attention",)}, "'attn', 'mlp'"), ({"r": 0}, "out of range"), ({"layers_to_transform": [0]}, "layers='4:12'"),
])
def test_wrong_fields_say_what_to_write(fields, words):
    with pytest.raises(ConfigError, match=words):
        ARCConfig(**fields)


def test_a_role_the_model_lacks_and_a_grafted_model_are_refused_untouched():
    vit = base()
    before = set(vit.state_dict())
    with pytest.raises(CannotGraft):
        get_peft_model(vit, ARCConfig(r=4, towers=("text",)))
    assert set(vit.state_dict()) == before
    inarch.graft(vit, inarch.ARC(rank=4))
    with pytest.raises(CannotGraft, match="ungraft"):
        get_peft_model(vit, ARCConfig(r=4))


def test_every_way_to_look_up_the_new_member():
    kind = member(PeftType, "ARC")
    assert kind is PeftType.ARC is PeftType["ARC"] is PeftType("ARC") is member(PeftType, "ARC")
    assert kind == "ARC" and kind in list(PeftType) and "ARC" in {k.value for k in PeftType} and kind.name == kind.value == "ARC"
    assert isinstance(kind, PeftType) and pickle.loads(pickle.dumps(kind)) is kind and json.dumps(kind) == '"ARC"'


@pytest.mark.long
def test_the_file_loads_in_a_fresh_process(tmp_path):
    """README's example in two processes; the second one knows the method by importing the bridge."""
    model = trained(get_peft_model(base(), ARCConfig(r=4)))
    model.save_pretrained(tmp_path / "adapter")
    torch.save(model.get_base_model()(torch.ones(1, 3, 32, 32).double()).logits, tmp_path / "logits.pt")
    vit = base()
    vit.save_pretrained(tmp_path / "vit")
    script = ("import sys, torch\nfrom inarch.backbones.torchvision import mend_torchvision; mend_torchvision()\n"
              "from transformers import AutoModelForImageClassification as Auto\nfrom peft import PeftModel\nimport inarch.peft\n"
              "at = sys.argv[1]\nbase = Auto.from_pretrained(at + '/vit', dtype=torch.float64)\n"
              "model = PeftModel.from_pretrained(base, at + '/adapter')\nx = torch.ones(1, 3, 32, 32).double()\n"
              "print(float((model(x).logits - torch.load(at + '/logits.pt')).abs().max()))")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 1e-12


@pytest.mark.parametrize("name", CONFIGS)
def test_files_convert_both_ways_without_loss(name, tmp_path):
    fields = CONFIGS[name]().method().fields()
    plain = base()
    inarch.graft(plain, type(CONFIGS[name]().method()).parse(fields), thaw="head")
    out = VIT.run(trained(plain))
    inarch.save(plain, tmp_path / "ours", extra={"classes": ["a", "b"]})
    vit = base()
    from_inarch(tmp_path / "ours", vit, tmp_path / "theirs")
    assert set(vit.state_dict()) == set(base().state_dict()) and torch.equal(VIT.run(vit), VIT.run(base()))
    bridged = PeftModel.from_pretrained(base(), str(tmp_path / "theirs"))
    assert torch.equal(VIT.run(bridged.get_base_model()), out)
    to_inarch(tmp_path / "theirs", vit, tmp_path / "back")
    for file in ("adapter.json", next((tmp_path / "ours").glob("*.safetensors")).name):
        assert (tmp_path / "back" / file).read_bytes() == (tmp_path / "ours" / file).read_bytes()


def test_a_file_of_another_method_or_base_is_not_converted(tmp_path):
    get_peft_model(base(), peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "lora")
    with pytest.raises(Mismatch, match="LORA"):
        to_inarch(tmp_path / "lora", base(), tmp_path / "out")
    get_peft_model(base(), ARCConfig(r=4, layers="1:")).save_pretrained(tmp_path / "arc")
    wrong = json.loads((tmp_path / "arc" / "adapter_config.json").read_text()) | {"layers": None}
    (tmp_path / "arc" / "adapter_config.json").write_text(json.dumps(wrong))
    vit = base()
    with pytest.raises(Mismatch, match="has shape"):
        to_inarch(tmp_path / "arc", vit, tmp_path / "out")
    assert not (tmp_path / "out").exists() and "inarch" not in vit._modules
