"""Student's t without scipy: its two-sided tail and its quantiles, from the incomplete beta function.

    P(|T| >= t) = I_x(v / 2, 1 / 2),   x = v / (v + t²),   v degrees of freedom
    I_x(a, b) = x^a (1 - x)^b / (a B(a, b)) · 1 / (1 + d_1 / (1 + d_2 / (1 + ...)))        DLMF 8.17.22
"""

from __future__ import annotations

import math

TINY = 1e-300  # stands for a zero that would be divided by
TERMS = 500
CLOSE = 1e-15


def tail(t: float, freedom: int) -> float:
    """``P(|T| >= |t|)``: the p of a two-sided test.

    >>> round(tail(4.30265273, 2), 9)
    0.05
    """
    square = t * t
    whole = freedom + square
    if math.isinf(whole):
        return 0.0
    return beta(freedom / 2, 0.5, freedom / whole, square / whole)


def quantile(level: float, freedom: int) -> float:
    """The t that ``|T|`` stays below with probability ``level``: an interval of 95 % reaches so many standard errors.

    >>> round(quantile(0.95, 2), 6)
    4.302653
    """
    low, high = 0.0, 1.0
    while tail(high, freedom) > 1 - level:
        low, high = high, 2 * high
    while high - low > CLOSE * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if tail(middle, freedom) > 1 - level else (low, middle)
    return high


def beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularised incomplete beta function ``I_x(a, b)``; ``rest`` is ``1 - x``, given so that none of its digits is lost."""
    if x <= 0 or rest <= 0:
        return float(rest <= 0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - beta(b, a, rest, x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(front) / a / _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """``1 + d_1 / (1 + d_2 / (1 + ...))`` by Lentz's rule, from the front."""
    value, above, below = 1.0, 1.0, 0.0
    for n in range(1, TERMS):
        m = n // 2
        d = (m * (b - m) * x / ((a + n - 1) * (a + n)) if n % 2 == 0
             else -(a + m) * (a + b + m) * x / ((a + n - 1) * (a + n)))
        below = 1 / ((1 + d * below) or TINY)
        above = (1 + d / above) or TINY
        value *= above * below
        if abs(above * below - 1) < CLOSE:
            break
    return value
