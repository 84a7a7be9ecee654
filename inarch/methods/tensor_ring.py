"""Tensor rings (Zhao et al. 2016, arXiv 1606.05535): pure functions of cores, no modules.

    W[i_1, ..., i_N] = Tr( G_1[:, i_1, :] G_2[:, i_2, :] ... G_N[:, i_N, :] )        G_k [r_k, n_k, r_{k+1}],  r_{N+1} = r_1
Across layers, N = 3 and the middle core holds one slice per layer, S_l = S[:, l, :]:

    dW_l[i, j] = sum_{a,b,c} A[a,i,b] S[b,l,c] B[c,j,a]        A [a, out, b]   S [b, L, c]   B [c, in, a]
               = Ahat (S_l kron I_a) Bhat                       Ahat [out, (b a)]   Bhat [(c a), in]
With a = 1 this is the tensor train of LoTR and FacT. Every core may carry leading dimensions that broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inarch.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float


def dense(cores: Sequence[Tensor]) -> Tensor:
    """The tensor ``[n_1, ..., n_N]`` of a ring of any length.

    >>> dense([torch.ones(2, 3, 4), torch.ones(4, 5, 2)]).shape
    torch.Size([3, 5])
    """
    refuse_open(cores)
    chain = cores[0]
    for core in cores[1:]:
        chain = torch.tensordot(chain, core, dims=([-1], [0]))
    return torch.diagonal(chain, dim1=0, dim2=-1).sum(-1)


def refuse_open(cores: Sequence[Tensor]) -> None:
    """``ConfigError`` unless every core is ``[r_k, n_k, r_{k+1}]`` and the last rank meets the first."""
    shapes = [tuple(core.shape) for core in cores]
    if not shapes or any(len(shape) != 3 for shape in shapes):
        raise ConfigError(f"tensor ring: cores of shapes {shapes}; expected [rank, size, next rank] each")
    for k, shape in enumerate(shapes):
        following = shapes[(k + 1) % len(shapes)]
        if shape[2] != following[0]:
            raise ConfigError(f"tensor ring: core {k} of shape {shape} meets {following}; expected rank {shape[2]} there")


def slice_of(core: Float[Tensor, "b layers c"], layer: int) -> Float[Tensor, "b c"]:
    """S_l, all that layer l owns."""
    return core[:, layer, :]


def rows(core: Float[Tensor, "a out b"]) -> Float[Tensor, "out ba"]:
    """Ahat of A: a row per output feature, columns ordered (b, a)."""
    return core.permute(1, 2, 0).flatten(1)


def columns(core: Float[Tensor, "c dim a"]) -> Float[Tensor, "ca dim"]:
    """Bhat of B: a column per input feature, rows ordered (c, a)."""
    return core.permute(0, 2, 1).flatten(0, 1)


def middles(slices: Float[Tensor, "b layers c"], around: int) -> Float[Tensor, "layers ba ca"]:
    """``S_l kron I_a`` of every layer, a = ``around``."""
    unit = torch.eye(around, dtype=slices.dtype, device=slices.device)
    return torch.einsum("blc,de->lbdce", slices, unit).flatten(3, 4).flatten(1, 2)


def delta(a: Tensor, s: Float[Tensor, "b layers c"], b: Tensor, layer: int) -> Float[Tensor, "out in"]:
    """dW_l, built."""
    return torch.einsum("aib,bc,cja->ij", a, slice_of(s, layer), b)


def contract(x: Float[Tensor, "*batch in"], a: Tensor, s: Tensor, b: Tensor, layer: int) -> Float[Tensor, "*batch out"]:
    """``x dW_l^T`` by two thin products, dW_l never built: tokens (in + out) a R multiplications at b = c = R."""
    return x @ columns(b).mT @ middles(s, a.shape[0])[layer].mT @ rows(a).mT


def folded(hidden: Float[Tensor, "a m b"], slices: Float[Tensor, "b layers c"]) -> Float[Tensor, "layers m ca"]:
    """A small core with every layer's slice folded in: ``[k, (c a)] = sum_b C[a,k,b] S[b,l,c]``, for down: ``z = x Bhat^T (...)^T``."""
    return torch.einsum("akb,blc->lkca", hidden, slices).flatten(2)


def folded_up(slices: Float[Tensor, "b layers c"], hidden: Float[Tensor, "c m a"]) -> Float[Tensor, "layers ba m"]:
    """The same for up: ``[(b a), k] = sum_c S'[b,l,c] C'[c,k,a]``."""
    return torch.einsum("blc,cka->lbak", slices, hidden).flatten(1, 2)


def gauge(cores: Sequence[Tensor], changes: Sequence[Tensor]) -> list[Tensor]:
    """The same tensor by other cores: ``G_k -> T_k^-1 G_k T_{k+1}`` with invertible ``T_k [r_k, r_k]``; cores are not identifiable."""
    refuse_open(cores)
    following = [*changes[1:], changes[0]]
    return [torch.einsum("xr,rns,sy->xny", torch.linalg.inv(t), core, after)
            for t, core, after in zip(changes, cores, following, strict=True)]


def add(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """The sum of two tensors as one ring, its cores block-diagonal, its ranks the sums: a bank of experts is one structured ring."""
    refuse_open(first)
    refuse_open(second)
    return [torch.cat([_padded(g, h.shape[2], after=True), _padded(h, g.shape[2], after=False)], dim=0)
            for g, h in zip(first, second, strict=True)]


def _padded(core: Tensor, more: int, *, after: bool) -> Tensor:
    zeros = core.new_zeros(*core.shape[:2], more)
    return torch.cat([core, zeros] if after else [zeros, core], dim=2)


def count(modes: Sequence[int], ranks: Sequence[int]) -> int:
    """Numbers in a ring of these mode sizes and ranks ``r_1 .. r_N``: ``sum_k r_k n_k r_{k+1}``.

    >>> count([32, 8, 768], [4, 4, 4])
    12928
    """
    following = [*ranks[1:], ranks[0]]
    return sum(r * n * s for r, n, s in zip(ranks, modes, following, strict=True))
