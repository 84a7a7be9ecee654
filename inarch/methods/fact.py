"""FacT, factor-tuning (Jie & Deng, AAAI 2023, arXiv 2212.03145): the updates of a tower's matrices as one low-rank tensor.

    y = x M^T + m + s dropout(x U^T Z_n) V^T        U [r, d], V [d, r]  shared by all matrices and layers of a tower
    tt (tensor train)   Z_n [r, r]  free, one per d x d block n
    tk (Tucker)         Z_n = sum_c C[:, :, c] P[n, c]          C [r, r, r] shared, P [n, r]
q, k, v, o are one block each; fc1 (d -> h d) is h blocks of outputs, fc2 (h d -> d) h blocks of inputs whose results add up.
V is zero at the start. Linear in x, so it folds: block n of M becomes M_n + s (U^T Z_n V^T)^T.
Trained per tower of L layers, N = (4 + 2 h) L: tt 2 d r + N r^2, tk 2 d r + N r + r^3; ViT-B/16 at tt r = 16: 61,440, tk r = 32: 86,528.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, Parallel, each_once, within
from inarch.errors import CannotGraft, ConfigError
from inarch.ports import Stack


@dataclass(frozen=True)
class FacT(Method):
    """Factors of ``rank`` in the ``form`` of a tensor train or of Tucker, on all matrices of a block or those in ``targets``.

    scale: s, which the paper chose per data set from 0.01, 0.1, 1, 10, 100.
    """

    form: Literal["tt", "tk"] = "tt"
    rank: int = 16
    scale: float = 1.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ("q", "k", "v", "o", "fc1", "fc2")
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("FacT", "rank", self.rank, 1, math.inf)
        within("FacT", "dropout", self.dropout, 0, 1, open_above=True)
        if not self.scale:
            raise ConfigError("FacT: scale=0 would train nothing; expected another number")
        each_once("FacT", "targets", self.targets, "matrix names such as 'q', 'v', 'fc1'")

    def wanted(self) -> tuple[str, ...]:
        return self.targets

    @property
    def identity_at_start(self) -> bool:
        return True

    def build(self, stacks: list[Stack]) -> Built:
        grids = {stack.name: _grid(stack) for stack in stacks}
        blocks: dict[str, int] = {}
        for stack in stacks:
            grid = grids[stack.name]
            within("FacT", f"rank (on {stack.name})", self.rank, 1, grid.dim)
            blocks[_scope(stack, grid)] = blocks.get(_scope(stack, grid), 0) + stack.depth * grid.ins * grid.outs
        shared = nn.ModuleDict({_scope(s, grids[s.name]): Factors(self, grids[s.name].dim) for s in stacks})
        return Built({s.name: Slices(self, s, grids[s.name], blocks[_scope(s, grids[s.name])]) for s in stacks}, shared)


class Grid(NamedTuple):
    """A matrix as ``outs`` times ``ins`` blocks of ``dim`` times ``dim``."""

    dim: int
    ins: int
    outs: int


def _grid(stack: Stack) -> Grid:
    dim = min(stack.width_in, stack.width_out)
    if max(stack.width_in, stack.width_out) % dim:
        raise CannotGraft(f"FacT: {stack.name} is no whole number of square blocks; leave {stack.span!r} out of targets")
    return Grid(dim, stack.width_in // dim, stack.width_out // dim)


def _scope(stack: Stack, grid: Grid) -> str:
    return f"{stack.tower}_{grid.dim}"


class Factors(nn.Module):
    """What a tower's matrices share: ``down`` U ``[r, d]`` as PyTorch starts a linear, ``up`` V ``[d, r]`` zero, ``core`` C Xavier."""

    def __init__(self, config: FacT, dim: int) -> None:
        super().__init__()
        rank = config.rank
        self.down = nn.Parameter(_uniform(1 / math.sqrt(dim), rank, dim))
        self.up = nn.Parameter(torch.zeros(dim, rank))
        self.core = nn.Parameter(_uniform(math.sqrt(3) / rank, rank, rank, rank)) if config.form == "tk" else None


class Slices(Adapter):
    """What is a matrix's own, p blocks of inputs by q of outputs: ``slices`` Z ``[L, p, q, r, r]``, or of Tucker P ``[L, p, q, r]``."""

    def __init__(self, config: FacT, stack: Stack, grid: Grid, blocks: int) -> None:
        super().__init__()
        self.gain, self.dropout, self.grid, self.scope = config.scale, config.dropout, grid, _scope(stack, grid)
        lead, rank = (stack.depth, grid.ins, grid.outs), config.rank
        own = _uniform(1 / math.sqrt(grid.ins * rank), *lead, rank, rank) if config.form == "tt" else \
            _uniform(math.sqrt(6 / (rank + blocks)), *lead, rank)  # P of the whole tower is [n, r], Xavier
        self.slices = nn.Parameter(own)

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    def prepare(self, shared: nn.Module | None, visible: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """U, V and every layer's blocks side by side, ``[L, p r, q r]``."""
        factors: Factors = shared.get_submodule(self.scope)  # type: ignore[assignment,union-attr]
        z = self.slices if factors.core is None else torch.einsum("abc,lpqc->lpqab", factors.core, self.slices)
        return factors.down, factors.up, z.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def after(self, x: Tensor, y: Tensor, i: int, given: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        down, up, z = given
        h = F.linear(x.unflatten(-1, (self.grid.ins, self.grid.dim)), down).flatten(-2) @ z[i]
        h = F.dropout(h, self.dropout, self.training).unflatten(-1, (self.grid.outs, up.shape[1]))
        return y + F.linear(h * self.gain, up).flatten(-2)

    def affine(self, i: int, given: tuple[Tensor, Tensor, Tensor]) -> Parallel:
        down, up, z = given
        ins, outs = (torch.eye(n, dtype=z.dtype, device=z.device) for n in (self.grid.ins, self.grid.outs))
        return Parallel(torch.kron(ins, down.mT.contiguous()), z[i] @ torch.kron(outs, up.mT.contiguous()) * self.gain)


def _uniform(bound: float, *shape: int) -> Tensor:
    return torch.empty(*shape).uniform_(-bound, bound)
