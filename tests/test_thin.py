"""Adapters behind a span are computed again in backward: the gradients of the plain form, and what is kept for it, to the byte."""

import copy

import pytest
import torch
from families import FAMILIES, pristine
from grid import METHODS
from test_rebuild import gradients, grafted, nodes
from torch import nn

import inarch
from inarch.bench.saved import saved
from inarch.methods import LoRA, configured
from inarch.rebuild import Source, thin, trained

BEHIND = ("vlpet", "vlpet-small", "vlpet-middleX", "vlpet-middleY", "vlpet-none", "vlpet-visible", "vlpet-compacter", "vlpet-lora",
          "vlpet-places", "bottleneck", "compacter")
CASES = [*(("vl-bart", name) for name in BEHIND), ("hf-vit", "bottleneck"), ("timm-swin", "bottleneck"),
         *(pytest.param("vl-t5", name, marks=pytest.mark.long) for name in BEHIND)]


@pytest.mark.row("D5", "adapters behind a span against the plain equations on four backbones")
@pytest.mark.parametrize(("family", "name"), CASES)
def test_gradients_are_those_of_the_plain_form(family, name, monkeypatch):
    """Every gradient agrees with that of the plain form to 1e-12 in fp64."""
    model = grafted(family, METHODS[name])
    found = gradients(family, model)
    assert "ThinBackward" in nodes(FAMILIES[family].run(model))
    monkeypatch.setattr("inarch.rebuild.usable", lambda x: False)
    assert "ThinBackward" not in nodes(FAMILIES[family].run(model))
    for key, wanted in gradients(family, model).items():
        assert (found[key] - wanted).abs().max() <= 1e-12 * wanted.abs().max().clamp(min=1), key


UNIT = 8 * 32 * 15  # a double for every token and channel of an example of the tiny BART's encoder
LAYERS = 3


def bytes_of(name: str) -> int:
    model = grafted("vl-bart", METHODS[name])
    return saved(model, lambda size: FAMILIES["vl-bart"].run(model, size)).per_image


@pytest.mark.parametrize("name", ["vlpet", "vlpet-small", "vlpet-middleX"])
def test_a_gate_keeps_nothing_of_its_own(name):
    """BART's residual stream is a norm's output and made again; only block 0 reads what no norm has left."""
    assert bytes_of(name) == bytes_of("vlpet-none") + UNIT


def test_what_leaves_attention_is_made_again_and_what_leaves_an_mlp_is_kept(monkeypatch):
    """With the projection out of reach, a tensor per attention more; without the node, also all that bottlenecks and gates make."""
    found = bytes_of("vlpet-middleY")
    monkeypatch.setattr("inarch.joint.WriterHook.__call__", lambda self, *args: None)
    assert bytes_of("vlpet-middleY") == found + LAYERS * UNIT
    monkeypatch.setattr("inarch.rebuild.usable", lambda x: False)
    assert bytes_of("vlpet-middleY") > found + 2 * LAYERS * UNIT


def test_a_projection_that_trains_or_that_another_edits_is_not_called_again():
    """LoRA on o, and a thawed o: what leaves attention is kept as it is; the gradients are right in both (above and in the laws)."""
    model = copy.deepcopy(pristine("hf-vit"))
    inarch.graft(model, configured("houlsby", {"rank": 4}))
    joint = next(j for (_, span), j in model.inarch.joints.items() if span == "attn")
    seen = []
    joint.leave = lambda y, leave=joint.leave: seen.append(joint.wrote) or leave(y)  # type: ignore[method-assign]
    FAMILIES["hf-vit"].run(model)
    projection = model.get_submodule(joint.site.block).get_submodule(joint.site.span.writer)
    projection.requires_grad_(True)
    FAMILIES["hf-vit"].run(model)
    assert [found is not None for found in seen] == [True, False]


def test_another_adapters_edit_of_the_projection_is_seen(monkeypatch):
    """LoRA on o: the projection called again would forget what was added to its output, so that is kept."""
    model = copy.deepcopy(pristine("hf-vit"))
    inarch.graft(model, LoRA(2, ("o",)), name="lora")
    inarch.graft(model, configured("houlsby", {"rank": 4}), name="houlsby")
    inarch.use(model, "lora", "houlsby")
    for parameter in model.inarch.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    found = gradients("hf-vit", model)
    monkeypatch.setattr("inarch.rebuild.usable", lambda x: False)
    for name, wanted in gradients("hf-vit", model).items():
        assert (found[name] - wanted).abs().max() <= 1e-12 * wanted.abs().max().clamp(min=1), name


def test_thin_rebuilds_every_input_that_it_is_told_of():
    norm, project = nn.LayerNorm(6).double(), nn.Linear(6, 6).double().requires_grad_(False)
    u, w = (torch.randn(3, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    inner = nn.Linear(6, 6).double()

    def f(n: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.tanh(inner(n)) * y

    n, y = norm(u), project(w)
    made = thin(f, (n, y), reads=trained(inner), sources=(Source(norm, u, n), Source(project, w, y)))
    mine = torch.autograd.grad(made.square().sum(), [u, w, *inner.parameters(), *norm.parameters()])
    plain = torch.autograd.grad(f(norm(u), project(w)).square().sum(), [u, w, *inner.parameters(), *norm.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(mine, plain, strict=True))


def test_gradcheck_of_a_thin_node():
    inner = nn.Linear(4, 4).double()
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def h(x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return thin(lambda x: torch.sin(inner(x)) * x, (x,), reads=trained(inner))
    assert torch.autograd.gradcheck(h, (x, *inner.parameters()))


def test_nothing_is_left_of_a_forward():
    """Joints, trail and writer let go of a forward's tensors."""
    model = grafted("vl-bart", METHODS["vlpet"])
    FAMILIES["vl-bart"].run(model)
    assert all(j.stream is None and j.wrote is None and j.trail.last is None for j in model.inarch.joints.values())
