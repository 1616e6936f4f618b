"""How far PCKh would move with other people: the percentile bootstrap (Efron and Tibshirani 1993, chapter 13).

People are resampled, not joints: the joints of one person are right and wrong together. The scatter of another training
run is not in these intervals; only several seeds show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.study import joints

LEVEL = 95.0
RESAMPLES = 4000
SEED = 0
CHUNK = 250  # resamples at a time: 6 MB of counts for MPII's 2,958 people


def settings(resamples: int = RESAMPLES, seed: int = SEED) -> dict[str, Any]:
    """How the intervals were made, as result files say it."""
    return {"method": "percentile bootstrap over people", "level": LEVEL, "resamples": resamples, "seed": seed}


def aggregate(correct: NDArray, labelled: NDArray) -> NDArray[np.float64]:
    """Counts a joint (..., K) -> percentages (..., 1 + G): the pooled mean, then the groups (each the mean of its
    joints). NaN where nothing is labelled."""
    correct, labelled = np.broadcast_arrays(correct, labelled)
    scored = list(joints.SCORED)
    pooled = _share(correct[..., scored].sum(-1), labelled[..., scored].sum(-1))
    groups = []
    for group in joints.GROUPS.values():
        rates = _share(correct[..., list(group)], labelled[..., list(group)])
        there = ~np.isnan(rates)
        groups.append(_share(np.where(there, rates, 0.0).sum(-1), there.sum(-1)) / 100)
    return np.stack([pooled, *groups], axis=-1)


def _share(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return 100.0 * np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def bootstrap(
    hits: Sequence[NDArray[np.bool_]], labelled: NDArray[np.bool_], resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """PCKh of resampled people, (len(hits), resamples, 1 + G), columns as `aggregate` has them.

    Every array of `hits` (P, K; True: labelled and found) sees the same resamples, so that differences are paired.
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
    """How often each person is drawn, (r, P), a chunk of resamples at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        flat = rng.integers(0, people, (rows, people)) + people * np.arange(rows)[:, None]
        yield np.bincount(flat.ravel(), minlength=rows * people).reshape(rows, people).astype(np.float64)


def interval(values: NDArray[np.float64]) -> list[float] | None:
    """The middle `LEVEL` percent of resampled values (R,); None where no resample has one."""
    there = values[~np.isnan(values)]
    if not there.size:
        return None
    return np.percentile(there, [50 - LEVEL / 2, 50 + LEVEL / 2]).tolist()


def named(resampled: NDArray[np.float64]) -> dict[str, Any]:
    """Intervals of one threshold's resamples (R, 1 + G), keyed as PCKh is."""
    mean, *groups = (interval(column) for column in resampled.T)
    return {"mean": mean, "groups": dict(zip(joints.GROUPS, groups, strict=True))}
