"""The learning rate of every update."""

import math
from itertools import pairwise

import pytest

from inarch.training.schedule import Schedule, schedule


def test_vtab_protocol():
    """100 epochs of 32 updates, 10 of them warm-up: the peak is met exactly once, at the last update of the warm-up."""
    lr = schedule(1e-2, epochs=100, warmup_epochs=10, updates_per_epoch=32)
    values = [lr(s) for s in range(3200)]
    assert values[0] == pytest.approx(1e-2 / 320)
    assert values[319] == 1e-2 and values.index(max(values)) == 319 and values.count(1e-2) == 1
    assert [b - a for a, b in pairwise(values[:320])] == pytest.approx([1e-2 / 320] * 319)
    assert all(a > b for a, b in pairwise(values[319:]))
    assert 0 < values[-1] < 1e-6 * 1e-2


def test_half_of_the_cosine_is_half_of_the_peak():
    lr = Schedule(1.0, warmup=3, total=12)
    assert [lr(s) for s in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert lr(7) == pytest.approx(0.5)
    assert lr(11) == pytest.approx((1 + math.cos(0.9 * math.pi)) / 2)


@pytest.mark.parametrize("epochs, warmup", [(1, 0), (1, 0.1), (1, 1), (2, 2), (5, 0.5)])
def test_every_update_of_a_short_run_moves(epochs, warmup):
    lr = schedule(0.1, epochs, warmup, updates_per_epoch=3)
    assert lr.warmup < lr.total == epochs * 3
    assert all(0 < lr(s) <= 0.1 for s in range(lr.total))
