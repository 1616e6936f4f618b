"""The first screen of the report: what was found, in a sentence and numbers; and the plot of a check of a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup, escape

from paper_figures.claims.model import REFERENCE, load_study
from paper_figures.lib import captions
from paper_figures.lib.arms import arm_order
from paper_figures.lib.captions import NO_VALUE, fixed, spread
from paper_figures.lib.results import Run, load
from paper_figures.lib.tables import Cell, Column, Row, Table

MORAN, P_VALUE = ("analysis", "moran.mean_I"), ("analysis", "moran.p_mean")
DIRECTIONS = ("analysis", "health.participation_ratio")
SCORES = {"PCKh@0.5": ("evaluation", "pckh.0.5.mean"), "PCK@0.2": ("evaluation", "pck.mean")}
Values = dict[int, float]  # by seed

# ---- the runs of one part


@dataclass(frozen=True)
class Compared:
    """The runs of a part of the study: its arm with a spatial loss, and the control."""

    runs: Sequence[Run]

    @property
    def arm(self) -> str | None:
        """The arm that is compared with the control: `topo`, or else the first other arm that has a spatial loss."""
        arms = dict.fromkeys(run.arm for run in self.runs if run.arm not in ("baseline", "control"))
        return min(arms, key=arm_order, default=None)

    @property
    def score(self) -> str:
        """The name of the score: PCK@0.2 where nobody's head size is known."""
        return captions.validation_score(self.runs)

    def of(self, arm: str | None, what: tuple[str, str]) -> Values:
        """Return a number of the runs of an arm by seed, where they have it."""
        found = ((run.seed, run.number(*what)) for run in self.runs if run.arm == arm and what[0] in run.json)
        return {seed: value for seed, value in found if value is not None}

    def scores(self, arm: str | None) -> Values:
        """Return the accuracy of the runs of an arm by seed."""
        return self.of(arm, SCORES[self.score])

    def order(self) -> Values:
        """Return Moran's I less that of the control of the same seed."""
        return self._less_control(MORAN)

    def price(self) -> Values:
        """Return the accuracy less that of the control of the same seed."""
        return self._less_control(SCORES[self.score])

    def _less_control(self, what: tuple[str, str]) -> Values:
        control = self.of("control", what)
        return {seed: value - control[seed] for seed, value in self.of(self.arm, what).items() if seed in control}


def found(parts: Mapping[str, Sequence[Run]]) -> str:
    """Return one sentence that says what was found in the runs of the parts."""
    shown = [Compared(runs) for runs in parts.values() if runs]
    if not shown:
        return "No run is shown: the claims below say what would be compared, and which commands make the runs."
    both = [one for one in shown if one.order() and one.price()]
    if not both:
        arms = dict.fromkeys(run.arm for one in shown for run in one.runs)
        return f"Shown are runs of {', '.join(arms)}. No network with a spatial loss can be compared with its control."
    if len(shown) == 1:
        return _sentence(both[0])
    ordered = sum(fmean(one.order().values()) > 0 for one in both)
    prices = [fmean(one.price().values()) for one in both]
    return (
        f"In {ordered} of {len(both)} parts of the study, the grid of the network with the spatial loss is more "
        f"ordered than that of its control (Moran's I). Its accuracy is {signed(min(prices))} to "
        f"{signed(max(prices))} points from the control's."
    )


def _sentence(one: Compared) -> str:
    order, price = fmean(one.order().values()), fmean(one.price().values())
    more = "a more ordered grid than" if order > 0 else "a less ordered grid than" if order < 0 else "the same order as"
    points = fixed(abs(price), 1)
    cost = f"{points} points {'above' if price > 0 else 'below'}" if float(points) else "the same as"
    I = [fmean(one.of(arm, MORAN).values()) for arm in (one.arm, "control")]  # noqa: E741
    score = fixed(fmean(one.scores(one.arm).values()), 1)
    data = next((run.data for run in one.runs if run.data), "unknown data")
    return (
        f"On {data} ({captions.count(one.runs, 'evaluation', 'people')} held-out people), the network with the spatial "
        f"loss ({one.arm}) has {more} its control (Moran's I {fixed(I[0], 3)} against {fixed(I[1], 3)}). "
        f"Its {one.score} of {score} is {cost} the control's."
    )


def signed(value: float) -> str:
    """Return a number of points with its sign; zero has none."""
    text = fixed(value, 1)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


# ---- three numbers


@dataclass(frozen=True)
class Number:
    """A number of the first screen, and the lines below it: (name, value, interval or reference)."""

    title: str
    what: str
    value: str
    lines: tuple[tuple[str, str, str], ...]


def numbers(runs: Sequence[Run], reference: Sequence[Run]) -> tuple[Number, ...]:
    """Return accuracy, order and price of the runs of one part; without a control or a spatial loss, only accuracy."""
    one, other = Compared(runs), Compared(reference)
    arms = [arm for arm in dict.fromkeys((one.arm, "baseline", "control")) if one.scores(arm)]
    shown: list[Number] = []
    if arms:
        lines = [(str(arm), _mean(one.scores(arm), 1), interval(runs, arm, one.score)) for arm in arms]
        lines += _reference(other.scores(arms[0]), 1, f", {arms[0]}")
        shown.append(Number("Accuracy", f"{one.score} of {arms[0]}, %", lines[0][1], tuple(lines)))
    if one.order():
        both = {arm: one.of(arm, MORAN) for arm in (str(one.arm), "control")}
        lines = [(arm, _mean(values, 3), _range(values, 3)) for arm, values in both.items()]
        p = one.of(one.arm, P_VALUE).values()
        lines += [("p", fixed(max(p), 4), f"largest of {len(p)}" if len(p) > 1 else "")] if p else []
        lines += _reference(other.order(), 3)
        what = f"Moran's I, {one.arm} − control"
        shown.append(Number("Order of the grid", what, _mean(one.order(), 3), tuple(lines)))
    if one.price():
        price = fmean(one.price().values())
        lines = [("seeds", str(len(one.price())), _range(one.price(), 1))] if len(one.price()) > 1 else []
        lines += _reference(other.price(), 1)
        used = [_mean(one.of(arm, DIRECTIONS), 1) for arm in (one.arm, "control")]
        lines += [("directions used", used[0], f"control {used[1]}")]
        shown.append(Number("Its price", f"{one.score}, {one.arm} − control, points", signed(price), tuple(lines)))
    return tuple(shown)


def _mean(values: Values, digits: int) -> str:
    return fixed(fmean(values.values()), digits) if values else NO_VALUE


def _range(values: Values, digits: int) -> str:
    """Return "0.460 to 0.488" where there are several seeds."""
    text = spread(values.values(), digits)
    return text.partition(" (")[2].removesuffix(")") if len(values) > 1 else ""


def _reference(values: Values, digits: int, of: str = "") -> list[tuple[str, str, str]]:
    return [(f"reference{of}", _mean(values, digits), _range(values, digits))] if values else []


def interval(runs: Iterable[Run], arm: str | None, score: str) -> str:
    """Return the range of the seeds of an arm, or of one seed the interval over people."""
    one = Compared([run for run in runs if run.arm == arm])
    if len(one.runs) != 1:
        return _range(one.scores(arm), 1)
    evaluation = one.runs[0].json["evaluation"]
    bounds = evaluation["intervals"]["0.5"]["mean"] if score == "PCKh@0.5" else evaluation["pck"]["interval"]["mean"]
    return f"{fixed(bounds[0], 1)} to {fixed(bounds[1], 1)}" if bounds else ""


def reference_of(runs: Sequence[Run], root: Path = REFERENCE) -> list[Run]:
    """Return the reference runs with the data and settings of these runs; none if these are reference runs."""
    place = root.resolve()
    if not runs or any(run.folder.resolve().is_relative_to(place) for run in runs):
        return []
    for profile in load_study().profiles.values():
        if profile.data and all(map(profile.holds, runs)):
            theirs = load(sorted(path for path in (root / profile.id).glob("*") if path.is_dir()))
            if Compared(theirs).order():
                return theirs
    return []


# ---- one row per part

WORDS = (Column("people", "Held-out people", None), Column("n", "Seeds", None))
MEASURES: dict[Column, Callable[[Compared], Values]] = {
    Column("accuracy_baseline", "PCKh@0.5, baseline", 1): lambda one: one.scores("baseline"),
    Column("accuracy_control", "PCKh@0.5, control", 1): lambda one: one.scores("control"),
    Column("accuracy_topo", "PCKh@0.5, spatial loss", 1): lambda one: one.scores(one.arm),
    Column("accuracy_difference", "less the control", 1): Compared.price,
    Column("I_control", "Moran's I, control", 3): lambda one: one.of("control", MORAN),
    Column("I_topo", "Moran's I, spatial loss", 3): lambda one: one.of(one.arm, MORAN),
    Column("participation_ratio", "Directions, spatial loss", 1): lambda one: one.of(one.arm, DIRECTIONS),
}


def main_table(parts: Mapping[str, Sequence[Run]]) -> Table:
    """Return the study's main table: one row for each part."""
    rows = []
    for title, runs in parts.items():
        one = Compared(runs)
        main = [run for run in runs if run.arm in ("baseline", "control", one.arm)]
        seeds = sorted({run.seed for run in main or runs})
        words = {"people": captions.count(runs, "evaluation", "people"), "n": str(len(seeds))}
        values: dict[str, tuple[Cell, ...]] = {key: (word,) * len(seeds) for key, word in words.items()}
        values |= {column.key: tuple(map(by_seed(one).get, seeds)) for column, by_seed in MEASURES.items()}
        data = next((run.data for run in runs if run.data), title)
        rows.append(Row(title if data in title else f"{title} ({data})", values, tuple(seeds)))
    return Table((*WORDS, *MEASURES), tuple(rows))


# ---- the plot of a check

WIDTH, EDGE, TEXT = 280, 8, 14  # of the plot in full; TEXT is the height of the values of the bounds below it
SMALL = 204  # width that the small plots of a claim share


def claim_plot(check: Mapping[str, Any], small: int = 0) -> Markup | None:
    """Return a check of claims.json as an inline SVG: the required range, the reference seeds and the values made here.

    None where there is no range or no value to show. `small` is the number of small plots that share a width.
    """
    wanted, here, reference = check["wanted"], list(check["here"].values()), list(check["reference"].values())
    if wanted is None or not (here or reference):
        return None
    bounds = [bound for bound in (wanted["low"], wanted["high"]) if bound is not None]
    width, band, edge = (max(SMALL // small - 6, 60), 18, 5) if small else (WIDTH, 26, EDGE)
    place = _scale([*bounds, *here, *reference], width, edge)
    left = edge if wanted["low"] is None else place(wanted["low"])
    right = width - edge if wanted["high"] is None else place(wanted["high"])
    shapes = [f'<rect class="band" x="{left:.1f}" y="0" width="{max(right - left, 1):.1f}" height="{band}"/>']
    shapes += [f'<line class="bound" x1="{place(b):.1f}" x2="{place(b):.1f}" y1="0" y2="{band}"/>' for b in bounds]
    upper, lower, radius = (5, 13, 2.6) if small else (7, 19, 3.2)
    shapes += [f'<circle class="reference" cx="{place(v):.1f}" cy="{upper}" r="{radius}"/>' for v in reference]
    shapes += [f'<path class="here" d="M{place(v):.1f} {lower - 5:.1f}l4.4 5 -4.4 5 -4.4 -5z"/>' for v in here]
    shapes += [] if small else _labels(bounds, [place(bound) for bound in bounds])
    title = f"{check['statistic']}: required {wanted['text']}" + (f", here {fmean(here):.4g}" if here else "")
    height = band if small else band + TEXT
    return Markup(
        f'<svg class="strip" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(shapes)}</svg>'
    )


def _scale(values: Sequence[float], width: int, edge: int) -> Callable[[float], float]:
    """Return the function from a value to x under which all values fit, with a margin of a tenth on both sides."""
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0) * 0.1
    low, span = low - 0.1 * span, 1.2 * span
    return lambda value: edge + (value - low) / span * (width - 2 * edge)


def _labels(bounds: Sequence[float], at: Sequence[float]) -> list[str]:
    """Return the values of the bounds as texts below them, inside the plot and apart from each other."""
    anchors = ["middle"] * len(at) if len(at) == 1 or at[1] - at[0] > 70 else ["end", "start"]
    return [
        f'<text x="{min(max(x, 20), WIDTH - 20):.1f}" y="37" text-anchor="{anchor}">{bound:.4g}</text>'
        for bound, x, anchor in zip(bounds, at, anchors, strict=True)
    ]
