"""AdaptFormer, RepAdapter, SSF, VPT, Houlsby, Pfeiffer and Compacter on a ViT against loops written from their equations, in fp64."""

import copy
import math
from functools import cache

import pytest
import torch
from families import FAMILIES, pristine
from naive_vision import Walk, agree, grafted
from naive_vlpet import phi

import inarch
from inarch import SSF, VPT, AdaptFormer, Bottleneck, Compacter, RepAdapter, backbones
from inarch.errors import CannotFold, CannotGraft, ConfigError
from inarch.methods import configured


def relu(x):
    return torch.stack([value if value > 0 else torch.zeros_like(value) for value in x])


def test_adaptformer():
    model, w = grafted(AdaptFormer(rank=3, scale=0.7, dropout=0.0))
    at = lambda name, i: w[f"vision_mlp_32.{name}"][i]  # noqa: E731
    beside = lambda x, i: 0.7 * (at("up", i) @ relu(at("down", i) @ x + at("down_bias", i)) + at("up_bias", i))  # noqa: E731
    agree(model, Walk(beside=beside)(), w)


def test_repadapter():
    """The groups one by one: group g of the bottleneck feeds part g of the width."""
    model, w = grafted(RepAdapter(rank=6, groups=2, scale=0.7, dropout=0.0))

    def before(span):
        def edit(u, i):
            at = lambda name: w[f"vision_{span}_32.{name}"][i]  # noqa: E731
            z = at("down") @ u + at("down_bias")
            parts = [z[3 * g : 3 * g + 3] @ at("up")[g] for g in range(2)]
            return u + 0.7 * (torch.cat(parts) + at("up_bias"))
        return edit

    agree(model, Walk(reads_attn=before("attn"), reads_mlp=before("mlp"))(), w)


def test_ssf():
    model, w = grafted(SSF())
    stacks = {name.rpartition(".")[0].split("_")[1]: name.rpartition(".")[0] for name in w}
    assert set(stacks) == {"patches", "norm1", "q", "k", "v", "o", "norm2", "fc1", "fc2", "final"}
    edits = {span: (lambda y, i, s=stack: y * w[f"{s}.gain"][i] + w[f"{s}.shift"][i]) for span, stack in stacks.items()}
    agree(model, Walk(**edits)(), w)


@pytest.mark.parametrize("form", ["shallow", "deep"])
def test_vpt(form):
    """Behind the class token, as in the paper: where they stand makes no difference."""
    model, w = grafted(VPT(form=form, length=3))
    prompts = w["vision_stream_32.vectors"]
    more = (lambda layer: prompts[layer]) if form == "deep" else (lambda layer: prompts[0] if layer == 0 else None)
    agree(model, Walk()(more), w)


def bottleneck(w, span, act):
    def edit(h, i):
        at = lambda name: w[f"vision_{span}_32.update.{name}"][i]  # noqa: E731
        return h + at("up") @ act(at("down") @ h + at("down_bias")) + at("up_bias")
    return edit


def test_houlsby_and_pfeiffer():
    model, w = grafted(configured("houlsby", {"rank": 3}))
    agree(model, Walk(leaves_attn=bottleneck(w, "attn", phi), leaves_mlp=bottleneck(w, "mlp", phi))(), w)
    model, w = grafted(configured("pfeiffer", {"rank": 3}))
    assert {name.split(".")[0] for name in w} == {"vision_mlp_32"}
    agree(model, Walk(leaves_mlp=bottleneck(w, "mlp", relu))(), w)


@pytest.mark.long
def test_compacter():
    model, w = grafted(Compacter(rank=4, division=2))

    def after(span):
        def edit(h, i):
            at = lambda name: w[f"vision_{span}_32.update.{name}"][i]  # noqa: E731
            down, up = (sum(torch.kron(at(f"{way}.rules")[n], at(f"{way}.blocks")[n]) for n in range(2)) for way in ("down", "up"))
            return h + phi(h @ down + at("down.bias")) @ up + at("up.bias")
        return edit

    agree(model, Walk(leaves_attn=after("attn"), leaves_mlp=after("mlp"))(), w)


VIT, SWIN = "config:vit-b16", "config:swin-b"
COUNTS = [  # on the paper's backbone, from the configuration alone
    (VIT, "adaptformer", {}, 12 * (2 * 768 * 64 + 64 + 768), 1.19), (VIT, "adaptformer", {"rank": 8}, 156_768, 0.16),
    (VIT, "repadapter", {}, 24 * (768 * 8 + 768 * 4) + 24 * (8 + 768), 0.24),
    (VIT, "ssf", {}, 2 * (12 * (4 * 768 + 3 * 768 + 4 * 768) + 2 * 768), 0.21), (VIT, "vpt-shallow", {}, 50 * 768, 0.04),
    (VIT, "vpt-deep", {"length": 10}, 12 * 10 * 768, 0.09), (VIT, "houlsby", {}, 24 * (2 * 768 * 64 + 64 + 768), 2.38),
    (VIT, "pfeiffer", {"rank": 8}, 156_768, 0.16), (VIT, "fact-tt", {}, 61_440, 0.06), (VIT, "fact-tk", {"rank": 32}, 86_528, 0.09),
    (VIT, "compacter", {"rank": 64, "division": 4}, 24 * (2 * (768 * 64 // 4 + 4**3) + 64 + 768), 0.61),
    pytest.param(SWIN, "ssf", {}, 267_008, 0.27, marks=pytest.mark.long),
    pytest.param(SWIN, "repadapter", {}, 2 * sum(n * (13 * d + 8) for n, d in ((2, 128), (2, 256), (18, 512), (2, 1024))), 0.31,
                 marks=pytest.mark.long),
]


@cache
def shapes(place):
    return backbones.load(place, device="meta", pretrained=False).model


@pytest.mark.parametrize(("place", "name", "fields", "numbers", "millions"), COUNTS)
def test_counts(place, name, fields, numbers, millions):
    model = shapes(place)
    found = inarch.count(inarch.graft(model, configured(name, fields))).adapter
    inarch.ungraft(model)
    assert (found, round(found / 1e6, 2)) == (numbers, millions)


def test_fresh_adapters_start_as_released():
    torch.manual_seed(0)
    build = lambda method: inarch.graft(copy.deepcopy(pristine("hf-vit")), method).inarch.default  # noqa: E731
    net = build(RepAdapter(rank=8)).get_submodule("vision_attn_32")
    bound = math.sqrt(6 / (32 + 8))
    assert net.down.abs().max() <= bound and abs(net.down.std() - bound / math.sqrt(3)) < 0.03
    assert not any(p.any() for name, p in net.named_parameters() if name != "down")
    net = build(SSF()).get_submodule("vision_fc1_32x64")
    assert abs(net.gain.mean() - 1) < 0.01 and abs(net.gain.std() - 0.02) < 0.005 and abs(net.shift.std() - 0.02) < 0.005
    net = build(VPT(length=40, patch=8)).get_submodule("vision_stream_32")
    bound = math.sqrt(6 / (3 * 64 + 32))
    assert net.vectors.abs().max() <= bound and abs(net.vectors.std() - bound / math.sqrt(3)) < 0.01
    net = build(Bottleneck(rank=8, init="near")).get_submodule("vision_mlp_32").update
    assert 0.0005 < net.down.std() < 0.001 and net.up.abs().max() <= 0.002 and not net.up_bias.any() and not net.down_bias.any()
    net = build(AdaptFormer(rank=8)).get_submodule("vision_mlp_32")
    assert abs(net.down.std() - 1 / math.sqrt(3 * 32)) < 0.01 and not net.up.any() and not net.down_bias.any()


@pytest.mark.parametrize("method", [VPT(length=4, dropout=0.5), AdaptFormer(rank=8, dropout=0.5), RepAdapter(rank=8, dropout=0.5)])
def test_dropout_is_drawn_in_training_alone(method):
    model, _ = grafted(method)
    run = lambda: FAMILIES["hf-vit"].run(model)  # noqa: E731
    assert torch.equal(run(), run())
    model.train()
    assert not torch.equal(run(), run())
    with pytest.raises(CannotFold):
        inarch.merge(model)


def test_other_adapters_see_the_added_tokens_and_two_that_add_are_refused():
    model, _ = grafted(VPT(length=3))
    inarch.graft(model, inarch.LoRA(rank=2), name="second")
    inarch.use(model, "default", "second")
    assert FAMILIES["hf-vit"].run(model).shape == (2, 5)
    inarch.graft(model, VPT(length=2), name="third")
    inarch.use(model, "default", "third")
    with pytest.raises(CannotGraft, match="how many tokens"):
        FAMILIES["hf-vit"].run(model)


def test_vpt_under_eager_attention():
    """Where attention is written out, a mask might have been made for the tokens that there were."""
    model, _ = grafted(VPT(length=3))
    fused = FAMILIES["hf-vit"].run(model)
    model.set_attn_implementation("eager")
    assert (FAMILIES["hf-vit"].run(model) - fused).abs().max() < 1e-6  # its softmax is in single precision


def test_ssf_folds_beside_another_method_or_says_why_not():
    """Onto its own weights, so that what reads a rescaled norm may be adapted as well; two on one matrix are not added up."""
    model, _ = grafted(SSF(places=("norm1", "fc2")))
    inarch.graft(model, inarch.ARC(rank=4), name="second")
    inarch.use(model, "default", "second")
    expected = FAMILIES["hf-vit"].run(model)
    inarch.merge(model)
    assert (FAMILIES["hf-vit"].run(model) - expected).abs().max() < 1e-12
    model, _ = grafted(SSF(places=("q",)))
    inarch.graft(model, inarch.LoRA(rank=2), name="second")
    inarch.use(model, "default", "second")
    with pytest.raises(CannotFold, match="edits the output of the others"):
        inarch.merge(model)


def test_ssf_creates_no_bias_where_none_would_be_read():
    model, _ = grafted(SSF(places=("norm1",), towers=("text",)), "smolvlm")  # Llama's norms have no bias
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CannotFold, match="has no place"):
        inarch.merge(model)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())


def test_the_ends_belong_to_their_tower():
    """A tower that is chosen brings what stands around its blocks; chosen layers do not."""
    keys = lambda **fields: set(inarch.graft(copy.deepcopy(pristine("hf-clip")), SSF(**fields)).inarch.default.keys)  # noqa: E731
    assert {key.split("_")[0] for key in keys(towers=("vision",))} == {"vision", "ends"}
    assert {key.split("_")[0] for key in keys(layers="1:")} == {"vision", "text"}


@pytest.mark.parametrize(("kind", "wrong"), [
    (AdaptFormer, {"rank": 0}), (AdaptFormer, {"scale": 0.0}), (RepAdapter, {"groups": 3}), (RepAdapter, {"spans": ()}),
    (SSF, {"places": ()}), (VPT, {"length": 0}), (VPT, {"form": "wide"}), (Bottleneck, {"activation": "tanh"})])
def test_wrong_settings_are_named(kind, wrong):
    with pytest.raises(ConfigError, match=f"{kind.__name__}: {next(iter(wrong))}"):
        kind(**wrong)


def test_groups_must_divide_the_width():
    with pytest.raises(CannotGraft, match="groups=3 does not divide the width 32"):
        inarch.graft(copy.deepcopy(pristine("hf-vit")), RepAdapter(rank=6, groups=3))
