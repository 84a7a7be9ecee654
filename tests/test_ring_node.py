"""AdaRing's one node: the gradients of the plain equations, and nothing kept but n and where a number was dropped."""

from __future__ import annotations

import pytest
import torch

from inarch.methods import ring_node

TOKENS, DIM, ROWS, HIDDEN = 7, 12, 5, 6


def inputs(dtype: torch.dtype = torch.float64, *, dense: bool = False, bias: bool = True) -> list[torch.Tensor | None]:
    """n, into, down, bias, up, out."""
    draw = torch.Generator().manual_seed(3)
    inner = DIM if dense else ROWS
    shapes = [(2, TOKENS, DIM), None if dense else (ROWS, DIM), (HIDDEN, inner), (HIDDEN,) if bias else None, (inner, HIDDEN),
              None if dense else (DIM, ROWS)]
    return [None if s is None else torch.randn(s, generator=draw, dtype=dtype).requires_grad_() for s in shapes]


@pytest.mark.parametrize("kind", ["relu", "quick_gelu", "none"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_values_and_gradients_are_those_of_the_equations(kind: str, dense: bool, dropout: float) -> None:
    mine = inputs(dense=dense)
    keep = torch.rand(2, TOKENS, HIDDEN, generator=torch.Generator().manual_seed(5)) >= dropout if dropout else None
    given = torch.randn(2, TOKENS, DIM, dtype=torch.float64)
    there = [x for x in mine if x is not None]
    plain = ring_node.computed(*mine, keep, kind, dropout)
    node = ring_node.RingNode.apply(*mine, keep, kind, dropout)
    assert torch.equal(plain, node)
    wanted, found = (torch.autograd.grad(y, there, given) for y in (plain, node))
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_gradcheck() -> None:
    mine = inputs(bias=False)
    there = [x for x in mine if x is not None]
    assert torch.autograd.gradcheck(lambda n, into, down, up, out: ring_node.update(n, into, down, None, up, out, "quick_gelu", 0.0), there)


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
