"""The Makefile's promises, read from what it would run (`make -n`)."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")


def make(*arguments: str, code: int = 0) -> str:
    """What make prints."""
    done = subprocess.run(["make", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def steps(text: str) -> list[str]:
    return [line.split('"')[1] for line in text.splitlines() if line.startswith('echo "== ')]


def test_make_alone_prints_help_with_every_target():
    text = make()
    for target in ("setup", "demo", "all", "figures", "test", "lint", "clean", "lock"):
        assert f"\n  {target} " in text


def test_the_demo_is_the_graph_of_all_on_rendered_people(tmp_path):
    found = steps(make("-n", "demo", f"OUT={tmp_path}/o", f"RUNS={tmp_path}/r", "DEMO_PEOPLE=7"))
    trained = [step.split(",")[0] for step in found if step.startswith("== train")]
    assert trained == ["== train: resnet18 baseline", "== train: resnet18 control", "== train: resnet18 topo"]
    assert any("rendering 7 people" in step for step in found)
    assert sum(step.startswith("== evaluate") for step in found) == 3
    assert sum(step.startswith("== analyze") for step in found) == 3
    assert sum(step.startswith("== figure") for step in found) == 8
    assert sum(step.startswith("== table") for step in found) == 2
    assert found[-1].startswith("== verdict")


def test_what_is_given_on_the_command_line_stands(tmp_path):
    text = make("-n", "demo", "SEEDS=3 4", "ARCHS=resnet34", "ARMS=topo", f"RUNS={tmp_path}", "DEMO_PEOPLE=7")
    assert [step.split(":")[1].split("(")[0].strip() for step in steps(text) if "== train" in step] == [
        "resnet34 topo, seed 3",
        "resnet34 topo, seed 4",
    ]


def test_a_changed_setting_goes_to_another_folder(tmp_path):
    def folder(*settings: str) -> str:
        text = make("-n", "all", "ARCHS=resnet18", "SEEDS=0", "ARMS=topo", f"RUNS={tmp_path}", *settings)
        return next(line for line in text.splitlines() if "--save-dir" in line).split("--save-dir ")[1].split()[0]

    settings = [
        (),
        ("EPOCHS=3",),
        ("LAMBDA=5",),
        ("PROTOCOL=paper",),
        ("TRAIN=--lr 1e-4",),
        ("TRAIN=--lr=2e-4",),
        ("DATA=else",),
    ]
    folders = [folder(*setting) for setting in settings]
    assert len(set(folders)) == len(folders)


def test_the_control_has_lambda_zero_and_topo_m1_the_studys_rate(tmp_path):
    text = make("-n", "all", "ARCHS=resnet18", "SEEDS=0", "ARMS=baseline control topo topo-m1", f"RUNS={tmp_path}")
    lines = [line for line in text.splitlines() if "pose-topo train-" in line]
    assert "train-baseline" in lines[0]
    assert "--spatial-lambda 0 " in lines[1] and "--spatial-lambda 0.5 " in lines[2]
    assert "--topo-lr-mult 1 " in lines[3] and "--topo-lr-mult" not in lines[2]


def test_figures_never_trains(tmp_path):
    text = make("figures", f"RUNS={tmp_path}", "ARCHS=resnet18", code=2)
    assert "no finished run" in text
    run = tmp_path / "mpii" / "standard" / "resnet18" / "topo-s5"
    run.mkdir(parents=True)
    (run / "provenance.json").write_text("{}")
    found = steps(make("-n", "figures", f"RUNS={tmp_path}", f"OUT={tmp_path}/out"))
    assert not any(step.startswith("== train") for step in found)
    assert [step for step in found if step.startswith("== evaluate")] == [
        "== evaluate: resnet18/topo-s5 (the demo: seconds)"
    ]
    drawn = {step.split()[2] for step in found if step.startswith(("== figure", "== table"))}
    assert drawn == {"resnet18"}  # and nothing of the backbones that were not run


def test_a_lock_without_torch_keeps_the_rest(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(
        "numpy==1.0 \\\n    --hash=sha256:aa\n    # via torch\ntorch==2.0 \\\n    --hash=sha256:bb\n"
        "nvidia-cublas==13 ; sys_platform == 'linux' \\\n    --hash=sha256:cc\ntqdm==4 \\\n    --hash=sha256:dd\n"
    )
    tool = [sys.executable, str(ROOT / "tools" / "without_torch.py"), str(lock)]
    kept = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    assert kept == "numpy==1.0 \\\n    --hash=sha256:aa\n    # via torch\ntqdm==4 \\\n    --hash=sha256:dd\n"
