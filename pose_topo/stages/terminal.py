"""The text that the terminal shows for evaluations, comparisons, analyses, groups, robustness and audits."""

from __future__ import annotations

from typing import Any

from pose_topo.download import catalog
from pose_topo.scoring import published
from pose_topo.study import joints
from pose_topo.study.results import HARMS

WIDTH = 22  # of the first column
COLUMNS = (*joints.GROUPS, "Mean")


def evaluation(result: dict[str, Any]) -> str:
    """PCKh per joint group with the interval of the mean, the original study's metric, and published rows."""
    bands = result["intervals"]
    lines = [_line("PCKh (%)", COLUMNS, f"{bands['level']:g}% interval of the mean")]
    for threshold, scores in result["pckh"].items():
        band = bands[threshold]["mean"] if threshold in bands else None
        note = _band(band) if band else scores.get("note", "")
        lines.append(_line(f"@{threshold}", _values(scores), note))
    lines.append(
        f"AUC 0-0.5: {show(result['auc'], 2)}; {result['people']:,} people, {result['joints']:,} scored joints; "
        f"intervals: {bands['method']}, {bands['resamples']:,} resamples"
    )
    return "\n".join([*lines, *_pck(result), *_oks(result), *_legacy(result["legacy"]), *_published(result)])


def comparison(result: dict[str, Any]) -> str:
    """The differences per joint group with their intervals, and the joints and people won and lost."""
    a, b = result["a"]["name"], result["b"]["name"]
    lines = [f"a: {_identity(result['a'])}", f"b: {_identity(result['b'])}"]
    for threshold, scores in result["pckh"].items():
        parts = [*scores["groups"].values(), scores["mean"]]
        lines += [
            _line(f"PCKh@{threshold} (%)", COLUMNS),
            _line("  a", [part["a"] for part in parts]),
            _line("  b", [part["b"] for part in parts]),
            _line("  b - a", [_signed(part["difference"]) for part in parts]),
            _line("  from", [_signed(part["interval"] and part["interval"][0]) for part in parts]),
            _line("  to", [_signed(part["interval"] and part["interval"][1]) for part in parts]),
        ]
    boot, won = result["bootstrap"], result["won_and_lost"]
    lines.append(
        f"from, to: {boot['level']:g}% interval, paired {boot['method']}, {boot['resamples']:,} resamples; it holds "
        "for these two checkpoints, not for other seeds"
    )
    lines.append(
        f"{result['people']:,} people, {result['joints']:,} scored joints; at {won['threshold']:g} b finds "
        f"{won['joints']['won']:,} joints that a misses and misses {won['joints']['lost']:,} that a finds; more joints "
        f"of {won['people']['won']:,} people, fewer of {won['people']['lost']:,}"
    )
    if a == b:
        lines.append("both folders have the same name: a is the first given")
    if (first := result["a"]["settings"]) != (second := result["b"]["settings"]) and first and second:
        other = [f"{key} {first.get(key)} / {second.get(key)}" for key in first if first.get(key) != second.get(key)]
        lines.append(f"note: the settings differ: {', '.join(other)}")
    return "\n".join(lines)


def audit(result: dict[str, Any]) -> str:
    """The answer of an audit, its main numbers, and what it did not measure."""
    weights, grid = result["weights"], result["grid"]
    led, cosine = weights["directions"], weights["cosine"]
    lines = [
        f"{result['layer']['name']} of {result['model']}, {result['layer']['channels']} channels on a "
        f"{grid['height']} x {grid['width']} grid ({result['neighbour_weights']})",
        result["answer"]["text"],
        f"Moran's I of {len(led['I'])} leading directions: mean {show(led['mean_I'])}, p {show(led['p_mean'], 4)}, "
        f"E[I] {show(result['expected_I'], 4)}; best rearrangement of these channels {show(led['best_I'])}",
        f"of the norms: {show(weights['norms']['mean_I'])}, p {show(weights['norms']['p_mean'], 4)}",
        f"cosine of neighbours {show(cosine['neighbours'])}, of all pairs {show(cosine['all_pairs'])}, "
        f"p {show(cosine['p'], 4)}; participation ratio {show(weights['participation_ratio'], 1)}",
    ]
    if readout := result["readout"]:
        main = readout["moran"]["strength"]
        lines.append(
            f"readout {readout['layer']}: I of |w| {show(main['mean_I'])}, p {show(main['p_mean'], 4)}; "
            f"{readout['significant']} of {len(readout['names'])} outputs with q < .05"
        )
    if seen := result["responses"]:
        pairs = seen["correlation"]
        lines.append(
            f"responses to {seen['images']:,} images: correlation of neighbours {show(pairs['neighbours'])}, of all "
            f"pairs {show(pairs['all_pairs'])}; I of single images {show(seen['standardised']['mean_I'])} (channels "
            "standardised)"
        )
    return "\n".join([*lines, *(f"not measured: {why}" for why in result["not_measured"].values())])


def summary(result: dict[str, Any]) -> str:
    """The main numbers of an analysis."""
    main, parcels, pairs = result["moran"], result["parcellation"], result["neighbour_correlation"]
    controls, normalised = result["controls"], result["moran_measures"]["normalised"]
    lines = [
        f"Moran's I of |w| ({main['weights']}): mean {show(main['mean_I'])}, p {show(main['p_mean'], 4)}, "
        f"E[I] {show(main['expected'], 4)}; column-normalised {show(normalised['mean_I'])}",
        f"on a permuted grid {show(controls['permuted_grid']['mean_I']['strength'])}, best rearrangement of these "
        f"channels {show(controls['rearranged']['mean_I'])}",
    ]
    if start := controls["untrained"]:
        lines.append(f"untrained: I {show(start['mean_I']['strength'])}, contiguity {show(start['contiguity'])}")
    if other := controls["against"]:
        lines.append(
            f"I / best I of {other['arm']}, seed {other['seed']}: {show(other['I_over_best'])} "
            f"(best {show(other['best_I'])})"
        )
    lines += [
        f"contiguity {show(parcels['contiguity'])} (chance {show(parcels['null_mean'])}), "
        f"{parcels['components']} regions (chance {show(parcels['components_null_mean'], 0)})",
        f"correlation of neighbours {show(pairs['neighbours'])}, of all pairs {show(pairs['all_pairs'])}; "
        f"smoothness {show(result['correlation_distance']['smoothness'])}",
        f"wiring {show(result['wiring']['mean'], 2)} cells (chance {show(result['wiring']['null_mean'], 2)})",
        f"participation ratio {show(result['health']['participation_ratio'], 1)}, "
        f"mean row norm {show(result['health']['mean_row_norm'])}, effective dimensionality of activations "
        f"{show(result['activations']['effective_dimensionality'], 1)}",
    ]
    lesions = result["lesions"] or {"radii": []}
    score = "PCK@0.2" if lesions.get("threshold") == 0.2 else "PCKh@0.5"
    for disc in lesions["radii"]:
        lines.append(
            f"discs of radius {disc['radius']:g}: {show(disc['damage'], 2)} points of {score} lost (random "
            f"{show(disc['null_damage'], 2)}), specificity {show(disc['specificity'], 2)} "
            f"(random {show(disc['null_mean'], 2)}, p {show(disc['p'])})"
        )
    return "\n".join(lines)


def group(result: dict[str, Any]) -> str:
    """The differences of every arm from the control."""
    lines = []
    for name, comparison in result["comparisons"].items():
        lines.append(f"{name}, seeds {', '.join(map(str, comparison['seeds'])) or 'none'} ({result['interval']})")
        for metric, test in comparison["metrics"].items():
            if test["n"]:
                lines.append(
                    f"  {metric:<25}{show(test['mean']):>9}  [{show(test['low'])}, {show(test['high'])}]  "
                    f"p {show(test['p'], 4)}, of all metrics {show(test['p_max'], 4)} "
                    f"(n {test['n']}, p at least {show(test['smallest_p'], 4)})"
                )
        lines.append(f"  I / best I of the control  {show(comparison['I_over_best'])}")
    return "\n".join(lines)


def robustness(result: dict[str, Any]) -> str:
    """The score at each level of each harm, and the area under the curve as a share of the intact score."""
    level = f"{result['bootstrap']['level']:g}%"
    lines = [f"{result['score']} of {result['images']:,} people by level (0: intact), and area / intact"]
    for harm, found in result["harms"].items():
        scores = ", ".join(f"{one['level']:g}: {show(one['pckh'], 1)}" for one in found["levels"])
        band = found["relative_interval"]
        area = f"area {show(found['relative'])}" + (f", {level} interval {_band(band)}" if band else "")
        lines.append(f"  {HARMS[harm][0]}, {found['unit']}: {scores}; {area}")
    return "\n".join(lines)


def _pck(result: dict[str, Any]) -> list[str]:
    """PCK, and the people whom a score leaves out because their annotation lacks its reference length."""
    if "pck" not in result:
        return []
    pck = result["pck"]
    band = pck["interval"]["mean"]
    lines = [_line(f"PCK@{pck['threshold']:g}", _values(pck), _band(band) if band else "")]
    for name, about in result["reference_lengths"].items():
        title, length = {"pckh": "PCKh", "pck": "PCK"}[name], about["length"]
        if not about["people"]:
            lines.append(f"no {title}: nobody has the {length} annotated")
        elif about["without"]:
            lines.append(f"{title} ({length}): {about['without']:,} people without it are not scored")
    return lines


def _oks(result: dict[str, Any]) -> list[str]:
    """COCO's score, or the reason why there is none; nothing for people of other annotation formats."""
    if (oks := result.get("oks")) is None:
        return []
    if oks["reason"]:
        return [f"no OKS AP: {oks['reason']}"]
    values = ", ".join(f"{name} {show(oks[name])}" for name in ("AP", "AP50", "AP75", "AR"))
    return [f"OKS (12 of COCO's 17 joints): {values}"]


def _legacy(legacy: dict[str, Any]) -> list[str]:
    ratio = legacy["head_ratio"]
    unit = f"; its head length is {ratio['median']:.2f} x PCKh's (median)" if ratio["median"] is not None else ""
    if legacy["pckh"] is None:
        return [f"legacy (the original study's own metric, no PCKh): - ({legacy['reason']}){unit}"]
    only = f", labelled joints alone {legacy['pckh_labelled']:.2f}" if legacy["pckh_labelled"] is not None else ""
    return [f"legacy (the original study's own metric, no PCKh): {legacy['pckh']:.2f}{only}{unit}"]


def _published(result: dict[str, Any]) -> list[str]:
    """The published rows of the backbone, or the reason why none is comparable."""
    settings, arch = result["settings"], result["arch"]
    if not (published.same_people(settings) or result["data_sha256"] == catalog.DETECTIONS.checks.sha256):
        what = "rendered" if result["rendered"] else "others"
        return [f"published scores are of {published.PEOPLE}; these ({result['data']}) are {what}: none is comparable"]
    if arch is None:
        return ["published scores are listed by backbone; of a prediction file it is not known: none is shown"]
    size = settings["input_size"]
    rows = [row for row in published.rows() if row.arch == arch and row.input_size == size]
    if not rows:
        return [f"published on {published.PEOPLE}: nothing for {arch} at {size} px"]
    lines = [f"published on {published.PEOPLE} for {arch}, by others, under their own training:"]
    for row in rows:
        finer = [f"{key[5:]}: {value:g}" for key in published.MEANS[1:] if (value := row.values[key]) is not None]
        values = [*(row.values[name] for name in joints.GROUPS), row.values["mean_0.5"]]
        lines.append(_line(f"  {row.label}", values, f"mean@{', '.join(finer)}" if finer else ""))
    return [*lines, *dict.fromkeys(f"  source: {row.source}" for row in rows)]


def _identity(side: dict[str, Any]) -> str:
    known = [str(side[key]) for key in ("arch", "arm") if side[key] is not None]
    known += [f"seed {side['seed']}"] if side["seed"] is not None else []
    return f"{side['name']} ({', '.join(known) or 'a prediction file'})"


def _values(scores: dict[str, Any]) -> list[float | None]:
    return [*scores["groups"].values(), scores["mean"]]


def _line(title: str, values: Any, note: str = "") -> str:
    cells = "".join(f"{value if isinstance(value, str) else show(value, 2):>9}" for value in values)
    return f"{title:<{WIDTH}}{cells}  {note}".rstrip()


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _band(band: list[float]) -> str:
    return f"[{band[0]:.2f}, {band[1]:.2f}]"


def show(value: float | None, digits: int = 3) -> str:
    """A number with `digits` decimals, or "-" for None."""
    return "-" if value is None else f"{value:.{digits}f}"
