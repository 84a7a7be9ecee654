"""The few-shot baselines as loops over blocks, tokens and numbers, written from their equations on plain tensors; and what they run on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from families import FAMILIES, pristine
from torch import Tensor, nn

import inarch
from inarch.adapter import Method

DIM, HIDDEN, DEPTH = 32, 64, 3
TOWERS = ("vision", "text")
EYE, TALK = "vision_model.encoder.layers", "text_model.encoder.layers"


def batch(prompts: int = 3, tokens: int = 8) -> tuple[Tensor, Tensor]:
    """Two images, and prompts of different lengths: behind the token that the tiny CLIP's text ends in come more of it."""
    generator = torch.Generator().manual_seed(5)
    words = torch.randint(2, 98, (prompts, tokens), generator=generator)
    for row, end in enumerate(range(tokens - 1, tokens - 1 - prompts, -1)):
        words[row, end:] = pristine("hf-clip").config.text_config.eos_token_id
    return FAMILIES["hf-clip"].inputs()["pixels"], words


def features(model: nn.Module) -> Tensor:
    pixels, words = batch()
    out = model(pixel_values=pixels, input_ids=words)
    return torch.cat([out.image_embeds, out.text_embeds])


def moved(method: Method) -> tuple[nn.Module, dict[str, Tensor]]:
    """The tiny CLIP with random adapters, and leaves of the same values for the loop."""
    model = inarch.graft(copy.deepcopy(pristine("hf-clip")), method)
    torch.manual_seed(3)
    for parameter in model.inarch.parameters():
        parameter.data.copy_(0.4 * torch.randn_like(parameter))
    return model, {name: p.detach().clone().requires_grad_() for name, p in model.inarch.default.trained().items()}


def base() -> nn.Module:
    return copy.deepcopy(pristine("hf-clip")).requires_grad_(False)


def layers(model: nn.Module, tower: str) -> nn.ModuleList:
    return model.get_submodule(EYE if tower == "vision" else TALK)  # type: ignore[return-value]


class Keep:
    """Forward hook: remembers what left."""

    def __call__(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self.seen = output


class Change:
    """Forward hook: what leaves becomes ``edit(what entered, what left)``."""

    def __init__(self, edit: Callable[[Any, Tensor], Tensor]) -> None:
        self.edit = edit

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self.edit(args[0], output[0]), *output[1:])
        return self.edit(args[0], output)


def mma_token(w: dict[str, Tensor], tower: str, layer: int, n: Tensor) -> Tensor:
    """y of one token."""
    at = lambda name: w[f"{tower}_block_{DIM}.{name}"][layer]  # noqa: E731
    z = torch.clamp(at("down.weight") @ n + at("down.bias"), min=0)
    z = torch.clamp(w["shared.weight"][layer] @ z + w["shared.bias"][layer], min=0)
    return at("up.weight") @ z + at("up.bias")


def mma_by_hand(model: nn.Module, w: dict[str, Tensor], scale: float, towers: tuple[str, ...] = TOWERS) -> nn.Module:
    for tower in towers:
        for layer, block in enumerate(layers(model, tower)):
            keep = Keep()
            block.layer_norm1.register_forward_hook(keep)

            def beside(entered: Any, h: Tensor, keep: Keep = keep, tower: str = tower, layer: int = layer) -> Tensor:
                rows = [torch.stack([mma_token(w, tower, layer, n) for n in sample]) for sample in keep.seen]
                return h + scale * torch.stack(rows)

            block.register_forward_hook(Change(beside))
    return model


MATRICES = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.out_proj", "fc1": "mlp.fc1",
            "fc2": "mlp.fc2"}


def fact_update(w: dict[str, Tensor], tower: str, target: str, layer: int, form: str) -> Tensor:
    """dM [out, in] of one matrix without s, block by block, number by number of Z."""
    wide = {"fc1": f"{DIM}x{HIDDEN}", "fc2": f"{HIDDEN}x{DIM}"}.get(target, str(DIM))
    own = w[f"{tower}_{target}_{wide}.slices"][layer]
    at = lambda name: w[f"shared.{tower}_{DIM}.{name}"]  # noqa: E731
    rows = []
    for to in range(own.shape[1]):
        row = []
        for source in range(own.shape[0]):
            z = own[source, to]
            if form == "tk":
                z = sum(at("core")[:, :, c] * own[source, to, c] for c in range(own.shape[-1]))
            row.append(at("up") @ z.T @ at("down"))
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)


def fact_by_hand(model: nn.Module, w: dict[str, Tensor], form: str, scale: float) -> nn.Module:
    for tower in TOWERS:
        for layer, block in enumerate(layers(model, tower)):
            for target, path in MATRICES.items():
                update = fact_update(w, tower, target, layer, form)
                block.get_submodule(path).register_forward_hook(Change(lambda x, y, d=update: y + scale * x @ d.T))
    return model


def context_by_hand(model: nn.Module, vectors: Tensor, init: str) -> nn.Module:
    def edit(ids: Tensor, e: Tensor) -> Tensor:
        prompts = []
        for prompt in e:
            tokens = list(prompt)
            for j, vector in enumerate(vectors):
                tokens[1 + j] = vector if init == "normal" else tokens[1 + j] + vector
            prompts.append(torch.stack(tokens))
        return torch.stack(prompts)

    model.text_model.embeddings.token_embedding.register_forward_hook(Change(edit))
    return model


def clip_adapter_by_hand(f: Tensor, down: Tensor, up: Tensor, mix: float) -> Tensor:
    """Feature by feature."""
    adapted = [torch.clamp(up @ torch.clamp(down @ one, min=0), min=0) for one in f]
    return torch.stack([mix * a + (1 - mix) * one for a, one in zip(adapted, f, strict=True)])
