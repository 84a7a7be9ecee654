"""The published counts by both conventions, ties counted once, and the table of sites."""

import copy

import pytest
from families import pristine

import inarch
from inarch import ARC, AdaRing, BitFit, Full, Linear, LoRA, backbones

ARC_ATT = ARC(rank=50, spans=("attn",))


@pytest.mark.parametrize(("backbone", "method", "numbers"), [
    ("vit-b16", ARC(rank=50), 96_432), ("vit-l16", ARC(rank=50), 153_952), ("vit-h14", ARC(rank=50), 213_120),
    ("swin-b", ARC(rank=50), 218_464), ("vit-b16", ARC_ATT, 48_216), ("vit-l16", ARC_ATT, 76_976), ("vit-h14", ARC_ATT, 106_560),
    ("vit-b16", LoRA(rank=8), 294_912),
])
def test_published_counts(backbone, method, numbers):
    model = backbones.load(f"config:{backbone}", classes=100, device="meta", pretrained=False).model
    count = inarch.count(inarch.graft(model, method, thaw="head"))
    width = {"vit-b16": 768, "vit-l16": 1024, "vit-h14": 1280, "swin-b": 1024}[backbone]
    assert (count.adapter, count.without_head, count.head) == (numbers, numbers, (width + 1) * 100)
    assert count.trainable == numbers + count.head and count.percent == 100 * count.trainable / count.total


def test_one_projection_per_stage_and_position_in_swin():
    model = backbones.load("config:swin-b", classes=2, device="meta", pretrained=False).model
    inarch.graft(model, ARC(rank=50))
    shapes = {name: tuple(p.shape) for name, p in model.inarch.named_parameters() if name.endswith("down")}
    widths = (128, 256, 512, 1024)
    assert shapes == {f"default.vision_{span}_{w}.down": (w, 50) for span in ("attn", "mlp") for w in widths}
    assert [len(model.inarch.default.get_submodule(f"vision_attn_{w}").scale) for w in widths] == [2, 2, 18, 2]


def test_a_tied_parameter_counts_once():
    model = copy.deepcopy(pristine("hf-vit"))
    model.vit.layers[1].mlp.fc1.weight = model.vit.layers[0].mlp.fc1.weight
    whole = inarch.count(inarch.graft(model, Full())).thawed
    assert whole == sum(p.numel() for p in pristine("hf-vit").parameters()) - 32 * 64


def test_baselines_by_both_conventions():
    for method, adapter, head in ((Linear(), 0, 165), (BitFit(), 0, 0)):
        count = inarch.count(inarch.graft(copy.deepcopy(pristine("hf-vit")), method))
        assert (count.adapter, count.head, count.thawed - count.head == count.without_head) == (adapter, head, True)


def test_the_table_of_sites_names_ports_readers_and_who_sits_there():
    model = copy.deepcopy(pristine("timm-vit"))
    inarch.graft(model, ARC(rank=4, layers="-1:"))
    table = {(row.layer, row.span): row for row in inarch.sites(model)}
    attn, trunk = table[2, "attn"], table[0, "trunk"]
    assert (attn.enter, attn.leave, attn.readers, attn.adapters) == ("blocks.2.attn:in", "blocks.2.attn:out", "attn.qkv", "ARC")
    assert (trunk.enter, trunk.leave, trunk.folds, trunk.adapters) == ("blocks.0.norm2:in", "blocks.0:out", False, "")
    assert table[0, "fc1"].width == "32->128" and table[0, "attn"].adapters == ""
    assert str(inarch.sites(model)).splitlines()[0].split()[:3] == ["tower", "layer", "span"]
    assert ("qkv" in {row.span for row in inarch.sites(pristine("timm-beit"))}) is False  # no port there, so no row


@pytest.mark.parametrize(("family", "method", "thaw"), [
    ("vl-t5", ARC(rank=4), "norms"), ("clip", AdaRing(ranks=(1, 2), bottleneck=6), ()), ("smolvlm", LoRA(rank=2), "projector"),
    ("hf-vit", ARC(rank=4), "head")])
def test_what_trains_per_tower_adds_up_to_the_count(family, method, thaw):
    model = inarch.graft(copy.deepcopy(pristine(family)), method, thaw=thaw)
    rows, count = inarch.sites(model).towers, inarch.count(model)
    assert (sum(row.adapters for row in rows), sum(row.base for row in rows)) == (count.adapter, count.thawed)
    assert sum(row.frozen + row.base for row in rows) == count.total - count.adapter
    assert len({row.tower for row in rows}) == len(rows)
