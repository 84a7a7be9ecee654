"""Every row is checked against what a dry forward finds: the listed readers are the weights that really read the span."""

import copy

import pytest
import torch
from families import FAMILIES, pristine
from toys import ToyPre

import inarch
from inarch import anatomy, roles
from inarch.errors import CannotGraft
from inarch.probe import probe


@pytest.mark.parametrize("name", FAMILIES)
def test_listed_readers_are_the_found_ones_and_every_site_reacts(name):
    family, model = FAMILIES[name], copy.deepcopy(pristine(name))
    seen = probe(model, family.run)
    assert len(seen) == 2 * family.depth * (2 if family.both_towers else 1)
    for one in seen:
        listed = {f"{one.site.block}.{weight.path}" for weight in one.site.span.readers}
        assert one.readers == listed
        assert one.alive


@pytest.mark.parametrize("name", FAMILIES)
def test_the_row_is_the_one_named(name):
    assert {block.row.family for block in anatomy.blocks(pristine(name))} == set(FAMILIES[name].rows.split(" + "))


def test_every_row_has_a_family():
    assert {row.family for row in anatomy.ROWS} == {row for family in FAMILIES.values() for row in family.rows.split(" + ")}


@pytest.mark.parametrize("name", ["vl-bart", "vl-t5"])
def test_cross_attention_is_alive_and_read_by_its_query(name):
    """Keys and values are made from what the encoder left, so the span that the decoder's stream enters has one reader."""
    seen = probe(copy.deepcopy(pristine(name)), FAMILIES[name].run, ("cross", "decoders.cross.v", "decoders.cross.k"))
    assert len(seen) == 9 and all(one.alive for one in seen)
    assert all(one.site.decodes and one.readers >= {f"{one.site.block}.{w.path}" for w in one.site.span.readers} for one in seen)
    assert all(len(one.readers) == 1 for one in seen if one.site.span.name == "cross")


@pytest.mark.parametrize("name", FAMILIES)
def test_canonical_names_are_unique_and_cover_every_parameter(name):
    model = pristine(name)
    names = roles.canonical(model)
    assert set(names) == set(dict(model.named_parameters()))
    assert len(set(names.values())) == len(names)


def test_a_dead_port_is_an_error_at_the_first_forward(monkeypatch):
    """timm BEiT reads ``qkv.weight``: pretend that its row offered the module as a port."""
    family, model = FAMILIES["timm-beit"], copy.deepcopy(pristine("timm-beit"))
    row = anatomy.blocks(model)[0].row
    qkv = row.matrices["qkv"][0]
    called = anatomy.Weight(qkv.path, qkv.bias, qkv.part, qkv.cancels, called=True)
    monkeypatch.setitem(row.matrices, "qkv", (called,))
    inarch.graft(model, ToyPre(spans=("qkv",)))
    with inarch.disabled(model):
        family.run(model)  # nothing is adapted, so nothing is dead yet
    with pytest.raises(CannotGraft, match=r"3 ports were never reached .* blocks\.0 attn\.qkv:in"):
        family.run(model)


def test_a_dead_site_is_seen_by_the_probe():
    family, model = FAMILIES["timm-vit"], copy.deepcopy(pristine("timm-vit"))
    model.blocks[1].ls2.gamma.data.zero_()  # nothing of this MLP reaches the residual stream
    dead = [one.site.layer for one in probe(model, family.run, ("mlp",)) if not one.alive]
    assert dead == [1]


def test_unknown_model_names_the_known_families():
    with pytest.raises(CannotGraft, match=r"no anatomy for Linear; known: transformers ViT, .*; add a row"):
        inarch.graft(torch.nn.Linear(2, 2), inarch.ARC())


@pytest.mark.parametrize(("wish", "message"), [
    ("hed", "thaw='hed' matches no parameter"),
    ("text.norms", "thaw='text.norms' matches no parameter"),
])
def test_a_thaw_that_matches_nothing_is_refused(wish, message):
    with pytest.raises(CannotGraft, match=message):
        inarch.graft(copy.deepcopy(pristine("hf-vit")), inarch.ARC(rank=4), thaw=wish)


def test_roles_choose_what_they_say():
    clip = pristine("hf-clip")
    vision = roles.resolve(clip, ("vision.norms",))
    assert vision and all(name.startswith("vision_model.") and "norm" in name for name in vision)
    biases = roles.resolve(pristine("timm-beit"), ("biases",))
    assert "blocks.0.attn.q_bias" in biases and "head.bias" not in biases
    assert not any("relative_position" in name for name in biases)
    assert set(roles.resolve(pristine("hf-vit"), ("head",))) == {"classifier.weight", "classifier.bias"}
    assert set(roles.resolve(pristine("timm-swin"), ("head",))) == {"head.fc.weight", "head.fc.bias"}
