"""A decoder-only vision-language model: its vision tower, its projector and its language blocks are addressed separately."""

import copy

import pytest
import torch
from families import FAMILIES, pristine

import inarch
from inarch.errors import CannotGraft
from inarch.methods import BitFit


def grafted(method, **more):
    torch.manual_seed(1)
    return inarch.graft(copy.deepcopy(pristine("smolvlm")), method, **more)


@pytest.mark.parametrize(("towers", "homes"), [
    (("vision",), {"model.vision_model"}), (("text",), {"model.text_model"}), (None, {"model.vision_model", "model.text_model"})])
def test_arc_sits_in_the_towers_that_are_named_and_never_in_the_projector(towers, homes):
    stacks = grafted(inarch.ARC(rank=4, towers=towers)).inarch.scion("default").stacks
    assert {".".join(site.block.split(".")[:2]) for stack in stacks for site in stack.sites} == homes
    assert all(stack.depth == 3 for stack in stacks)


def test_lora_sits_on_the_projector_alone_and_folds():
    model = grafted(inarch.LoRA(rank=2, targets=("proj",)))
    [stack] = model.inarch.scion("default").stacks
    assert (stack.name, stack.depth) == ("projector_proj_128x32", 1) and inarch.count(model).adapter == 2 * (128 + 32)
    model.inarch.default.projector_proj_128x32.up.data.normal_()
    with torch.no_grad():
        before = FAMILIES["smolvlm"].run(model)
        inarch.merge(model)
        assert (FAMILIES["smolvlm"].run(model) - before).abs().max() < 1e-12


def test_the_projector_is_frozen_unless_it_is_thawed():
    assert inarch.count(grafted(inarch.ARC(rank=4))).thawed == 0
    model = grafted(inarch.ARC(rank=4), thaw="projector")
    assert [n for n, p in model.named_parameters() if p.requires_grad and not n.startswith("inarch.")] == [
        "model.connector.modality_projection.proj.weight"]
    table = {(row.tower, row.span): row for row in inarch.sites(model)}
    assert table["projector", "proj"].width == "128->32" and table["text", "mlp"].readers.endswith("mlp.gate_proj mlp.up_proj")


def test_roles_take_a_tower():
    thawed = grafted(inarch.ARC(rank=4), thaw="text.norms").inarch.scion("default").thawed
    assert len(thawed) == 7 and all(name.startswith("model.text_model.") for name in thawed)  # two a block, one at the end


def test_a_gated_mlp_has_no_fc1_and_says_what_to_name():
    with pytest.raises(CannotGraft, match="its MLP is gated: name 'gate', 'up'"):
        grafted(inarch.LoRA(rank=2, targets=("fc1",), towers=("text",)))
    assert len(grafted(inarch.LoRA(rank=2, targets=("gate", "up"), towers=("text",))).inarch.scion("default").stacks) == 2


def test_a_key_bias_does_not_cancel_under_rotary_positions():
    """Merging ARC on the language blocks makes biases for all of q, k and v, the key's too: leaving it out would be wrong here."""
    model = grafted(inarch.ARC(rank=4, towers=("text",)))
    model.inarch.default.text_attn_32.bias.data.normal_()
    with torch.no_grad():
        before = FAMILIES["smolvlm"].run(model)
        inarch.merge(model)
        after = FAMILIES["smolvlm"].run(model)
        key = model.get_submodule("model.text_model.layers.0.self_attn.k_proj")
        key.bias.zero_()
        assert (after - before).abs().max() < 1e-12 < (FAMILIES["smolvlm"].run(model) - before).abs().max()


def test_generation_with_a_cache_equals_generation_without(monkeypatch):
    model = grafted(inarch.ARC(rank=4))
    for parameter in model.inarch.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    inputs = FAMILIES["smolvlm"].inputs()
    said = [model.generate(**inputs, max_new_tokens=4, do_sample=False, use_cache=cached) for cached in (True, False)]
    assert torch.equal(*said)


def test_the_bridge_to_peft_takes_towers_and_trains_the_projector():
    from peft import get_peft_model

    from inarch.peft import ARCConfig

    model = get_peft_model(copy.deepcopy(pristine("smolvlm")), ARCConfig(r=4, towers=["text"], modules_to_save=["modality_projection"]))
    assert model.get_nb_trainable_parameters()[0] == 2 * (32 * 4 + 3 * (4 + 32)) + 128 * 32
    model(**FAMILIES["smolvlm"].inputs(), labels=FAMILIES["smolvlm"].inputs()["input_ids"]).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_bitfit_finds_no_bias_in_the_language_blocks():
    names = grafted(BitFit()).inarch.scion("default").thawed
    assert names and not any("text_model" in name for name in names)
