"""Quantised bases: a graft sits on them as on any other, its file knows them, and merging refuses."""

import copy

import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

import inarch
from inarch.errors import CannotFold, CannotGraft, Mismatch

X = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)


class FourBit(nn.Linear):
    """Two values a byte in a column, with one scale, as bitsandbytes lays them out."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__(like.in_features, like.out_features)
        self.scale = like.weight.abs().max().item() / 7
        levels = (like.weight.data / self.scale).round().to(torch.int8).view(-1, 2) + 8
        self.weight = nn.Parameter((levels[:, 0] * 16 + levels[:, 1]).to(torch.uint8)[:, None], requires_grad=False)
        self.bias = like.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pairs = torch.cat([self.weight // 16, self.weight % 16], dim=1).to(x.dtype) - 8
        return nn.functional.linear(x, (pairs * self.scale).view(self.out_features, self.in_features), self.bias)


def plain() -> nn.Module:
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                               image_size=16, patch_size=8, num_labels=3, initializer_range=0.2)).eval()


def four_bit() -> nn.Module:
    model = plain()
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and path != "classifier":
            model.set_submodule(path, FourBit(module))
    return model


def int8() -> nn.Module:
    """torchao's own; no dependency, since peft and transformers import it wherever it is installed."""
    torchao = pytest.importorskip("torchao.quantization", reason="torchao is not installed: pip install --no-deps torchao==0.18.0")
    model = plain()
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig(),
                      filter_fn=lambda module, path: isinstance(module, nn.Linear) and path != "classifier")
    return model


@pytest.fixture(params=[four_bit, pytest.param(int8, marks=[pytest.mark.long, pytest.mark.filterwarnings("ignore")])])
def quantised(request) -> nn.Module:
    return request.param()


@pytest.mark.parametrize("method", [inarch.ARC(rank=4), inarch.LoRA(rank=2), inarch.VLPET(rank=4, gate_rank=2)])
def test_a_graft_trains_and_its_file_comes_back_on_the_same_base_alone(quantised, method, tmp_path):
    fresh = copy.deepcopy(quantised)
    model = inarch.graft(quantised, method, thaw="head")
    model(X).logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    for parameter in model.inarch.parameters():
        parameter.data += 0.1
    inarch.save(model, tmp_path / "a")
    inarch.load(fresh, tmp_path / "a")
    assert torch.equal(fresh(X).logits, model(X).logits)
    with pytest.raises(Mismatch):
        inarch.load(plain(), tmp_path / "a")


def test_the_width_is_what_the_linear_says(quantised):
    stacks = inarch.graft(quantised, inarch.ARC(rank=4)).inarch.scion("default").stacks
    assert [stack.name for stack in stacks] == ["vision_attn_32", "vision_mlp_32"]


def test_what_is_quantised_cannot_be_thawed(quantised):
    with pytest.raises(CannotGraft, match=r"weight is quantised \((uint8|Int8Tensor)\) and cannot train"):
        inarch.graft(quantised, inarch.ARC(rank=4), thaw="all")
    inarch.graft(quantised, inarch.ARC(rank=4), thaw=("head", "norms", "biases"))


def test_merging_is_refused_and_changes_nothing(quantised):
    model = inarch.graft(quantised, inarch.ARC(rank=4))
    before = model(X).logits
    with pytest.raises(CannotFold, match=r"q_proj.weight is quantised \((uint8|Int8Tensor)\)"):
        inarch.merge(model)
    assert torch.equal(model(X).logits, before)


def test_the_adapter_goes_on_the_plain_base_where_that_is_asked_for_and_folds_there(tmp_path):
    model = inarch.graft(four_bit(), inarch.ARC(rank=4))
    inarch.save(model, tmp_path / "a")
    other = plain()
    inarch.load(other, tmp_path / "a", allow_base_mismatch=True)
    before = other(X).logits
    assert (inarch.merge(other)(X).logits - before).abs().max() < 1e-4
