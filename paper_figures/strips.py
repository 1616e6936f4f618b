"""A claim's numbers on a line: where they were to lie, where the reference seeds lie, and where those made here do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT, EDGE = 280, 40, 8
REFERENCE_LANE, HERE_LANE, FOOT = 7, 19, 37  # y of the dots' centres, and of the text's baseline


def strip(check: Mapping[str, Any]) -> Markup | None:
    """An inline SVG of a check of claims.json; None where there is no range or no value to show."""
    wanted, here, reference = check["wanted"], list(check["here"].values()), list(check["reference"].values())
    if wanted is None or not (here or reference):
        return None
    bounds = [bound for bound in (wanted["low"], wanted["high"]) if bound is not None]
    place = _scale([*bounds, *here, *reference])
    left = EDGE if wanted["low"] is None else place(wanted["low"])
    right = WIDTH - EDGE if wanted["high"] is None else place(wanted["high"])
    shapes = [f'<rect class="band" x="{left:.1f}" y="0" width="{max(right - left, 1):.1f}" height="26"/>']
    shapes += [f'<line class="bound" x1="{place(b):.1f}" x2="{place(b):.1f}" y1="0" y2="26"/>' for b in bounds]
    shapes += [f'<circle class="reference" cx="{place(v):.1f}" cy="{REFERENCE_LANE}" r="3.2"/>' for v in reference]
    shapes += [_diamond(place(value), HERE_LANE) for value in here]
    shapes += _labels(bounds, [place(bound) for bound in bounds])
    title = f"{check['statistic']}: wanted {wanted['text']}"
    return Markup(
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(shapes)}</svg>'
    )


def _scale(values: Sequence[float]) -> Any:
    """From a value to x; all values fit, with a tenth to spare on both sides."""
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0) * 0.1
    low, span = low - 0.1 * span, 1.2 * span
    return lambda value: EDGE + (value - low) / span * (WIDTH - 2 * EDGE)


def _diamond(x: float, y: float) -> str:
    return f'<path class="here" d="M{x:.1f} {y - 5:.1f}l4.4 5 -4.4 5 -4.4 -5z"/>'


def _labels(bounds: Sequence[float], at: Sequence[float]) -> list[str]:
    """The bounds' values below them, kept inside and apart."""
    anchors = ["middle"] * len(at) if len(at) == 1 or at[1] - at[0] > 70 else ["end", "start"]
    return [
        f'<text x="{min(max(x, 20), WIDTH - 20):.1f}" y="{FOOT}" text-anchor="{anchor}">{bound:.4g}</text>'
        for bound, x, anchor in zip(bounds, at, anchors, strict=True)
    ]
