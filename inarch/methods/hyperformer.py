"""HyperFormer (Karimi Mahabadi et al., ACL 2021, arXiv 2106.04489): bottleneck adapters written by a hyper-network per tower.

    e_l  = LN( relu( [t ; p_l] A^T + a ) B^T + b )          t [k] the task's embedding, p_l [k] the layer's, e_l [c]
    D_l  = reshape(e_l W_D^T + w_D) [r, d]    c_l = e_l V_D^T + v_D [r]     and U_l [d, r], u_l [d] in the same way
    H'   = H + phi(H D_l^T + c_l) U_l^T + u_l                phi the tanh form of GELU
As VL-Adapter and VL-PET ran it: A, B, LN and p belong to a tower, W and V to one span of it, t to the whole model. A batch is of one
task; with several, say which before the forward, ``choose_task(model, "gqa")``: it is refused until that was said. It does not fold.
Trained: T k + per tower L k + 2 k h + h + h c + 3 c + per span (c + 1)(2 d r + r + d); four tasks on 5 spans of BART-base: 6,947,088.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, within
from inarch.errors import CannotGraft, ConfigError, nearest
from inarch.methods.bottleneck import STD, Init, linears
from inarch.ports import Stack

EPS = 1e-6


@dataclass(frozen=True)
class HyperFormer(Method):
    """Generated adapters of width ``rank`` after the ``spans``; ``cross`` sits in decoders only and is left out where there are none.

    tasks: their names, one embedding of width ``task_dim`` each; a single one serves whatever task comes. ``hidden`` h and
    ``projected`` c: of the network that turns task and layer into e. init: ``normal`` (linears and p N(0, 0.02^2), biases zero, t
    N(0, 1): as trained on BART, not the identity at the start) or ``zero`` (PyTorch's own, with W_U, w_U, V_U and v_U zero).
    The published runs also train every norm: ``thaw="norms"``.
    """

    rank: int = 96
    spans: tuple[Literal["attn", "mlp", "cross"], ...] = ("attn", "mlp", "cross")
    tasks: tuple[str, ...] = ("all",)
    task_dim: int = 512
    hidden: int = 128
    projected: int = 8
    init: Init = "normal"
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank", "task_dim", "hidden"):
            within("HyperFormer", name, getattr(self, name), 1, math.inf)
        within("HyperFormer", "projected", self.projected, 2, math.inf)  # of a single number LN leaves nothing
        for name, example in (("spans", "'attn', 'mlp', 'cross'"), ("tasks", "names such as 'vqa', 'gqa'")):
            if not getattr(self, name) or len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ConfigError(f"HyperFormer: {name}={getattr(self, name)!r}; expected {example}, each at most once")

    def wanted(self) -> tuple[str, ...]:
        return tuple("decoders.cross" if span == "cross" else span for span in self.spans)

    @property
    def identity_at_start(self) -> bool:
        return self.init == "zero"

    def build(self, stacks: list[Stack]) -> Built:
        if not stacks:
            raise CannotGraft("HyperFormer: spans=('cross',) finds no decoder here; expected 'attn' or 'mlp' among them")
        layers: dict[str, list[int]] = {}
        for stack in stacks:
            layers[stack.tower] = sorted({*layers.get(stack.tower, []), *(site.layer for site in stack.sites)})
        net = HyperNet(self, {tower: len(found) for tower, found in layers.items()})
        return Built({stack.name: Generated(self, stack, layers[stack.tower]) for stack in stacks}, shared=net)


class HyperNet(nn.Module):
    """``embedding`` t ``[T, k]``, and per tower what turns it into e; ``task``: which is at work, None where that was not said."""

    def __init__(self, config: HyperFormer, depths: dict[str, int]) -> None:
        super().__init__()
        self.tasks = config.tasks
        self.task: int | None = 0 if len(config.tasks) == 1 else None
        self.embedding = nn.Parameter(torch.randn(len(config.tasks), config.task_dim))
        self.towers = nn.ModuleDict({tower: Tower(config, depth) for tower, depth in depths.items()})

    def forward(self, tower: str) -> Tensor:
        """e ``[L, c]`` of every adapted layer of a tower, for the task at work."""
        if self.task is None:
            raise ConfigError(f"HyperFormer: which of the tasks {', '.join(self.tasks)} is this? Call "
                              "inarch.methods.hyperformer.choose_task(model, name) before the forward")
        return self.towers[tower](self.embedding[self.task])


class Tower(nn.Module):
    """``layers`` p ``[L, k]``, ``into`` A ``[h, 2 k]``, ``out`` B ``[c, h]``, ``norm``."""

    def __init__(self, config: HyperFormer, depth: int) -> None:
        super().__init__()
        self.layers = nn.Parameter(torch.randn(depth, config.task_dim) * (STD if config.init == "normal" else 1.0))
        self.into = Line(2 * config.task_dim, config.hidden, config.init)
        self.out = Line(config.hidden, config.projected, config.init)
        self.norm = nn.LayerNorm(config.projected, eps=EPS)

    def forward(self, task: Tensor) -> Tensor:
        both = torch.cat([task.expand(self.layers.shape[0], -1), self.layers], dim=-1)
        return self.norm(self.out(torch.relu(self.into(both))))


class Line(nn.Module):
    """``x weight^T + bias``, a stack of one: weight ``[1, out, in]``, bias ``[1, out]``."""

    def __init__(self, dim: int, out: int, init: Init, *, zero: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = linears(1, dim, out, init, zero=zero)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight[0], self.bias[0])


class Generated(Adapter):
    """The generators of one span of a tower: W and V of D, U and their biases; ``places``: rows of e that its sites read."""

    def __init__(self, config: HyperFormer, stack: Stack, layers: list[int]) -> None:
        super().__init__()
        self.tower, self.places = stack.tower, [layers.index(site.layer) for site in stack.sites]
        c, dim, rank, zero = config.projected, stack.width_out, config.rank, config.init == "zero"
        self.down, self.down_bias = Line(c, rank * dim, config.init), Line(c, rank, config.init)
        self.up, self.up_bias = Line(c, dim * rank, config.init, zero=zero), Line(c, dim, config.init, zero=zero)

    def prepare(self, shared: nn.Module | None, visible: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """D ``[L, r, d]``, c ``[L, r]``, U ``[L, d, r]``, u ``[L, d]`` of this forward."""
        e = shared(self.tower)[self.places]  # type: ignore[misc]
        c, u = self.down_bias(e), self.up_bias(e)
        return self.down(e).unflatten(-1, (c.shape[-1], -1)), c, self.up(e).unflatten(-1, (u.shape[-1], -1)), u

    def after(self, x: Tensor, y: Tensor, i: int, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        down, c, up, u = (of[i] for of in given)
        return y + F.linear(F.gelu(F.linear(y, down, c), approximate="tanh"), up, u)


def choose_task(model: nn.Module, name: str) -> None:
    """Say of which task the next batches are, to every HyperFormer of several tasks on the model (one of a single task takes any);
    raises ``ConfigError`` for a task that was not among its own."""
    nets = [module for module in model.modules() if isinstance(module, HyperNet) and len(module.tasks) > 1]
    for net in nets:
        if name not in net.tasks:
            raise ConfigError(f"HyperFormer: no task {name!r}; {nearest(name, net.tasks)}")
    for net in nets:
        net.task = net.tasks.index(name)
