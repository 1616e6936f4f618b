"""The four kinds of checks, with values computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paper_figures.claims.checks import (
    Bound,
    Equal,
    Interval,
    Order,
    Quantity,
    Range,
    lower_bound,
    pooled_spread,
    prediction_interval,
)
from paper_figures.lib.results import Run

A = Quantity("a", "analysis", "x", "X")
B = Quantity("b", "analysis", "x", "X")
OTHER = Quantity("a", "analysis", "y", "Y")


def runs(folder: str = "here", **arms: list[float | None]) -> dict[str, Run]:
    """Return runs: `a=[1.0, 2.0]` are two seeds of arm a with these values of x. None is a seed whose x is null."""
    return {
        f"{arm}-s{seed}": Run(Path(folder) / f"{arm}-s{seed}", arm, seed, "r", "p", {"analysis": {"x": x, "y": 1.0}})
        for arm, values in arms.items()
        for seed, x in enumerate(values)
    }


@pytest.mark.parametrize(
    ("check", "a", "b", "verdict"),
    [
        (Order(A, B), 1.0, 1.0, "contradicted"),
        (Order(A, B), 1.1, 1.0, "supported"),
        (Order(A, B, by=0.25), 0.75, 0.5, "supported"),
        (Order(A, B, by=0.25), 0.5, 0.75, "contradicted"),
        (Order(A, B, by=-3.0), 75.0, 78.0, "supported"),
        (Order(A, B, by=-3.0), 75.0, 78.5, "contradicted"),
        (Order(A, B, within=0.5), 1.0, 1.5, "supported"),
        (Order(A, B, within=0.5), 1.75, 1.0, "contradicted"),
        (Order(A, 75.0, by=0.0), 75.0, 0.0, "supported"),
        (Order(A, 75.0), 75.0, 0.0, "contradicted"),
        (Order(0.001, A), 0.001, 0.0, "contradicted"),
        (Order(0.001, A), 0.0009, 0.0, "supported"),
        (Order(2.0, A, by=0.5), 1.5, 0.0, "supported"),
        (Order(A, 2.0, within=0.5), 2.75, 0.0, "contradicted"),
        (Order(A, OTHER, by=0.5), 1.5, 0.0, "supported"),
    ],
)
def test_orders_by_hand(check: Order, a: float, b: float, verdict: str) -> None:
    assert check.judge(runs(a=[a], b=[b]), {}).verdict == verdict


def test_an_order_compares_the_seeds_that_both_arms_have() -> None:
    found = Order(A, B, by=0.0).judge(runs(a=[1.0, 9.0, 2.0], b=[1.0, None, 1.5]), {})
    assert found.here == {"0": 0.0, "2": 0.5} and found.statistic == "X, a − b" and str(found.wanted) == "≥ 0"
    assert Order(A, B).judge(runs(a=[None, 1.0], b=[1.0]), {}).reason == "no seed has both"
    assert Order(A, B).judge(runs(a=[1.0]), {}).reason == "no run of b here"
    assert Order(A, B).judge(runs(a=[1.0], b=[None]), {}).reason == "no X of b"
    assert Order(A, B).judge({}, runs(a=[1.0], b=[0.0])).verdict == "not run"  # the reference alone judges no order


def test_means_decide_unless_each_seed_must_hold() -> None:
    mixed = runs(a=[1.0, 3.0], b=[1.5, 1.5])
    assert Order(A, B).judge(mixed, {}).verdict == "supported"
    assert Order(A, B, every_seed=True).judge(mixed, {}).verdict == "contradicted"


def test_a_bound_by_hand() -> None:
    # differences 1, 2, 3: mean 2, s = 1; t(2) at 95%, one-sided, is 2.919986: 2 - 2.919986 / sqrt(3) = .31414
    found = Bound(A, B, by=0.31).judge(runs(a=[2.0, 3.0, 4.0], b=[1.0, 1.0, 1.0]), {})
    assert found.verdict == "supported" and found.reason == "with 95% confidence, the mean is at least 0.3141"
    assert Bound(A, B, by=0.32).judge(runs(a=[2.0, 3.0, 4.0], b=[1.0, 1.0, 1.0]), {}).verdict == "contradicted"
    assert Bound(A, 1.7).judge(runs(a=[1.0, 2.0, 3.0]), {}).verdict == "contradicted"  # although the mean is above
    two = Bound(A, B, by=0.0).judge(runs(a=[2.0, 3.0], b=[1.0, 1.0]), {})
    assert two.verdict == "not run" and two.reason == "2 of at least 3 seeds"
    assert Bound(A, B).judge(runs(a=[1.0, 2.0, 3.0]), {}).reason == "no run of b here"
    with pytest.raises(TypeError):
        Bound(A, B, every_seed=True)
    with pytest.raises(TypeError):
        Bound(1.0, B)


def test_the_bound_is_below_the_true_mean_in_95_percent_of_samples() -> None:
    drawn = np.random.default_rng(0).normal(1.0, 2.0, (2000, 5))
    below = np.mean([lower_bound(row.tolist(), 95.0) <= 1.0 for row in drawn])
    assert 0.935 < below < 0.965  # 3 standard errors of a share of .95


def test_the_prediction_interval_by_hand() -> None:
    # seeds 1, 2, 3: mean 2, s = 1; t(2) at 97.5% = 4.302653; one new seed: half width 4.302653 * sqrt(1 + 1/3)
    half = 4.302652729911275 * (4 / 3) ** 0.5
    seeds, spread = [1.0, 2.0, 3.0], (1.0, 2)
    found = prediction_interval(seeds, 1, 95.0, *spread)
    assert found.low == pytest.approx(2 - half) and found.high == pytest.approx(2 + half)
    # four new seeds: sqrt(1/4 + 1/3)
    assert prediction_interval(seeds, 4, 95.0, *spread).high == pytest.approx(2 + half * (7 / 16) ** 0.5)


def test_the_interval_holds_95_percent_of_correct_reruns() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(2000):
        reference, new = rng.normal(80, 0.8, 6), rng.normal(80, 0.8, 3)
        inside += prediction_interval(reference.tolist(), 3, 95.0, *pooled_spread([reference.tolist()])).holds(
            new.mean()
        )
    assert 0.935 < inside / 2000 < 0.965  # 3 standard errors of a share of .95


def test_the_pooled_spread_by_hand() -> None:
    assert pooled_spread([[1.0, 2.0, 3.0]]) == (1.0, 2)
    # squares 2 and 8 about the means 2 and 12, and one that tells nothing: sqrt(10 / 4)
    assert pooled_spread([[1.0, 2.0, 3.0], [10.0, 12.0, 14.0], [5.0]]) == (pytest.approx(2.5**0.5), 4)


def test_pooled_seeds_find_a_drift_that_the_seeds_of_one_arm_do_not() -> None:
    """Three seeds of each of two arms: t(4) of 2.776 and s = 1 against t(2) of 4.303."""
    reference = runs("reference", a=[1.0, 2.0, 3.0], b=[11.0, 12.0, 13.0])
    new = runs("new", a=[6.0])
    assert Interval(A, 95.0).judge(new, reference).verdict == "supported"
    found = Interval(A, 95.0, pool=(A, B)).judge(new, reference)
    assert found.verdict == "contradicted"
    assert found.wanted is not None and found.wanted.high == pytest.approx(2 + 2.7764451 * (4 / 3) ** 0.5)


def test_an_exact_repetition_is_reported() -> None:
    reference = runs("reference", a=[1.0, 2.0, 3.0])
    found = Interval(A, 95.0).judge(runs("new", a=[1.0]), reference)
    assert found.verdict == "supported" and found.reason == "repeats seed 0 of the reference to the last digit"
    assert "correct reruns" in Interval(A, 95.0).judge(runs("new", a=[1.1]), reference).reason


def test_a_drifted_mean_is_contradicted_and_two_reference_seeds_are_too_few() -> None:
    check, reference = Interval(A, 95.0), runs("reference", a=[1.0, 2.0, 3.0])
    assert check.judge(runs(a=[6.9]), reference).verdict == "supported"  # up to 6.968
    assert check.judge(runs(a=[7.0]), reference).verdict == "contradicted"
    assert check.judge(runs(a=[7.0, 5.0, 4.0, 6.0]), reference).verdict == "contradicted"  # up to 5.286
    found = check.judge(runs(a=[7.0]), runs("reference", a=[1.0, 2.0]))
    assert found.verdict == "not run" and "2 of at least 3 seeds" in found.reason
    assert check.judge(runs(b=[7.0]), reference).reason == "no run of a here"


def test_the_reference_cannot_confirm_itself() -> None:
    reference = runs("reference", a=[1.0, 2.0, 3.0])
    found = Interval(A, 95.0).judge(reference, reference)
    assert found.verdict == "not run" and found.reason == "these are the reference runs themselves"


def test_equal_by_hand() -> None:
    check = Equal(A, within=0.01, value=88.43)
    assert check.judge(runs(a=[88.44]), {}).verdict == "supported"
    assert check.judge(runs(a=[88.45]), {}).verdict == "contradicted"
    assert check.judge({}, {}).verdict == "not run"
    for wrong in ({}, {"value": 1.0, "recomputed": "mean_moran"}, {"recomputed": "guess"}):
        with pytest.raises((TypeError, ValueError)):
            Equal(A, 0.01, **wrong)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (Range(0.25), "≥ 0.25"),
        (Range(0.0, strict=True), "> 0"),
        (Range(high=0.001, strict=True), "< 0.001"),
        (Range(75.0, 79.25), "75 to 79.25"),
    ],
)
def test_a_range_as_text(bounds: Range, text: str) -> None:
    assert str(bounds) == text
