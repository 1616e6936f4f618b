"""On which devices the heavy steps run (DEVICES), and what starts them (LAUNCH), with a stand-in for pose-topo."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from test_make import ROOT, Make, commands

from pose_topo.core.errors import UsageError
from pose_topo.study import plan
from pose_topo.study.plan import Study, gpus

# it notes when it starts and ends, with its device and cores, and writes the file that make waits for
STAND_IN = """#!/bin/bash
said="$*"
case $1 in
train-*) place=${said#*--save-dir } name=${said#*--run-name }; place=${place%% *}/${name%% *} file=provenance.json ;;
evaluate) place=${said#*--out } file=evaluation.json ;;
*) place=${said#*--out } file=analysis.json ;;
esac
place=${place%% *}
device=${said##*--device }
note() { echo "$1 $(date +%s.%N) ${device%% *} $(taskset -pc $$ | sed 's/.* //') $place/$file" >>"$NOTES"; }
note start
echo "Slurm calls it $SLURM_JOB_NAME"
if [[ -n ${FAILS:-} && $place = *$FAILS* ]]; then
    printf '10%%\\r20%%\\nerror: no luck\\nsrun: error: exit 1\\n'
    exit 1
fi
sleep 0.3
note end
mkdir -p "$place" && echo '{}' >"$place/$file"
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "pose-topo").write_text(STAND_IN)
    (programs / "pose-topo").chmod(0o755)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return Make(tmp_path)


def notes(make: Make) -> list[list[str]]:
    """Return what happened, as [start or end, time, device, cores, file]."""
    lines = (make.folder / "notes").read_text().splitlines()
    return sorted((line.split() for line in lines), key=lambda words: float(words[1]))


def at_once(make: Make) -> Counter[int]:
    """Return how often so many steps were running when one had started or ended."""
    running, found = 0, Counter()
    for kind, *_ in notes(make):
        running += 1 if kind == "start" else -1
        found[running] += 1
    return found


def files(make: Make, *arms: str) -> list[str]:
    """Return what evaluates and analyzes these arms."""
    folder = make.out / "mpii" / "standard" / "resnet18"
    return [f"{folder}/{arm}-s0/{file}.json" for arm in arms for file in ("evaluation", "analysis")]


# ---- DEVICES


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_as_many_steps_run_at_once_as_there_are_devices(make: Make) -> None:
    """Never three, although make may start eight."""
    arms = ("baseline", "control", "topo")
    make("-j8", "STUDY=quick", "SEEDS=0", "DEVICES=cpu cpu", *files(make, *arms))
    found = notes(make)
    assert len(found) == 2 * 3 * len(arms)
    assert set(at_once(make)) == {0, 1, 2}
    assert {device for _, _, device, *_ in found} == {"cpu"}
    # each has cores of its own, and all cores are used
    shares = {cores for *_, cores, _ in found}
    assert len(shares) == 2
    cores = [int(core) for share in shares for core in subprocess.run(
        ["taskset", "-c", share, sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"],
        capture_output=True, text=True, check=True).stdout.split()]  # fmt: skip
    assert sorted(cores) == sorted(os.sched_getaffinity(0))


def test_every_gpu_that_is_there_is_used(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    make("-j8", "STUDY=quick", "SEEDS=0", *files(make, "baseline", "control"))
    assert set(at_once(make)) == {0, 1, 2}
    running: set[str] = set()
    for kind, _, device, *_ in notes(make):  # a device has one step at a time
        assert (device in running) == (kind == "end")
        running ^= {device}
    assert {device for _, _, device, *_ in notes(make)} == {"cuda:0", "cuda:1"}


def test_one_device_is_locked_as_a_whole(make: Make) -> None:
    assert [Study(given).devices for given in ({}, {"DEVICES": "cpu"}, {"DEVICES": "1"})] == [
        ["auto"],
        ["cpu"],
        ["cuda:1"],
    ]
    text = make("-n", "quick", "SEEDS=0", "DEVICES=1")
    assert commands(text, f"flock {make.runs}/.lock {make.folder}/venv/bin/pose-topo train-topo", "--device cuda:1")
    make("-j8", "STUDY=quick", "SEEDS=0", *files(make, "baseline", "control"))
    assert set(at_once(make)) == {0, 1}


def test_a_lock_that_cannot_be_had_is_no_endless_wait(tmp_path: Path) -> None:
    tool = ["bash", str(ROOT / "tools" / "on_device.sh"), str(tmp_path / "none" / ".lock"), "cpu", "true"]
    done = subprocess.run(tool, capture_output=True, text=True, timeout=10)
    assert done.returncode and "No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"DEVICES": "0 x"}, "DEVICES: no device x: give the numbers of GPUs, or cpu"),
        ({"DEVICES": "0 cuda:0"}, "DEVICES: cuda:0 is given twice"),
        ({"DEVICES": "cpu " * 5000}, "DEVICES: 5000 times cpu, but there are"),
        ({"DEVICES": "0", "DEVICE": "cpu"}, "DEVICES: not with DEVICE"),
        ({"DEVICES": "0", "LAUNCH": "srun"}, "DEVICES: not with LAUNCH"),
    ],
)
def test_a_wrong_device_is_one_line(given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Study(given)


def test_the_threads_of_a_physical_core_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_cores", lambda: [0, 4, 1, 5, 2, 6, 3, 7])
    assert Study({"DEVICES": "cpu 1 cpu"}).devices == ["cuda:1", "cpu@0-1,4-5", "cpu@2-3,6-7"]


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("2", 1), ("0, GPU-12ab", 2), ("0,-1,1", 1)])
def test_gpus_are_counted_as_cuda_sees_them(visible: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == count


def test_gpus_are_those_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    lines = "GPU 0: NVIDIA A (UUID: a)", "  MIG 1g Device 0: (UUID: b)", "GPU 1: NVIDIA A (UUID: c)"
    tool.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.join(lines)}\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Study({}).devices == ["cuda:0", "cuda:1"] and Study({"DEVICE": "cuda"}).devices == ["cuda"]
    assert Study({"LAUNCH": "srun"}).devices == ["auto"]


# ---- LAUNCH


def test_a_failed_step_does_not_stop_the_others_and_is_listed_at_the_end(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "control-s0")
    given = ("-j4", "STUDY=quick", "SEEDS=0", "LAUNCH=nice -n 1")
    (make.out / "logs").mkdir(parents=True)
    (make.out / "logs" / "failed").write_text("an earlier failure\n")
    text = make(*given, "all", code=2)
    log = f"{make.out}/logs/mpii/standard/resnet18/control-s0/train.log"
    listed = text.partition("== failed:\n")[2].splitlines()[0]
    assert "an earlier failure" not in text
    assert listed == f"mpii/standard/resnet18/control-s0/train: error: no luck ({log})"
    assert "No rule to make" not in text and all(Path(file).is_file() for file in files(make, "baseline"))
    assert Path(files(make, "topo")[0]).is_file()  # its analysis needs that of the control
    assert "nice -n 1" in Path(log).read_text() and "Slurm calls it control-s0-train" in Path(log).read_text()
    # the same command does what is missing
    monkeypatch.delenv("FAILS")
    before = len(notes(make))
    make(*given, *files(make, "baseline", "control", "topo"))
    assert len(notes(make)) - before == 2 * 4
    assert Path(log).read_text().count("== 20") == 2  # what it printed the first time is kept


def test_what_is_drawn_is_not_launched(make: Make) -> None:
    text = make("-n", "demo", "LAUNCH=srun -n1 --gpus=1")
    launched = commands(text, "tools/launch.sh")
    assert len(launched) == 9 and all("srun -n1 --gpus=1" in line and "flock" not in line for line in launched)
    assert not commands(text, "-m paper_figures", "srun") and "tools/costs.py" not in text
    assert "DOCKER=1 takes no LAUNCH" in make("demo", "DOCKER=1", "LAUNCH=srun", code=2)


def test_a_signal_reaches_what_was_launched(tmp_path: Path) -> None:
    """bash alone would end, and leave the job in the queue."""
    script = "trap 'echo stopped; exit 143' TERM; echo ready; while true; do sleep 0.05; done"
    tool = ["bash", str(ROOT / "tools" / "launch.sh"), str(tmp_path), "a/b/train", "bash", "-c", script]
    with subprocess.Popen(tool, stderr=subprocess.PIPE, text=True) as launched:
        log = tmp_path / "a" / "b" / "train.log"
        while not log.exists() or "\nready\n" not in log.read_text():
            time.sleep(0.02)
        launched.send_signal(signal.SIGTERM)
        said = launched.communicate(timeout=10)[1]
    assert launched.returncode == 143 and said == f"a/b/train: stopped ({log})\n"


def test_a_stopped_make_stops_what_was_launched(make: Make) -> None:
    """`make demo` calls make, which calls make, which starts the steps: the signal reaches them all."""
    program = make.folder / "venv" / "bin" / "pose-topo"
    program.write_text("#!/bin/bash\ntrap 'echo stopped; exit 143' TERM\nwhile true; do sleep 0.05; done\n")
    with make.start("-j4", "quick", "SEEDS=0", "LAUNCH=nice -n 1") as quick:
        logs = make.out / "logs" / "mpii" / "standard" / "resnet18"
        while len(list(logs.glob("*/train.log"))) < 3:
            time.sleep(0.05)
        time.sleep(0.5)
        quick.terminate()
        printed, _ = quick.communicate(timeout=20)
    assert quick.returncode and printed.partition("== failed:")[2].count("/train: stopped (") == 3


def test_the_targets_of_the_trainings_are_listed_for_an_array_job(make: Make) -> None:
    lines = make("targets", "STUDY=photographs").splitlines()
    found = [line for line in lines if line.endswith("provenance.json")]
    assert found[0].endswith("synthetic-2400/small/resnet18/baseline-s0/provenance.json") and len(found) == 6
    assert make("-n", "STUDY=photographs", found[1]).count("pose-topo train-") == 2


def test_what_a_killed_study_tool_left_is_removed(make: Make) -> None:
    """It is removed by the next one that writes the rules."""
    make("-n", "quick")
    (rules,) = make.out.iterdir()
    script = "import os\nfrom pose_topo.core.files import atomic_path\n"
    script += f"with atomic_path({str(rules)!r}):\n    os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script])
    assert len(list(make.out.iterdir())) == 2
    make("-n", "quick", "SEEDS=7")
    assert list(make.out.iterdir()) == [rules]
