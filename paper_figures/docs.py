"""Write the generated sections of the README and the docs: `python -m paper_figures.docs`.

A page holds `<!-- made: NAME -->` and `<!-- /made -->`, and the function of that name in `SECTIONS` writes what stands
between them, from the reference results and the benchmarks. A test fails while a page differs from the files.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

from paper_figures.claims.check import ClaimResult, Results, judge, load_reference, summary
from paper_figures.claims.checks import Check, CheckResult, Interval
from paper_figures.claims.model import REFERENCE, Study, load_study
from paper_figures.figures import body_map
from paper_figures.lib import captions, costs
from paper_figures.lib.command import GroupTable, RunsExhibit, exhibits
from paper_figures.lib.costs import training_cost
from paper_figures.lib.results import Measure, Run, by_arm, known, load, measure
from paper_figures.lib.tables import Column, Table, as_text, by_measure, pipe, to_markdown
from paper_figures.tables.topography import build_losses, caption_losses, order, share_of_best
from pose_topo.core.errors import PoseTopoError, guarded
from pose_topo.core.files import read_json, write_text
from pose_topo.scoring.intervals import paired_test
from pose_topo.study import joints, plan
from pose_topo.study.backbones import BACKBONES
from pose_topo.study.results import HARMS

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("appendix", "benchmarks", "claims", "demo", "regularizers", "results", "topography")
    ),
    *("paper_figures/reference/README.md", "pose_topo/released/README.md"),
)
RELEASED = ROOT / "pose_topo" / "released" / "scores.json"  # tools/release_network.py writes it and the weights
_SECTION = re.compile(r"(<!-- made: (\S+) -->\n)(.*?)(<!-- /made -->)", re.S)


# ---- reference results

MEASURES: dict[Column, Measure] = {
    Column("pckh", "PCKh@0.5", 1): measure("evaluation", "pckh.0.5.mean"),
    Column("pckh_fine", "PCKh@0.1", 1): measure("evaluation", "pckh.0.1.mean"),
    Column("pck", "PCK@0.2 of the torso", 1): measure("evaluation", "pck.mean"),
    Column("I", "Moran's I of |w|, mean over joints", 3): measure("analysis", "moran.mean_I"),
    Column("I_n", "the same, each channel's gain divided out", 3): measure(
        "analysis", "moran_measures.normalised.mean_I"
    ),
    Column("p", "p of the mean I (largest of the seeds)", 4, largest=True): measure("analysis", "moran.p_mean"),
    Column("contiguity", "contiguity", 2): measure("analysis", "parcellation.contiguity"),
    Column("contiguity_null", "contiguity, labels permuted", 2): measure("analysis", "parcellation.null_mean"),
    Column("near", "correlation of neighbours", 2): measure("analysis", "neighbour_correlation.neighbours"),
    Column("all", "correlation of all pairs", 2): measure("analysis", "neighbour_correlation.all_pairs"),
    Column("pr", "participation ratio of the weights", 1): measure("analysis", "health.participation_ratio"),
    Column("norm", "mean row norm", 3): measure("analysis", "health.mean_row_norm"),
    Column("m", "learning-rate multiplier of the layer", None): measure("analysis", "topo_lr_mult"),
    Column("l", "lambda", None): measure("analysis", "lambda"),
}
SHARE = Column("share", "as a share of the control's best I", 2)  # follows the normalised I


def reference(profile: str) -> list[Run]:
    """Return the reference runs of a profile.

    Raises:
        PoseTopoError: there are none.
    """
    runs = load(sorted(path for path in (REFERENCE / profile).glob("*") if path.is_dir()))
    if not runs:
        raise PoseTopoError(f"{REFERENCE / profile}: no reference results")
    return runs


def results(profile: str) -> str:
    """Return a table of measures by arm, and a note on the runs."""
    runs = reference(profile)
    has_pck = all("pck" in run.json.get("evaluation", {}) for run in runs)  # results of earlier versions have not
    columns: dict[Column, Measure] = {}
    for column, value in MEASURES.items():
        if has_pck or column.key != "pck":
            columns[column] = value
        if column.key == "I_n":
            columns[SHARE] = share_of_best(runs)
    table = by_measure(runs, columns, transposed=True)
    people = captions.count(runs, "evaluation", "people")
    expected = captions.fixed(float(runs[0].value("analysis", "moran.expected")), 4)
    note = f"Mean ± standard deviation over seeds; {people} held-out people; E[I] = {expected}."
    return f"{to_markdown(as_text(table))}\n{note} {captions.about(runs)}\n"


MAIN = ("demo", "small", "synthetic", "photographs")  # the profiles of the README
ARMS = ("baseline", "control", "topo")


def main_results() -> str:
    """Return the main measures of three arms of each profile: one row for each."""
    titles = {"pckh": "PCKh@0.5", "I": "Moran's I", "I_n": "I, gains divided out", "contiguity": "contiguity"}
    titles["pr"] = "participation ratio"
    shown = {replace(c, title=titles[c.key]): value for c, value in MEASURES.items() if c.key in titles}
    rows = [
        replace(row, label=f"{profile}: {row.label}", values={"seeds": (len(row.seeds),), **row.values})
        for profile in MAIN
        for row in by_measure(reference(profile), shown).rows
        if row.label in ARMS
    ]
    return to_markdown(as_text(Table((Column("seeds", "seeds", None), *shown), tuple(rows))))


def finding() -> str:
    """Return what was found, in one paragraph: ranges of the means over seeds of the profiles in the README."""

    def span(arm: str, file: str, key: str, digits: int, less: str = "") -> str:
        """The lowest and the highest mean of a measure, or of its difference from the arm `less`."""
        means = []
        for profile in MAIN:
            arms = by_arm(reference(profile))
            own, other = (fmean(known(arms[name], measure(file, key))) if name else 0.0 for name in (arm, less))
            means.append(own - other)
        return f"{captions.fixed(min(means), digits)} to {captions.fixed(max(means), digits)}"

    moran, pckh = ("analysis", "moran.mean_I", 2), ("evaluation", "pckh.0.5.mean", 1)
    smooth, trained = (over(doubted("topo"), order(kind, 0)) for kind in ("smoothed", "trained"))
    text = (
        f"**What came out.** With the spatial loss, the grid becomes ordered: Moran's I is {span('topo', *moran)} in "
        f"the four experiments below (without the loss: {span('control', *moran)}), and PCKh@0.5 changes by "
        f"{span('topo', *pckh, 'control')} points. But the layer collapses: it uses "
        f"{span('topo', 'analysis', 'health.participation_ratio', 1)} of 256 directions. Two more checks were made in "
        "`small`. Smoothing the weights of a network that was trained without the loss gives almost the same order "
        f"({smooth} against {trained}, I of the layer's own weights). And the order does not make the network more "
        "robust to noise, blur or loss of contrast."
    )
    return textwrap.fill(text, 120) + "\n"


def sweep() -> str:
    """Return the table of the losses with its caption."""
    runs = reference("sweep")
    return f"{to_markdown(as_text(build_losses(runs)))}\n{caption_losses(runs)}\n"


# ---- doubts about the order, answered by the reference runs with `directions`


def doubted(arm: str) -> list[Run]:
    """Return the reference runs of `arm` that have `directions`."""
    return [run for run in reference("small") if run.arm == arm and run.has("directions")]


def over(group: Sequence[Run], value: Measure, compared: Sequence[Run] = ()) -> str:
    """Return the mean over seeds, or that of the differences from another arm, with its interval."""
    other = {run.seed: value(run) for run in compared}
    pairs = [(value(run), other.get(run.seed) if compared else 0.0) for run in group]
    found = paired_test([one - two for one, two in pairs if one is not None and two is not None])
    if found.mean is None or found.low is None or found.high is None:
        return captions.NO_VALUE
    mean, low, high = (captions.fixed(value, 2) for value in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def doubts() -> str:
    """Return doubts about the order of `topo` with the numbers that answer them, the unwelcome ones first."""
    topo, control = doubted("topo"), doubted("control")
    number = partial(measure, "analysis")

    def both(value: Measure) -> str:
        return f"{over(topo, value)} (the control: {over(control, value)})"

    def left(harm: str) -> str:
        share = over(topo, measure("robustness", f"harms.{harm}.relative"), control)
        return f"{HARMS[harm][0].lower()} {share}"

    def nearer(profile: str) -> str:
        arms = by_arm(reference(profile))
        return over(arms["control"], body_map.twins, arms["topo"])

    claim = next(one for one in judged() if one.claim.id == "twins-lie-nearer")
    lines = [
        "**Smoothing alone gives almost as much order.** A control whose layer weights are averaged over the grid, "
        f"until they use as few directions as those of `topo`, has I {over(topo, order('smoothed', 0))}; `topo` has "
        f"{over(topo, order('trained', 0))}. (This is I of the layer's own weights, `directions` above, not I of the "
        "tables.) I of weights does not show that anything was learned.",
        f"**The layer collapses.** Of 256 directions, `topo` uses {both(number('directions.participation_ratio'))}.",
        "**The network is not more robust** to noise, blur or loss of contrast. It loses less only if channels are "
        "removed by territory or at random, perhaps because many channels do the same. PCKh@0.5 under a harm is "
        "averaged over the levels and divided by PCKh@0.5 without the harm. The difference between `topo` and the "
        f"control: {'; '.join(map(left, HARMS))}.",
        "**The order is not that of one direction.** Without the four leading directions, I of the layer's weights is "
        f"still {both(order('trained', 3))}. Collapse alone gives no order: a control with the singular values of "
        f"`topo` has I {over(topo, order('collapsed', 0))}.",
        "**Responses to the held-out people are ordered, too.** I of selectivity for joints is "
        f"{both(number('selectivity.mean_I_joints'))}, and I of the standardised responses to one person "
        f"{both(number('single_images.standardised.mean_I'))}.",
        "**Left and right twins lie nearer to each other on the grid, but not in every experiment.** Their distance, "
        f"divided by that of other pairs of joints, is {both(number('body.twins.ratio'))}. The claim, made before "
        f"these seeds were trained, is {claim.verdict} (the difference between the two: {claim.checks[0].reason}, a "
        f"one-sided bound). In the reference seeds of `demo` the difference is {nearer('demo')}, in those of "
        f"`synthetic` {nearer('synthetic')}.",
    ]
    seeds = captions.listed([run.seed for run in topo])
    return "\n".join(textwrap.fill(f"{n}. {line}", 120, subsequent_indent="   ") for n, line in enumerate(lines, 1)) + (
        f"\n\nUnless another protocol is named, these are means over the seeds {seeds} of `small`. Brackets are 95% t "
        "intervals over seeds.\n"
    )


def judged() -> list[ClaimResult]:
    """Return the claims, judged by the reference results."""
    study = load_study()
    return judge(study, Results([], load_reference(study), judge_reference=True))


def verdicts() -> str:
    """Return the verdicts on the claims that the reference results can judge by themselves."""
    found = [one for one in judged() if one.verdict != "not run"]
    lines = ["| claim | on the reference runs |", "|---|---|"]
    lines += [f"| {one.claim.profile.id}: {one.claim.statement} | **{one.verdict}** |" for one in found]
    return "\n".join(lines) + "\n"


def tally() -> str:
    """Return how many claims there are, and how the reference runs judge them."""
    results = judged()
    counts = Counter(result.verdict for result in results)
    unrun = [result.claim for result in results if result.verdict == "not run"]
    why = Counter("interval" if claim.kind == "interval" else claim.profile.id for claim in unrun)
    text = (
        f"There are {len({one.claim.id for one in results})} claims. Most are about several data sets, so that there "
        f"are {len(results)} verdicts. On the committed reference runs: "
        f"{', '.join(f'{number} {verdict}' for verdict, number in counts.items())}. Of those not run, "
        f"{why['mpii']} need MPII, {why['interval']} compare new runs with the reference runs, and {why['published']} "
        "needs published predictions, which are not in this repository."
    )
    return textwrap.fill(text, 120) + "\n"


def time() -> str:
    """Return validation PCKh by seconds of training, of the reference run that had its GPU to itself."""
    metrics = next(run for run in reference("synthetic") if (run.arm, run.seed) == ("baseline", 0)).metrics
    epochs = zip(metrics["epoch"], metrics["seconds"].cumsum(), metrics["val_pckh"], strict=True)
    rows = [[f"{epoch:.0f}", f"{spent:.0f}", f"{pckh:.1f}"] for epoch, spent, pckh in epochs]
    return pipe(["epoch", "seconds", "PCKh@0.5"], rows)


def figures() -> str:
    """Return the list of figures and tables with the commands that draw them."""
    lines, runs = ["| what | command |", "|---|---|"], reference("synthetic")
    for name, exhibit in exhibits().items():
        given = "--group out/group/group.json --out my_figures" if isinstance(exhibit, GroupTable) else "$R"
        is_shown = not isinstance(exhibit, RunsExhibit) or any(run.has(*exhibit.needs) for run in runs)
        lines.append(
            f"| {exhibit.about} | `python -m paper_figures {name} {given}{'' if is_shown else ' --if-there'}` |"
        )
    return "\n".join(lines) + "\n"


def released() -> str:
    """Return the scores of the released network by joint group, with their intervals."""
    content = read_json(RELEASED)
    titles = {"lspet": "LSPET", "rendered": "rendered people", "mpii": "MPII"}
    shown = [name for name in titles if name in content]
    head = ["joints", *(f"{titles[name]}, {score}" for name in shown for score in ("PCKh@0.5", "PCK@0.2"))]

    rows = []
    for group in [*joints.GROUPS, None]:
        cells = [group or "all that are scored"]
        for name in shown:
            pckh, pck = content[name]["pckh"], content[name]["pck"]
            for score, band in ((pckh, content[name]["intervals"]["0.5"]), (pck, pck["interval"])):
                value = score["mean"] if group is None else score["groups"][group]
                ends = band["mean"] if group is None else band["groups"][group]
                cells.append("–" if value is None else f"{value:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]")
        rows.append(cells)
    notes = []
    for name in shown:
        lengths = content[name]["reference_lengths"]
        of = " and ".join(f"{about['people']:,} with a {about['length']}" for about in lengths.values())
        notes.append(f"{titles[name]}: {of}, of {content[name]['people']:,} people")
    about = content[shown[0]]["intervals"]
    return (
        f"{pipe(head, rows)}\nIn percent; {about['level']:g}% intervals by the {about['method']}. {'; '.join(notes)}. "
        "PCKh uses the head box on MPII and on rendered people, and the head segment on LSPET.\n"
    )


def training() -> str:
    """Return how the released network was trained, in one sentence."""
    about = read_json(RELEASED)["training"]
    hours = sum(session["wall_seconds"] for session in about["sessions"]) / 3600
    last = about["sessions"][-1]
    people = about["people"]
    return (
        f"{about['epochs']} epochs on {people['lspet']:,} people of LSPET's training part and {people['rendered']:,} "
        f"rendered people together, from the backbone and deconvolutions of the study's baseline on LSPET; "
        f"{hours:.1f} hours on {last['device']} in {last['precision']}, torch {last['torch']}.\n"
    )


def weight_table(path: Path) -> str:
    """Return the parts of a network in a safetensors file of this project: the names of their tensors, and their sizes.

    Raises:
        PoseTopoError: the file holds a tensor of a part that this project's networks do not have.
    """
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118  # it is no dictionary
        arch = json.loads(file.metadata()["pose_topo"])["config"]["arch"]
    parts, deconvolutions = BACKBONES[arch].parts, range(BACKBONES[arch].deconvolutions)
    titles = {f"backbone.{place}.": f"`{part}` of torchvision's `{arch}`" for place, part in enumerate(parts)}
    for place in deconvolutions:
        titles |= {f"deconv.{3 * place}.": f"deconvolution {place + 1}", f"deconv.{3 * place + 1}.": "its BatchNorm"}
    titles |= {"topo.conv.": "the topographic layer, a 1x1 convolution", "topo.norm.": "its BatchNorm"}
    titles |= {"head.": "the head, a 1x1 convolution"}
    if unknown := [key for key in shapes if not key.startswith(tuple(titles))]:
        raise PoseTopoError(f"{path}: {unknown[0]} is of no part of this project's networks")
    rows = []
    for part, title in titles.items():
        sizes = [math.prod(shape) for key, shape in shapes.items() if key.startswith(part)]
        if sizes:
            rows.append([f"`{part}`", title, str(len(sizes)), f"{sum(sizes):,}"])
    return (
        f"{pipe(['names begin with', 'part', 'tensors', 'numbers'], rows)}\n"
        "The rest of a name is PyTorch's own: `weight` and `bias` of a convolution or BatchNorm, and `running_mean`, "
        "`running_var` and `num_batches_tracked` of a BatchNorm, behind the names of torchvision's blocks.\n"
    )


# ---- the artifact appendix


def release() -> str:
    """Return what `make release` writes, and how large it is without runs of one's own."""
    size = read_json(ROOT / "docs" / "release.json")  # tools/release.py --record writes it
    total = sum(size.values())
    return (
        f"- **Release:** `make release` writes `dist/pose_topo-VERSION/`, {total / 1e6:.0f} MB: the code with the "
        f"reference results, and the released network ({size['networks_bytes'] / 1e6:.0f} MB). Each finished run adds "
        "its network.\n"
    )


READING = 2  # minutes of a person for the page of an experiment; one more for each command


def numbered_claims(study: Study) -> dict[str, str]:
    """Return the number of each claim by its id: "C1", "C2", ... A claim about several profiles has one number."""
    return {name: f"C{number}" for number, name in enumerate(dict.fromkeys(claim.id for claim in study.claims), 1)}


def appendix_claims() -> str:
    """Return the claims as a list, each with the experiments that judge it."""
    study = load_study()
    experiment = {profile: f"E{number}" for number, profile in enumerate(study.profiles, 1)}
    lines = []
    for name, number in numbered_claims(study).items():
        mine = [claim for claim in study.claims if claim.id == name]
        where = ", ".join(f"{experiment[claim.profile.id]} ({claim.profile.id})" for claim in mine)
        lines.append(f"- **({number}) {name}**: {mine[0].statement} Judged by {where}.")
    return "\n".join(lines) + "\n"


def study_of(command: str) -> plan.Study | None:
    """Return the part of the study that the last of some commands trains, or None if it trains nothing."""
    make, *words = command.rpartition(";")[2].split()
    if make != "make" or words[0] not in plan.read_study()["study"]:
        return None
    return plan.Study({"STUDY": words[0], **dict(word.split("=", 1) for word in words[1:])})


def experiments() -> str:
    """Return the experiments: one for each profile, with its command, its cost and the expected result."""
    study = load_study()
    committed = load_reference(study)
    judged = judge(study, Results([], committed, judge_reference=True))
    numbers, lines = numbered_claims(study), []
    for number, profile in enumerate(study.profiles.values(), 1):
        mine = [result for result in judged if result.claim.profile == profile]
        part, theirs = study_of(profile.command), Results([], committed).reference_of(profile)
        human = READING + len(profile.command.split(";"))
        title, compute, hardware = _cost(part, theirs)
        claims = ", ".join(sorted({numbers[result.claim.id] for result in mine}, key=lambda name: int(name[1:])))
        arms = {run.arm for run in part.runs()} if part else set()
        lacking = {arm: numbers[one.claim.id] for one in mine for arm in one.claim.arms if part and arm not in arms}
        compute += "".join(f" It does not train {arm}, which {claim} needs." for arm, claim in lacking.items())
        lines += [f"### (E{number}) {profile.id}: {human} human-minutes + {title}", ""]
        lines += [f"{profile.about[:1].upper()}{profile.about[1:]}. It judges {claims}.", ""]
        lines += [f"- **How to:** `{'`, then `'.join(part.strip() for part in profile.command.split(';'))}`"]
        lines += [f"- **Compute:** {compute}", f"- **Hardware:** {hardware}"]
        lines += [f"- **Disk:** {profile.disk or 'not measured'}.", "- **Expected result:**", ""]
        rows = [
            [numbers[result.claim.id], check.statistic, _expected(asked, check, theirs), summary(check.reference)]
            for result in mine
            for asked, check in zip(result.claim.checks, result.checks, strict=True)
        ]
        lines += [pipe(["claim", "number", "required", "reference runs"], rows)]
    return "\n".join(lines)


def _cost(part: plan.Study | None, reference: Sequence[Run]) -> tuple[str, str, str]:
    """Return the compute minutes for a title, the same in a sentence, and the hardware that they were measured on."""
    if part is None:
        return "less than 1 compute-minute", "it trains nothing.", "any CPU."
    runs = part.runs()
    costs = [training_cost([run for run in reference if run.arm == one.arm], [one.arm]) for one in runs]
    known = [cost for cost in costs if cost is not None]
    what = f"it trains {len(runs)} networks (seeds: {captions.listed(sorted({int(run.seed) for run in runs}))})"
    what += f", and {part.start}, from which they start, if it is missing" if part.start else ""
    if len(known) < len(runs):
        return "compute not measured", f"{what}; the project has not run it. `make plan` estimates it.", "not known."
    spent = sum(cost.minutes for cost in known)
    memory = max(cost.memory for cost in known) / 1e9
    gpu = max((cost.gpu_memory or 0 for cost in known), default=0) / 1e9
    hardware = " / ".join(dict.fromkeys(name for cost in known for name in cost.hardware.split(" / ")))
    return (
        f"{spent:,.0f} compute-minutes",
        f"{what}. One after the other, their training took {spent:,.0f} minutes.",
        f"measured on {hardware}; {memory:.1f} GB of memory" + (f", {gpu:.1f} GB on the GPU." if gpu else "."),
    )


def _expected(asked: Check, check: CheckResult, reference: Sequence[Run]) -> str:
    """Return the range that a check requires; of an interval, that for one new seed."""
    wanted = check.wanted
    if isinstance(asked, Interval):
        wanted = asked.expected({str(number): run for number, run in enumerate(reference)})
        return f"{wanted} (one new seed)" if wanted else captions.NO_VALUE
    return str(wanted)


# ---- pages

SECTIONS: dict[str, Callable[[], str]] = {
    "figures": figures,
    "finding": finding,
    "main": main_results,
    "demo": lambda: results("demo"),
    "small": lambda: results("small"),
    "synthetic": lambda: results("synthetic"),
    "sweep": sweep,
    "photographs": lambda: results("photographs"),
    "released": released,
    "training": training,
    "weights": lambda: weight_table(RELEASED.with_name("model.safetensors")),
    "release": release,
    "verdicts": verdicts,
    "tally": tally,
    "doubts": doubts,
    "claims": appendix_claims,
    "experiments": experiments,
    "limitations": lambda: load_study().limitations(),
    "steps": costs.steps,
    "time": time,
    "losses": costs.losses,
    "sharing": costs.sharing,
    "took": costs.took,
    "bench": costs.bench,
}


def filled(text: str) -> str:
    """Return a page with all its sections written again.

    Raises:
        PoseTopoError: a section has an unknown name.
    """

    def section(match: re.Match[str]) -> str:
        if match[2] not in SECTIONS:
            raise PoseTopoError(f"no section {match[2]!r}: give one of {', '.join(SECTIONS)}")
        return f"{match[1]}{SECTIONS[match[2]]()}{match[4]}"

    return _SECTION.sub(section, text)


def main() -> int:
    """Write the sections of all pages. Returns the exit code."""

    def action() -> int:
        for page in PAGES:
            before = (ROOT / page).read_text(encoding="utf-8")
            after = filled(before)
            if after != before:
                write_text(ROOT / page, after)
                print(f"written: {page}")
        return 0

    return guarded("docs", action)


if __name__ == "__main__":
    raise SystemExit(main())
