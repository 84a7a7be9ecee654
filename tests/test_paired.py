"""Paired tests: Student's t, the exact sign flips and Holm's rule against scipy and against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats  # scikit-learn brings it

from inarch.reporting.paired import MOST, holm, least, paired, sign_flips
from inarch.reporting.student import beta, quantile, tail

scores = st.floats(0, 1).map(lambda x: round(x, 4))
pairs = st.lists(st.tuples(scores, scores), min_size=2, max_size=8)
few = settings(max_examples=60, deadline=None)


@few
@given(st.floats(0, 1e6), st.integers(1, 400))
def test_the_tail_of_t_is_scipys(t: float, freedom: int) -> None:
    assert tail(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9, abs=1e-300)
    assert tail(-t, freedom) == tail(t, freedom)


@few
@given(st.floats(0.01, 0.9999), st.integers(1, 400))
def test_quantiles_of_t_are_scipys(level: float, freedom: int) -> None:
    assert quantile(level, freedom) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-8)


@few
@given(st.floats(0.05, 200), st.floats(0.05, 200), st.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    assert beta(a, b, x, 1 - x) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-13)


@few
@given(pairs)
def test_difference_interval_and_p_are_scipys_paired_t_test(both: list[tuple[float, float]]) -> None:
    a, b = np.array(both).T
    found = paired(list(a - b))
    if np.ptp(a - b) < 1e-6:
        assert found.t is None is found.low
        return
    theirs = stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.95)
    assert (found.n, found.mean) == (len(both), pytest.approx((a - b).mean(), abs=1e-12))
    assert found.t == pytest.approx(theirs.pvalue, rel=1e-7) and (found.low, found.high) == pytest.approx((low, high), rel=1e-7, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(pairs)
def test_sign_flips_are_scipys_exact_permutation_of_pairs(both: list[tuple[float, float]]) -> None:
    a, b = (np.array(both) * 10_000).round().T  # whole numbers: no signing differs from another by rounding alone
    theirs = stats.permutation_test((a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=np.inf,
                                    vectorized=True)
    assert sign_flips([*((a - b) / 10_000)]) == pytest.approx(theirs.pvalue)


@few
@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_the_closed_testing_of_bonferroni(values: list[float]) -> None:
    """A hypothesis is rejected when every intersection that holds it is: the largest of the intersections' own p's."""
    every = [set(s) for size in range(1, len(values) + 1) for s in itertools.combinations(range(len(values)), size)]
    own = [max((min(1.0, len(s) * min(values[j] for j in s)) for s in every if i in s), default=0.0) for i in range(len(values))]
    assert holm(values) == pytest.approx(own)


def test_what_is_no_test_counts_for_nothing() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]
    assert holm([]) == [] and holm([None]) == [None]


def test_three_seeds_cannot_give_five_percent_by_sign_flips() -> None:
    assert sign_flips([0.5, 0.6, 0.7]) == least(3) == 0.25
    assert [least(n) for n in (1, 2, 5, 6)] == [None, 0.5, 0.0625, 0.03125]


def test_one_difference_or_equal_ones_have_no_spread() -> None:
    one, same, none = paired([0.1]), paired([0.1, 0.1, 0.1]), paired([0.0, 0.0])
    assert (one.n, one.mean, one.low, one.t, one.flips) == (1, 0.1, None, None, None)
    assert (same.low, same.high, same.t, same.flips) == (None, None, None, 0.25)
    assert none.mean == 0 and none.flips == 1 and none.t is None


def test_too_many_signings_are_not_counted() -> None:
    assert sign_flips([1.0] * (MOST + 1)) is None is least(MOST + 1)
    assert sign_flips([1.0] * 19) == 2.0**-18
