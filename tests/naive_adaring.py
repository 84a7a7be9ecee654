"""Our AdaRing as loops over towers, blocks, tokens, experts and numbers, written from the formulas of its specification; and a toy CLIP.

    D_l[k,j] = Tr( C[:,k,:] S_l B[:,j,:] )      U_l[i,k] = Tr( A[:,i,:] S'_l C'[:,k,:] )      dW_l[i,j] = Tr( A[:,i,:] S_l B[:,j,:] )
The toy's towers are 48 and 32 wide (128 and 64 for heads of 64, 24 and 16 for whole matrices) and two blocks deep.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from families import SIZE, TEXT, VIT
from naive_fewshot import TOWERS, Change, Keep, batch, features, layers
from torch import Tensor, nn

import inarch
from inarch import AdaRing
from inarch.ports import select

DEPTH, HEAD = 2, 64
WIDE = {"vision": 48, "text": 32}
SLIM = {"vision": 24, "text": 16}
HEADED = {"vision": 128, "text": 64}
QUIET: dict[str, Any] = {"ranks": (1, 2), "bottleneck": 6, "dropout": 0.0, "expert_dropout": 0.0}
LONE: dict[str, Any] = {"ranks": (3,), "bottleneck": 6, "dropout": 0.0}
PLACES = {"post": ("self_attn.out_proj", "mlp.fc2"), "q": "self_attn.q_proj", "v": "self_attn.v_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
W = dict[str, Tensor]


@cache
def pristine(vision: int = 48, text: int = 32, depth: int = DEPTH, text_depth: int | None = None) -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    shape = {"num_hidden_layers": depth, "image_size": SIZE}
    eyes = VIT | shape | {"hidden_size": vision, "intermediate_size": 2 * vision}
    talk = TEXT | {"num_hidden_layers": text_depth or depth, "hidden_size": text, "intermediate_size": 2 * text}
    torch.manual_seed(vision + text)
    model = CLIPModel(CLIPConfig(text_config=talk, vision_config=eyes, projection_dim=16)).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def toy(method: AdaRing | None = None, **shape: int) -> nn.Module:
    """A copy, with a fresh graft where there is a method; else frozen."""
    torch.manual_seed(1)
    model = copy.deepcopy(pristine(**shape))
    return model.requires_grad_(False) if method is None else inarch.graft(model, method)


def moved(method: AdaRing, **shape: int) -> tuple[nn.Module, W]:
    """Random everywhere, and leaves of the same values for the loops."""
    model = toy(method, **shape)
    for parameter in model.inarch.parameters():
        parameter.data.copy_(0.5 * torch.randn_like(parameter))
    return model, {name: p.detach().clone().requires_grad_() for name, p in model.inarch.default.trained().items()}


def ring(first: Tensor, slices: Tensor, last: Tensor, layer: int) -> Tensor:
    """``[n, m]``, entry by entry."""
    return torch.stack([torch.stack([torch.trace(first[:, i, :] @ slices[:, layer, :] @ last[:, j, :]) for j in range(last.shape[1])])
                        for i in range(first.shape[1])])


def cores(w: W, unit: str, e: int) -> tuple[Tensor, Tensor]:
    """B and A; from heads where they are chains: B[c,(h,p),a] = sum_w H[c,h,w] P[w,p,a]."""
    into, out = w[f"shared.features.{unit}.{e}.into"], w[f"shared.features.{unit}.{e}.out"]
    if f"shared.patterns.{e}.into" not in w:
        return into, out
    found = []
    for heads, patterns in ((into, w[f"shared.patterns.{e}.into"]), (out, w[f"shared.patterns.{e}.out"])):
        found.append(torch.stack([heads[:, h] @ patterns[:, p] for h in range(heads.shape[1]) for p in range(HEAD)], dim=1))
    return found[0], found[1]


def matrices(w: W, unit: str, owner: str, e: int, layer: int) -> tuple[Tensor, Tensor]:
    """D and U."""
    into, out = cores(w, unit, e)
    at = lambda name: w[f"shared.between.{owner}.{e}.{name}"]  # noqa: E731
    return ring(at("down"), at("down_slices"), into, layer), ring(out, at("up_slices"), at("up"), layer)


def softmax(numbers: Tensor) -> Tensor:
    return torch.exp(numbers) / torch.exp(numbers).sum()


def gates(config: AdaRing, w: W, unit: str, layer: int, n: Tensor) -> Tensor:
    """g of one sample, whose tokens are n."""
    experts = len(config.ranks)
    if experts == 1 or config.gate == "uniform":
        return torch.full((experts,), 1 / experts, dtype=n.dtype)
    learned = w[f"shared.gates.{unit}"]
    if config.gate == "static":
        return softmax(learned[layer])
    return softmax(learned @ (sum(token for token in n) / len(n)))


def phi(z: Tensor, kind: str) -> Tensor:
    return {"relu": z.clamp(min=0), "quick_gelu": z / (1 + torch.exp(-1.702 * z)), "none": z}[kind]


def beside(config: AdaRing, w: W, unit: str, both: list[tuple[Tensor, Tensor]], layer: int, n: Tensor) -> Tensor:
    """y of one sample ``[tokens, d]``; ``both``: D and U of every expert."""
    g, m, own = gates(config, w, unit, layer, n), config.bottleneck, unit.replace("_", "_block_")
    rows = []
    for token in n:
        y = torch.zeros_like(token) if not config.bias else w[f"{own}.up_bias"][layer]
        for e, (down, up) in enumerate(both):
            z = down @ token
            z = z + w[f"{own}.down_bias"][layer][e * m : (e + 1) * m] if config.bias else z
            y = y + g[e] * up @ phi(z, config.activation)
        rows.append(config.scale * y)
    return torch.stack(rows)


def by_hand(config: AdaRing, w: W, widths: dict[str, int] = WIDE, **shape: int) -> nn.Module:
    model = toy(**shape)
    for tower in TOWERS:
        unit = f"{tower}_{widths[tower]}"
        owner = "all" if "shared.between.all.0.up" in w or "shared.between.all.0.slices" in w else unit
        chosen = select(config.layers, len(layers(model, tower)))
        for layer, block in enumerate(layers(model, tower)[i] for i in chosen):
            if config.linear:
                _lines(config, w, unit, owner, layer, block, len(chosen))
                continue
            both = [matrices(w, unit, owner, e, layer) for e in range(len(config.ranks))]
            keep = Keep()
            block.layer_norm1.register_forward_hook(keep)

            def edit(entered: Any, h: Tensor, keep: Keep = keep, of: tuple = (unit, both, layer)) -> Tensor:
                return h + torch.stack([beside(config, w, *of, sample) for sample in keep.seen])

            block.register_forward_hook(Change(edit))
    return model


def _lines(config: AdaRing, w: W, unit: str, owner: str, layer: int, block: nn.Module, depth: int) -> None:
    """Slices are counted place by place, in a place layer by layer, in a layer block by block."""
    first = 0
    for target in PLACES["post"] if config.site == "post" else [PLACES[t] for t in config.targets]:
        module = block.get_submodule(target)
        dim = int(unit.rpartition("_")[2])
        wide = max(module.weight.shape) // dim if config.site == "lora" else 1
        g = gates(config, w, unit, layer, torch.zeros(1, dim, dtype=torch.float64))
        parts = []
        for b in range(wide):
            at = first + layer * wide + b
            update = 0
            for e in range(len(config.ranks)):
                into, out = cores(w, unit, e)
                update = update + g[e] * ring(out, w[f"shared.between.{owner}.{e}.slices"], into, at)
            parts.append(config.scale * update)
        down = config.site == "lora" and module.weight.shape[1] > module.weight.shape[0]
        delta = torch.cat(parts, dim=1 if down else 0)
        first += wide * depth
        if config.site == "post":
            module.register_forward_hook(Change(lambda x, o, delta=delta: o + o @ delta.T))
        else:
            module.register_forward_hook(Change(lambda x, o, delta=delta: o + x @ delta.T))


def agree(config: AdaRing, widths: dict[str, int] = WIDE, gain: float = 1.0, **shape: int) -> None:
    """Outputs equal those of the loops, gradients are ``gain`` times theirs."""
    model, w = moved(config, **shape)
    ours, theirs = features(model), features(by_hand(config, w, widths, **shape))
    assert (ours - theirs).abs().max() < 1e-10
    assert (ours - features(toy(**shape))).abs().max() > 1e-3  # there is something to compare
    ours.cos().sum().backward()
    theirs.cos().sum().backward()
    for name, leaf in w.items():
        mine, expected = model.inarch.default.get_parameter(name).grad, gain * leaf.grad
        assert expected.any() and (mine - expected).abs().max() < 1e-10 * max(1.0, float(expected.abs().max())), name


__all__ = ["HEADED", "LONE", "QUIET", "SLIM", "TOWERS", "WIDE", "agree", "batch", "features", "moved", "toy"]
