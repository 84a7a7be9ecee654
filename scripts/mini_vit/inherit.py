"""How the student starts: from the teacher's own weights, squeezed from 12 layers of width 192 into 6 of width 128.

Write ``x`` for the teacher's residual stream and ``n(x)`` for a layer norm without its affine part. Then

    z = P x,   P = C Bᵀ        B: the 127 leading principal directions of n(x), C: an isometry onto the mean-free part of R^128
    n(x) ≈ g Pᵀ n(z)           g = sqrt(192 / 128) * mean(|P x| / |x - mean x|); norm affines are folded into what reads them
    writer  W -> P W           reader  W -> g W diag(gamma) Pᵀ
    layer i of the student = layers 2i and 2i+1 of the teacher side by side: the 4 strongest of their 6 heads, each cut from
    64 channels to 32 by an SVD of its query-key and output-value products on real activations, and the 512 strongest of
    their 1536 neurons

Then, layer by layer, the two writers are refitted by ridge regression on what the student itself computes so far, so that
its stream follows ``P x``. Nothing here is exact; it is a better start than noise, and the distillation mends the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEADS, HEAD_DIM, NEURONS = 4, 32, 512


@dataclass(frozen=True)
class Squeeze:
    """``down``: P (128 x 192). Per norm of the teacher: ``gain``, g above; ``seen``, samples of ``[n(z), 1]``."""

    down: Tensor
    gain: dict[str, float]
    seen: dict[str, Tensor]


@dataclass(frozen=True)
class Head:
    """One attention head in student coordinates; the last column of a reader is its bias. ``weight`` ranks it."""

    query: Tensor  # 32, 129
    key: Tensor  # 32, 129
    value: Tensor  # 32, 129
    output: Tensor  # 128, 32
    weight: float


def normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def squeeze(heard: dict[str, Tensor], width: int) -> Squeeze:
    """The principal directions of all norms' inputs together, and what is left of each input after them."""
    covariance = sum(x.T @ x / len(x) for x in heard.values())
    basis = torch.linalg.eigh(covariance)[1].flip(1)[:, : width - 1]
    mean_free = torch.linalg.qr(torch.cat([torch.ones(width, 1), torch.eye(width)[:, 1:]], 1))[0][:, 1:]
    down = mean_free @ basis.T
    stretch = (down.shape[1] / width) ** 0.5
    gain = {name: stretch * float(((x @ down.T).norm(dim=1) / x.norm(dim=1)).mean()) for name, x in heard.items()}
    seen = {name: F.pad(normed(x @ down.T), (0, 1), value=1.0) for name, x in heard.items()}
    return Squeeze(down, gain, seen)


def reader(weight: Tensor, bias: Tensor, norm: Any, name: str, how: Squeeze) -> Tensor:
    """A linear after a norm, in student coordinates, bias as last column: ``[out, 129]``."""
    return torch.cat([how.gain[name] * (weight * norm.weight) @ how.down.T, (bias + weight @ norm.bias)[:, None]], 1)


def root(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Square root of the second moment of the samples, and its inverse."""
    values, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))
    values = values.clamp(min=1e-3 * float(values.max())).sqrt()
    return vectors * values @ vectors.T, vectors / values @ vectors.T


def halve(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Best ``a.T @ b`` of the given rank for ``left.T @ right``; both factors get the same share of the singular values."""
    u, s, v = torch.linalg.svd(left.T @ right, full_matrices=False)
    share = s[:rank].sqrt()[:, None]
    return share * u.T[:rank], share * v[:rank]


def heads(block: Any, prefix: str, how: Squeeze) -> Iterator[Head]:
    """The heads of one teacher block, each cut to 32 channels."""
    samples, norm, attn = how.seen[f"{prefix}.norm1"], block.norm1, block.attn
    spread, narrow = root(samples)
    qkv = reader(attn.qkv.weight, attn.qkv.bias, norm, f"{prefix}.norm1", how).unflatten(0, (3, attn.num_heads, -1))
    output = (how.down @ attn.proj.weight).unflatten(1, (attn.num_heads, -1))
    for h in range(attn.num_heads):
        query, key = halve(qkv[0, h] @ spread, qkv[1, h] @ spread, HEAD_DIM)
        out, value = halve(output[:, h].T, qkv[2, h] @ spread, HEAD_DIM)
        scale = (HEAD_DIM / qkv.shape[2]) ** 0.25  # the student divides by sqrt(32), the teacher by sqrt(64)
        yield Head(scale * query @ narrow, scale * key @ narrow, value @ narrow, out.T, float((out.T @ value).norm()))


def neurons(block: Any, prefix: str, how: Squeeze) -> tuple[Tensor, Tensor, Tensor]:
    """The MLP of one teacher block in student coordinates, and how much each neuron says: ``[768, 129], [128, 768], [768]``."""
    enter = reader(block.mlp.fc1.weight, block.mlp.fc1.bias, block.norm2, f"{prefix}.norm2", how)
    leave = how.down @ block.mlp.fc2.weight
    said = F.gelu(how.seen[f"{prefix}.norm2"] @ enter.T).square().mean(0).sqrt() * leave.norm(dim=0)
    return enter, leave, said


def layer(target: Any, blocks: list[Any], prefixes: list[str], how: Squeeze) -> None:
    """Two teacher blocks side by side become one student layer."""
    found = sorted((h for b, p in zip(blocks, prefixes, strict=True) for h in heads(b, p, how)), key=lambda h: -h.weight)[:HEADS]
    attention, mlp = target.attention, target.mlp
    put(attention.q_proj, torch.cat([head.query for head in found]))
    put(attention.k_proj, torch.cat([head.key for head in found]))
    put(attention.v_proj, torch.cat([head.value for head in found]))
    attention.o_proj.weight.copy_(torch.cat([head.output for head in found], 1))
    attention.o_proj.bias.copy_(how.down @ sum(b.attn.proj.bias for b in blocks))
    both = [neurons(b, p, how) for b, p in zip(blocks, prefixes, strict=True)]
    enter, leave, said = (torch.cat([part[k] for part in both], dim) for k, dim in enumerate((0, 1, 0)))
    best = said.argsort(descending=True)[:NEURONS]
    put(mlp.fc1, enter[best])
    mlp.fc2.weight.copy_(leave[:, best])
    mlp.fc2.bias.copy_(how.down @ sum(b.mlp.fc2.bias for b in blocks))


def put(linear: nn.Linear, rows: Tensor) -> None:
    linear.weight.copy_(rows[:, :-1])
    linear.bias.copy_(rows[:, -1])


def halved_kernel(kernel: Tensor, side: int) -> Tensor:
    """The patch kernel that sees on small pixels what ``kernel`` sees on the same patch enlarged."""
    enlarge = F.interpolate(torch.eye(side)[None], size=kernel.shape[-1], mode="linear")[0]  # side, 16
    return torch.einsum("ochw,ah,bw->ocab", kernel, enlarge, enlarge)


class Ear:
    """A forward hook that keeps what entered a module."""

    def __init__(self) -> None:
        self.heard = torch.empty(0)

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.heard = args[0]


def listen_to(modules: dict[str, nn.Module], run: Callable[[], Any]) -> dict[str, Tensor]:
    """What enters each module while ``run()`` runs."""
    ears = {name: Ear() for name in modules}
    hooks = [module.register_forward_pre_hook(ears[name]) for name, module in modules.items()]
    run()
    for hook in hooks:
        hook.remove()
    return {name: ear.heard for name, ear in ears.items()}


def refit(linear: nn.Linear, run: Callable[[], Tensor], target: Tensor, ridge: float = 1e-2) -> None:
    """Changes a writer so that ``run()`` comes nearest to the target, staying near what it was where the data say nothing."""
    x = F.pad(listen_to({"x": linear}, run)["x"].flatten(0, 1), (0, 1), value=1.0)
    missing = (target - run()).flatten(0, 1)
    gram = x.T @ x
    change = torch.linalg.solve(gram + ridge * gram.diagonal().mean() * torch.eye(len(gram)), x.T @ missing).T
    linear.weight += change[:, :-1]
    linear.bias += change[:, -1]


@torch.no_grad()
def inherit(student: Any, teacher: Any, images: Tensor) -> None:
    """Writes the squeezed teacher into ``student.vit``. ``images`` are the student's inputs; the teacher sees them enlarged."""
    enlarged = F.interpolate(images, teacher.patch_embed.img_size, mode="bicubic")
    streams: dict[str, nn.Module] = {name: module for name, module in teacher.named_modules() if isinstance(module, nn.LayerNorm)}
    heard = listen_to(streams, lambda: teacher(enlarged))
    how = squeeze({name: normed(x).flatten(0, 1) for name, x in heard.items()}, student.config.hidden_size)
    embed = student.vit.embeddings
    embed.cls_token.copy_(teacher.cls_token @ how.down.T)
    embed.position_embeddings.copy_(teacher.pos_embed @ how.down.T)
    kernel = halved_kernel(teacher.patch_embed.proj.weight, student.config.patch_size)
    embed.patch_embeddings.projection.weight.copy_(torch.einsum("do,ochw->dchw", how.down, kernel))
    embed.patch_embeddings.projection.bias.copy_(how.down @ teacher.patch_embed.proj.bias)
    z = embed(images)
    after = [heard[f"blocks.{k}.norm1"] for k in range(2, len(teacher.blocks), 2)] + [heard["norm"]]
    for i, (target, x) in enumerate(zip(student.vit.layers, after, strict=True)):
        pair = [2 * i, 2 * i + 1]
        layer(target, [teacher.blocks[k] for k in pair], [f"blocks.{k}" for k in pair], how)
        for writer in (target.attention.o_proj, target.mlp.fc2):
            refit(writer, partial(target, z), x @ how.down.T)
        z = target(z)
