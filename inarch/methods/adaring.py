"""AdaRing, our reading of Huang et al. 2025 (arXiv 2508.11870): the adapters of all layers and towers as tensor rings.

    n  = LN_1(x)    y = s sum_e g_le U_le drop( phi( D_le n ) )    block'(x) = block(x) + y       n, y [*, d]
    D_le[k,j] = Tr( C_e[:,k,:] S_e[:,l,:] B_e[:,j,:] )   C [a,m,b]   S [b,L,c]   B [c,d,a]        g_l = softmax(alpha_l)
    U_le[i,k] = Tr( A_e[:,i,:] S'_e[:,l,:] C'_e[:,k,:] ) A [a,d,b]   S' [b,L,c]  C' [c,m,a]       S' = 0 at the start
B and A are one per tower and shared by its layers; C, C' and the slices S, S' are shared by the towers too, where they are equally
deep. Linear sites have one ring dW_le = Tr(A_e S_le B_e) instead, and fold. The paper's abstract says cross-layer tensor ring, shared
cores, layer-specific slices and co-operating ranks; the equations are our design. Trained, all ranks of an expert R_e, towers u:
    sum_e R_e^2 (2 sum_u d_u + 2 (m + L)) + L E per tower;     CLIP ViT-B/16, L = 8, ranks 1, 2, 4: 55,440 + 48
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, Parallel, Post, within
from inarch.errors import CannotFold, CannotGraft, ConfigError
from inarch.methods.mma import Rescale
from inarch.methods.ring_bank import HEAD, Bank, Draw, Ranks, Slices, Unit
from inarch.methods.ring_plan import Place, planned
from inarch.ports import Layers, Stack

Gate = Literal["static", "uniform", "router"]
LINEAR_ONLY = {"targets": ("q", "v")}
BOTTLENECK_ONLY: dict[str, Any] = {"bottleneck": 32, "activation": "relu", "init": "zero", "bias": False}


@dataclass(frozen=True)
class AdaRing(Method):
    """One expert per entry of ``ranks``; ``form="train"`` cuts the ring open (a = 1, b = c = the rank).

    site: ``parallel`` (a bottleneck of width ``bottleneck`` around the block), or linear and foldable: ``post`` (on what attention and MLP
    leave) and ``lora`` (beside the matrices ``targets``). share_towers: C, C', S, S' for all towers where their depth is equal
    (``required``: refused elsewhere). gate: learned per tower and layer, ``uniform``, or a ``router`` reading the mean token
    (not affine). ``tensorize="heads64"``: B and A themselves as chains over heads of 64. init ``mma``, for parity with it: D and U as
    large as MMA's at the start (not the identity), and its trick with the gradient. expert_dropout: chance that an expert is left out of
    a training forward. path: multiply by the thin cores, or build D and U once per forward; ``auto`` takes the cheaper.
    """

    layers: Layers = "-8:"
    ranks: tuple[int, ...] = (1, 2, 4)
    bottleneck: int = 32
    share_towers: Literal["equal depth", "required", "never"] = "equal depth"
    site: Literal["parallel", "post", "lora"] = "parallel"
    targets: tuple[str, ...] = ("q", "v")
    gate: Gate = "static"
    scale: float = 0.1
    activation: Literal["relu", "quick_gelu", "none"] = "relu"
    dropout: float = 0.1
    expert_dropout: float = 0.1
    form: Literal["ring", "train"] = "ring"
    tensorize: Literal["none", "heads64"] = "none"
    slices: Slices = "identity"
    init: Literal["zero", "mma"] = "zero"
    bias: bool = False
    path: Literal["auto", "contract", "dense"] = "auto"

    paces: ClassVar[dict[str, float]] = {"gates": 10.0}
    probed: ClassVar[tuple[str, ...]] = ("gates",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ranks:
            raise ConfigError("AdaRing: ranks=(); expected at least one, such as (1, 2, 4)")
        for rank in (*self.ranks, self.bottleneck):
            within("AdaRing", "ranks and bottleneck", rank, 1, math.inf)
        within("AdaRing", "dropout", self.dropout, 0, 1, open_above=True)
        within("AdaRing", "expert_dropout", self.expert_dropout, 0, 1, open_above=True)
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        """A field that would change nothing is refused, not ignored."""
        idle = BOTTLENECK_ONLY if self.linear else LINEAR_ONLY
        if self.site == "post":
            idle = idle | LINEAR_ONLY
        for name, own in idle.items():
            if getattr(self, name) != own:
                raise ConfigError(f"AdaRing: {name}={getattr(self, name)!r} has no meaning at site={self.site!r}; leave it out")
        if self.linear and self.gate == "router":
            raise ConfigError("AdaRing: gate='router' depends on the input, so it could not be folded; use it at site='parallel'")
        if self.init == "mma" and (len(self.ranks) > 1 or self.tensorize != "none"):
            raise ConfigError("AdaRing: init='mma' is of a single ring; expected one rank and tensorize='none'")
        if self.expert_dropout != AdaRing.expert_dropout and len(self.ranks) == 1:
            raise ConfigError(f"AdaRing: expert_dropout={self.expert_dropout!r} needs several ranks, one expert is never dropped")
        if self.form == "train" and self.tensorize != "none":
            raise ConfigError("AdaRing: tensorize='heads64' is of form='ring'; choose one")

    @property
    def linear(self) -> bool:
        return self.site != "parallel"

    @property
    def experts(self) -> tuple[Ranks, ...]:
        return tuple(Ranks(1 if self.form == "train" else rank, rank, rank) for rank in self.ranks)

    def wanted(self) -> tuple[str, ...]:
        return {"parallel": ("block",), "post": ("attn", "mlp"), "lora": self.targets}[self.site]

    @property
    def identity_at_start(self) -> bool:
        return self.init == "zero"

    def build(self, stacks: list[Stack]) -> Built:
        units, places = planned(stacks, self.share_towers)
        for unit in units:
            self._refuse_unit(unit)
        width = None if self.linear else self.bottleneck
        bank = Bank(self.experts, units, width, self.tensorize == "heads64", Draw(self.slices, self.init == "mma"))
        bank.gates = self._gates(units, places)
        kind = LineAdapter if self.linear else RingAdapter
        return Built({stack.name: kind(self, stack, places[stack.name]) for stack in stacks}, shared=bank)

    def _refuse_unit(self, unit: Unit) -> None:
        for ranks in self.experts:
            if max(ranks.terms, ranks.around * ranks.right) > unit.dim:
                raise CannotGraft(f"AdaRing: rank {ranks.left} of a {self.form} spans {ranks.terms} directions, {unit.name} has "
                                  f"{unit.dim}; use a smaller one")
        if not self.linear and self.bottleneck > unit.dim:
            raise CannotGraft(f"AdaRing: bottleneck={self.bottleneck} is wider than {unit.name}")
        if self.tensorize == "heads64" and unit.dim % HEAD:
            raise CannotGraft(f"AdaRing: tensorize='heads64' needs widths that are multiples of {HEAD}; {unit.name} is not")

    def _gates(self, units: list[Unit], places: dict[str, Place]) -> nn.ParameterDict:
        """alpha ``[L, E]`` per unit, or W_r ``[E, d]``; empty where nothing is learned."""
        if len(self.ranks) == 1 or self.gate == "uniform":
            return nn.ParameterDict()
        depths = {place.unit: place.layers for place in places.values()}
        each = {unit.name: (len(self.ranks), unit.dim) if self.gate == "router" else (depths[unit.name], len(self.ranks)) for unit in units}
        return nn.ParameterDict({name: nn.Parameter(torch.zeros(shape)) for name, shape in each.items()})


@dataclass(frozen=True, eq=False)
class Given:
    """Of one forward: ``into`` Bhat ``[R, d]``, ``down`` ``[L, E m, R]``, ``up`` ``[L, R, E m]``, ``out`` Ahat ``[d, R]``.

    On the dense path ``into`` and ``out`` are multiplied in already, and R is d.
    """

    into: Tensor | None
    down: Tensor
    up: Tensor
    out: Tensor | None
    router: Tensor | None = None
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

    def gates(self, bank: Bank) -> Tensor:
        """s g ``[L, E]``; with a router its g comes later and this is s alone."""
        learned = bank.gates.get(self.place.unit)
        like = next(bank.parameters())
        experts = len(bank.experts)
        if learned is None or self.config.gate == "router":
            weights = like.new_full((self.place.layers, experts), 1.0 if learned is not None else 1 / experts)
        else:
            weights = torch.softmax(learned, dim=-1)
        scale = 1.0 if self.config.init == "mma" else self.gain  # MMA's code multiplies what comes out, and only forward
        return self._dropped(weights)[list(self.place.rows)] * scale

    def _dropped(self, weights: Tensor) -> Tensor:
        """Experts left out by chance, never all of a layer; what is kept still sums to as much."""
        chance = self.config.expert_dropout
        if not self.training or not chance or weights.shape[1] == 1:
            return weights
        drawn = torch.rand_like(weights)
        keep = (drawn >= chance) | (drawn == drawn.max(dim=1, keepdim=True).values)
        kept = weights * keep
        return kept * (weights.sum(1, keepdim=True) / kept.sum(1, keepdim=True))


class RingAdapter(Ringed):
    """The bottleneck around a block. With ``bias``: ``down_bias`` ``[L, m]`` and ``up_bias`` ``[L, d]``, zero at the start."""

    down_bias: nn.Parameter | None
    up_bias: nn.Parameter | None

    def __init__(self, config: AdaRing, stack: Stack, place: Place) -> None:
        super().__init__(config, stack, place)
        shapes = {"down_bias": config.bottleneck, "up_bias": stack.width_out}
        for name, width in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(stack.depth, width)) if config.bias else None)

    def prepare(self, shared: nn.Module | None, visible: Tensor | None) -> Given:
        bank: Bank = shared  # type: ignore[assignment]
        into, out = bank.thin(self.place.unit)
        down, up = bank.bottleneck(self.place.unit, self.place.at)
        up = up * self.gates(bank).repeat_interleave(self.config.bottleneck, dim=1)[:, None]
        router = bank.gates[self.place.unit] if self.config.gate == "router" and bank.gates else None
        if self._dense(into.shape[0]):
            return Given(None, down @ into, out @ up, None, router, visible)
        return Given(into, down, up, out, router, visible)

    def _dense(self, directions: int) -> bool:
        return self.config.path == "dense" or (self.config.path == "auto" and directions >= self.config.bottleneck * len(self.config.ranks))

    def after(self, x: Tensor, y: Tensor, i: int, given: Given) -> Tensor:
        source = Rescale.apply(x, 1.0, self.gain) if self.config.init == "mma" else x
        z = source if given.into is None else F.linear(source, given.into)
        z = F.linear(z, given.down[i], None if self.down_bias is None else self.down_bias[i])
        z = F.dropout(_activated(z, self.config.activation), self.config.dropout, self.training)
        if given.router is not None:
            z = z * self._routed(x, given)
        update = F.linear(z, given.up[i])
        update = update if given.out is None else F.linear(update, given.out)
        if self.up_bias is not None:
            update = update + self.up_bias[i] * (1.0 if self.config.init == "mma" else self.gain)
        return y + (Rescale.apply(update, self.gain, 1.0) if self.config.init == "mma" else update)

    def _routed(self, x: Tensor, given: Given) -> Tensor:
        """g ``[batch, 1, E m]`` by the mean visible token."""
        tokens = x.flatten(1, -2)
        seen = tokens.new_ones(tokens.shape[:2]) if given.visible is None else given.visible.to(tokens)
        mean = (tokens * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        gates = torch.softmax(mean @ given.router.mT, dim=-1)  # type: ignore[union-attr]
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
        gates = self.gates(bank).repeat_interleave(self.place.blocks, dim=0)
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


def _activated(z: Tensor, kind: str) -> Tensor:
    if kind == "relu":
        return torch.relu(z)
    return z * torch.sigmoid(1.702 * z) if kind == "quick_gelu" else z
