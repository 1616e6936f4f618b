"""Bootstrap intervals of PCKh over people, and paired tests over seeds.

The intervals are percentile bootstraps (Efron & Tibshirani 1993, chapter 13). People are resampled and not joints,
because the joints of one person are right and wrong together. The intervals do not include the variation between
training runs: the paired tests do, with a training run as their unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pose_topo.study import joints

LEVEL = 95.0
RESAMPLES = 4000
SEED = 0
CHUNK = 250  # resamples at a time: 6 MB of counts for the 2,958 people of MPII val


def settings(resamples: int = RESAMPLES, seed: int = SEED) -> dict[str, Any]:
    """How the intervals are computed, with the keys of the result files."""
    return {"method": "percentile bootstrap over people", "level": LEVEL, "resamples": resamples, "seed": seed}


def aggregate(correct: NDArray, labelled: NDArray) -> NDArray[np.float64]:
    """Percentages (..., 1 + G) from counts per joint (..., K): the pooled mean, then the mean of the joints per group.

    NaN where nothing is labelled. The values agree with `pckh.percentages` except for the last bits: the division comes
    before the multiplication, as in the published intervals.
    """
    correct, labelled = np.broadcast_arrays(correct, labelled)
    scored = list(joints.SCORED)
    pooled = _share(correct[..., scored].sum(-1), labelled[..., scored].sum(-1))
    groups = []
    for group in joints.GROUPS.values():
        rates = _share(correct[..., list(group)], labelled[..., list(group)])
        defined = ~np.isnan(rates)
        groups.append(_share(np.where(defined, rates, 0.0).sum(-1), defined.sum(-1)) / 100)
    return np.stack([pooled, *groups], axis=-1)


def _share(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return 100.0 * np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def bootstrap(
    hits: Sequence[NDArray[Any]], labelled: NDArray[Any], resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """PCKh of resampled people, (len(hits), resamples, 1 + G), with the columns of `aggregate`.

    Args:
        hits: Arrays (P, K), True where a joint is labelled and correct. All arrays are scored on the same resamples, so
            that their differences are paired. For several draws, the number of draws in which the joint is correct.
        labelled: (P, K), bool. For several draws, the number of draws where the joint is labelled, 0 elsewhere.
    """
    if not len(labelled):
        return np.full((len(hits), resamples, 1 + len(joints.GROUPS)), np.nan)
    columns = np.concatenate([*hits, labelled], axis=1).astype(np.float64)  # (P, (N + 1) K)
    drawn = []
    for counts in _draw(len(labelled), resamples, seed):
        sums = (counts @ columns).reshape(len(counts), len(hits) + 1, -1)  # whole numbers: exact in any order
        drawn.append(aggregate(sums[:, :-1], sums[:, -1:]))
    return np.concatenate(drawn).transpose(1, 0, 2)


def _draw(people: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each person is drawn, (r, P), for a chunk of r resamples at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        flat = rng.integers(0, people, (rows, people)) + people * np.arange(rows)[:, None]
        yield np.bincount(flat.ravel(), minlength=rows * people).reshape(rows, people).astype(np.float64)


def interval(values: NDArray[np.float64]) -> list[float] | None:
    """The middle `LEVEL` percent of resampled values (R,). None if no resample has a value."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    return np.percentile(defined, [50 - LEVEL / 2, 50 + LEVEL / 2]).tolist()


def named(resampled: NDArray[np.float64]) -> dict[str, Any]:
    """The intervals at one threshold from its resamples (R, 1 + G), with the keys of `pckh`."""
    mean, *groups = (interval(column) for column in resampled.T)
    return {"mean": mean, "groups": dict(zip(joints.GROUPS, groups, strict=True))}


# ---- paired differences of training runs

_EXACT = 16  # the largest number of seeds for which every pattern of signs is tried
_DRAWS = 99_999  # random patterns for more seeds
_TIE = 1e-10


@dataclass(frozen=True)
class PairedTest:
    """n paired differences: their `mean` and `sd`, the t interval `low`..`high`, and the two-sided sign-flip `p`.

    `smallest_p` is the smallest p that n differences can give. A value that does not exist for this n is None, and
    `reason` says why.
    """

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    smallest_p: float | None
    reason: str | None


def paired_test(differences: Sequence[float]) -> PairedTest:
    """The mean, the 95% t interval (n - 1 degrees of freedom) and the sign-flip test of paired differences.

    The sign-flip test assumes only that, without an effect, each difference is positive or negative with the same
    probability (Fisher 1935; Pesarin 2001). With n seeds its p is at least 2 / 2^n: .0625 for 5 seeds, .031 for 6.
    """
    values = np.asarray(differences, np.float64)
    n = len(values)
    if n == 0:
        return PairedTest(0, None, None, None, None, None, None, "no seed that both arms have")
    mean, (p, smallest) = float(values.mean()), sign_flip(values)
    if n == 1:
        return PairedTest(1, mean, None, None, None, p, smallest, "one pair has no spread")
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL / 100) / 2, n - 1)) * sd / n**0.5
    return PairedTest(n, mean, sd, mean - half, mean + half, p, smallest, None)


def sign_flip(differences: NDArray[np.float64]) -> tuple[float, float]:
    """The two-sided p of the mean of n differences under flips of their signs, and the smallest possible p.

    The test is exact over all 2^n patterns up to n = 16. For more seeds it uses 99,999 random patterns (seed 0) and the
    observed one.
    """
    n = len(differences)
    flipped = np.abs(_patterns(n) @ differences)
    reached = flipped >= abs(differences.sum()) - _TIE * np.abs(differences).sum()
    return float(reached.mean()), (2 / 2**n if n <= _EXACT else 1 / (_DRAWS + 1))


def family_wise(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """The p of each of several metrics, corrected for their number by the sign flips that they share, (M, n) -> (M,).

    Each metric is divided by the root of its sum of squares, which no flip changes. The p of a metric is the share of
    patterns in which the largest metric reaches it (single-step max-T, Westfall & Young 1993). The probability that any
    of the metrics has p <= .05 without an effect is then at most .05. It is 1 for a metric whose differences are all 0.
    """
    scale = np.sqrt((differences**2).sum(axis=1, keepdims=True))
    unit = differences / np.where(scale > 0, scale, 1.0)
    flipped = np.abs(_patterns(differences.shape[1]) @ unit.T)  # (patterns, M)
    return (flipped.max(axis=1)[:, None] >= flipped[0] - _TIE).mean(axis=0)


def _patterns(n: int) -> NDArray[np.float64]:
    """Patterns of n signs, (P, n). The first one flips nothing."""
    if n <= _EXACT:
        return 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    drawn = np.random.default_rng(0).integers(0, 2, (_DRAWS, n))
    return np.concatenate([np.ones((1, n)), (1 - 2 * drawn).astype(np.float64)])
