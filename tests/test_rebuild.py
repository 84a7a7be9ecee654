"""A norm's output is made again in backward: the same gradients as the plain form, and nothing kept that the norm does not keep anyway."""

import copy

import pytest
import torch
from families import FAMILIES, pristine
from grid import METHODS
from torch import nn
from toys import ToyPost

import inarch
from inarch import ARC
from inarch.bench.saved import saved
from inarch.methods import arc_node
from inarch.rebuild import Source

REBUILT = ("arc", "arc-identity", "arc-att", "arc-none", "arc-two-sided", "arc-shared-scale", "arc-no-bias", "arc-network", "adaring")


def grafted(family, method, seed=1):
    model = copy.deepcopy(pristine(family))
    torch.manual_seed(seed)
    inarch.graft(model, method)
    for parameter in model.inarch.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def gradients(family, model):
    model.zero_grad()
    FAMILIES[family].run(model).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def nodes(out):
    """Names of the autograd nodes behind a tensor."""
    seen, waiting = set(), [out.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return [type(node).__name__ for node in seen]


@pytest.mark.row("D5", "ARC's and AdaRing's nodes against the plain equations on three backbones")
@pytest.mark.parametrize("name", REBUILT)
@pytest.mark.parametrize("family", ["hf-vit", "timm-swin", "vl-t5"])
def test_gradients_are_those_of_the_plain_form(family, name, monkeypatch):
    """Every gradient agrees with that of the plain form to 1e-12 in fp64."""
    model = grafted(family, METHODS[name])
    found = gradients(family, model)
    monkeypatch.setattr("inarch.joint.usable", lambda x: False)
    for name, wanted in gradients(family, model).items():
        assert (found[name] - wanted).abs().max() <= 1e-12 * wanted.abs().max().clamp(min=1), name


@pytest.mark.parametrize(("family", "spans"), [
    ("hf-vit", 6), ("timm-vit", 6), ("timm-swin", 4), ("open_clip", 12), ("vl-t5", 12), ("smolvlm", 12), ("vl-bart", 0)])
def test_the_node_stands_where_the_norm_is_in_reach(family, spans):
    """Swin cuts windows behind its first norm, BART has none before a span: there the plain form stands, as the table of sites says."""
    model = grafted(family, ARC(rank=4))
    assert nodes(FAMILIES[family].run(model)).count("ArcNodeBackward") == spans
    assert sum(row.rebuilt for row in inarch.sites(model) if row.adapters) == spans


@pytest.mark.row("D5", "ARC's node against finite differences in fp64: with and without re-scaling and dropout")
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradcheck(scaled, dropout):
    """The gradient of every input agrees with finite differences."""
    norm, u = nn.LayerNorm(8).double(), torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    down, up, scale, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((8, 3), (3, 8), (3,), (8,)))

    def h(u, down, up, bias, scale):
        torch.manual_seed(5)  # the same numbers are dropped each time
        n = norm(u)
        return arc_node.update(n, Source(norm, u, n), down, up, scale if scaled else None, bias, dropout)

    assert torch.autograd.gradcheck(h, (u, down, up, bias, scale if scaled else scale.detach()))


def floor(model):
    """Saved by the frozen model whose first block's input asks for its gradient."""
    model.requires_grad_(False)
    model.vit.embeddings.register_forward_hook(lambda _, __, y: y.requires_grad_())
    return model


def kept(model, inputs):
    """Numbers of a double that the graph holds per token, 17 of them an image."""
    return saved(model, lambda size: model(pixel_values=inputs[:size]).logits).per_image / (8 * 17)


@pytest.mark.parametrize(("dropout", "bottleneck"), [(0.0, 4), (0.5, 4 + 4 / 8)])
def test_arc_keeps_what_the_floor_keeps_and_the_bottleneck(dropout, bottleneck):
    """Of six sites; mean and deviation of the first norm are not there, since nothing below it learns."""
    inputs = FAMILIES["hf-vit"].inputs(2)["pixels"]
    least = kept(floor(copy.deepcopy(pristine("hf-vit"))), inputs)
    assert kept(grafted("hf-vit", ARC(rank=4, dropout=dropout)).train(), inputs) - least == 6 * bottleneck - 2


def test_adaring_keeps_nothing_of_its_own(monkeypatch):
    """Beside three blocks; the first norm's input is kept for the adapter alone, the others are there anyway."""
    model, inputs = grafted("hf-vit", METHODS["adaring"]), FAMILIES["hf-vit"].inputs(2)["pixels"]
    found = kept(model, inputs)
    monkeypatch.setattr("inarch.joint.usable", lambda x: False)
    assert kept(model, inputs) - found == 2 * 32


def test_another_adapters_edit_of_the_norm_is_seen(monkeypatch):
    """Calling the norm again would forget what was added to its output: the plain form stands there, whichever was grafted first."""
    for order in (("arc", "post"), ("post", "arc")):
        model = copy.deepcopy(pristine("timm-vit"))
        for name in order:
            inarch.graft(model, ARC(rank=4) if name == "arc" else ToyPost(spans=("norm1",)), name=name)
        inarch.use(model, *order)
        for parameter in model.inarch.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        out = FAMILIES["timm-vit"].run(model)
        assert nodes(out).count("ArcNodeBackward") == 3  # the MLPs'
        found = gradients("timm-vit", model)
        with monkeypatch.context() as patch:
            patch.setattr("inarch.joint.usable", lambda x: False)
            assert all((found[n] - g).abs().max() < 1e-12 for n, g in gradients("timm-vit", model).items())


@pytest.mark.parametrize("name", ["arc", "adaring", "arc-trunk"])
def test_nothing_of_a_forward_stays_on_the_joints(name):
    model = grafted("hf-vit", METHODS[name])
    FAMILIES["hf-vit"].run(model)
    assert all(joint.source is None and joint.entered is None for joint in model.inarch.joints.values())


def test_a_base_in_half_precision_and_autocast_rebuild_what_was_cast(monkeypatch):
    for cast, base in ((False, torch.bfloat16), (True, torch.float32)):
        model = grafted("hf-vit", ARC(rank=4)).to(base)
        model.inarch.float()
        x = FAMILIES["hf-vit"].inputs()["pixels"].to(base)

        def step(model=model, x=x, cast=cast):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                loss = model(pixel_values=x).logits.float().square().sum()
            loss.backward()
            return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}

        found = step()
        with monkeypatch.context() as patch:
            patch.setattr("inarch.joint.usable", lambda x: False)
            for name, wanted in step().items():
                assert found[name].dtype == torch.float32
                assert (found[name] - wanted).abs().max() <= 0.03 * wanted.abs().max(), name


@pytest.mark.parametrize("method", [ARC(rank=4), METHODS["adaring"]])
def test_a_forward_on_the_meta_device_keeps_its_graph(method):
    with torch.device("meta"):
        model = inarch.graft(copy.deepcopy(pristine("hf-vit")).to("meta"), method)
        assert model(pixel_values=torch.zeros(2, 3, 32, 32, dtype=torch.float64)).logits.requires_grad
