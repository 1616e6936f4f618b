"""The schedules against values computed by hand."""

import itertools
import math
from dataclasses import replace

import pytest

from pose_topo.study.protocols import SMALL, STANDARD
from pose_topo.training.optimisation import EarlyStopping, lambda_factor, learning_rate

ONE_CYCLE = replace(SMALL, lr=1.0, epochs=10)


def test_the_standard_steps_drop_at_epochs_90_and_120_of_140():
    rates = [learning_rate(STANDARD, epoch * 7, 7) for epoch in range(140)]
    assert rates[:90] == [1e-3] * 90
    assert rates[90:120] == pytest.approx([1e-4] * 30)
    assert rates[120:] == pytest.approx([1e-5] * 20)


def test_one_cycle_rises_for_a_fifth_and_falls_to_almost_nothing():
    rates = [learning_rate(ONE_CYCLE, step, 10) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[19] == 1.0
    assert rates[-1] == pytest.approx(1 / 25 / 1e4)
    assert all(a < b for a, b in itertools.pairwise(rates[:20]))
    assert all(a > b for a, b in itertools.pairwise(rates[19:]))


def test_one_cycle_equals_that_of_torch():
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=100, pct_start=0.2)
    for step in range(100):
        assert learning_rate(ONE_CYCLE, step, 10) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step < 99:
            theirs.step()


def test_one_cycle_of_a_single_step_is_finite():
    assert math.isfinite(learning_rate(replace(ONE_CYCLE, epochs=1), 0, 1))


def test_a_cosine_after_a_linear_warm_up():
    recipe = replace(STANDARD, lr=1.0, schedule="cosine", epochs=3, warm_up=1.0)
    rates = [learning_rate(recipe, step, 4) for step in range(12)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    # then (1 + cos(pi k / 8)) / 2 for k = 0 ... 7
    assert rates[4:] == pytest.approx([(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)])
    assert learning_rate(replace(recipe, schedule="constant"), 9, 4) == 1.0


def test_the_lambda_cosine_starts_at_one_and_ends_at_a_tenth():
    factors = [lambda_factor("cosine", epoch, 5) for epoch in range(1, 6)]
    # 0.1 + 0.45 * (1 + cos(pi * {0, 1/4, 1/2, 3/4, 1}))
    assert factors == pytest.approx([1.0, 0.55 + 0.45 * math.sqrt(0.5), 0.55, 0.55 - 0.45 * math.sqrt(0.5), 0.1])


def test_the_cosine_of_the_study_follows_its_formula():
    assert [lambda_factor("study-cosine", epoch, 2) for epoch in (1, 2)] == pytest.approx([0.1, 1.0])
    assert lambda_factor("study-cosine", 1, 1) == 1.0
    # E = 4: cos(pi * epoch / 3) = .5, -.5, -1, -.5
    assert [lambda_factor("study-cosine", epoch, 4) for epoch in (1, 2, 3, 4)] == pytest.approx(
        [0.775, 0.325, 0.1, 0.325]
    )


def test_a_constant_lambda():
    assert [lambda_factor("constant", epoch, 3) for epoch in (1, 2, 3)] == [1.0, 1.0, 1.0]


def test_early_stopping_waits_for_patience_epochs_without_a_better_value():
    stopping = EarlyStopping(patience=2)
    assert [stopping.update(v) for v in (3.0, 2.0, 2.5, 2.0)] == [True, True, False, False]
    assert stopping.stop and stopping.best == 2.0


def test_no_patience_never_stops():
    stopping = EarlyStopping(patience=None)
    for value in range(100):
        stopping.update(float(value))
    assert not stopping.stop
