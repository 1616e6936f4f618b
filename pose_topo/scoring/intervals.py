"""Bootstrap intervals of PCKh over people (percentile bootstrap: Efron & Tibshirani 1993, chapter 13).

People are resampled and not joints, because the joints of one person are right and wrong together. The intervals do not
include the variation between training runs; several seeds are needed for that.
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
    hits: Sequence[NDArray[np.bool_]], labelled: NDArray[np.bool_], resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """PCKh of resampled people, (len(hits), resamples, 1 + G), with the columns of `aggregate`.

    Args:
        hits: Arrays (P, K), True where a joint is labelled and correct. All arrays are scored on the same resamples, so
            that their differences are paired.
        labelled: (P, K), bool.
        resamples: The number of resamples.
        seed: Seed of the resamples.
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
