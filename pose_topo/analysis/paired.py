"""Differences between arms that share their seeds: is it the method, or the draw?

A p value within one network says that its grid is not random. A claim about the method has the training run as its
unit: the difference of two arms of the same seed (same split, same initial weights where they share layers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

LEVEL = 0.95
_EXACT = 16  # seeds up to which every pattern of signs is tried
_DRAWS = 99_999
_TIE = 1e-10


@dataclass(frozen=True)
class Paired:
    """n differences: `mean`, `sd`, their t interval `low`..`high`, the two-sided sign-flip `p`.

    `smallest_p` is the least p that n differences can give, whatever they are. A value that n does not allow is None
    and `reason` says why.
    """

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    smallest_p: float | None
    reason: str | None


def compare(differences: Sequence[float]) -> Paired:
    """Mean, 95% t interval (n - 1 degrees of freedom) and sign-flip test of paired differences.

    The sign-flip test asks nothing of the distribution but that, without an effect, each difference is as likely to be
    negative (Fisher 1935; Pesarin 2001). With n seeds it cannot give less than 2 / 2^n: .0625 for 5, .031 for 6.
    """
    values = np.asarray(differences, np.float64)
    n = len(values)
    if n == 0:
        return Paired(0, None, None, None, None, None, None, "no seed that both arms have")
    mean, (p, smallest) = float(values.mean()), sign_flip(values)
    if n == 1:
        return Paired(1, mean, None, None, None, p, smallest, "one pair has no spread")
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / n**0.5
    return Paired(n, mean, sd, mean - half, mean + half, p, smallest, None)


def sign_flip(differences: Array) -> tuple[float, float]:
    """Two-sided p of the mean of n differences under flips of their signs, and the smallest p there can be.

    Exact over all 2^n patterns up to n = 16, beyond that with 99,999 random ones (seed 0) and the observed one.
    """
    n = len(differences)
    if n <= _EXACT:
        patterns = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        drawn = np.random.default_rng(0).integers(0, 2, (_DRAWS, n))
        patterns = np.concatenate([np.ones((1, n)), 1.0 - 2.0 * drawn])
    flipped = np.abs(patterns @ differences)
    reached = flipped >= abs(differences.sum()) - _TIE * np.abs(differences).sum()
    return float(reached.mean()), (2 / 2**n if n <= _EXACT else 1 / (_DRAWS + 1))
