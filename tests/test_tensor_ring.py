"""The algebra of tensor rings, against traces taken entry by entry and against TensorLy."""

import importlib.util
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inarch.errors import ConfigError
from inarch.methods import tensor_ring as ring

SMALL = st.integers(1, 4)
few = settings(max_examples=25, deadline=None)
TENSORLY = importlib.util.find_spec("tensorly") is not None


def drawn(modes: list[int], ranks: list[int], seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    following = [*ranks[1:], ranks[0]]
    return [torch.randn(r, n, s, generator=generator, dtype=torch.float64) for r, n, s in zip(ranks, modes, following, strict=True)]


def naive(cores: list[Tensor]) -> Tensor:
    """``Tr(G_1[i] G_2[j] ...)``, one entry at a time."""
    found = torch.zeros([core.shape[1] for core in cores], dtype=torch.float64)
    for index in itertools.product(*(range(n) for n in found.shape)):
        product = torch.eye(cores[0].shape[0], dtype=torch.float64)
        for core, i in zip(cores, index, strict=True):
            product = product @ core[:, i, :]
        found[index] = sum(product[k, k] for k in range(len(product)))
    return found


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() < 1e-10 * max(1.0, float(b.abs().max())))


@st.composite
def rings(draw, length=None):
    n = draw(st.integers(2, 4)) if length is None else length
    return drawn(draw(st.lists(SMALL, min_size=n, max_size=n)), draw(st.lists(SMALL, min_size=n, max_size=n)), draw(st.integers(0, 999)))


@few
@given(rings())
def test_dense_is_the_trace(cores):
    assert close(ring.dense(cores), naive(cores))


@few
@given(rings(3))
def test_a_layer_five_ways(cores):
    """The trace, the einsum, the Kronecker form, and ``contract`` on every input direction are one matrix."""
    a, s, b = cores
    whole = naive(cores)
    for layer in range(s.shape[1]):
        expected = whole[:, layer]
        kronecker = ring.rows(a) @ torch.kron(ring.slice_of(s, layer), torch.eye(a.shape[0], dtype=a.dtype)) @ ring.columns(b)
        assert close(ring.delta(a, s, b, layer), expected) and close(kronecker, expected)
        assert close(ring.rows(a) @ ring.middles(s, a.shape[0])[layer] @ ring.columns(b), expected)
        assert close(ring.contract(torch.eye(b.shape[1], dtype=b.dtype), a, s, b, layer), expected.mT)


@few
@given(rings(3), st.integers(1, 5))
def test_contract_is_the_dense_product(cores, tokens):
    a, s, b = cores
    x = torch.randn(2, tokens, b.shape[1], dtype=torch.float64)
    assert close(ring.contract(x, a, s, b, 0), x @ ring.delta(a, s, b, 0).mT)


@few
@given(rings(3))
def test_small_cores_take_the_slices_in(cores):
    hidden, slices, features = cores
    for layer in range(slices.shape[1]):
        down = ring.folded(hidden, slices)[layer] @ ring.columns(features)
        assert close(down, naive(cores)[:, layer])
    turned = [features.permute(2, 1, 0), slices.permute(2, 1, 0), hidden.permute(2, 1, 0)]  # the same ring the other way round
    for layer in range(slices.shape[1]):
        up = ring.rows(turned[0]) @ ring.folded_up(turned[1], turned[2])[layer]
        assert close(up, naive(turned)[:, layer]) and close(up, naive(cores)[:, layer].mT)


def test_a_ring_cut_open_is_a_tensor_train():
    """a = 1: ``dW_l = A S_l B`` with free r x r matrices between shared factors, as in LoTR and FacT."""
    a, s, b = drawn([5, 3, 6], [1, 2, 4], 0)
    for layer in range(3):
        assert close(ring.delta(a, s, b, layer), a[0] @ s[:, layer] @ b[:, :, 0])
    scalars = drawn([5, 3, 6], [4, 1, 1], 0)  # b = c = 1: layers differ by one number
    first, second = (ring.delta(*scalars, layer) for layer in (0, 1))
    assert close(first * scalars[1][0, 1, 0], second * scalars[1][0, 0, 0])


@few
@given(rings(3), st.lists(SMALL, min_size=3, max_size=3), st.integers(0, 999))
def test_a_sum_is_one_ring_with_diagonal_cores(cores, ranks, seed):
    other = drawn([core.shape[1] for core in cores], ranks, seed)
    both = ring.add(cores, other)
    assert close(ring.dense(both), naive(cores) + naive(other))
    assert [core.shape[0] for core in both] == [core.shape[0] + r for core, r in zip(cores, ranks, strict=True)]


@few
@given(rings(), st.integers(0, 999))
def test_a_change_of_gauge_changes_cores_and_nothing_else(cores, seed):
    generator = torch.Generator().manual_seed(seed)
    changes = []
    for core in cores:  # well away from singular
        q, _ = torch.linalg.qr(torch.randn(core.shape[0], core.shape[0], generator=generator, dtype=torch.float64))
        changes.append(q * (0.5 + torch.rand(core.shape[0], generator=generator, dtype=torch.float64)))
    other = ring.gauge(cores, changes)
    assert close(ring.dense(other), ring.dense(cores)) and not close(other[0], cores[0])


@pytest.mark.parametrize(("modes", "rank"), [((12, 9, 14), 2), ((12, 9, 14), 3), ((12, 3, 14), 2), ((7, 20, 5), 4), ((10, 10, 10), 1)])
def test_unfoldings_have_rank_r_squared(modes, rank):
    tensor = ring.dense(drawn([*modes], [rank] * 3, 1))
    for mode, size in enumerate(modes):
        unfolded = tensor.movedim(mode, 0).flatten(1)
        assert torch.linalg.matrix_rank(unfolded, rtol=1e-9) == min(size, rank**2, unfolded.shape[1])


def test_a_layer_has_at_most_the_rank_of_its_slice_times_a():
    a, s, b = drawn([20, 2, 20], [3, 4, 4], 2)
    s[:, 1] = torch.outer(s[:, 1, 0], s[0, 1])
    assert [int(torch.linalg.matrix_rank(ring.delta(a, s, b, layer))) for layer in (0, 1)] == [12, 3]


@few
@given(rings())
def test_count(cores):
    assert ring.count([core.shape[1] for core in cores], [core.shape[0] for core in cores]) == sum(core.numel() for core in cores)


def test_what_is_no_ring_is_refused():
    good = drawn([2, 3, 4], [2, 3, 4], 0)
    with pytest.raises(ConfigError, match=r"core 0 of shape \(2, 2, 3\) meets \(4, 4, 2\); expected rank 3"):
        ring.dense([good[0], good[2], good[1]])
    with pytest.raises(ConfigError, match=r"expected \[rank, size, next rank\] each"):
        ring.dense([good[0][0]])
    with pytest.raises(ConfigError, match=r"shapes \[\]"):
        ring.add([], [])


@pytest.mark.skipif(not TENSORLY, reason="needs tensorly, of the extra 'dev'")
@few
@given(rings())
def test_tensorly_says_the_same(cores):
    from tensorly.tr_tensor import TRTensor, tr_to_tensor

    theirs = tr_to_tensor(TRTensor([core.numpy() for core in cores]))
    assert close(ring.dense(cores), torch.from_numpy(theirs))
