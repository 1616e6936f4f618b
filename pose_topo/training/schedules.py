"""Learning rate by step, lambda by epoch: pure functions."""

from __future__ import annotations

import math

STEP_DROPS = (90 / 140, 120 / 140)  # of the standard recipe's epochs
WARM_UP, START_DIV, END_DIV = 0.2, 25.0, 1e4  # one-cycle: share of steps rising, lr / first lr, first lr / last lr


def learning_rate(schedule: str, peak: float, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, 0-based, of `steps` in all.

    "steps": x0.1 at 90/140 and 120/140 of the epochs (Xiao et al. 2018). "one-cycle": Smith & Topin 2018, by cosines.
    """
    if schedule == "constant":
        return peak
    if schedule == "steps":
        epoch, epochs = step // steps_per_epoch, steps / steps_per_epoch
        # round: 140 * (90 / 140) is 90 less an ulp or two
        return peak * 0.1 ** sum(epoch >= round(share * epochs) for share in STEP_DROPS)
    rise = max(1.0, WARM_UP * steps - 1)
    if step <= rise:
        return _cosine(peak / START_DIV, peak, step / rise)
    return _cosine(peak, peak / START_DIV / END_DIV, (step - rise) / max(1.0, steps - 1 - rise))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def lambda_factor(schedule: str, epoch: int, epochs: int) -> float:
    """What lambda is multiplied with in an epoch, 1-based.

    "cosine": 1 in the first epoch, 0.1 in the last. "study-cosine": the original study's formula, whose period is one
    epoch short, so that it rises again in the last one (2 epochs: 0.1, 1.0); a single epoch gives 1 (the formula: 0/0).
    """
    if schedule == "constant" or epochs == 1:
        return 1.0
    share = epoch / (epochs - 1) if schedule == "study-cosine" else (epoch - 1) / (epochs - 1)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share))
