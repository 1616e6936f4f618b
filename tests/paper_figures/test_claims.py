"""claims.toml: the reference results support it, and a wrong file is refused."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import made_up_results
import numpy as np
import pytest

from paper_figures.claims import check
from paper_figures.claims.check import ClaimResult, Results, judge
from paper_figures.claims.checks import mean_moran
from paper_figures.claims.model import REFERENCE, load_study
from paper_figures.lib.results import Run, load
from pose_topo.core.errors import PoseTopoError

ROOT = Path(__file__).parents[2]

# ---- the project's own files ----


def test_the_reference_results_support_the_claims_of_the_project(tmp_path: Path) -> None:
    folders = sorted(path.parent for path in REFERENCE.glob("*/*/evaluation.json"))
    if not folders:
        pytest.skip("no reference results are committed yet")
    assert check.main(["--results", *map(str, folders), "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    there = {name for name, runs in check.load_reference(load_study()).items() if runs}
    assert all(c["verdict"] == "supported" for c in content["claims"] if c["profile"] in there and c["kind"] == "order")


def outdated(reference: Path) -> list[str]:
    """Return what was never run, by claims.toml, but was by the reference results or their sessions."""
    sessions = [s for path in reference.glob("*/*/provenance.json") for s in json.loads(path.read_text())["sessions"]]
    found = []
    for entry in load_study().never_run:
        has_results = entry.profile and any((reference / entry.profile).glob("*/evaluation.json"))
        fits = (
            all(fnmatch.fnmatchcase(str(session.get(key)), like) for key, like in entry.provenance.items())
            for session in sessions
        )
        if has_results or (entry.provenance and any(fits)):
            found.append(entry.what)
    return found


def test_no_reference_result_contradicts_what_was_never_run() -> None:
    assert outdated(REFERENCE) == []


def test_results_of_something_that_was_never_run_are_found(tmp_path: Path) -> None:
    assert outdated(tmp_path) == []
    made_up_results.write_run(tmp_path / "mpii" / "topo-s0", "topo", 0, data="mpii", protocol="standard")
    assert outdated(tmp_path) == [entry.what for entry in load_study().never_run if entry.profile == "mpii"] != []
    sessions = [{"processes": 4, "cuda": "13.0", "torch": "2.12.1+cpu"}]
    made_up_results.dump(tmp_path / "mpii" / "topo-s0" / "provenance.json", {"sessions": sessions})
    assert len(outdated(tmp_path)) == 3


@pytest.mark.parametrize(
    "key, value", [(("rendered",), True), (("settings", "split"), "random"), (("settings", "split_mismatch"), "fewer")]
)
def test_a_run_belongs_to_mpii_by_the_people_it_scored_and_not_by_the_name_of_its_folder(
    tmp_path: Path, key: tuple[str, ...], value: object
) -> None:
    profile = load_study().profiles["mpii"]
    folder = made_up_results.write_run(tmp_path / "topo-s0", "topo", 0, data="any name", protocol="standard")
    for what in (("rendered",), False), (("settings", "split"), "tompson"), (("settings", "split_mismatch"), None):
        made_up_results.edit(folder, "evaluation.json", *what)
    assert profile.holds(load([folder])[0])
    made_up_results.edit(folder, "evaluation.json", key, value)
    assert not profile.holds(load([folder])[0])


def test_a_number_without_the_arrays_to_recompute_it_is_not_run(tmp_path: Path) -> None:
    made_up_results.write_study(tmp_path / "reference" / "small", seeds=(0, 1, 2), data="synthetic-2400")
    mine = made_up_results.write_study(tmp_path / "mine", seeds=(7,), data="synthetic-2400")
    given = ["--reference", str(tmp_path / "reference"), "--results", *map(str, mine), "--out", str(tmp_path)]

    def judged() -> dict:
        check.main([*given, "--no-fail"])
        content = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
        return next(claim for claim in content["claims"] if claim["id"] == "numbers-follow-from-arrays")

    assert judged()["verdict"] == "supported"
    (mine[-1] / "analysis.npz").unlink()
    found = judged()
    assert found["verdict"] == "not run" and "no arrays beside" in found["checks"][0]["reason"]


# ---- a claims file that is wrong ----

HEAD = 'level = 95.0\n[title]\nk = "K"\n[profile.p]\nabout = "a"\ncommand = "c"\n'
CLAIM = '[[claim]]\nid = "a"\nstatement = "s"\nkind = "order"\nprofiles = ["p"]\n'
QUANTITY = '{arm = "a", file = "analysis", key = "k"}'
UNTITLED = QUANTITY.replace('"k"', '"no title"')


def test_a_minimal_claims_file(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(HEAD + CLAIM + f"check = [{{greater = {QUANTITY}, than = 1.0}}]", encoding="utf-8")
    assert [claim.id for claim in load_study(path).claims] == ["a"]


def test_the_seeds_that_suggested_a_claim_do_not_judge_it(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    bound = CLAIM.replace("order", "bound") + f"formed_on = [0, 1, 2]\ncheck = [{{greater = {QUANTITY}, than = 1.0}}]"
    path.write_text(HEAD + bound, encoding="utf-8")
    study = load_study(path)

    def verdict(*values: float) -> ClaimResult:
        files = [{"analysis": {"k": value, "as_protocol": True}} for value in values]
        made = [Run(tmp_path / f"a-s{seed}", "a", seed, "r", "q", file) for seed, file in enumerate(files)]
        return judge(study, Results(made, {}))[0]

    suggested = verdict(0.0, 0.0, 0.0)
    assert suggested.verdict == "not run" and suggested.checks[0].reason.startswith("seeds 0 to 2 suggested this claim")
    judged = verdict(0.0, 0.0, 0.0, 2.0, 2.1, 2.2)
    assert judged.verdict == "supported" and judged.checks[0].here == {"3": 2.0, "4": 2.1, "5": 2.2}
    assert verdict(9.0, 9.0, 9.0, 0.0, 0.1, 0.2).verdict == "contradicted"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD + CLAIM + "check = []",
        HEAD + CLAIM.replace("order", "guess") + f"check = [{{greater = {QUANTITY}, than = 1.0}}]",
        HEAD + CLAIM + f"check = [{{greater = {QUANTITY}, then = 1.0}}]",
        HEAD + CLAIM + "check = [{greater = 2.0, than = 1.0}]",
        HEAD + CLAIM + f"check = [{{greater = {QUANTITY}, than = 1.0, by = 1.0, within = 1.0}}]",
        HEAD + CLAIM.replace('"p"', '"q"') + f"check = [{{greater = {QUANTITY}, than = 1.0}}]",
        HEAD + "clause = 1\n" + CLAIM + 'clause = "x"\n' + f"check = [{{greater = {QUANTITY}, than = 1.0}}]",
        HEAD + CLAIM + f"check = [{{greater = {UNTITLED}, than = 1.0}}]",
        HEAD + CLAIM + f"check = [{{greater = {QUANTITY}, than = 1.0}}]\n[[never_run]]\nwhat = 'x'\nprofile = 'q'",
        HEAD + 2 * (CLAIM + f"check = [{{greater = {QUANTITY}, than = 1.0}}]\n"),
    ],
)
def test_a_wrong_claims_file_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PoseTopoError, match="claims") as caught:
        load_study(path)
    assert "\n" not in str(caught.value)


# ---- what the claims stand on ----


def test_morans_i_by_hand() -> None:
    """A 2 x 2 grid, where all are neighbours: I = -1 / 3 whatever the values are."""

    class Made(Run):
        def has(self, *parts: str) -> bool:
            return True

    run = Made(Path(), "a", 0, "r", "p", {})
    run.__dict__["maps"] = {"strength": np.array([[[1.0, 2.0], [3.0, 9.0]], [[0.0, 0.0], [0.0, 0.0]]])}
    assert mean_moran(run) == pytest.approx(-1 / 3)  # the map without variance has none
