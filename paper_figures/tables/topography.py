"""Topography tables: the main arms in detail (analysis.json), all losses and lambdas (analysis, evaluation), and the
comparison of arms with the control over seeds (group.json)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from paper_figures.lib import captions
from paper_figures.lib.arms import MAIN, REFERENCE, arm_order, chosen, family
from paper_figures.lib.captions import NO_VALUE, fixed
from paper_figures.lib.command import GroupTable, PaperTable
from paper_figures.lib.results import Measure, Run, by_arm, measure
from paper_figures.lib.tables import Column, Row, Table, TextTable, by_measure, csv_text
from pose_topo.topography.weight_statistics import REMOVED, excess

_analysis = partial(measure, "analysis")
MEAN_I = _analysis("moran.mean_I")


# ---- table_topography


def build_topography(runs: list[Run]) -> Table:
    """Return one column per arm and one row per measure."""
    columns = {
        Column("mean_I", "Moran's I, mean over joints", 3): MEAN_I,
        Column("expected_I", "E[I]", 4): _analysis("moran.expected"),
        Column("p_mean", "p of the mean I (largest of the seeds)", 4, largest=True): _analysis("moran.p_mean"),
        Column("I_above_control", "I above the control of the same seed", 3): above_control(runs),
        Column("contiguity", "Contiguity", 3): _analysis("parcellation.contiguity"),
        Column("contiguity_null", "Contiguity, labels permuted", 3): _analysis("parcellation.null_mean"),
        Column("correlation_neighbours", "Correlation, neighbours", 3): _analysis("neighbour_correlation.neighbours"),
        Column("correlation_all_pairs", "Correlation, all pairs", 3): _analysis("neighbour_correlation.all_pairs"),
        Column("participation_ratio", "Participation ratio of the weights", 1): _analysis("health.participation_ratio"),
        Column("mean_row_norm", "Mean row norm", 3): _analysis("health.mean_row_norm"),
        Column("weight_similarity", "Weight-similarity loss", 4): _analysis("health.weight_similarity"),
        Column("topo_lr_mult", "Learning-rate multiplier of the layer", None): _analysis("topo_lr_mult"),
        Column("lambda", "λ", None): _analysis("lambda"),
    }
    return by_measure(runs, columns, transposed=True)


def above_control(runs: Sequence[Run]) -> Measure:
    """Return the measure "I of a run minus I of the control of its seed". Controls and reference runs have none."""
    controls = {run.seed: MEAN_I(run) for run in runs if run.arm == "control"}

    def difference(run: Run) -> float | None:
        own, control = MEAN_I(run), controls.get(run.seed)
        has_one = run.arm != "control" and not run.arm.endswith(REFERENCE)
        return own - control if has_one and own is not None and control is not None else None

    return difference


def caption_topography(runs: list[Run]) -> str:
    """Say what the rows are."""
    return (
        f"Topography of the channel grid, measured over {captions.count(runs, 'analysis', 'images')} held-out people. "
        f"Moran's I is that of the |head weight| maps with {captions.same(runs, 'analysis', 'moran.weights')} weights; "
        f"p is one-sided, from {captions.same(runs, 'analysis', 'moran.permutations')} permutations of the channels. "
        "Contiguity is the share of pairs of rook neighbours that serve the same joint. Participation ratio, row norm "
        "and weight similarity are those of the layer on the grid (for a baseline: of the last deconvolution). The "
        "weight-similarity loss also falls when weights merely shrink, so norm and ratio are shown beside it. ± is the "
        f"standard deviation over seeds.{captions.baseline_note(runs)} {captions.about(runs)}"
    )


TABLE_TOPOGRAPHY = PaperTable(
    name="table_topography",
    place=80,
    title="Topography, its price and its tuning",
    about="measures of topography, by arm",
    needs=("analysis",),
    build=build_topography,
    caption=caption_topography,
    takes_reference=True,
)


# ---- table_losses


def build_losses(runs: list[Run]) -> Table:
    """Return one row per arm, ordered by loss and lambda. The CSV file also names the loss."""
    count = {run.arm: sum(other.arm == run.arm for other in runs) for run in runs}
    columns: dict[Column, Measure] = {
        Column("lambda", "λ", None): _analysis("lambda"),
        Column("topo_lr_mult", "Rate ×", None): _analysis("topo_lr_mult"),
        Column("n", "Seeds", None): lambda run: count[run.arm],
        Column("mean_I", "I of |w|", 3): MEAN_I,
        Column("share_of_best", "I / best", 2): share_of_best(runs),
        Column("mean_I_normalised", "I normalised", 3): _analysis("moran_measures.normalised.mean_I"),
        Column("mean_I_activity", "I activity", 3): _analysis("moran_measures.activity.mean_I"),
        Column("contiguity", "Contiguity", 3): _analysis("parcellation.contiguity"),
        Column("pckh", "PCKh@0.5", 1): lambda run: run.number("evaluation", "pckh.0.5.mean"),
        Column("participation_ratio", "Particip. ratio", 1): _analysis("health.participation_ratio"),
        Column("mean_row_norm", "Row norm", 3): _analysis("health.mean_row_norm"),
        Column("cosine_excess", "Cosine excess", 3): cosine_excess,
    }
    table, losses = by_measure(runs, columns), {run.arm: loss(run) for run in runs}
    return replace(table, rows=tuple(replace(row, extra={"loss": losses[row.label]}) for row in table.rows))


def loss(run: Run) -> str:
    """Return the spatial loss of a run, or an empty text for a control, which has none."""
    return run.value("analysis", "topo_loss") if run.number("analysis", "lambda") else ""


def cosine_excess(run: Run) -> float | None:
    """Return the mean cosine of the weights of grid neighbours minus that of all pairs of channels."""
    if "cosine_excess" in run.value("analysis", "health"):
        return run.number("analysis", "health.cosine_excess")
    # an older analysis holds only the two cosines
    return excess(*(run.number("analysis", f"health.{key}_cosine") for key in ("neighbour", "all_pairs")))


def share_of_best(runs: Sequence[Run]) -> Measure:
    """Return the measure "I of a run divided by the best I of the control of its seed".

    The best I is what sorting the channels of the control reaches (pose_topo/topography/rearrangement.py).
    """
    best = {run.seed: run.number("analysis", "controls.rearranged.mean_I") for run in runs if run.arm == "control"}

    def share(run: Run) -> float | None:
        own, most = MEAN_I(run), best.get(run.seed)
        return own / most if own is not None and most else None

    return share


def caption_losses(runs: list[Run]) -> str:
    """Say what the columns are."""
    study = sorted({loss(run) for run in runs if family(run.arm) in MAIN} - {""})
    names = f"topo: {', '.join(study)}; others by name" if study else "by name"
    return (
        f"Networks with a topographic layer on a {captions.same(runs, 'analysis', 'grid.height')} x "
        f"{captions.same(runs, 'analysis', 'grid.width')} grid, by spatial loss ({names}), its weight λ and "
        "the learning-rate multiplier of the layer (rate ×). I: Moran's I, averaged over joints, "
        "of |head weight|, of |head weight| with the gain of each channel divided out (normalised), and of "
        "|head weight| times the standard deviation of the activation of the channel (activity), with "
        f"{captions.same(runs, 'analysis', 'moran.weights')} weights; E[I] = "
        f"{captions.fixed(float(runs[0].value('analysis', 'moran.expected')), 4)}. I / best: I of |head weight| as a "
        "share of what sorting the channels of the control of the same seed reaches. Participation ratio: how many "
        "directions the weights of the layer use; near 1 the layer has collapsed, however high its I. Row norm: mean "
        "length of the weights of a channel. Cosine excess: mean cosine of the weights of grid neighbours minus that "
        f"of all pairs. ± is the standard deviation over seeds. {captions.about(runs)}"
    )


TABLE_LOSSES = PaperTable(
    name="table_losses",
    place=140,
    title="Six spatial losses",
    about="all losses, lambdas and multipliers",
    needs=("grid", "evaluation"),
    build=build_losses,
    caption=caption_losses,
    every_arm=True,
)


# ---- table_beyond


def order(of: str, place: int) -> Measure:
    """Return the measure "I of the weights without the first `REMOVED[place]` directions".

    Args:
        of: "trained", or a control that is brought to the same participation ratio: "smoothed" or "collapsed".
        place: a place in `REMOVED`.
    """

    def value(run: Run) -> float | None:
        found = run.value("analysis", "directions")[of]
        return found and (found if of == "trained" else found["table"])[place]["I"]

    return value


def build_beyond(runs: list[Run]) -> Table:
    """Return one column per arm and one row per measure."""

    columns: dict[Column, Measure] = {
        Column("participation_ratio", "Participation ratio of the layer's weights", 1): _analysis(
            "directions.participation_ratio"
        ),
        Column("I_weights", "I of the layer's weights, all directions", 3): order("trained", 0),
        **{
            Column(f"I_weights_less_{n}", f"the same without the leading {n}", 3): order("trained", place)
            for place, n in enumerate(REMOVED)
            if n
        },
        Column("I_smoothed", "Control smoothed to this participation ratio", 3): order("smoothed", 0),
        Column("I_smoothed_less_4", "the same without the leading 4", 3): order("smoothed", 3),
        Column("I_collapsed", "Control collapsed to it without smoothing", 3): order("collapsed", 0),
        Column("I_maps", "I of |head weights| (for comparison)", 3): MEAN_I,
        Column("I_near_joints", "I of selectivity: near each joint", 3): _analysis("selectivity.mean_I_joints"),
        **{
            Column(f"I_{name}", f"I of selectivity: {name}", 3): _analysis(f"selectivity.conditions.{name}.I")
            for name in ("elbow flexed", "knee flexed", "upright", "visible")
        },
        Column("I_single_images", "I of responses to one person", 3): _analysis("single_images.raw.mean_I"),
        Column("I_standardised", "the same, channels standardised", 3): _analysis("single_images.standardised.mean_I"),
        Column("twins", "Distance of left-right twins / of other pairs", 2): _analysis("body.twins.ratio"),
        Column("hops", "Distance and limbs between joints, Spearman", 2): _analysis("body.hops.spearman"),
    }
    return by_measure(runs, columns, transposed=True)


def caption_beyond(runs: list[Run]) -> str:
    """Say what the rows are."""
    return (
        "Is the order more than one smooth direction, and what do the responses look like? I of the layer's weights: "
        "Moran's I over all directions of the weight rows, each weighted by its variance, and of what is left without "
        "the leading directions. The control of the same seed is brought to the participation ratio of the network in "
        "two ways: smoothed over the grid (order without learning), and with the singular values of the network "
        "(collapse without order). Selectivity: d' of each channel, from the held-out people, for responses at a joint "
        f"against the rest of the picture (mean over {captions.count(runs, 'analysis', 'selectivity.channels')} "
        "channels and all joints), for a flexed against a straight limb, for upright people against others, and for "
        "visible against occluded joints. Responses to one person: Moran's I of the channels' mean responses, as a "
        "mean over people. ± is the standard deviation over seeds."
        f"{captions.baseline_note(runs)} {captions.about(runs)}"
    )


TABLE_BEYOND = PaperTable(
    name="table_beyond",
    place=85,
    title="More than one direction, and responses",
    about="order without the leading directions, and of responses",
    needs=("directions",),
    build=build_beyond,
    caption=caption_beyond,
)


# ---- table_matched

RATIOS = (1.1, 1.3, 3.0, 16.0, 130.0, 160.0)  # where the lambdas of two losses overlap, and one between


def build_matched(runs: list[Run]) -> Table:
    """Return one row per loss: I at given participation ratios, between the lambdas of that loss."""
    ratio = _analysis("health.participation_ratio")
    points: dict[str, list[tuple[float, float]]] = {}
    for group in by_arm(run for run in runs if run.number("analysis", "lambda")).values():
        if group[0].value("analysis", "permuted"):
            continue
        both = [(r, i) for run in group if (r := ratio(run)) and (i := MEAN_I(run)) is not None]
        mean = fmean(math.log(r) for r, _ in both), fmean(i for _, i in both)
        points.setdefault(loss(group[0]), []).append(mean)
    columns = [Column(f"at_{ratio:g}", f"I at ratio {ratio:g}", 3) for ratio in RATIOS]
    rows = []
    for name, found in points.items():
        x, y = np.array(sorted(found)).T
        values = np.interp(np.log(RATIOS), x, y, left=np.nan, right=np.nan)
        known = [None if np.isnan(value) else float(value) for value in values]
        rows.append(Row(name, {c.key: (value,) for c, value in zip(columns, known, strict=True)}, ()))
    return Table(tuple(columns), tuple(rows))


def caption_matched(runs: list[Run]) -> str:
    """Say how the numbers are found."""
    return (
        "Moran's I of |head weight| at equal collapse: each loss at the lambda at which the layer's weights would have "
        "this participation ratio. I is interpolated between the means of neighbouring lambdas, linearly in the "
        "logarithm of the ratio; – lies outside the lambdas of the loss. Compare within a column: at an equal number "
        f"of directions, a larger I is more order. {captions.about(runs)}"
    )


TABLE_MATCHED = PaperTable(
    name="table_matched",
    place=145,
    title="The losses at equal collapse",
    about="I of the losses at equal participation ratio",
    needs=("grid", "evaluation"),
    build=build_matched,
    caption=caption_matched,
    every_arm=True,
)


# ---- table_seeds

COMPARED = {  # key in group.json -> title and decimals
    "I": ("Moran's I of |w|", 3),
    "I_normalised": ("Moran's I, normalised", 3),
    "I_activity": ("Moran's I, activity", 3),
    "I_responses": ("I of responses to one person", 3),
    "I_selectivity": ("I of selectivity near joints", 3),
    "I_rearranged": ("I, best rearrangement", 3),
    "contiguity": ("Contiguity", 3),
    "regions": ("Connected parcels", 1),
    "neighbour_correlation": ("Correlation, neighbours", 3),
    "smoothness": ("Smoothness", 3),
    "twins": ("Distance of twins / other pairs", 2),
    "wiring": ("Wiring length (cells)", 2),
    "effective_dimensionality": ("Effective dimensionality", 1),
    "participation_ratio": ("Participation ratio", 1),
    "mean_row_norm": ("Mean row norm", 3),
    "PCKh@0.5": ("PCKh@0.5", 1),
    "PCKh@0.1": ("PCKh@0.1", 1),
    "AUC": ("AUC", 1),
}
COMPARED_HEADER = ("Less the control", "Measure", "n", "Difference", "95% interval", "p", "p, all", "smallest p")
COMPARED_NUMBERS = ("n", "mean", "sd", "low", "high", "p", "p_max", "smallest_p")


def compared(group: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the comparisons by arm, in the order of the study."""
    found = {name.removesuffix(" - control"): content for name, content in group["comparisons"].items()}
    return {arm: found[arm] for arm in sorted(found, key=arm_order)}


def seeds_text(group: dict[str, Any]) -> TextTable:
    """Return the table as readers see it: a block of rows for each main arm, one row per measure."""
    rows, comparisons = [], compared(group)
    for arm in chosen([*comparisons, "control"]):
        if arm not in comparisons:
            continue
        found, share = comparisons[arm]["metrics"], comparisons[arm]["I_over_best"]
        block = [_line(found[key], *look) for key, look in COMPARED.items() if found[key]["n"]]
        ratio = NO_VALUE if share is None else f"ratio {fixed(share, 2)}"
        block.append(["I / best I of the control", NO_VALUE, ratio, *[NO_VALUE] * 4])
        rows += [(arm if place == 0 else "", *line) for place, line in enumerate(block)]
    return TextTable(COMPARED_HEADER, rows, words=2)


def _line(found: dict[str, Any], title: str, digits: int) -> list[str]:
    low, high = found["low"], found["high"]
    interval = NO_VALUE if low is None else f"{fixed(low, digits)} to {fixed(high, digits)}"
    tests = [NO_VALUE if found[key] is None else fixed(found[key], 3) for key in ("p", "p_max", "smallest_p")]
    return [title, str(found["n"]), fixed(found["mean"], digits), interval, *tests]


def seeds_csv(group: dict[str, Any]) -> str:
    """Return every arm and measure, unrounded. The differences of all seeds are in one field."""
    lines: list[list[Any]] = [["arm", "measure", *COMPARED_NUMBERS, "seeds", "differences", "I_over_best"]]
    for arm, comparison in compared(group).items():
        for key in COMPARED:
            found = comparison["metrics"][key]
            several = (" ".join(map(str, found[name])) for name in ("seeds", "differences"))
            share = comparison["I_over_best"] if key == "I" else None
            lines.append([arm, key, *(found[name] for name in COMPARED_NUMBERS), *several, share])
    return csv_text(lines)


def caption_seeds(group: dict[str, Any]) -> str:
    """Say how the numbers were computed and over which seeds."""
    arms = compared(group)
    pairs = "; ".join(f"{arm} {captions.listed(found['seeds']) or 'none'}" for arm, found in arms.items())
    if len({tuple(found["seeds"]) for found in arms.values()}) == 1:
        pairs = captions.listed(next(iter(arms.values()))["seeds"]) or "none"
    shown = chosen([*arms, "control"])
    return (
        "Differences to the control of the same seed, which has the same split and, in the layers that both have, the "
        f"same initial weights: mean, interval ({group['interval']}) and p ({group['test']}). p, all is corrected for "
        "the number of measures (max-T). The smallest p is the smallest that so few pairs can give. One training run "
        "is one observation. I / best I of the control: I as a share of what sorting the channels of the control "
        "reaches; below 1 the loss organised the grid less than sorting would. Differences of percentages are in "
        "points. "
        f"{'The grid of a baseline is arbitrary. ' if 'baseline' in arms else ''}"
        f"Protocol {group['protocol']}, {group['arch']}. Seeds: {pairs}."
        f"{' Some settings deviate from the protocol.' if group['as_protocol'] is not True else ''}"
        f"{' The CSV file has all arms.' if set(arms) - set(shown) else ''}"
    )


TABLE_SEEDS = GroupTable(
    name="table_seeds",
    place=160,
    title="Every seed",
    about="differences to the control over seeds",
    to_csv=seeds_csv,
    as_text=seeds_text,
    caption=caption_seeds,
)
