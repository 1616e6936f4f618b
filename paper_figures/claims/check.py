"""Judge every claim of claims.toml as supported, contradicted or not run, and write `claims.md` and `claims.json`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from paper_figures.claims.checks import CheckResult, Values, Verdict
from paper_figures.claims.model import CLAIMS, REFERENCE, Claim, Profile, Study, load_study
from paper_figures.lib import captions
from paper_figures.lib.command import add_results, words
from paper_figures.lib.costs import Cost, training_cost
from paper_figures.lib.results import Run, check_comparable, load
from pose_topo.core.errors import PoseTopoError, guarded
from pose_topo.core.files import write_json, write_text
from pose_topo.download.catalog import NEWELL
from pose_topo.study.results import SCHEMAS, read_document

PUBLISHED = "published predictions"
EVERY = "every"


# ---- the runs that decide


@dataclass(frozen=True)
class Results:
    """The runs that claims are judged by: those made here, and the reference runs by profile.

    With `judge_reference`, a profile that has no runs here is judged by its reference runs.
    """

    here: Sequence[Run]
    reference: Mapping[str, list[Run]]
    judge_reference: bool = False

    def of(self, profile: Profile) -> list[Run]:
        """Return the runs that a profile is judged by."""
        if profile.id == EVERY:
            return list(self.here)  # its checks look at the reference runs in any case
        mine = [run for run in self.here if profile.holds(run)]
        return mine or (self.reference_of(profile) if self.judge_reference else [])

    def reference_of(self, profile: Profile) -> list[Run]:
        """Return the reference runs of a profile."""
        if profile.id == EVERY:
            return [run for group in self.reference.values() for run in group]
        return self.reference.get(profile.id, [])


def load_reference(study: Study, root: Path = REFERENCE) -> dict[str, list[Run]]:
    """Return the reference runs of each profile.

    Raises:
        PoseTopoError: a run in the folder of a profile does not belong to it.
    """
    found = {}
    for profile in study.profiles.values():
        runs = load(sorted(path for path in (root / profile.id).glob("*") if path.is_dir()))
        if strays := [run.folder for run in runs if not profile.holds(run)]:
            raise PoseTopoError(f"{strays[0]}: is not a run of profile {profile.id} (data, protocol, backbone or arm)")
        found[profile.id] = runs
    return found


def load_predictions(path: Path) -> Run:
    """Return the evaluation of newell.h5 as a run whose arm is the name of that file.

    Raises:
        PoseTopoError: the file is not the evaluation of newell.h5.
    """
    content = read_document(path, "evaluation")
    if content.get("predictions_sha256") != NEWELL.checks.sha256:
        raise PoseTopoError(f"{path}: is not the evaluation of {NEWELL.name}, which `download reference` fetches")
    as_run = content | {"as_protocol": True}  # nothing was trained
    return Run(path.parent, NEWELL.name, 0, "", PUBLISHED, {"evaluation": as_run})


def gather(study: Study, given: argparse.Namespace) -> Results:
    """Return the results that the command line names.

    Raises:
        PoseTopoError: a folder does not exist, or its files contradict each other or the name of their arm.
    """
    root = given.reference.resolve()
    own = [path for path in given.results if not path.resolve().is_relative_to(root)]
    # runs with other settings prove nothing, and two of them may have the same name
    runs = load(own, keep=lambda run: run.as_protocol)
    if given.predictions_evaluation is not None:
        runs.append(load_predictions(given.predictions_evaluation))
    return Results(runs, load_reference(study, given.reference), judge_reference=len(own) < len(given.results))


# ---- judging


@dataclass(frozen=True)
class ClaimResult:
    """A claim with the results of its checks, and what it costs to reproduce."""

    claim: Claim
    checks: tuple[CheckResult, ...]
    cost: Cost | None

    @property
    def verdict(self) -> Verdict:
        """Contradicted if any check is; otherwise not run if any check is; otherwise supported."""
        found = {check.verdict for check in self.checks}
        if "contradicted" in found:
            return "contradicted"
        return "not run" if "not run" in found else "supported"


def judge(study: Study, results: Results) -> list[ClaimResult]:
    """Judge every claim by the runs of its profile.

    Raises:
        PoseTopoError: these runs cannot be compared, or a file lacks a key that a claim names.
    """
    return [_judge(claim, results) for claim in study.claims]


def _judge(claim: Claim, results: Results) -> ClaimResult:
    mine, reference = results.of(claim.profile), results.reference_of(claim.profile)
    if claim.profile.id == EVERY:
        theirs = {f"{name}/{run.arm}-s{run.seed}": run for name, group in results.reference.items() for run in group}
    else:
        check_comparable(mine)
        theirs = _named(reference)
    judging = [run for run in mine if run.seed not in claim.formed_on]
    theirs = {name: run for name, run in theirs.items() if run.seed not in claim.formed_on}
    checks = tuple(check.judge(_named(judging), theirs) for check in claim.checks)
    if mine and not judging:
        reason = f"seeds {captions.listed(claim.formed_on)} suggested this claim: others must judge it"
        checks = tuple(replace(check, reason=reason) for check in checks)
    return ClaimResult(claim, checks, training_cost(reference, claim.arms))


def _named(runs: Iterable[Run]) -> dict[str, Run]:
    """Return the runs by unique names."""
    return {"/".join(filter(None, (run.data, run.protocol, run.arch, f"{run.arm}-s{run.seed}"))): run for run in runs}


# ---- words


def summary(values: Values) -> str:
    """Return values over seeds as text: "0.489 (0.471 to 0.51, 6 seeds)"; named runs are counted as runs."""
    if not values:
        return "–"
    found = list(values.values())
    if len(found) == 1:
        return f"{found[0]:.4g}"
    what = f"{len(found)} {'seeds' if all(name.isdecimal() for name in values) else 'runs'}"
    if len(set(found)) == 1:
        return f"{found[0]:.4g} ({what})"
    return f"{fmean(found):.4g} ({min(found):.4g} to {max(found):.4g}, {what})"


def line(result: ClaimResult) -> str:
    """Return the result of a claim as one line for a terminal."""
    if all(check.verdict == "not run" for check in result.checks):
        found = ", ".join(dict.fromkeys(check.reason for check in result.checks))
    else:
        found = "; ".join(map(_sentence, result.checks))
    return f"{result.verdict.upper():12} {result.claim.profile.id}/{result.claim.id}: {found}"


def _sentence(check: CheckResult) -> str:
    text = f"{check.statistic} {summary(check.here)}" if check.here else check.statistic
    text += f" (required {check.wanted})" if check.wanted else ""
    text += f", reference {summary(check.reference)}" if check.reference else ""
    return text + (f"; {check.reason}" if check.reason else "")


def describe(profile: Profile, runs: Sequence[Run]) -> str:
    """Return which runs of a profile these are, and where they deviate from the study."""
    if profile.id == EVERY or profile.protocol == PUBLISHED:
        return f"{len(runs)} result{'s' * (len(runs) != 1)}." if runs else "No result."
    return captions.about(runs) if runs else "No run."


# ---- files


def to_json(study: Study, judged: Sequence[ClaimResult], results: Results) -> dict[str, Any]:
    """Return the content of claims.json, from which the report is made. docs/results.md describes it."""
    return {
        "schema": SCHEMAS["claims"],
        "kind": "claims",
        "level": study.level,
        "profiles": [
            {
                "id": profile.id,
                "about": profile.about,
                "command": profile.command,
                "disk": profile.disk,
                "here": describe(profile, mine := results.of(profile)),
                "here_is_reference": bool(mine) and mine == results.reference_of(profile),
                "reference": describe(profile, results.reference_of(profile)),
            }
            for profile in study.profiles.values()
        ],
        "claims": [
            {
                "id": result.claim.id,
                "profile": result.claim.profile.id,
                "kind": result.claim.kind,
                "statement": result.claim.statement,
                "verdict": result.verdict,
                "cost": result.cost and asdict(result.cost),
                "checks": [
                    asdict(check)
                    | {
                        "wanted": check.wanted and {**asdict(check.wanted), "text": str(check.wanted)},
                        "reason": check.reason or None,
                    }
                    for check in result.checks
                ],
            }
            for result in judged
        ],
        "not_supported": list(study.not_supported),
        "never_run": [entry.what for entry in study.never_run],
    }


def to_markdown(content: Mapping[str, Any], study: Study) -> str:
    """Return claims.json as Markdown: a table of claims, the runs they were judged by, and what is not claimed."""
    lines = ["| verdict | claim | compared | required | here | reference |", "|---|---|---|---|---|---|"]
    for claim in content["claims"]:
        first = f"**{claim['verdict']}** | **{claim['profile']}/{claim['id']}** ({claim['kind']}): {claim['statement']}"
        for check in claim["checks"]:
            here = summary(check["here"]) + (f"; {check['reason']}" if check["verdict"] == "not run" else "")
            required = check["wanted"]["text"] if check["wanted"] else "–"
            cells = (check["statistic"], required, here, summary(check["reference"]))
            lines.append(f"| {first} | {' | '.join(cells)} |")
            first = " | "
    lines += ["", "Means over seeds (smallest to largest).", ""]
    for profile in content["profiles"]:
        here = "the reference runs themselves." if profile["here_is_reference"] else profile["here"]
        lines.append(f"- **{profile['id']}**, {profile['about']} (`{profile['command']}`).")
        lines.append(f"  Here: {here} Reference: {profile['reference']}")
    return "\n".join(lines) + "\n\n" + study.limitations()


# ---- the command


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m paper_figures.claims.check", description=__doc__)
    add_results(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files are written")
    parser.add_argument(
        "--predictions-evaluation",
        type=Path,
        metavar="FILE",
        help="evaluation.json of newell.h5 (pose-topo evaluate --predictions)",
    )
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="claims file [default: that of the study]")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="folder of the reference results")
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 even if a claim is contradicted")
    return parser.parse_args(words(argv))


def main(argv: Sequence[str] | None = None) -> int:
    """Judge the claims. Returns the exit code: 1 if a claim is contradicted."""

    def action() -> int:
        given = options(argv)
        study = load_study(given.claims)
        results = gather(study, given)
        judged = judge(study, results)
        content = to_json(study, judged, results)
        write_json(given.out / "claims.json", content)
        write_text(given.out / "claims.md", to_markdown(content, study))
        for result in judged:
            print(line(result))
        contradicted = any(result.verdict == "contradicted" for result in judged)
        return int(contradicted and not given.no_fail)

    return guarded("check", action)


if __name__ == "__main__":
    raise SystemExit(main())
