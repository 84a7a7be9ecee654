"""The vision baselines as loops over layers and tokens on a plain ViT of transformers, written from their equations."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from families import FAMILIES, pristine
from torch import Tensor, nn

import inarch
from inarch.adapter import Method

Edit = Callable[[Tensor, int], Tensor]  # one token [d] of a layer -> what it becomes


def grafted(method: Method, family: str = "hf-vit") -> tuple[nn.Module, dict[str, Tensor]]:
    """The model with random adapters, and leaves of the same values for the loop."""
    model = copy.deepcopy(pristine(family))
    inarch.graft(model, method)
    torch.manual_seed(3)
    for parameter in model.inarch.parameters():
        parameter.data.copy_(0.4 * torch.randn_like(parameter))
    return model, {name: p.detach().clone().requires_grad_() for name, p in model.inarch.default.trained().items()}


def agree(model: nn.Module, naive: Tensor, leaves: dict[str, Tensor]) -> None:
    """Outputs, and the gradient of every adapter tensor."""
    ours = FAMILIES["hf-vit"].run(model, 1)
    assert (ours - naive).abs().max() < 1e-12
    ours.cos().sum().backward()
    naive.cos().sum().backward()
    for name, leaf in leaves.items():
        mine = model.inarch.default.get_parameter(name).grad
        assert (leaf.grad.any() or "_k_" in name) and (mine - leaf.grad).abs().max() < 1e-12 * max(1.0, float(leaf.grad.abs().max())), name


def each(edit: Edit, x: Tensor, layer: int) -> Tensor:
    """``edit`` on every token of every image."""
    return torch.stack([torch.stack([edit(token, layer) for token in image]) for image in x])


class Walk:
    """The forward of the model written out, with an edit per operation of what it leaves, or of what it reads.

    ``more``: tokens ``[p, d]`` put behind the class token before layer l, in the place of those of the layer below; None keeps them.
    ``beside``: what is added to the MLP's output, made of the residual stream.
    """

    def __init__(self, **edits: Edit) -> None:
        self.edits = edits

    def at(self, name: str, x: Tensor, layer: int = 0) -> Tensor:
        return each(self.edits[name], x, layer) if name in self.edits else x

    def __call__(self, more: Callable[[int], Tensor | None] = lambda layer: None) -> Tensor:
        model = copy.deepcopy(pristine("hf-vit")).requires_grad_(False)
        vit, inside = model.vit, model.vit.embeddings
        patches = self.at("patches", inside.patch_embeddings(FAMILIES["hf-vit"].inputs(1)["pixels"]))
        x = torch.cat([inside.cls_token.expand(len(patches), -1, -1), patches], dim=1) + inside.position_embeddings
        own = x.shape[1] - 1
        for layer, block in enumerate(vit.layers):
            prompts = more(layer)
            if prompts is not None:  # the images' own tokens are the last ones
                x = torch.stack([torch.cat([image[:1], prompts, image[-own:]]) for image in x])
            x = self.block(block, x, layer)
        x = self.at("final", vit.layernorm(x))
        return model.classifier(x[:, 0])

    def block(self, block: nn.Module, x: Tensor, layer: int) -> Tensor:
        attention = block.attention
        h = self.at("reads_attn", self.at("norm1", block.layernorm_before(x), layer), layer)
        q, k, v = (self.at(role, getattr(attention, f"{role}_proj")(h), layer) for role in "qkv")
        heads, size = 4, x.shape[-1] // 4
        mixed = [torch.softmax(q[..., c] @ k[..., c].mT / size**0.5, dim=-1) @ v[..., c]
                 for c in (slice(n * size, (n + 1) * size) for n in range(heads))]
        x = x + self.at("leaves_attn", self.at("o", attention.o_proj(torch.cat(mixed, dim=-1)), layer), layer)
        h = self.at("reads_mlp", self.at("norm2", block.layernorm_after(x), layer), layer)
        wide = nn.functional.gelu(self.at("fc1", block.mlp.fc1(h), layer))
        y = self.at("leaves_mlp", self.at("fc2", block.mlp.fc2(wide), layer), layer)
        return x + y + (self.at("beside", x, layer) if "beside" in self.edits else 0)
