"""HyperFormer and prompt tuning as loops over layers and tokens, written from their equations on plain tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from naive_vlpet import phi
from tiny_vl import DIM, tiny
from torch import Tensor, nn

import inarch
from inarch import HyperFormer
from inarch.adapter import Method

DEPTH = 2
HYPER = HyperFormer(rank=3, tasks=("vqa", "gqa"), task_dim=5, hidden=7, projected=4)
LEAVES = {  # where a span's output leaves: tower -> span -> path in layer i
    "bart": {"encoder": {"attn": "layers.{}.self_attn", "mlp": "layers.{}.fc2"},
             "decoder": {"attn": "layers.{}.self_attn", "cross": "layers.{}.encoder_attn", "mlp": "layers.{}.fc2"}},
    "t5": {"encoder": {"attn": "block.{}.layer.0.SelfAttention", "mlp": "block.{}.layer.1.DenseReluDense"},
           "decoder": {"attn": "block.{}.layer.0.SelfAttention", "cross": "block.{}.layer.1.EncDecAttention",
                       "mlp": "block.{}.layer.2.DenseReluDense"}},
}


def grafted(kind: str, method: Method) -> tuple[nn.Module, dict[str, Tensor]]:
    """The model with random adapters, and leaves of the same values for the loop."""
    model = tiny(kind, DEPTH)
    inarch.graft(model, method)
    torch.manual_seed(3)
    for parameter in model.inarch.parameters():
        parameter.data.copy_(0.4 * torch.randn_like(parameter))
    return model, {name: p.detach().clone().requires_grad_() for name, p in model.inarch.default.trained().items()}


def agree(model: nn.Module, ours: Tensor, naive: Tensor, leaves: dict[str, Tensor]) -> None:
    assert (ours - naive).abs().max() < 1e-11
    ours.cos().sum().backward()
    naive.cos().sum().backward()
    for name, leaf in leaves.items():
        mine = model.inarch.default.get_parameter(name).grad
        assert leaf.grad.any() and (mine - leaf.grad).abs().max() < 1e-9 * max(1.0, float(leaf.grad.abs().max())), name


def layer_embedding(w: dict[str, Tensor], tower: str, layer: int, task: int) -> Tensor:
    """e_l of one layer, with the norm by hand."""
    at = lambda name: w[f"shared.towers.{tower}.{name}"]  # noqa: E731
    both = torch.cat([w["shared.embedding"][task], at("layers")[layer]])
    hidden = torch.clamp(at("into.weight")[0] @ both + at("into.bias")[0], min=0)
    e = at("out.weight")[0] @ hidden + at("out.bias")[0]
    return (e - e.mean()) / (e.var(unbiased=False) + 1e-6).sqrt() * at("norm.weight") + at("norm.bias")


def generated(w: dict[str, Tensor], tower: str, span: str, layer: int, task: int) -> Callable[[Tensor], Tensor]:
    """The adapter of one site: each number of its matrices is a product of e with a row of its generator."""
    e, at = layer_embedding(w, tower, layer, task), lambda name: w[f"{tower}_{span}_{DIM}.{name}"][0]
    written = {name: at(f"{name}.weight") @ e + at(f"{name}.bias") for name in ("down", "down_bias", "up", "up_bias")}
    down, up = written["down"].view(HYPER.rank, DIM), written["up"].view(DIM, HYPER.rank)
    return lambda h: h + up @ phi(down @ h + written["down_bias"]) + written["up_bias"]


def prompt_by_hand(w: dict[str, Tensor]) -> Tensor:
    """P, vector by vector."""
    at = lambda name: w[f"prompt_tokens_{DIM}.{name}"][0]  # noqa: E731
    return torch.stack([at("out") @ torch.tanh(at("into") @ row + at("into_bias")) + at("out_bias") for row in at("table")])


class Replace:
    """Forward hook of the untouched model: every token that leaves is replaced by what ``edit`` makes of it."""

    def __init__(self, edit: Callable[[Tensor], Tensor]) -> None:
        self.edit = edit

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        new = torch.stack([torch.stack([self.edit(token) for token in sample]) for sample in first])
        return (new, *output[1:]) if isinstance(output, tuple) else new
