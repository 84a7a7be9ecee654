"""VL-PET: vision-and-language tuning via granularity control (Hu et al., ICCV 2023, arXiv 2308.09804; released code at 7430cad).

    encoder, self-attention and MLP     H' = G * (H + dH)        dH = phi(H D^T + c) U^T + u        G the whole sum's gate (gates.py)
    decoder, cross-attention values     V' = V + dV              dV = phi(E A^T + a) B^T + b        E [N, d] what the encoder left
H' enters the residual sum in the place of H; the encoder's norms train too. At the start H' is about H / 2 on BART (middleY: H) and
0.15 H on T5 (middleY: 0.3 H): a fresh model is not the pre-trained one, as in the release. The N_h heads of the released
down-projection all read the whole of H, so they are the rows of one matrix D.
Trained: 2 L_e (2 d r + r + d + gate) + L_d (2 d r_d + r_d + d), gate = 2 d r_g + r_g + d, d + 1, d or 2 d + 1.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

from torch import Tensor

from inarch.adapter import Adapter, Built, Method, within
from inarch.errors import CannotGraft, ConfigError
from inarch.methods.bottleneck import Init, Sequential, Update
from inarch.methods.gates import Gate, Kind, Large, MiddleX, MiddleY, Small
from inarch.methods.updates import UPDATES, Change
from inarch.ports import Stack
from inarch.rebuild import Source, thin, trained

SITES = {"value": "cross.v", "key": "cross.k", "cross": "cross", "attn": "attn", "mlp": "mlp"}
PROJECTIONS = ("cross.v", "cross.k")
IDLE = (("middle_y", "linear", ("middleY",)), ("small_mean", "all", ("small",)), ("gate_reads", "changed", ("middleX", "small")),
        ("gate_input", "residual", ("middleX", "small", "large")))  # field, its default, the gates that heed it


@dataclass(frozen=True)
class VLPET(Method):
    """VL-PET with one of its four gates, or ``gate="none"`` (G = 1, s unused).

    rank, gate_rank (of ``large``), scale s and init: None takes what was published for the backbone (T5: 192, 192, 0.3, ``zero``),
    else BART's (96, 96, 1, ``normal``). change: what dH is: the paper's ``bottleneck``, or its designs on ``compacter`` or ``lora``
    (then on the projections q and v instead of after the sub-layers, and X is their own input). decoder: where the light decoder
    modules sit: parallel to the cross-attention's ``value`` (the paper) or ``key`` projection, or after the decoder's ``cross``
    attention, self-``attn`` or ``mlp``; () for none; a model without a decoder has none. encoder_norms: whether these train.
    gate_reads: ``changed`` H~ (the code) or ``output`` H (the figure). gate_input: X is the ``residual`` stream (the code) or the
    ``normed`` input of the sub-layer. middle_y: ``linear`` 1 + z (the code) or ``sigmoid`` 1 + sigma(z) (the figure). small_mean:
    over ``all`` tokens (the code: the gate depends on how much padding a batch has) or the ``visible`` ones.
    """

    gate: Kind | Literal["none"] = "large"
    rank: int | None = None
    gate_rank: int | None = None
    scale: float | None = None
    init: Init | None = None
    value_rank: int = 96
    change: Change = "bottleneck"
    decoder: tuple[Literal["value", "key", "cross", "attn", "mlp"], ...] = ("value",)
    encoder_norms: bool = True
    gate_reads: Literal["changed", "output"] = "changed"
    gate_input: Literal["residual", "normed"] = "residual"
    middle_y: Literal["linear", "sigmoid"] = "linear"
    small_mean: Literal["all", "visible"] = "all"

    unset: ClassVar[dict[str, Any]] = {"rank": 96, "gate_rank": 96, "scale": 1.0, "init": "normal"}
    size: ClassVar[str] = "rank"

    def resized(self, size: int) -> Self:
        """Its three bottlenecks alike: the change's, the large gate's, the value adapter's."""
        return dataclasses.replace(self, rank=size, gate_rank=size, value_rank=size)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank", "gate_rank", "value_rank"):
            within("VLPET", name, getattr(self, name) or (1 if getattr(self, name) is None else 0), 1, math.inf)
        if self.scale is not None and self.scale <= 0:
            raise ConfigError(f"VLPET: scale={self.scale!r} is out of range; expected a number above 0")
        if len(set(self.decoder)) != len(self.decoder):
            raise ConfigError(f"VLPET: decoder={self.decoder!r} names a place twice")
        for name, own, gates in IDLE:
            if getattr(self, name) != own and self.gate not in gates:
                raise ConfigError(f"VLPET: {name}={getattr(self, name)!r} has no effect on gate={self.gate!r}; it is for "
                                  f"{' and '.join(gates)}")
        if self.change == "lora" and self.gate_input != "residual":
            raise ConfigError(f"VLPET: gate_input={self.gate_input!r} has no effect on change='lora': X is the projection's own input")

    @property
    def thaws(self) -> tuple[str, ...]:
        return ("encoders.norms",) if self.encoder_norms else ()

    def wanted(self) -> tuple[str, ...]:
        changed = ("q", "v") if self.change == "lora" else ("attn", "mlp")
        return tuple(f"encoders.{span}" for span in changed) + tuple(f"decoders.{SITES[place]}" for place in self.decoder)

    @property
    def identity_at_start(self) -> bool:
        still = self.gate == "none" or (self.gate == "middleY" and self.middle_y == "linear" and self.scale == 1)
        return still and (self.init == "zero" or self.change == "lora")

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: self._light(stack) if stack.decodes else self._gated(stack) for stack in stacks})

    def _light(self, stack: Stack) -> Adapter:
        """A decoder's module: G = 1, s = 1 in every released script."""
        dim = stack.width_in if stack.span in PROJECTIONS else stack.width_out
        update = UPDATES[self.change](stack.depth, dim, stack.width_out, self.value_rank, self.init or "normal")
        return Parallel(update) if stack.span in PROJECTIONS else Sequential(update)

    def _gated(self, stack: Stack) -> Adapter:
        if stack.width_in != stack.width_out:
            raise CannotGraft(f"VLPET: {stack.name} turns width {stack.width_in} into {stack.width_out}; its gates need one width")
        update = UPDATES[self.change](stack.depth, stack.width_in, stack.width_out, self.rank or 96, self.init or "normal")
        return Gated(self, update, self._gate(stack.depth, stack.width_out))

    def _gate(self, depth: int, dim: int) -> Gate | None:
        init: Init = self.init or "normal"
        if self.gate == "large":
            return Large(depth, dim, self.gate_rank or 96, init)
        if self.gate == "middleX":
            return MiddleX(depth, dim, init)
        if self.gate == "middleY":
            return MiddleY(depth, dim, init, self.middle_y)
        return Small(depth, dim, init, self.small_mean) if self.gate == "small" else None


class Gated(Adapter):
    """``H' = s G(X, H~) (H + dH)`` on one stack: ``update`` makes dH, ``gate`` G (None: 1)."""

    rebuilds = rewrites = True

    def __init__(self, config: VLPET, update: Update, gate: Gate | None) -> None:
        super().__init__()
        self.update, self.gate = update, gate
        self.scale = 1.0 if config.scale is None else config.scale
        self.gate_reads = config.gate_reads
        self.looks = gate is not None and gate.reads_stream
        stream = self.looks and config.gate_input == "residual" and update.reads == "output"
        self.reads = "residual" if stream else "normed"

    def prepare(self, shared: Any, visible: Tensor | None) -> Tensor | None:
        return visible

    def after(self, x: Tensor, y: Tensor, i: int, given: Tensor | None, source: Source | None = None, wrote: Source | None = None
              ) -> Tensor:
        seen = x if self.looks or self.update.reads == "input" else None  # what is not read need not be kept
        return thin(partial(self._changed, i, given), (seen, y), reads=trained(self), sources=(source, wrote))

    def _changed(self, i: int, visible: Tensor | None, x: Tensor, y: Tensor) -> Tensor:
        changed = y + self.update(y if self.update.reads == "output" else x, i)
        if self.gate is None:
            return changed
        read = changed if self.gate_reads == "changed" else y
        gate = self.gate(x, read, i, visible)
        return (gate if self.scale == 1 else self.scale * gate) * changed


class Parallel(Adapter):
    """``V' = V + dV(E)`` beside one projection E -> V."""

    def __init__(self, update: Update) -> None:
        super().__init__()
        self.update = update

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        return y + thin(partial(self._made, i), (x,), reads=trained(self))

    def _made(self, i: int, x: Tensor) -> Tensor:
        return self.update(x, i)
