"""The fingerprint sees the backbone as it is now, whoever wrote into it and how; where values cannot tell, the source must."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from adapter_files import fresh, refuses
from torch import nn

import inarch
from inarch import ARC, card
from inarch import fingerprint as module
from inarch.errors import Mismatch
from inarch.fingerprint import fingerprint
from inarch.source import source_of

WEIGHT = "vit.layers.1.attention.q_proj.weight"


def through_data(tensor: nn.Parameter) -> None:
    version = tensor._version
    tensor.data.view(-1)[0] += 1
    assert tensor._version == version  # the counter says nothing of it


def through_numpy(tensor: nn.Parameter) -> None:
    tensor.detach().numpy().reshape(-1)[0] += 1


def in_place(tensor: nn.Parameter) -> None:
    with torch.no_grad():
        tensor.view(-1)[0].add_(1)


def another_storage(tensor: nn.Parameter) -> None:
    tensor.data = tensor.data + 1


@pytest.mark.row("A13", "the backbone changed after its fingerprint was computed: in place, through .data, through numpy, another storage")
@pytest.mark.parametrize("change", [in_place, through_data, through_numpy, another_storage])
def test_a_changed_base_is_noticed(tmp_path, change):
    """`Mismatch`: what was computed once is kept by the values it was computed from, and those are read again."""
    model = fresh()
    inarch.save(inarch.graft(model, ARC(rank=4)), tmp_path / "a")
    inarch.ungraft(model)
    before = fingerprint(model)
    change(model.get_parameter(WEIGHT))
    assert fingerprint(model) != before
    refuses(tmp_path / "a", Mismatch, "other weights", model)
    assert fingerprint(fresh()) == before


def test_a_changed_structure_is_noticed():
    model = fresh()
    before = fingerprint(model)
    model.vit.layers[1].attention.q_proj = nn.Linear(32, 32, bias=False).double()
    assert fingerprint(model)["shapes"] != before["shapes"]
    model = fresh()
    model.vit.layers[0], model.vit.layers[1] = model.vit.layers[1], model.vit.layers[0]
    assert fingerprint(model) != before


def test_it_is_computed_once(monkeypatch):
    model = fresh(seed=7)
    before = fingerprint(model)
    monkeypatch.setattr(module, "_digests", lambda *args: pytest.fail("computed again"))
    assert fingerprint(model) == fingerprint(copy.deepcopy(model)) == before
    inarch.graft(model, ARC(rank=4))
    assert fingerprint(model) == before


def test_bfloat16_is_read_value_by_value_too():
    model = fresh().bfloat16()
    before = fingerprint(model)
    model.get_parameter(WEIGHT).data.view(-1)[0] += 1
    assert fingerprint(model) != before


def test_a_negative_zero_is_another_value():
    model = fresh()
    model.get_parameter(WEIGHT).data.view(-1)[0] = 0.0
    before = fingerprint(model)
    model.get_parameter(WEIGHT).data.view(-1)[0] = -0.0
    assert fingerprint(model) != before


def named(model: nn.Module, name: str) -> nn.Module:
    model.config._name_or_path = name
    return model


@pytest.mark.row("A13", "an adapter of an fp16 backbone on a bf16 one, with sources recorded or not")
@pytest.mark.parametrize(("there", "here", "words"), [
    ("org/vit", "org/vit", "compared by architecture and source (org/vit), not by values"),
    ("org/vit", "", "compared by architecture alone, no source is recorded"), ("org/vit", "other/vit", None),
])
def test_fp16_against_bf16_goes_by_source(tmp_path, caplog, there, here, words):
    """By architecture and source, with a warning; another source is a `Mismatch`."""
    inarch.save(inarch.graft(named(fresh().half(), there), ARC(rank=4)), tmp_path / "a")
    model = named(fresh().bfloat16(), here)
    if words is None:
        refuses(tmp_path / "a", Mismatch, "weights of org/vit, this model's are of other/vit", model)
    else:
        with caplog.at_level(logging.WARNING, "inarch"):
            inarch.load(model, tmp_path / "a")
        assert words in caplog.text


def quantised(model: nn.Module) -> nn.Module:
    """Whole numbers in the place of the MLPs' weights."""
    for layer in model.vit.layers:
        for linear in (layer.mlp.fc1, layer.mlp.fc2):
            linear.weight = nn.Parameter((100 * linear.weight).to(torch.int8), requires_grad=False)
    return model


@pytest.mark.row("A13", "an adapter of a full backbone on a quantised one, with sources recorded or not")
def test_a_quantised_base_goes_by_source(tmp_path, caplog):
    """By architecture and source, with a warning; another source, or none, is a `Mismatch`. The same quantised base is simply the same."""
    inarch.save(inarch.graft(named(fresh(), "org/vit"), ARC(rank=4)), tmp_path / "a")
    refuses(tmp_path / "a", Mismatch, "recognised by its source, and none is recorded", named(quantised(fresh()), ""))
    refuses(tmp_path / "a", Mismatch, "weights of org/vit", named(quantised(fresh()), "other/vit"))
    with caplog.at_level(logging.WARNING, "inarch"):
        inarch.load(model := named(quantised(fresh()), "org/vit"), tmp_path / "a")
    assert "float64 against int8: compared by architecture and source" in caplog.text
    inarch.save(named(model, ""), tmp_path / "b")
    caplog.clear()
    inarch.load(quantised(fresh()), tmp_path / "b")
    assert not caplog.text


@pytest.mark.parametrize(("name", "source"), [
    ("google/vit-base-patch16-224", "google/vit-base-patch16-224"), ("bert-base", "bert-base"), ("", ""), ("/home/me/models/vit", ""),
    ("./vit", ""), ("../a/vit", ""), ("a/b/c", ""), ("C:\\models\\vit", ""), ("tests", ""),
    ("/home/me/.cache/huggingface/hub/models--google--vit-base/snapshots/3f49326/", "google/vit-base"),
    ("/home/me/.cache/huggingface/hub/models--gpt2/snapshots/607a30d", "gpt2"),
])
def test_a_source_is_a_public_name_and_never_a_path(name, source, monkeypatch):
    from conftest import ROOT

    monkeypatch.chdir(ROOT)
    assert source_of(named(fresh(), name)) == source


def test_timm_says_its_source_and_the_card_keeps_it(tmp_path):
    import timm

    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=12, num_classes=2)
    assert source_of(model) == "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    inarch.save(inarch.graft(model, ARC(rank=2)), tmp_path / "a")
    assert card.read_card(tmp_path / "a")["fingerprint"]["source"] == source_of(model)


@pytest.mark.row("A14", "a timm ViT of other depth, width or patches, or with a head where there was none")
@pytest.mark.parametrize(("change", "words"), [
    ({"depth": 3}, "vision: 2 layers of width 24, here 3 layers of width 24"), ({"embed_dim": 36}, "here 2 layers of width 36"),
    ({"patch_size": 16}, r"\(patches\): 24x3x8x8, here 24x3x16x16"), ({"num_classes": 0}, "has no base/head"),
])
def test_another_timm_vit_is_refused(tmp_path, change, words):
    """`Mismatch`, and whether depth, width, patches or head differ."""
    from timm.models.vision_transformer import VisionTransformer

    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 3}
    inarch.save(inarch.graft(VisionTransformer(**shape), ARC(rank=2), thaw="head"), tmp_path / "a")
    refuses(tmp_path / "a", Mismatch, words, VisionTransformer(**shape | change))
