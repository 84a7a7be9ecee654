"""AdaRing's one node, a ``Thin`` one: the gradients of the plain equations, and nothing kept but n and where a number was dropped."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from inarch import MMA
from inarch.methods import ring_node
from inarch.methods.mma import Beside, Rescale
from inarch.rebuild import thin

TOKENS, DIM, ROWS, HIDDEN = 7, 12, 5, 6


def inputs(dtype: torch.dtype = torch.float64, *, dense: bool = False, bias: bool = True) -> list[torch.Tensor | None]:
    """n, into, down, bias, up, out."""
    draw = torch.Generator().manual_seed(3)
    inner = DIM if dense else ROWS
    shapes = [(2, TOKENS, DIM), None if dense else (ROWS, DIM), (HIDDEN, inner), (HIDDEN,) if bias else None, (inner, HIDDEN),
              None if dense else (DIM, ROWS)]
    return [None if s is None else torch.randn(s, generator=draw, dtype=dtype).requires_grad_() for s in shapes]


@pytest.mark.row("D5", "the node against the plain equations: three activations, factored and dense, with and without dropout")
@pytest.mark.parametrize("kind", ["relu", "quick_gelu", "none"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_values_and_gradients_are_those_of_the_equations(kind: str, dense: bool, dropout: float) -> None:
    """Values and gradients are bit-equal in fp64: 0 where 1e-10 is allowed."""
    mine = inputs(dense=dense)
    keep = torch.rand(2, TOKENS, HIDDEN, generator=torch.Generator().manual_seed(5)) >= dropout if dropout else None
    given = torch.randn(2, TOKENS, DIM, dtype=torch.float64)
    there = [x for x in mine if x is not None]
    plain = ring_node.computed(*mine, keep, kind, dropout)
    node = thin(partial(ring_node.computed, kind=kind, dropout=dropout), (*mine, keep))
    assert torch.equal(plain, node)
    wanted, found = (torch.autograd.grad(y, there, given) for y in (plain, node))
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


@pytest.mark.row("D5", "the node against finite differences in fp64: factored and dense, with bias, with what was dropped")
@pytest.mark.parametrize(("dense", "bias", "dropout"), [(False, False, 0.0), (True, True, 0.4)])
def test_gradcheck(dense: bool, bias: bool, dropout: float) -> None:
    """The gradient of every input agrees with finite differences."""
    mine = inputs(dense=dense, bias=bias)
    there = [k for k, x in enumerate(mine) if x is not None]
    keep = torch.rand(2, TOKENS, HIDDEN, generator=torch.Generator().manual_seed(5)) >= dropout if dropout else None

    def node(*given: torch.Tensor) -> torch.Tensor:
        whole = dict(zip(there, given, strict=True))
        return thin(partial(ring_node.computed, kind="quick_gelu", dropout=dropout), (*(whole.get(k) for k in range(6)), keep))

    assert torch.autograd.gradcheck(node, [mine[k] for k in there])


@pytest.mark.row("D5", "MMA's two factors: against finite differences where they agree, against the naive form where they do not")
def test_the_gradient_of_two_factors(tried) -> None:
    """Equal factors pass the finite differences; the adapter's numbers get the naive gradient over s and the input the naive one."""
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    for factor in (1.0, 0.25, -3.0):
        assert torch.autograd.gradcheck(lambda x, factor=factor: Rescale.apply(x, factor, factor), [x])
    found = {}
    for trick in (True, False):
        torch.manual_seed(0)
        config = MMA(rank=3, scale=0.01, gradient_trick=trick)
        adapter = Beside(config, SimpleNamespace(depth=1, width_in=DIM, width_out=DIM, sites=[SimpleNamespace(layer=0)]), [0]).double()
        n = torch.randn(2, TOKENS, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        shared = torch.nn.Linear(3, 3).double()
        y = adapter.after(n, torch.zeros_like(n), 0, lambda z, _, shared=shared: shared(z))
        found[trick] = y, torch.autograd.grad(y.square().sum() + y.sum(), [n, *adapter.parameters(), *shared.parameters()])
    (y, (dn, *dp)), (plain, (naive, *naives)) = found[True], found[False]
    assert torch.equal(y, plain) and (dn - naive).abs().max() <= 1e-10 * naive.abs().max()
    for a, b in zip(dp, naives, strict=True):
        assert (a * 0.01 - b).abs().max() <= 1e-10 * b.abs().max()
    tried(5)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_only_n_and_the_drawn_bytes_are_kept(dropout: float) -> None:
    mine = inputs(torch.float32)
    owned = {x.untyped_storage().data_ptr() for x in mine[1:] if x is not None}  # parameters live anyway
    kept: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in owned:
            kept[x.untyped_storage().data_ptr()] = x.nbytes
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        ring_node.update(*mine, "relu", dropout)
    assert sum(kept.values()) == 2 * TOKENS * (4 * DIM + (HIDDEN if dropout else 0))


def test_what_needs_no_gradient_gets_none() -> None:
    mine = inputs()
    mine[0] = mine[0].detach()  # the first block: nothing below learns
    mine[4] = mine[4].detach()
    y = ring_node.update(*mine, "relu", 0.0)
    y.sum().backward()
    assert [None if x is None else x.grad is not None for x in mine] == [False, True, True, True, False, True]


def test_autocast_rebuilds_what_it_cast() -> None:
    mine = inputs(torch.float32)
    there = [x for x in mine if x is not None]
    with torch.autocast("cpu", torch.bfloat16):
        plain, node = ring_node.computed(*mine, None, "relu", 0.0), ring_node.update(*mine, "relu", 0.0)
    assert node.dtype == plain.dtype == torch.bfloat16 and torch.equal(plain, node)
    for a, b in zip(*(torch.autograd.grad(y.float().sum(), there) for y in (plain, node)), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def test_without_gradients_there_is_no_node() -> None:
    with torch.no_grad():
        assert ring_node.update(*inputs(), "relu", 0.0).grad_fn is None
