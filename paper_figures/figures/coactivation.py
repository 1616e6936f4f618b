"""Co-activation distance: how far apart on the grid the channels lie that fire together (analysis.json)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from paper_figures.lib import captions, command, style
from paper_figures.lib.results import Run, by_arm
from paper_figures.lib.style import REFERENCE, arm_handles, letter, reference_handle, seeds_curve
from pose_topo.core.errors import PoseTopoError

NAME = "coactivation"


def draw(runs: list[Run]) -> Figure:
    """Mean distance above, the number of pairs behind it below."""
    arms = by_arm(runs)
    figure = style.new_figure(style.ONE_COLUMN, 3.6)
    distance, pairs = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    for arm, group in arms.items():
        seeds_curve(distance, _alphas(runs), _stack(group, "distance"), arm)
        counts = _stack(group, "pairs")
        seeds_curve(pairs, _alphas(runs), np.where(counts > 0, counts, np.nan), arm)
    for chance in _chances(runs):
        distance.axhline(chance, **REFERENCE)
    distance.set_ylim(bottom=0)
    distance.set_ylabel("mean distance on\nthe grid (channels)")
    pairs.set(xlabel="correlation at least α", ylabel="pairs", yscale="log")
    letter(distance, 0, "Distance of co-active pairs")
    letter(pairs, 1, "Pairs behind it")
    handles = [*arm_handles(arms), reference_handle("chance")]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, -(-len(handles) // 2)), columnspacing=1.0)
    return figure


def _alphas(runs: Sequence[Run]) -> np.ndarray:
    first = runs[0].value("analysis", "coactivation.alphas")
    if any(run.value("analysis", "coactivation.alphas") != first for run in runs):
        raise PoseTopoError("the results have different co-activation thresholds (coactivation.alphas)")
    return np.array(first)


def _stack(group: Sequence[Run], key: str) -> np.ndarray:
    """(seeds, alphas); NaN for null."""
    return np.array([run.value("analysis", f"coactivation.{key}") for run in group], dtype=float)


def _chances(runs: Sequence[Run]) -> list[float]:
    return sorted({v for run in runs if (v := run.number("analysis", "coactivation.chance")) is not None})


def caption(runs: list[Run]) -> str:
    """What is shown, with the number of pairs at every threshold."""
    counts = "; ".join(
        f"{arm} " + ", ".join(f"{mean:,.0f}" for mean in _stack(group, "pairs").mean(axis=0))
        for arm, group in by_arm(runs).items()
    )
    alphas = ", ".join(f"{alpha:g}" for alpha in _alphas(runs))
    return (
        "Mean distance on the grid of channel pairs whose activations correlate at α or more over "
        f"{captions.count(runs, 'analysis', 'images')} held-out people. Chance, the mean distance of all pairs: "
        f"{', '.join(f'{value:.3f}' for value in _chances(runs))}. Where no pair reaches α there is no point. "
        f"Pairs (mean over seeds) at α = {alphas}: {counts}. An offset that all channels share in an image lifts every "
        f"correlation and draws every α to chance: read with correlation against distance. {captions.SEED_NOTE}"
        f"{captions.baseline_note(runs)} {captions.about(runs)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return command.figure(NAME, __doc__, ("analysis",), draw, caption, argv)


if __name__ == "__main__":
    raise SystemExit(main())
