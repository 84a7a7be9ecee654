"""Over a base in half precision an adapter keeps the base's tensors as narrow as they came: fewer bytes, the same bits."""

from __future__ import annotations

import copy

import pytest
import torch
from test_bench import CLASSES, DEPTH, DIM, SIDE, UNIT, pristine
from torch import Tensor, nn

import inarch
from inarch import narrow
from inarch.bench.saved import saved_bytes
from inarch.methods import ARC, VLPET, LoRA, configured
from inarch.training.recompute import recompute

HALF = torch.bfloat16
METHODS = {
    "lora": LoRA(4, ("q", "k", "v", "fc1")), "lora, dropout": LoRA(4, ("q", "v"), dropout=0.5), "arc": ARC(rank=4), "vlpet": VLPET(),
}


def grown(method: inarch.Method) -> nn.Module:
    model = copy.deepcopy(pristine()).to(HALF)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inarch.graft(model, method)
        for p in model.parameters():
            if p.requires_grad:
                p.data.normal_(std=0.1)
    return model


def pixels(count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).to(HALF)


def gradients(model: nn.Module) -> list[Tensor]:
    torch.manual_seed(5)
    model(pixels()).logits.float().square().sum().backward()
    return [p.grad for p in model.parameters() if p.requires_grad]


def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "_possible", lambda changed: False)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_those_of_widened_copies_to_the_last_bit(name, monkeypatch):
    mine = gradients(grown(METHODS[name]))
    wide(monkeypatch)
    theirs = gradients(grown(METHODS[name]))
    assert len(mine) == len(theirs) > 0 and all(map(torch.equal, mine, theirs)) and torch.float32 in {grad.dtype for grad in mine}


def test_lora_keeps_what_the_norms_left_once_and_in_half(monkeypatch):
    """q, k, v and fc1 read two outputs of norms: two bytes a number, once; four copies of four bytes otherwise."""
    model, tokens = grown(LoRA(4, ("q", "k", "v", "fc1"))), UNIT // DIM // 4
    found = [saved_bytes(model, lambda n=n: model(pixels(n)).logits.float().sum()) for n in (1, 2)]
    wide(monkeypatch)
    copies = [saved_bytes(model, lambda n=n: model(pixels(n)).logits.float().sum()) for n in (1, 2)]
    assert (copies[1] - copies[0]) - (found[1] - found[0]) == DEPTH * tokens * DIM * (4 * 4 - 2 * 2)


def test_what_is_widened_is_still_known_to_be_made_again(monkeypatch):
    """What leaves attention, by its projection: two bytes a number fewer in every block but the first, whose attention is in no graph
    and keeps nothing; and the same gradients to the last bit."""
    method, tokens = configured("houlsby", {"rank": 4}), UNIT // DIM // 4

    def measured() -> tuple[int, list[Tensor]]:
        model = grown(method)
        one, two = (saved_bytes(model, lambda n=n: model(pixels(n)).logits.float().sum()) for n in (1, 2))
        return two - one, gradients(model)

    found, mine = measured()
    monkeypatch.setattr("inarch.joint.WriterHook.__call__", lambda self, *args: None)
    kept, theirs = measured()
    assert kept - found == (DEPTH - 1) * tokens * DIM * 2 and all(map(torch.equal, mine, theirs))


@pytest.mark.long
def test_hooks_that_stand_around_see_all_that_is_kept():
    model, seen = grown(METHODS["lora"]), []
    plain = gradients(grown(METHODS["lora"]))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t.dtype) or t.clone(), lambda t: t):
        assert all(map(torch.equal, gradients(model), plain))
    assert HALF in seen
    with torch.autograd.graph.save_on_cpu():
        assert all(map(torch.equal, gradients(grown(METHODS["lora"])), plain))


def test_blocks_that_are_computed_again_are_none_of_its_business():
    plain = gradients(grown(METHODS["lora"]))
    model = grown(METHODS["lora"])
    recompute(model)
    assert all(map(torch.equal, gradients(model), plain))


def test_a_base_of_the_adapters_width_is_left_alone(monkeypatch):
    monkeypatch.setattr(narrow, "Keeper", None)
    model = inarch.graft(copy.deepcopy(pristine()), METHODS["lora"])
    assert model(torch.randn(2, 3, SIDE, SIDE)).logits.shape == (2, CLASSES)
    with torch.no_grad():
        grown(METHODS["lora"])(pixels())


@pytest.mark.long
def test_functional_transforms_go_the_plain_way():
    model = grown(METHODS["lora"])
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def loss(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, values, (pixels(),)).logits.float().square().sum()

    found = torch.func.grad(loss)(trained)
    model(pixels()).logits.float().square().sum().backward()
    assert all(torch.allclose(found[name], p.grad, rtol=1e-2, atol=1e-2) for name, p in trained.items())


def test_only_the_whole_of_a_widened_tensor_is_given_back_from_the_narrow_one():
    x = torch.randn(3, 4).to(HALF)
    record = narrow.Narrow(x, torch.float32)
    full = x.float()
    assert record.fits(full) and record.fits(full.view(12)) and not record.fits(full[:2]) and not record.fits(full.t())
    assert not record.fits(full.view(torch.int32))
