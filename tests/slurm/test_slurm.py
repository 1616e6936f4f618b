"""The study on a real Slurm: two nodes of one core each, both of them this machine. `pytest -m slurm` runs this.

A study of two networks on 60 rendered people is made without Slurm first. The same study on Slurm is disturbed in every
way below, and must end with the same results to the last digit.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "reliability"))

from cluster import Slurm, missing  # beside this file
from kills import ROOT, clone, demo, differences, finish  # found by the line above

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")]
EPOCHS = "EPOCHS=4"  # long enough to be stopped in the middle
STEPS = {f"{arm}-s0-{step}" for arm in ("control", "topo") for step in ("train", "evaluate", "analyze")}
NOT_COMPARED = re.compile(r"out/logs/|runs/\.lock|\.(mk|times)$")  # where it ran and how long it takes


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with pytest.MonkeyPatch.context() as patch, Slurm(tmp_path_factory.mktemp("slurm") / "a", [1, 1]) as cluster:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        patch.delenv("MAKEFLAGS", raising=False)
        yield cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    checkout = clone(folder / "undisturbed")
    finish(checkout, EPOCHS)
    return checkout


@pytest.fixture(scope="module")
def launched(folder: Path) -> Path:
    return clone(folder / "launched")


def start(checkout: Path) -> subprocess.Popen[bytes]:
    """Start the study on Slurm."""
    return demo(checkout, EPOCHS, "-j4", "LAUNCH=srun -n1 -c1")


def said(checkout: Path) -> str:
    """What make has printed so far, in all calls."""
    return (checkout.parent / f"{checkout.name}.log").read_text()


def until(is_so: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def run(checkout: Path, arm: str) -> Path:
    return checkout / "runs/synthetic-60/demo-e4/resnet18" / f"{arm}-s0"


def sessions(folder: Path) -> list[dict]:
    return json.loads((folder / "provenance.json").read_text())["sessions"]


def rows(folder: Path) -> int:
    """How many epochs are finished."""
    path = folder / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.is_file() else 0


def job(slurm: Slurm, name: str) -> str:
    """The id of the job of this name that is not finished."""
    return next(number for number, (title, _) in slurm.queue().items() if title == name)


def compared(one: Path, other: Path, folder: str = "") -> list[str]:
    """The files below a folder that differ between two checkouts."""
    found = [name for name in differences(one, other) if not NOT_COMPARED.search(name)]
    return [name for name in found if name.startswith(folder)]


# ---- one study; the tests follow each other


def test_a_cancelled_step_is_listed_and_the_others_are_made(slurm: Slurm, launched: Path) -> None:
    make = start(launched)
    until(lambda: rows(run(launched, "topo")) >= 1)
    slurm("scancel", job(slurm, "topo-s0-train"))
    assert make.wait() != 0
    listed = said(launched).partition("== failed:\n")[2].splitlines()[0]
    assert listed.startswith("synthetic-60/demo-e4/resnet18/topo-s0/train: ") and "stopped by SIGTERM" in listed
    assert not (run(launched, "topo") / "provenance.json").exists() and (run(launched, "topo") / "last.pt").exists()
    done = launched / "out/synthetic-60/demo-e4/resnet18/control-s0"
    assert (done / "evaluation.json").is_file() and (done / "analysis.json").is_file()


def test_make_waits_for_a_drained_node_and_goes_on_where_the_training_stopped(slurm: Slurm, launched: Path) -> None:
    epochs, nodes = rows(run(launched, "topo")), ",".join(slurm.names)
    slurm("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=test")
    make = start(launched)
    until(lambda: "topo-s0-train" in dict(slurm.queue().values()))
    time.sleep(3)
    assert dict(slurm.queue().values())["topo-s0-train"] == "PENDING" and make.poll() is None
    slurm("scontrol", "update", f"nodename={nodes}", "state=resume")
    assert make.wait() == 0, said(launched)[-2000:]
    assert len(sessions(run(launched, "topo"))) == 2 and len(sessions(run(launched, "control"))) == 1
    log = (launched / "out/logs/synthetic-60/demo-e4/resnet18/topo-s0/train.log").read_text()
    continued = re.search(r"continuing from .*last.pt, epoch (\d), step (\d+)", log)
    assert continued and int(continued[1]) == epochs
    assert (launched / "out/synthetic-60/report.html").is_file()


def test_every_step_was_a_job_and_two_ran_at_once(slurm: Slurm, launched: Path) -> None:
    until(lambda: not slurm.queue())
    jobs = [one for one in slurm.finished() if one["Name"] in STEPS]
    assert {one["Name"] for one in jobs} == STEPS and len(jobs) == len(STEPS) + 1  # one was started twice
    assert len({one["JobId"] for one in jobs}) == len(jobs)
    assert {one["NodeList"] for one in jobs} == set(slurm.names)
    together = max(sum(a["StartTime"] <= b["StartTime"] < a["EndTime"] for a in jobs) for b in jobs)
    assert together == 2
    # the drawing was no job
    assert {one["Name"] for one in slurm.finished()} == STEPS


def test_the_results_are_those_without_slurm_to_the_last_digit(undisturbed: Path, launched: Path) -> None:
    assert compared(undisturbed, launched) == []


def test_a_step_that_fails_is_listed_and_the_others_are_made(slurm: Slurm, folder: Path) -> None:
    checkout = clone(folder / "failing")
    broken = run(checkout, "control") / "config.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    assert start(checkout).wait() != 0
    listed = said(checkout).partition("== failed:\n")[2].splitlines()[0]
    assert listed.startswith("synthetic-60/demo-e4/resnet18/control-s0/train: pose-topo: error: runs/")
    assert (checkout / "out/synthetic-60/demo-e4/resnet18/topo-s0/evaluation.json").is_file()
    assert len(sessions(run(checkout, "topo"))) == 1


def test_a_stopped_make_takes_its_jobs_out_of_the_queue(slurm: Slurm, folder: Path) -> None:
    checkout = clone(folder / "stopped")
    make = start(checkout)
    until(lambda: any(state == "RUNNING" for _, state in slurm.queue().values()))
    make.terminate()
    assert make.wait() != 0
    until(lambda: not slurm.queue(), 40)


# ---- the blocks of docs/cluster.md


def block(word: str, **replaced: str) -> str:
    """The block of docs/cluster.md that holds this word, with other words in it."""
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (found,) = (one for one in re.findall(r"```bash needs=slurm\n(.*?)```", text, re.S) if word in one)
    for old, new in replaced.items():
        assert old in found
        found = found.replace(old, new)
    return found


def shell(checkout: Path, script: str, **environment: str) -> str:
    """What a script prints in a checkout."""
    variables = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "VENV": sys.prefix} | environment
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tasks_of_an_array_job_train_and_go_on_after_they_were_requeued(
    slurm: Slurm, folder: Path, undisturbed: Path
) -> None:
    checkout = clone(folder / "array")
    (checkout / "data").symlink_to(undisturbed / "data")
    script = block("array.sh", **{"--cpus-per-task=8 --gpus=1 --time=12:00:00": "--cpus-per-task=1"})
    study = {"STUDY": "demo", "DEMO_PEOPLE": "60", "ARMS": "control topo", "SEEDS": "0", "EPOCHS": "4"}
    number = shell(checkout, script, CACHE=str(checkout / "cache"), **study).split()[-1]
    until(lambda: rows(run(checkout, "topo")) >= 1)
    slurm("scancel", "--batch", "--signal=TERM", f"{number}_2")  # as Slurm does before the time limit
    until(lambda: [state for name, state in slurm.queue().values() if name == "array.sh"][-1:] == ["PENDING"])
    slurm("scontrol", "update", f"jobid={number}_2", "starttime=now")
    until(lambda: not slurm.queue())
    for arm, count in {"control": 1, "topo": 2}.items():
        assert len(sessions(run(checkout, arm))) == count
    assert compared(undisturbed, checkout, "runs/") == []


def test_one_training_runs_on_two_nodes(slurm: Slurm, folder: Path, undisturbed: Path) -> None:
    script = block(
        "torchrun",
        **{
            "--cpus-per-task=64 --gpus-per-node=8": "--cpus-per-task=1",
            "--nproc-per-node=8": "--nproc-per-node=1",
            '$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)': "127.0.0.1",
            "--arch resnet50": "--arch resnet18 --epochs 1 --protocol demo --data data/synthetic-60 --device cpu",
            "torchrun ": f"{sys.prefix}/bin/torchrun ",
        },
    )
    shell(undisturbed, script, POSE_TOPO_CACHE=str(undisturbed / "cache"))
    (session,) = sessions(undisturbed / "runs" / "topo-16gpu")
    assert session["processes"] == 2 and rows(undisturbed / "runs" / "topo-16gpu") == 1


def test_all_commands_enter_a_container_and_srun_stays_outside(slurm: Slurm, folder: Path, undisturbed: Path) -> None:
    """With a stand-in for Apptainer, which notes what it is given and runs it here."""
    checkout = clone(folder / "container")
    (checkout / "data").symlink_to(undisturbed / "data")
    programs = folder / "programs"
    programs.mkdir()
    (programs / "apptainer").write_text(
        f'#!/bin/bash\necho "${{SLURM_JOB_ID:-none}} $*" >>{folder}/entered\n[ "$1" = exec ] || exit 0\n'
        f'while [[ $1 != *.sif ]]; do shift; done\nprogram=${{2##*/}}\nexec {sys.prefix}/bin/$program "${{@:3}}"\n'
    )
    (programs / "apptainer").chmod(0o755)
    study = {"STUDY": "demo", "DEMO_PEOPLE": "60", "ARMS": "control", "SEEDS": "0", "EPOCHS": "1", "LESION_ARMS": ""}
    script = block("apptainer", **{"-c8 --gpus=1": "-c1"})
    shell(checkout, script, PATH=f"{programs}:{os.environ['PATH']}", **study)
    lines = (folder / "entered").read_text().splitlines()
    inside = [line for line in lines if not line.startswith("none ")]
    assert len(inside) == 3 and all("/opt/venv/bin/pose-topo" in line for line in inside)
    assert any(line.startswith("none exec") and "-m paper_figures" in line for line in lines)
    assert (checkout / "out/synthetic-60/report.html").is_file()
