"""LoRA and the full-rank analysis against naive loops written from their equations, outputs and gradients in fp64."""

import copy

import pytest
import torch
from families import pristine
from torch import Tensor, nn
from torch.nn import functional as F

import inarch
from inarch import FullRank, LoRA


def block_by_hand(block: nn.Module, tokens: Tensor, edit: dict[str, callable]) -> Tensor:
    """A pre-norm transformers ViT block, one image and one head at a time; ``edit[place]`` changes what the equations change."""
    keep = lambda x, y=None: x if y is None else y  # noqa: E731
    at = lambda place: edit.get(place, keep)  # noqa: E731
    linear = lambda module, x: x @ module.weight.T + module.bias  # noqa: E731
    a, out = block.attention, []
    for image in tokens:
        u = at("attn")(block.layernorm_before(image))
        q, v = at("q")(u, linear(a.q_proj, u)), at("v")(u, linear(a.v_proj, u))
        k, heads = linear(a.k_proj, u), []
        for qh, kh, vh in zip(q.chunk(4, -1), k.chunk(4, -1), v.chunk(4, -1), strict=True):
            heads.append(torch.softmax(qh @ kh.T / qh.shape[-1] ** 0.5, -1) @ vh)
        image = image + linear(a.o_proj, torch.cat(heads, -1))
        u = at("mlp")(block.layernorm_after(image))
        out.append(image + linear(block.mlp.fc2, F.gelu(at("fc1")(u, linear(block.mlp.fc1, u)))))
    return torch.stack(out)


def grafted(method: inarch.LoRA | inarch.FullRank) -> tuple[nn.Module, Tensor]:
    model = copy.deepcopy(pristine("hf-vit"))
    inarch.graft(model, method)
    torch.manual_seed(3)
    for parameter in model.inarch.parameters():
        parameter.data.copy_(0.2 * torch.randn_like(parameter))
    return model, torch.randn(2, 6, 32, dtype=torch.float64)


def agree(model: nn.Module, tokens: Tensor, edits: list[dict[str, callable]], leaves: dict[str, Tensor]) -> None:
    ours = naive = tokens
    for block, edit in zip(model.vit.layers, edits, strict=True):
        ours = block(ours)
        naive = block_by_hand(bare(model, block), naive, edit)
    assert (ours - naive).abs().max() < 1e-12
    ours.cos().sum().backward()
    naive.cos().sum().backward()
    for name, leaf in leaves.items():
        assert (model.inarch.get_submodule("default").get_parameter(name).grad - leaf.grad).abs().max() < 1e-10, name


def bare(model: nn.Module, block: nn.Module) -> nn.Module:
    """The same weights without hooks."""
    index = next(i for i, other in enumerate(model.vit.layers) if other is block)
    return copy.deepcopy(pristine("hf-vit").vit.layers[index]).requires_grad_(False)


def leaves_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone().requires_grad_() for name, p in model.inarch.default.named_parameters()}


@pytest.mark.parametrize("alpha", [None, 6])
def test_lora(alpha):
    """y = x M^T + m + (alpha / r) (x A^T) B^T, row by row."""
    model, tokens = grafted(LoRA(rank=3, alpha=alpha, targets=("q", "v", "fc1")))
    leaf, gain = leaves_of(model), (alpha or 3) / 3
    stacks = {"q": "vision_q_32", "v": "vision_v_32", "fc1": "vision_fc1_32x64"}

    def update(name: str, i: int):
        down, up = leaf[f"{stacks[name]}.down"][i], leaf[f"{stacks[name]}.up"][i]
        return lambda x, y: torch.stack([row + gain * (up @ (down @ token)) for token, row in zip(x, y, strict=True)])

    agree(model, tokens, [{name: update(name, i) for name in stacks} for i in range(3)], leaf)


def test_fullrank():
    """H = U (I + dA_l) + b_l, row by row."""
    model, tokens = grafted(FullRank())
    leaf, eye = leaves_of(model), torch.eye(32, dtype=torch.float64)

    def update(span: str, i: int):
        matrix, bias = leaf[f"vision_{span}_32.delta"][i], leaf[f"vision_{span}_32.bias"][i]
        return lambda x: torch.stack([token @ (eye + matrix) + bias for token in x])

    agree(model, tokens, [{span: update(span, i) for span in ("attn", "mlp")} for i in range(3)], leaf)
