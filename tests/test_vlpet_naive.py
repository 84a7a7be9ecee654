"""VL-PET, its designs on Compacter and LoRA, and the bottleneck baselines against naive loops: outputs and gradients, fp64, 1e-12."""

import dataclasses

import pytest
import torch
from naive_vlpet import Naive
from tiny_vl import KINDS, STOCK
from torch import Tensor, nn
from wide_norms import widened

import inarch
from inarch import VLPET, Bottleneck, Compacter
from inarch.adapter import Method

SMALL = {"rank": 4, "gate_rank": 6, "value_rank": 2}
GATED = {
    "large": VLPET(**SMALL), "middleX": VLPET(gate="middleX", **SMALL), "middleY": VLPET(gate="middleY", **SMALL),
    "small": VLPET(gate="small", **SMALL), "none": VLPET(gate="none", **SMALL),
    "middleX-reads-H": VLPET(gate="middleX", gate_reads="output", **SMALL),
    "small-reads-H": VLPET(gate="small", gate_reads="output", **SMALL),
    "large-normed": VLPET(gate_input="normed", **SMALL),
    "middleX-normed": VLPET(gate="middleX", gate_input="normed", **SMALL),
    "small-normed": VLPET(gate="small", gate_input="normed", **SMALL),
    "middleY-sigmoid": VLPET(gate="middleY", middle_y="sigmoid", **SMALL),
    "small-visible": VLPET(gate="small", small_mean="visible", **SMALL),
    "scaled": VLPET(gate="small", scale=1.7, **SMALL),
    **{f"compacter-{gate}": VLPET(gate=gate, change="compacter", **SMALL) for gate in ("large", "middleX", "middleY", "small")},
    **{f"lora-{gate}": VLPET(gate=gate, change="lora", **SMALL) for gate in ("large", "middleX", "middleY", "small", "none")},
}
PLACED = {
    **{place: VLPET(decoder=(place,), **SMALL) for place in ("value", "key", "cross", "attn", "mlp")},
    "all places": VLPET(decoder=("mlp", "attn", "cross", "key", "value"), **SMALL),
    "compacter places": VLPET(change="compacter", decoder=("value", "mlp"), **SMALL),
    "lora places": VLPET(change="lora", decoder=("value", "key", "cross"), **SMALL),
    "bottleneck": Bottleneck(rank=4, spans=("attn", "mlp", "cross")),
    "compacter": Compacter(rank=4, spans=("attn", "mlp", "cross")),
}
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def stock(kind: str) -> nn.Module:
    torch.manual_seed(4)
    model = widened(STOCK[kind](2)).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def grafted(kind: str, method: Method) -> tuple[nn.Module, Naive]:
    """The grafted model with random adapters, and the loop on leaves of the same values."""
    model, base = stock(kind), stock(kind)
    inarch.graft(model, method)
    scion = model.inarch.scion("default")
    for parameter in scion.parameters():
        parameter.data.copy_(0.3 * torch.randn_like(parameter))
    leaves = {name: p.detach().clone().requires_grad_() for name, p in scion.trained().items()}
    for name, parameter in model.named_parameters():  # the norms train too, but the loop runs on the untouched base
        if not name.startswith("inarch."):
            parameter.requires_grad_(False)
    return model, Naive(scion.method, base, leaves)


def agree(model: nn.Module, naive: Naive, ours: Tensor, theirs: Tensor, x: Tensor, of: str) -> None:
    assert (ours - theirs).abs().max() < 1e-12
    weights = torch.arange(1, ours.numel() + 1, dtype=ours.dtype).cos().view_as(ours)
    mine = torch.autograd.grad((ours * weights).sum(), [x, *model.inarch.default.trained().values()], allow_unused=True)
    other = torch.autograd.grad((theirs * weights).sum(), [x, *naive.w.values()], allow_unused=True)
    reached = set()
    for name, a, b in zip(["input", *naive.w], mine, other, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            assert (a - b).abs().max() < 1e-11 * max(1.0, float(b.abs().max())), name
            reached.add(name)
    assert {name for name in naive.w if name.startswith(of)} <= reached


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GATED)
def test_encoder(kind, name):
    model, naive = grafted(kind, GATED[name])
    x = torch.randn(2, 5, 32, dtype=torch.float64, requires_grad=True)
    ours = model.get_encoder()(inputs_embeds=x, attention_mask=MASK).last_hidden_state
    theirs = naive.encoder(x, MASK)
    agree(model, naive, ours, theirs, x, "encoder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLACED)
def test_decoder(kind, name):
    model, naive = grafted(kind, PLACED[name])
    x = torch.randn(2, 4, 32, dtype=torch.float64, requires_grad=True)
    e = torch.randn(2, 5, 32, dtype=torch.float64)
    states = {"encoder_hidden_states": e, "encoder_attention_mask": MASK, "use_cache": False}
    ours = model.get_decoder()(inputs_embeds=x, **states).last_hidden_state
    agree(model, naive, ours, naive.decoder(x, e, MASK), x, "decoder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["bottleneck", "compacter"])
def test_the_baselines_in_the_encoder(kind, name):
    model, naive = grafted(kind, PLACED[name])
    x = torch.randn(2, 5, 32, dtype=torch.float64, requires_grad=True)
    ours = model.get_encoder()(inputs_embeds=x, attention_mask=MASK).last_hidden_state
    agree(model, naive, ours, naive.encoder(x, MASK), x, "encoder")


DEFAULTS = {"gate_reads": "changed", "gate_input": "residual", "middle_y": "linear", "small_mean": "all", "scale": None}


@pytest.mark.parametrize("name", ["middleX-reads-H", "small-reads-H", "large-normed", "middleX-normed", "small-normed", "middleY-sigmoid",
                                  "small-visible", "scaled"])
def test_no_switch_is_without_effect(name):
    """The same tensors under the switch and under its default give different outputs."""
    default, x = dataclasses.replace(GATED[name], **DEFAULTS), torch.randn(2, 5, 32, dtype=torch.float64)
    (switched, _), (plain, _) = grafted("t5", GATED[name]), grafted("t5", default)
    plain.inarch.load_state_dict(switched.inarch.state_dict())
    outs = [m.get_encoder()(inputs_embeds=x, attention_mask=MASK).last_hidden_state for m in (switched, plain)]
    assert (outs[0] - outs[1]).abs().max() > 1e-3
