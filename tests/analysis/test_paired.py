"""Paired differences against SciPy and by hand; how little a few seeds can show."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from pose_topo.stages import group as paired

VALUES = [0.31, 0.42, -0.02, 0.18, 0.25, 0.40]


def test_interval_is_that_of_scipy() -> None:
    found = paired.compare(VALUES)
    exact = stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(exact))
    assert found.mean == pytest.approx(np.mean(VALUES)) and found.sd == pytest.approx(np.std(VALUES, ddof=1))


def test_sign_flips_by_loops_and_by_scipy() -> None:
    flips = [abs(sum(s * v for s, v in zip(signs, VALUES, strict=True))) for signs in product((1, -1), repeat=6)]
    expected = np.mean(np.array(flips) >= sum(VALUES) - 1e-12)
    assert paired.compare(VALUES).p == expected
    scipy_p = stats.permutation_test((VALUES,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert expected == pytest.approx(scipy_p)


@pytest.mark.parametrize(("n", "smallest"), [(2, 0.5), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
def test_the_smallest_p_is_reached_by_equal_signs(n: int, smallest: float) -> None:
    found = paired.compare([1.0 + 0.1 * k for k in range(n)])
    assert found.p == found.smallest_p == smallest


def test_many_seeds_are_drawn() -> None:
    p, smallest = paired.sign_flip(np.full(30, 1.0))
    assert p == smallest == 1e-5
    values = np.random.default_rng(0).normal(0.2, 1, 30)
    assert paired.sign_flip(values)[0] == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)


def test_too_few_seeds_say_so() -> None:
    one = paired.compare([0.3])
    assert (one.mean, one.sd, one.low, one.p) == (0.3, None, None, 1.0) and one.reason
    none = paired.compare([])
    assert none.mean is None and none.p is None and none.reason


def test_no_difference_is_no_finding() -> None:
    found = paired.compare([0.0] * 6)
    assert found.p == 1.0 and (found.low, found.high) == (0.0, 0.0)
