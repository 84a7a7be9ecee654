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
from torch import nn

from inarch.adapter import Built, Method, within
from inarch.errors import CannotGraft, ConfigError
from inarch.methods.ring_adapters import LineAdapter, RingAdapter
from inarch.methods.ring_bank import HEAD, Bank, Draw, Ranks, Slices, Unit
from inarch.methods.ring_plan import Place, planned
from inarch.ports import Layers, Stack

Gate = Literal["static", "uniform", "router"]
LINEAR_ONLY = {"targets": ("q", "v")}
BOTTLENECK_ONLY: dict[str, Any] = {"bottleneck": 32, "activation": "relu", "init": "zero", "bias": False, "slices": "identity",
                                   "path": "auto"}
SEVERAL_ONLY = {"gate": "static", "expert_dropout": 0.1}


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
    size: ClassVar[str] = "bottleneck"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ranks:
            raise ConfigError("AdaRing: ranks=(); expected at least one, such as (1, 2, 4)")
        for rank in (*self.ranks, self.bottleneck):
            within("AdaRing", "ranks and bottleneck", rank, 1, math.inf)
        if self.scale <= 0:
            raise ConfigError(f"AdaRing: scale={self.scale!r} is out of range; expected a number above 0")
        within("AdaRing", "dropout", self.dropout, 0, 1, open_above=True)
        within("AdaRing", "expert_dropout", self.expert_dropout, 0, 1, open_above=True)
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        """A field that would change nothing is refused, not ignored."""
        idle = BOTTLENECK_ONLY if self.linear else LINEAR_ONLY
        self._refuse_others(idle | LINEAR_ONLY if self.site == "post" else idle, f"at site={self.site!r}")
        if len(self.ranks) == 1:
            self._refuse_others(SEVERAL_ONLY, "with a single rank")
        if self.linear and self.gate == "router":
            raise ConfigError("AdaRing: gate='router' depends on the input, so it could not be folded; use it at site='parallel'")
        if self.init == "mma" and (len(self.ranks) > 1 or self.tensorize != "none"):
            raise ConfigError("AdaRing: init='mma' is of a single ring; expected one rank and tensorize='none'")
        if self.form == "train" and self.tensorize != "none":
            raise ConfigError("AdaRing: tensorize='heads64' is of form='ring'; choose one")

    def _refuse_others(self, idle: dict[str, Any], where: str) -> None:
        for name, own in idle.items():
            if getattr(self, name) != own:
                raise ConfigError(f"AdaRing: {name}={getattr(self, name)!r} has no meaning {where}; leave it out")

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
