"""The main numbers of an analysis as a person reads them on a terminal."""

from __future__ import annotations

from typing import Any


def summary(result: dict[str, Any]) -> str:
    """A few lines of an `analysis.json`."""
    found, parcels, pairs = result["moran"], result["parcellation"], result["neighbour_correlation"]
    controls, normalised = result["controls"], result["moran_measures"]["normalised"]
    lines = [
        f"Moran's I of |w| ({found['weights']}): mean {show(found['mean_I'])}, p {show(found['p_mean'], 4)}, "
        f"E[I] {show(found['expected'], 4)}; column-normalised {show(normalised['mean_I'])}",
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
    for disc in (result["lesions"] or {"radii": []})["radii"]:
        lines.append(
            f"discs of radius {disc['radius']:g}: {show(disc['damage'], 2)} points of PCKh@0.5 lost (random "
            f"{show(disc['null_damage'], 2)}), specificity {show(disc['specificity'], 2)} "
            f"(random {show(disc['null_mean'], 2)}, p {show(disc['p'])})"
        )
    return "\n".join(lines)


def show(value: float | None, digits: int = 3) -> str:
    """A number, or "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
