"""The Makefile's promises, read from what it would run (`make -n`)."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paper_figures.__main__ import names as all_exhibits
from pose_topo import cli
from pose_topo.commands import train
from pose_topo.commands.train import TrainOptions

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
FIGURES, TABLES = (re.findall(rf"^{name} +:= (.*)$", MAKEFILE, re.M)[0].split() for name in ("FIGURES", "TABLES"))
SWEPT = {loss: found.split() for loss, found in re.findall(r"^LAMBDAS_(\S+)\s*:= (.*)$", MAKEFILE, re.M)}
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")


def make(*arguments: str, code: int = 0) -> str:
    """What make prints."""
    done = subprocess.run(["make", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_clean_never_takes_checkpoints_or_what_a_blank_makes_of_a_path() -> None:
    assert "rm -rf out" in make("-n", "clean")
    assert "lies in OUT" in make("-n", "clean", "OUT=work", "RUNS=work/runs", code=2)
    assert "OUT: a path without blanks" in make("-n", "clean", "OUT=my results", code=2)


def test_a_path_among_the_training_options_is_no_folder_of_the_runs() -> None:
    line = next(step for step in steps(make("-n", "demo", "TRAIN=--weights /a/b.pth")) if step.startswith("== train"))
    assert line.split()[2] == "demo--weights_a_b.pth/resnet18/baseline-s0"


def steps(text: str) -> list[str]:
    return [line.split('"')[1] for line in text.splitlines() if line.startswith('echo "== ')]


def trained(text: str) -> list[str]:
    """What would be trained, as <variant>/<arch>/<arm>-s<seed>."""
    return [step.split()[2] for step in steps(text) if step.startswith("== train")]


def test_make_alone_prints_help_with_every_target():
    text = make()
    for target in (
        "setup",
        "download",
        "demo",
        "quick",
        "synthetic",
        "all",
        "plan",
        "figures",
        "check",
        "test",
        "lint",
        "clean",
        "lock",
    ):
        assert f"\n  {target} " in text


def test_the_demo_is_the_graph_of_all_on_rendered_people(tmp_path):
    text = make("-n", "demo", f"OUT={tmp_path}/o", f"RUNS={tmp_path}/r", "DEMO_PEOPLE=7")
    found = steps(text)
    assert trained(text) == [f"demo/resnet18/{arm}-s0" for arm in ("baseline", "control", "topo")]
    assert any("rendering 7 people" in step for step in found)
    count = Counter(step.split(":")[0] for step in found)
    assert count["== evaluate"] == count["== analyze"] == 3
    assert count["== draw"] == len(FIGURES) + len(TABLES) and {*FIGURES, *TABLES, "table_seeds"} == {*all_exhibits()}
    assert count["== claims"] == count["== report"] == 1 and found[-1].startswith("== done")


def test_all_is_the_whole_study(tmp_path):
    cells = trained(make("-n", "all", f"RUNS={tmp_path}"))
    assert len(cells) == len(set(cells))
    main = {
        f"standard/{arch}/{arm}-s{seed}"
        for arch in ("resnet18", "resnet34", "resnet50") for arm in ("baseline", "control", "topo") for seed in range(6)
    }  # fmt: skip
    paper = {cell.replace("standard", "paper") for cell in main if "/resnet18/" in cell}
    losses = {f"{loss}-l{weight}" for loss, weights in SWEPT.items() for weight in weights}
    assert len(losses) == 15
    extra = {"topo-l0.005", "topo-l0.05", "topo-l5", "topo-m10", "topo-permuted"} | losses
    swept = {f"standard/resnet18/{arm}-s{seed}" for arm in extra for seed in range(3)}
    assert set(cells) == main | paper | swept


def test_every_arm_is_trained_as_it_is_named(tmp_path):
    """The path names the arm; what the options set, the run's own name for it (arm_of) must say the same."""
    arms = ("baseline", "control", "topo", "topo-m1", "topo-l0.1", "topo-permuted", "topoloss-l5", "topographic-l0.05")
    text = make("-n", "all", f"ARMS={' '.join(arms)}", "PROTOCOL=demo", "SEEDS=3", "ARCHS=resnet34", f"RUNS={tmp_path}")
    commands = [line for line in text.replace("\\\n", " ").splitlines() if "pose-topo train-" in line]
    assert len(commands) == len(arms)
    for command in commands:
        words = shlex.split(command.split("pose-topo ")[1])
        given = parsed(words)
        assert given.run_name == f"{given.config().arm}-s3"
        assert given.save_dir == tmp_path / "mpii" / "demo" / "resnet34"
    assert {parsed(shlex.split(c.split("pose-topo ")[1])).config().arm for c in commands} == set(arms)


def parsed(words: list[str]) -> TrainOptions:
    """The options of a training command, as the command line reads them."""
    caught = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_train", caught.append)
        cli.app(words, standalone_mode=False)
    return caught[0]


def test_quick_is_the_least_part(tmp_path):
    cells = trained(make("-n", "quick", f"RUNS={tmp_path}"))
    arms = ("baseline", "control", "topo")
    assert cells == [f"standard/resnet18/{arm}-s{seed}" for arm in arms for seed in range(3)]


def test_an_arm_that_nobody_knows_is_refused(tmp_path):
    assert "no arm topo-x" in make("-n", "all", "ARMS=topo-x", f"RUNS={tmp_path}", code=2)


def test_what_is_given_on_the_command_line_stands(tmp_path):
    text = make("-n", "demo", "SEEDS=3 4", "ARCHS=resnet34", "ARMS=topo", f"RUNS={tmp_path}", "DEMO_PEOPLE=7")
    assert trained(text) == ["demo/resnet34/topo-s3", "demo/resnet34/topo-s4"]


def test_a_changed_setting_goes_to_another_folder(tmp_path):
    def folder(*settings: str) -> str:
        text = make("-n", "quick", "SEEDS=0", "ARMS=topo", f"RUNS={tmp_path}", *settings)
        return text.split("--save-dir ")[1].split()[0]

    settings = [(), ("EPOCHS=3",), ("PROTOCOL=paper",), ("TRAIN=--lr 1e-4",), ("TRAIN=--lr=2e-4",), ("DATA=else",)]
    folders = [folder(*setting) for setting in settings]
    assert len(set(folders)) == len(folders)


def finished(folder: Path, *cells: str) -> None:
    for cell in cells:
        (folder / "mpii" / cell).mkdir(parents=True)
        (folder / "mpii" / cell / "provenance.json").write_text("{}")


@pytest.mark.parametrize("target", ["figures", "check"])
def test_figures_and_check_take_what_is_there_and_never_train(tmp_path, target):
    assert "no finished run" in make(target, f"RUNS={tmp_path}", "ARCHS=resnet18", code=2)
    finished(tmp_path, "standard/resnet18/topo-s5")
    text = make("-n", target, f"RUNS={tmp_path}", f"OUT={tmp_path}/out")
    assert trained(text) == []
    assert [step.split()[2] for step in steps(text) if step.startswith("== evaluate")] == ["standard/resnet18/topo-s5"]


def test_given_checkpoints_keep_to_themselves(tmp_path):
    finished(tmp_path / "theirs", "standard/resnet18/topo-s5")
    text = make("-n", "figures", f"CHECKPOINTS={tmp_path}/theirs", f"OUT={tmp_path}/out")
    outs = {line.split("--out ")[1].split()[0] for line in text.splitlines() if "--out " in line}
    assert outs and all(out.startswith(f"{tmp_path}/out/given/") for out in outs)


def test_the_report_is_of_the_runs_that_are_shown(tmp_path):
    """Verdicts depend on this list, so what other settings left there is not taken for up to date."""
    runs = tmp_path / "synthetic-7" / ".runs"

    def listed(*more: str) -> list[str]:
        make(*on, str(runs), *more)
        return runs.read_text(encoding="utf-8").split()

    on = (
        f"OUT={tmp_path}",
        f"RUNS={tmp_path}/r",
        "DATA=data/synthetic-7",
        "PROTOCOL=demo",
        "ARCHS=resnet18",
        "SEEDS=0",
    )
    first = listed()
    assert [Path(one).name for one in first] == ["baseline-s0", "control-s0", "topo-s0"]
    written = runs.stat().st_mtime_ns
    assert listed() == first and runs.stat().st_mtime_ns == written
    assert listed("EPOCHS=4") != first and runs.stat().st_mtime_ns > written
    claims = make("-n", "-W", str(runs), *on, f"{tmp_path}/synthetic-7/claims.json")
    assert "== claims" in claims


def test_seeds_are_compared_where_there_are_several(tmp_path):
    finished(tmp_path / "a", "standard/resnet18/control-s0", "standard/resnet18/topo-s0")
    assert "--group" not in make("-n", "figures", f"RUNS={tmp_path}/a", f"OUT={tmp_path}/o")
    finished(tmp_path / "a", "standard/resnet18/control-s1", "standard/resnet18/topo-s1")
    assert "--group" in make("-n", "figures", f"RUNS={tmp_path}/a", f"OUT={tmp_path}/o")


def test_the_control_comes_before_what_is_held_against_it(tmp_path):
    text = make("-n", "quick", "SEEDS=1", f"RUNS={tmp_path}", f"OUT={tmp_path}/o")
    analyses = [line for line in text.replace("\\\n", " ").splitlines() if "pose-topo analyze " in line]
    names = [line.split(" analyze ")[1].split()[0].rsplit("/", 1)[1] for line in analyses]
    assert names.index("control-s1") < names.index("topo-s1")
    assert [" --control " in line for line in analyses] == [name == "topo-s1" for name in names]


def test_older_checkpoints_are_named_and_kept(tmp_path):
    tool = ["bash", str(ROOT / "tools" / "older_checkpoints.sh"), str(tmp_path)]
    finished(tmp_path, "standard/resnet18/topo-s0", "standard/resnet18/topo-s1")
    assert subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""
    old = tmp_path / "mpii" / "standard" / "resnet18" / "topo-s1" / "provenance.json"
    os.utime(old, (0, 0))
    said = subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("note: 1 checkpoints are older") and "topo-s1" in said and old.is_file()


def test_a_lock_without_torch_keeps_the_rest(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(
        "numpy==1.0 \\\n    --hash=sha256:aa\n    # via torch\ntorch==2.0 \\\n    --hash=sha256:bb\n"
        "nvidia-cublas==13 ; sys_platform == 'linux' \\\n    --hash=sha256:cc\ntqdm==4 \\\n    --hash=sha256:dd\n"
    )
    tool = [sys.executable, str(ROOT / "tools" / "without_torch.py"), str(lock)]
    kept = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    assert kept == "numpy==1.0 \\\n    --hash=sha256:aa\n    # via torch\ntqdm==4 \\\n    --hash=sha256:dd\n"
