"""Claims against runs: which runs a claim is judged by, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paper_figures.claims.checks import Finding, Verdict
from paper_figures.claims.model import Claim, Profile, Study
from paper_figures.lib import captions
from paper_figures.lib.provenance import Cost, training_cost
from paper_figures.lib.results import Run, load, one_study
from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json
from pose_topo.core.schemas import OF_RUN
from pose_topo.download.catalog import NEWELL

REFERENCE = Path(__file__).parent.parent / "reference"
PUBLISHED = "published predictions"
EVERY = "every"


@dataclass(frozen=True)
class Judged:
    """A claim with its findings."""

    claim: Claim
    findings: tuple[Finding, ...]
    cost: Cost | None

    @property
    def verdict(self) -> Verdict:
        """One contradicted check contradicts the claim; one that was not run leaves it open."""
        found = {finding.verdict for finding in self.findings}
        if "contradicted" in found:
            return "contradicted"
        return "not run" if "not run" in found else "supported"


def load_reference(study: Study, root: Path = REFERENCE) -> dict[str, list[Run]]:
    """The committed runs of every profile that has some.

    Raises:
        PoseTopoError: a run in a profile's folder is not one of that profile.
    """
    found = {}
    for profile in study.profiles.values():
        runs = load(sorted(path for path in (root / profile.id).glob("*") if path.is_dir()))
        if strays := [run.folder for run in runs if not profile.holds(run)]:
            raise PoseTopoError(f"{strays[0]}: is no run of profile {profile.id} (data, protocol, backbone or its arm)")
        found[profile.id] = runs
    return found


def load_predictions(path: Path) -> Run:
    """The evaluation of a prediction file that claims know, as a run whose arm is the file's name.

    Raises:
        PoseTopoError: it is no evaluation of predictions, or of none that a claim names.
    """
    content = read_json(path)
    if not isinstance(content, dict) or (content.get("kind"), content.get("schema")) != (
        "evaluation",
        OF_RUN["evaluation"],
    ):
        raise PoseTopoError(f"{path} is not a schema {OF_RUN['evaluation']} evaluation file: make it anew")
    if content.get("predictions_sha256") != NEWELL.checks.sha256:
        raise PoseTopoError(f"{path}: is not the evaluation of {NEWELL.name}, which `download reference` fetches")
    as_run = content | {"as_protocol": True}  # nothing was trained
    return Run(path.parent, NEWELL.name, 0, "", PUBLISHED, {"evaluation": as_run})


@dataclass(frozen=True)
class Results:
    """What claims are judged by: runs that were made here, and the committed ones by profile. `itself` says that the
    reference is to be judged as if it had been made here, where a profile has no other runs."""

    here: Sequence[Run]
    reference: dict[str, list[Run]]
    itself: bool = False

    def of(self, profile: Profile) -> list[Run]:
        """The runs to judge a profile by."""
        if profile.id == EVERY:
            return list(self.here)  # the reference is in every check of these
        return [run for run in self.here if profile.holds(run)] or (self.committed(profile) if self.itself else [])

    def committed(self, profile: Profile) -> list[Run]:
        """The reference runs of a profile."""
        if profile.id == EVERY:
            return [run for group in self.reference.values() for run in group]
        return self.reference.get(profile.id, [])


def judge_all(study: Study, results: Results) -> list[Judged]:
    """Judge every claim, by the runs of its profile.

    Raises:
        PoseTopoError: those runs cannot be compared, or a file lacks a key that a claim names.
    """
    return [_judge(claim, results) for claim in study.claims]


def _judge(claim: Claim, results: Results) -> Judged:
    mine, committed = results.of(claim.profile), results.committed(claim.profile)
    if claim.profile.id == EVERY:
        theirs = {f"{name}/{run.arm}-s{run.seed}": run for name, group in results.reference.items() for run in group}
    else:
        one_study(mine)
        theirs = named(committed)
    findings = tuple(check.judge(named(mine), theirs) for check in claim.checks)
    return Judged(claim, findings, training_cost(committed, claim.arms))


def named(runs: Iterable[Run]) -> dict[str, Run]:
    """Runs by a name that tells them apart."""
    return {"/".join(filter(None, (run.data, run.protocol, run.arch, f"{run.arm}-s{run.seed}"))): run for run in runs}


def about(profile: Profile, runs: Sequence[Run]) -> str:
    """Which runs `runs` of a profile are, and where they deviate from the study."""
    if profile.id == EVERY or profile.protocol == PUBLISHED:
        return f"{len(runs)} result{'s' * (len(runs) != 1)}." if runs else "No result."
    return captions.about(runs) if runs else "No run."
