"""VL-PET as loops over samples, layers and tokens, written from the specification on the plain weights of stock BART and T5 layers.

``w["encoder_attn_32.update.down"][i]`` is a tensor of layer i; a place without tensors is left as the stock model has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def phi(t: Tensor) -> Tensor:
    return 0.5 * t * (1 + torch.tanh(math.sqrt(2 / math.pi) * (t + 0.044715 * t**3)))


def sigma(t: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-t))


def linear(module: nn.Module, x: Tensor) -> Tensor:
    return x @ module.weight.T + (0 if module.bias is None else module.bias)


@dataclass
class Naive:
    """``method`` a settled VLPET, or any method that adds updates without a gate; ``base`` an untouched copy of the stock model."""

    method: Any
    base: nn.Module
    w: dict[str, Tensor]

    def __post_init__(self) -> None:
        self.gate = getattr(self.method, "gate", "none")
        self.bart = self.base.config.model_type == "bart"

    # what the method does

    def update(self, stack: str, i: int, source: Tensor) -> Tensor:
        """dH of one token."""
        at = lambda name: self.w[f"{stack}.update.{name}"][i]  # noqa: E731
        if f"{stack}.update.down_bias" in self.w:
            return at("up") @ phi(at("down") @ source + at("down_bias")) + at("up_bias")
        if f"{stack}.update.down.rules" in self.w:
            matrix = {end: sum(torch.kron(a, b) for a, b in zip(at(f"{end}.rules"), at(f"{end}.blocks"), strict=True))
                      for end in ("down", "up")}
            return phi(source @ matrix["down"] + at("down.bias")) @ matrix["up"] + at("up.bias")
        return at("up") @ (at("down") @ source)

    def opened(self, stack: str, i: int, x: Tensor, read: Tensor, visible: Tensor) -> list[Tensor]:
        """G without s, one entry per token."""
        at = lambda name: self.w[f"{stack}.gate.{name}"][i]  # noqa: E731
        if self.gate == "large":
            return [sigma(at("look.up") @ phi(at("look.down") @ t + at("look.down_bias")) + at("look.up_bias")) for t in x]
        if self.gate == "middleX":
            return [sigma(at("weight")[0] @ (t + h) + at("bias")[0]) for t, h in zip(x, read, strict=True)]
        if self.gate == "middleY":
            return [1 + (at("z") if self.method.middle_y == "linear" else sigma(at("z")))] * len(x)
        each = [sigma(at("weight")[0] @ torch.cat([t, h]) + at("bias")[0]) for t, h in zip(x, read, strict=True)]
        counted = [g for g, v in zip(each, visible, strict=True) if v or self.method.small_mean == "all"]
        return [sum(counted) / len(counted)] * len(x)

    def changed(self, stack: str, i: int, stream: Tensor, entered: Tensor, h: Tensor, visible: Tensor) -> Tensor:
        """H' of one sample ``[tokens, d]``: ``stream`` the residual, ``entered`` the sub-layer's own input."""
        if not any(name.startswith(stack + ".update") for name in self.w):
            return h
        source = entered if stack.split("_")[1] in ("q", "v") or "cross_v" in stack or "cross_k" in stack else h
        whole = torch.stack([a + self.update(stack, i, b) for a, b in zip(h, source, strict=True)])
        if self.gate == "none" or stack.startswith("decoder"):
            return whole
        x = entered if self.method.gate_input == "normed" or source is entered else stream
        g = self.opened(stack, i, x, whole if self.method.gate_reads == "changed" else h, visible)
        return torch.stack([self.method.scale * a * b for a, b in zip(g, whole, strict=True)])

    # the stock layers

    def attention(self, side: str, i: int, module: nn.Module, x: Tensor, source: Tensor, sees: Tensor, cross: str = "") -> Tensor:
        """One sample; ``sees [queries, keys]``."""
        leaf = lambda role: module.get_submodule(f"{role}_proj" if self.bart else role)  # noqa: E731
        all_seen = sees.any(0)
        made = {}
        for role, s in {"q": x, "k": source, "v": source}.items():
            made[role] = self.changed(f"{side}_{cross}{role}_{s.shape[-1]}", i, s, s, linear(leaf(role), s), all_seen)
        heads = module.num_heads if self.bart else module.n_heads
        bias = torch.zeros(heads, len(x), len(source), dtype=x.dtype)
        if not self.bart and not cross:
            stack = self.base.get_encoder() if side == "encoder" else self.base.get_decoder()
            bias = stack.block[0].layer[0].SelfAttention.compute_bias(len(x), len(source))[0]
        out = []
        for a, b, c, extra in zip(*(made[r].chunk(heads, -1) for r in "qkv"), bias, strict=True):
            scores = a @ b.T / (math.sqrt(a.shape[-1]) if self.bart else 1) + extra
            out.append(torch.softmax(scores.masked_fill(~sees, -math.inf), -1) @ c)
        return linear(module.out_proj if self.bart else module.o, torch.cat(out, -1))

    def feed_forward(self, layer: nn.Module, x: Tensor) -> Tensor:
        if self.bart:
            return linear(layer.fc2, F.gelu(linear(layer.fc1, x)))
        dense = layer.layer[-1].DenseReluDense
        return linear(dense.wo, torch.relu(linear(dense.wi, x)))

    def norm(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.bart:
            centred = x - x.mean(-1, keepdim=True)
            return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + module.eps) * module.weight + module.bias
        return x / torch.sqrt(x.square().mean(-1, keepdim=True) + module.variance_epsilon) * module.weight

    def half(self, stack: str, i: int, norm: nn.Module, x: Tensor, visible: Tensor, sublayer: Any) -> Tensor:
        """A sub-layer with its residual: post-norm on BART, pre-norm on T5."""
        if self.bart:
            return self.norm(norm, x + self.changed(stack, i, x, x, sublayer(x), visible))
        u = self.norm(norm, x)
        return x + self.changed(stack, i, x, u, sublayer(u), visible)

    def encoder(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """``embedded [batch, tokens, d]``: what the encoder takes as ``inputs_embeds``."""
        encoder, rows = self.base.get_encoder(), []
        for x, visible in zip(embedded, mask.bool(), strict=True):
            sees = visible[None].expand(len(x), -1)
            if self.bart:
                x = self.norm(encoder.layernorm_embedding, x + encoder.embed_positions.weight[2 : 2 + len(x)])
            for i, layer in enumerate(encoder.layers if self.bart else encoder.block):
                att, *norms = (layer.self_attn, layer.self_attn_layer_norm, layer.final_layer_norm) if self.bart else (
                    layer.layer[0].SelfAttention, layer.layer[0].layer_norm, layer.layer[1].layer_norm)
                x = self.half("encoder_attn_32", i, norms[0], x, visible,
                              lambda u, att=att, i=i, sees=sees: self.attention("encoder", i, att, u, u, sees))
                x = self.half("encoder_mlp_32", i, norms[1], x, visible, lambda u, layer=layer: self.feed_forward(layer, u))
            rows.append(x if self.bart else self.norm(encoder.final_layer_norm, x))
        return torch.stack(rows)

    def decoder(self, embedded: Tensor, e: Tensor, mask: Tensor) -> Tensor:
        """``embedded [batch, target, d]`` as ``inputs_embeds``, ``e`` the encoder's states."""
        decoder, rows = self.base.get_decoder(), []
        for x, states, visible in zip(embedded, e, mask.bool(), strict=True):
            causal = torch.ones(len(x), len(x), dtype=torch.bool).tril()
            sees, whole = visible[None].expand(len(x), -1), torch.ones(len(x), dtype=torch.bool)
            if self.bart:
                x = self.norm(decoder.layernorm_embedding, x + decoder.embed_positions.weight[2 : 2 + len(x)])
            for i, layer in enumerate(decoder.layers if self.bart else decoder.block):
                att, cross, *norms = (layer.self_attn, layer.encoder_attn, layer.self_attn_layer_norm, layer.encoder_attn_layer_norm,
                                      layer.final_layer_norm) if self.bart else (
                    layer.layer[0].SelfAttention, layer.layer[1].EncDecAttention, *(sub.layer_norm for sub in layer.layer))
                x = self.half("decoder_attn_32", i, norms[0], x, whole,
                              lambda u, att=att, i=i, causal=causal: self.attention("decoder", i, att, u, u, causal))
                x = self.half("decoder_cross_32", i, norms[1], x, whole, lambda u, cross=cross, i=i, states=states, sees=sees:
                              self.attention("decoder", i, cross, u, states, sees, "cross_"))
                x = self.half("decoder_mlp_32", i, norms[2], x, whole, lambda u, layer=layer: self.feed_forward(layer, u))
            rows.append(x if self.bart else self.norm(decoder.final_layer_norm, x))
        return torch.stack(rows)
