"""AdaRing at its sites: what the cores of the bank say there, mixed by the gates.

    bottleneck  y = s sum_e g_le U_le drop( phi( D_le n ) )         one thin product in, one out, for all experts at once
    linear      dW_l = s sum_e g_le Ahat_e (S_le kron I) Bhat_e     beside a matrix, or on what a span leaves
    gates       g_l = softmax(alpha_l), or softmax(W_r mean token); in training over those experts that are not dropped
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Parallel, Post
from inarch.errors import CannotFold
from inarch.methods import ring_node
from inarch.methods.mma import Rescale
from inarch.methods.ring_bank import Bank
from inarch.methods.ring_plan import Place
from inarch.ports import Stack
from inarch.rebuild import Source

if TYPE_CHECKING:
    from inarch.methods.adaring import AdaRing


@dataclass(frozen=True, eq=False)
class Given:
    """Of one forward: ``into`` Bhat ``[R, d]``, ``down`` ``[L, E m, R]``, ``up`` ``[L, R, E m]``, ``out`` Ahat ``[d, R]``.

    On the dense path ``into`` and ``out`` are multiplied in already, and R is d. ``kept`` ``[L, E]``: experts not dropped, None: all.
    """

    into: Tensor | None
    down: Tensor
    up: Tensor
    out: Tensor | None
    router: Tensor | None = None
    kept: Tensor | None = None
    visible: Tensor | None = None


class Ringed(Adapter):
    """What both kinds of site share."""

    strength: float = 1.0

    def __init__(self, config: AdaRing, stack: Stack, place: Place) -> None:
        super().__init__()
        self.config, self.place = config, place

    @property
    def stochastic(self) -> bool:
        return self.config.dropout > 0 or (self.config.expert_dropout > 0 and len(self.config.ranks) > 1)

    @property
    def gain(self) -> float:
        """s."""
        return self.config.scale * self.strength

    def gates(self, bank: Bank, kept: Tensor | None = None) -> Tensor:
        """s g ``[L, E]``; with a router its g comes later and this is s alone."""
        learned, experts, sites = bank.gates.get(self.place.unit), len(bank.experts), list(self.place.rows)
        like = next(bank.parameters())
        scale = 1.0 if self.config.init == "mma" else self.gain  # MMA's code multiplies what comes out, and only forward
        if learned is not None and self.config.gate == "router":
            return like.new_full((len(sites), experts), scale)
        logits = like.new_zeros(len(sites), experts) if learned is None else learned[sites]
        return mixed(logits, kept) * scale

    def kept(self, bank: Bank) -> Tensor | None:
        """Which experts a training forward keeps ``[L, E]``: each by chance, never none of a layer."""
        chance, experts = self.config.expert_dropout, len(bank.experts)
        if not self.training or not chance or experts == 1:
            return None
        like = next(bank.parameters())
        drawn = torch.rand(len(self.place.rows), experts, device=like.device)
        return (drawn >= chance) | (drawn == drawn.max(dim=1, keepdim=True).values)


def mixed(logits: Tensor, kept: Tensor | None) -> Tensor:
    """g ``[..., E]``: what is kept sums to one."""
    return torch.softmax(logits if kept is None else logits.masked_fill(~kept, -torch.inf), dim=-1)


class RingAdapter(Ringed):
    """The bottleneck around a block. With ``bias``: ``down_bias`` ``[L, E m]`` and ``up_bias`` ``[L, d]``, zero at the start."""

    rebuilds = True
    down_bias: nn.Parameter | None
    up_bias: nn.Parameter | None

    def __init__(self, config: AdaRing, stack: Stack, place: Place) -> None:
        super().__init__(config, stack, place)
        shapes = {"down_bias": len(config.ranks) * config.bottleneck, "up_bias": stack.width_out}
        for name, width in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(stack.depth, width)) if config.bias else None)

    def prepare(self, shared: nn.Module | None, visible: Tensor | None) -> Given:
        bank: Bank = shared  # type: ignore[assignment]
        into, out = bank.thin(self.place.unit)
        down, up = bank.bottleneck(self.place.unit, self.place.at)
        kept = self.kept(bank)
        up = up * self.gates(bank, kept).repeat_interleave(self.config.bottleneck, dim=1)[:, None]
        router = bank.gates[self.place.unit] if self.config.gate == "router" and bank.gates else None
        if self._dense(into.shape[0]):
            return Given(None, down @ into, out @ up, None, router, kept, visible)
        return Given(into, down, up, out, router, kept, visible)

    def _dense(self, directions: int) -> bool:
        return self.config.path == "dense" or (self.config.path == "auto" and directions >= self.config.bottleneck * len(self.config.ranks))

    def after(self, x: Tensor, y: Tensor, i: int, given: Given, source: Source | None = None) -> Tensor:
        n = Rescale.apply(x, 1.0, self.gain) if self.config.init == "mma" else x
        bias = None if self.down_bias is None else self.down_bias[i]
        chance = self.config.dropout if self.training else 0.0
        if given.router is None:
            update = ring_node.update(n, given.into, given.down[i], bias, given.up[i], given.out, self.config.activation, chance, source)
        else:
            update = self._mixed_by_input(n, x, i, given, bias)
        if self.up_bias is not None:
            update = update + self.up_bias[i] * (1.0 if self.config.init == "mma" else self.gain)
        return y + (Rescale.apply(update, self.gain, 1.0) if self.config.init == "mma" else update)

    def _mixed_by_input(self, n: Tensor, x: Tensor, i: int, given: Given, bias: Tensor | None) -> Tensor:
        """With a router: its g stands between the two halves."""
        z = F.linear(n if given.into is None else F.linear(n, given.into), given.down[i], bias)
        z = F.dropout(ring_node.activated(z, self.config.activation), self.config.dropout, self.training) * self._routed(x, i, given)
        update = F.linear(z, given.up[i])
        return update if given.out is None else F.linear(update, given.out)

    def _routed(self, x: Tensor, i: int, given: Given) -> Tensor:
        """g ``[batch, 1, E m]`` by the mean visible token."""
        tokens = x.flatten(1, -2)
        seen = tokens.new_ones(tokens.shape[:2]) if given.visible is None else given.visible.to(tokens)
        mean = (tokens * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        gates = mixed(mean @ given.router.mT, None if given.kept is None else given.kept[i])  # type: ignore[union-attr]
        wide = gates.repeat_interleave(self.config.bottleneck, dim=-1)
        return wide.reshape(wide.shape[0], *(1,) * (x.dim() - 2), -1)

    def affine(self, i: int, given: Any) -> Post:
        raise CannotFold("AdaRing at site='parallel' reads the block's first norm and is added behind attention and MLP: no weight of the "
                         "base could do that; site='post' and site='lora' fold")


class LineAdapter(Ringed):
    """A linear update: beside a matrix (``lora``), or on what a span leaves (``post``)."""

    def prepare(self, shared: nn.Module | None, visible: Tensor | None) -> Given:
        """``down`` ``[L, blocks, R, R]``: s g (S kron I) of every block of the matrix."""
        bank: Bank = shared  # type: ignore[assignment]
        into, out = bank.thin(self.place.unit)
        gates = self.gates(bank, self.kept(bank)).repeat_interleave(self.place.blocks, dim=0)
        middle = bank.diagonal_line(self.place.unit, self.place.at, gates)
        return Given(into, middle.unflatten(0, (-1, self.place.blocks)), middle, out)

    def after(self, x: Tensor, y: Tensor, i: int, given: Given) -> Tensor:
        source = y if self.config.site == "post" else x
        down, up = self._factors(i, given)
        z = F.dropout(source @ down, self.config.dropout, self.training)
        return y + z @ up

    def _factors(self, i: int, given: Given) -> tuple[Tensor, Tensor]:
        """``x -> x down up``: several blocks stand below each other in the output, or side by side in the input."""
        into, out, middle = given.into, given.out, given.down[i]
        if self.place.wide_in:
            return torch.cat([into.mT @ m.mT for m in middle]), out.mT  # type: ignore[union-attr]
        return into.mT, torch.cat([m.mT @ out.mT for m in middle], dim=-1)  # type: ignore[union-attr]

    def affine(self, i: int, given: Given) -> Parallel | Post:
        kind = Post if self.config.site == "post" else Parallel
        return kind(*self._factors(i, given))
