"""ARC, adapter re-composing (Dong et al., NeurIPS 2023, arXiv 2310.06234).

    H = U + dropout(U (W * c_l)) W^T + b_l          U [*, D]  what enters the span, after its norm
                                                    W [D, r]  symmetric projection, one for all layers of the stack
                                                    c_l [r]   re-scaling of layer l,   b_l [D]  its bias
Linear in U, so with A_l = I + W diag(c_l) W^T it folds into whatever reads H: M' = M A_l^T, m' = m + M b_l.
Trained per stack of L layers: D r + L (r + D); for both spans of ViT-B at r = 50: 96,432.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Adapter, Built, Method, Pre, each_once, within
from inarch.errors import CannotGraft, ConfigError
from inarch.methods import arc_node
from inarch.ports import Stack
from inarch.rebuild import Source


@dataclass(frozen=True)
class ARC(Method):
    """ARC of rank ``rank`` on ``spans`` (``("attn",)`` alone is the paper's ARC_att).

    share: who shares W: the layers of a ``stack`` (the paper), attention and MLP of one ``block``, every site of one width in
    the ``network``, or ``none``. symmetric: the up-projection is the transpose of W. scale: c per ``layer`` (the paper), one
    ``shared`` by the stack, or ``none``. init: ``published`` (c zero for attention, Xavier for the MLP: not the identity at
    the start), ``identity`` (all c zero), ``xavier`` (all c Xavier). placement: ``normed`` (after the norm, foldable) or
    ``trunk`` (the released Swin file: the MLP adapter edits the residual stream before the norm; cannot be folded).
    """

    rank: int = 50
    spans: tuple[Literal["attn", "mlp"], ...] = ("attn", "mlp")
    dropout: float = 0.0
    share: Literal["stack", "block", "network", "none"] = "stack"
    symmetric: bool = True
    scale: Literal["layer", "shared", "none"] = "layer"
    bias: bool = True
    init: Literal["published", "identity", "xavier"] = "published"
    basis: Literal["xavier", "orthogonal"] = "xavier"
    placement: Literal["normed", "trunk"] = "normed"
    size: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("ARC", "rank", self.rank, 1, math.inf)
        within("ARC", "dropout", self.dropout, 0, 1, open_above=True)
        each_once("ARC", "spans", self.spans, "'attn', 'mlp' or both")
        if self.scale == "none" and self.symmetric and self.init == "identity":
            raise ConfigError("ARC: W W^T without a re-scaling is never zero; init='identity' needs scale or symmetric=False")

    def wanted(self) -> tuple[str, ...]:
        return tuple("trunk" if span == "mlp" and self.placement == "trunk" else span for span in self.spans)

    @property
    def identity_at_start(self) -> bool:
        if self.scale == "none":
            return not self.symmetric
        return self.init == "identity" or (self.init == "published" and self.spans == ("attn",))

    def build(self, stacks: list[Stack]) -> Built:
        for stack in stacks:
            if self.rank > stack.width_in:
                raise CannotGraft(f"ARC: rank={self.rank} exceeds the width {stack.width_in} of {stack.name}; expected 1..{stack.width_in}")
        adapters: dict[str, Adapter] = {stack.name: ArcAdapter(self, stack) for stack in stacks}
        return Built(adapters, SharedBases(self, stacks) if self.share in ("block", "network") else None)

    def new_basis(self, *lead: int, dim: int) -> nn.Parameter:
        """W, shaped ``[*lead, dim, rank]``: Xavier-uniform with bound sqrt(6 / (dim + rank)), or orthonormal columns."""
        basis = torch.empty(*lead, dim, self.rank)
        draw = nn.init.xavier_uniform_ if self.basis == "xavier" else nn.init.orthogonal_
        for matrix in basis.view(-1, dim, self.rank):
            draw(matrix)
        return nn.Parameter(basis)


class Bases(nn.Module):
    """Projections that several sites share: ``down`` W ``[n, D, r]`` and, where not symmetric, ``up`` ``[n, r, D]``."""

    def __init__(self, config: ARC, n: int, dim: int) -> None:
        super().__init__()
        self.count = n
        self.down = config.new_basis(n, dim=dim)
        self.up = None if config.symmetric else _up(config, n, dim)

    def at(self, i: int) -> tuple[Tensor, Tensor]:
        i %= self.count
        return self.down[i], self.down[i].mT if self.up is None else self.up[i]


def _up(config: ARC, n: int, dim: int) -> nn.Parameter:
    """Zeros where no re-scaling keeps the start at the identity, Xavier otherwise (the re-scaling does)."""
    if config.scale == "none":
        return nn.Parameter(torch.zeros(n, config.rank, dim))
    return nn.Parameter(config.new_basis(n, dim=dim).mT.contiguous())


class SharedBases(nn.Module):
    """One ``Bases`` per tower and width, for the sharing scopes that join stacks."""

    def __init__(self, config: ARC, stacks: list[Stack]) -> None:
        super().__init__()
        for stack in stacks:
            if _scope(stack) not in self._modules:
                n = 1 if config.share == "network" else max(s.depth for s in stacks if _scope(s) == _scope(stack))
                self.add_module(_scope(stack), Bases(config, n, stack.width_in))


def _scope(stack: Stack) -> str:
    return f"{stack.tower}_{stack.width_in}"


class ArcAdapter(Adapter):
    """ARC on one stack: ``down`` W ``[D, r]``, ``scale`` c ``[L, r]``, ``bias`` b ``[L, D]``; W may live in the shared bases."""

    rebuilds = True

    def __init__(self, config: ARC, stack: Stack) -> None:
        super().__init__()
        self.dropout, self.scope = config.dropout, _scope(stack)
        dim, depth, rank = stack.width_in, stack.depth, config.rank
        self.down = config.new_basis(dim=dim) if config.share == "stack" and config.symmetric else None
        own = (config.share == "stack" and not config.symmetric) or config.share == "none"
        self.bases = Bases(config, depth if config.share == "none" else 1, dim) if own else None
        self.scales = depth if config.scale == "layer" else 1
        self.scale = None if config.scale == "none" else nn.Parameter(torch.zeros(self.scales, rank))
        self.bias = nn.Parameter(torch.zeros(depth, dim)) if config.bias else None
        if self.scale is not None and _starts_off(config, stack):
            for row in self.scale.data:
                nn.init.xavier_uniform_(row[None])  # fan_in r, fan_out 1, as in the released code

    @property
    def stochastic(self) -> bool:
        return self.dropout > 0

    def factors(self, i: int, given: Any) -> tuple[Tensor, Tensor]:
        """``W [D, r]`` and the up-projection ``[r, D]`` of site i."""
        if self.down is not None:
            return self.down, self.down.mT
        return self.bases.at(i) if self.bases is not None else given.get_submodule(self.scope).at(i)

    def rescale(self, down: Tensor, i: int) -> Tensor:
        """``W diag(c_i)``."""
        return down if self.scale is None else down * self.scale[i % self.scales]

    def before(self, x: Tensor, i: int, given: Any, source: Source | None = None) -> Tensor:
        down, up = self.factors(i, given)
        if source is not None:
            scale = None if self.scale is None else self.scale[i % self.scales]
            bias = None if self.bias is None else self.bias[i]
            return arc_node.update(x, source, down, up, scale, bias, self.dropout if self.training else 0.0)
        z = F.dropout(x @ self.rescale(down, i), self.dropout, self.training)  # scaling W keeps z once for backward, not twice
        h = x + z @ up
        return h if self.bias is None else h + self.bias[i]

    def affine(self, i: int, given: Any) -> Pre:
        down, up = self.factors(i, given)
        return Pre(self.rescale(down, i), up, None if self.bias is None else self.bias[i])


def _starts_off(config: ARC, stack: Stack) -> bool:
    return config.init == "xavier" or (config.init == "published" and stack.span != "attn")
