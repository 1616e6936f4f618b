"""What make would do (`make -n`): which runs it trains, and what it makes again after a change."""

import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from paper_figures.lib.command import exhibits
from pose_topo import cli
from pose_topo.commands import train
from pose_topo.commands.train import TrainOptions
from pose_topo.study.plan import read_study

ROOT = Path(__file__).resolve().parent.parent
STUDY = read_study()
DRAWN = [name for name in exhibits() if name != "table_seeds"]  # of one seed
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")


class Make:
    """Runs make with folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.runs = folder, folder / "out", folder / "runs"

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Return what make prints."""
        done = self.start(*arguments)
        printed, _ = done.communicate()
        assert done.returncode == code, printed
        return printed

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start make, and do not wait for it."""
        command = ["make", "-C", str(ROOT), f"OUT={self.out}", f"RUNS={self.runs}", f"VENV={self.folder}/venv"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k not in ("VENV", "DOCKER")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen([*command, *arguments], text=True, env=environment, **pipes)

    def finished(self, *runs: str, data: str = "mpii") -> None:
        """Write what says that these runs are finished."""
        for run in runs:
            (self.runs / data / run).mkdir(parents=True)
            (self.runs / data / run / "provenance.json").write_text("{}")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return Make(tmp_path)


def steps(text: str) -> list[str]:
    """Return the steps that make would take, as it announces them."""
    return [line.split('"')[1] for line in text.splitlines() if line.startswith('echo "== ')]


def trained(text: str) -> list[str]:
    """Return what would be trained, as <recipe>/<backbone>/<arm>-s<seed>."""
    return [step.split()[2] for step in steps(text) if step.startswith("== train")]


def commands(text: str, *words: str) -> list[str]:
    """Return the commands that hold these words."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if all(word in line for word in words) and not line.startswith("echo")]


# ---- targets and variables


def test_make_alone_prints_help_with_every_target(make: Make) -> None:
    text = make()
    targets = "setup download demo quick synthetic photographs all plan figures site check test test-slow bench lint"
    assert [f"\n  {target} " in text for target in [*targets.split(), "clean", "lock"]].count(False) == 0
    assert not make.out.exists()  # help needs no rules


def test_every_variable_is_described_at_the_top_of_the_makefile() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    head, _, rest = text.partition("\nSETTINGS := ")
    described = " ".join(re.findall(r"^#   ([A-Z_ ]+[A-Z])", head, re.M)).split()
    assert set(described) == set(rest.partition("\n\n")[0].partition("\nSTUDY ")[0].replace("\\", "").split())
    assert len(text.splitlines()) < 150


def test_clean_never_takes_checkpoints_or_what_a_blank_makes_of_a_path(make: Make) -> None:
    assert f"rm -rf {make.out}" in make("-n", "clean")
    assert "lies in OUT" in make("-n", "clean", "OUT=work", "RUNS=work/runs", code=2)
    assert "OUT: a path without blanks" in make("-n", "clean", "OUT=my results", code=2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("ARMS=topo-x", "ARMS: no arm topo-x: give one such as baseline"),
        ("LOSSES=weight", "LOSSES: weight has no lambdas in study.toml"),
        ("LAMBDAS=much", "could not convert string to float: 'much'"),
        ("PROTOCOL=mine", "PROTOCOL=mine: give one of standard, paper, synthetic, photographs, small, demo"),
        ("STUDY=none", "STUDY=none: give one of all, quick, demo, small, synthetic"),
        ("RESULTS=mine", "RESULTS=mine: give reference, or nothing"),
    ],
)
def test_a_wrong_value_is_one_line(make: Make, wrong: str, said: str) -> None:
    assert f"study: {said}" in make("-n", "all", wrong, code=2)


def test_the_rules_are_plain_commands(make: Make) -> None:
    """`less out/study-demo.mk` shows what is run."""
    make("-n", "demo", "TRAIN=--weights 'a$$b'")
    text = (make.out / "study-demo.mk").read_text(encoding="utf-8")
    assert "pose-topo train-topo --arch resnet18 --seed 0 \\\n\t    --data data/synthetic-800 --protocol demo" in text
    assert "--no-wandb --weights 'a$$b'" in text


def test_rules_that_have_not_changed_are_not_written_again(make: Make) -> None:
    make("-n", "demo")
    written = (make.out / "study-demo.mk").stat().st_mtime_ns
    make("-n", "demo")
    assert (make.out / "study-demo.mk").stat().st_mtime_ns == written
    assert trained(make("-n", "demo", "SEEDS=3")) == [f"demo/resnet18/{arm}-s3" for arm in STUDY["arms"]]


def test_a_lock_without_torch_keeps_the_rest() -> None:
    found = re.search(r"awk '(.*)'", (ROOT / "tools" / "setup.sh").read_text(encoding="utf-8"))
    assert found is not None
    lock = (
        "numpy==1.0 \\\n    --hash=sha256:aa\n    # via torch\ntorch==2.0 \\\n    --hash=sha256:bb\n"
        "nvidia-cublas==13 ; sys_platform == 'linux' \\\n    --hash=sha256:cc\ntqdm==4 \\\n    --hash=sha256:dd\n"
    )
    kept = subprocess.run(["awk", found[1]], input=lock, capture_output=True, text=True, check=True).stdout
    assert kept == "numpy==1.0 \\\n    --hash=sha256:aa\n    # via torch\ntqdm==4 \\\n    --hash=sha256:dd\n"


# ---- which runs


def test_the_demo_is_the_graph_of_all_on_rendered_people(make: Make) -> None:
    text = make("-n", "demo", "DEMO_PEOPLE=7")
    found = steps(text)
    assert trained(text) == [f"demo/resnet18/{arm}-s0" for arm in ("baseline", "control", "topo")]
    assert any("rendering 7 people" in step for step in found)
    count = Counter(step.split(":")[0] for step in found)
    assert count["== evaluate"] == count["== analyze"] == 3
    (drawing,) = commands(text, "-m paper_figures ", "--if-there")
    assert drawing.split("-m paper_figures ")[1].split(" --")[0].split() == DRAWN
    assert count["== claims"] == count["== report"] == count["== draw"] == 1 and found[-1].startswith("== done")
    # how long it takes is said first, then there is a picture; no claim of the demo needs lesions
    assert [step.split(":")[0] for step in found[:4]] == ["== time", "== data", "== show", "== train"]
    assert all("tools/left.sh" in step for step in found if not step.startswith(("== time", "== data", "== done")))
    assert "--lesions" not in text and "--lesions" in make("-n", "small")


def test_robustness_is_measured_for_the_arms_that_are_named(make: Make) -> None:
    assert "--robustness" not in make("-n", "demo") + make("-n", "small")
    text = make("-n", "demo", "ROBUST_ARMS=control topo")
    assert [step.split()[2] for step in steps(text) if step.startswith("== robustness")] == [
        "demo/resnet18/control-s0", "demo/resnet18/topo-s0",
    ]  # fmt: skip
    assert len(commands(text, "analyze", "--robustness")) == 2
    assert len(commands(make("-n", "quick"), "analyze", "--robustness")) == 9  # three arms, three seeds
    make.finished("standard/resnet18/topo-s0")
    assert "--robustness" not in make("-n", "figures")
    assert "--robustness" in make("-n", "figures", "ROBUST_ARMS=topo")


def test_all_is_the_whole_study(make: Make) -> None:
    runs = trained(make("-n", "all"))
    assert len(runs) == len(set(runs))
    main = {
        f"standard/{arch}/{arm}-s{seed}"
        for arch in ("resnet18", "resnet34", "resnet50") for arm in ("baseline", "control", "topo") for seed in range(6)
    }  # fmt: skip
    paper = {run.replace("standard", "paper") for run in main if "/resnet18/" in run}
    losses = {f"{loss}-l{weight}" for loss, weights in STUDY["sweep"]["losses"].items() for weight in weights}
    assert len(losses) == 3 * len(STUDY["sweep"]["losses"])
    extra = {"topo-l0.005", "topo-l0.05", "topo-l5", "topo-m10", "topo-permuted"} | losses
    assert set(runs) == main | paper | {f"standard/resnet18/{arm}-s{seed}" for arm in extra for seed in range(3)}


def test_quick_is_the_smallest_part(make: Make) -> None:
    arms = ("baseline", "control", "topo")
    assert trained(make("-n", "quick")) == [f"standard/resnet18/{arm}-s{seed}" for arm in arms for seed in range(3)]


def test_the_runs_on_photographs_start_from_a_network_of_rendered_people(make: Make) -> None:
    text = make("-n", "all", "STUDY=photographs", "DATA=photos/lspet")
    arms = ["baseline", "control", "topo-l0.05", "topo", "topoloss-l0.5"]
    assert trained(text) == ["small/resnet18/baseline-s0", *(f"photographs/resnet18/{arm}-s0" for arm in arms)]
    start = f"--start {make.runs}/synthetic-2400/small/resnet18/baseline-s0"
    assert len(commands(text, "--data photos/lspet --protocol photographs", start)) == 5
    assert commands(make("-n", "all", "STUDY=photographs"), "--data lspet ")  # without DATA


def test_what_is_given_on_the_command_line_stands(make: Make) -> None:
    text = make("-n", "demo", "SEEDS=3 4", "ARCHS=resnet34", "ARMS=topo topo-l0.5", "DEMO_PEOPLE=7")
    assert trained(text) == ["demo/resnet34/topo-s3", "demo/resnet34/topo-s4"]  # topo-l0.5 is topo


def test_an_arm_has_one_name_in_each_protocol(make: Make) -> None:
    given = ("ARMS=topo topo-m10 topo-m1", "SEEDS=0", "ARCHS=resnet18", "SWEEP_ARCHS=")
    assert trained(make("-n", "all", "PROTOCOL=small", *given)) == [
        "small/resnet18/topo-m1-s0",
        "small/resnet18/topo-s0",
    ]
    assert trained(make("-n", "all", "PAPER_ARCHS=", *given)) == [
        "standard/resnet18/topo-m10-s0", "standard/resnet18/topo-s0",
    ]  # fmt: skip


def test_every_arm_is_trained_as_it_is_named(make: Make) -> None:
    """The path names the arm; the name that the run gives itself by its options must be the same."""
    arms = (
        "baseline",
        "control",
        "topo",
        "topo-m1",
        "topo-l0.1234567",
        "topo-permuted",
        "topoloss-l5",
        "topo-8x4-rook",
    )
    text = make("-n", "all", f"ARMS={' '.join(arms)}", "PROTOCOL=demo", "SEEDS=3", "ARCHS=resnet34")
    given = [parsed(shlex.split(line.split("pose-topo ")[1])) for line in commands(text, "pose-topo train-")]
    assert {options.config().arm for options in given} == set(arms) and len(given) == len(arms)
    for options in given:
        assert options.run_name == f"{options.config().arm}-s3"
        assert options.save_dir == make.runs / "mpii" / "demo" / "resnet34"


def parsed(words: list[str]) -> TrainOptions:
    """The options of a training command, as the command line reads them."""
    caught = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_train", caught.append)
        cli.app(words, standalone_mode=False)
    return caught[0]


def test_a_changed_setting_goes_to_another_folder(make: Make) -> None:
    def folder(*settings: str) -> str:
        return make("-n", "quick", "SEEDS=0", "ARMS=topo", *settings).split("--save-dir ")[1].split()[0]

    settings = [(), ("EPOCHS=3",), ("PROTOCOL=paper",), ("TRAIN=--lr 1e-4",), ("TRAIN=--lr=2e-4",), ("DATA=else",)]
    assert len({folder(*setting) for setting in settings}) == len(settings)


def test_a_path_among_the_training_options_is_no_folder_of_the_runs(make: Make) -> None:
    assert trained(make("-n", "demo", "TRAIN=--weights /a/b.pth"))[0] == "demo--weights_a_b.pth/resnet18/baseline-s0"


def test_older_checkpoints_are_named_and_kept(make: Make) -> None:
    tool = ["bash", str(ROOT / "tools" / "older_checkpoints.sh"), str(make.runs)]
    make.finished("standard/resnet18/topo-s0", "standard/resnet18/topo-s1")
    assert subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""
    old = make.runs / "mpii" / "standard" / "resnet18" / "topo-s1" / "provenance.json"
    os.utime(old, (0, 0))
    said = subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("note: 1 checkpoints are older") and "topo-s1" in said and old.is_file()


# ---- figures and check: of the runs that exist


@pytest.mark.parametrize("goals", ["figures", "check", "figures check", "figures plan", "lint check"])
def test_figures_and_check_take_what_is_there_and_never_train(make: Make, goals: str) -> None:
    assert "no finished run" in make(*goals.split(), "ARCHS=resnet18", code=2)
    make.finished("standard/resnet18/topo-s5", "standard/resnet18/mine-s5")
    text = make("-n", *goals.split())
    assert trained(text) == []
    assert [step.split()[2].rpartition("/")[2] for step in steps(text) if step.startswith("== evaluate")] == [
        "mine-s5", "topo-s5",
    ]  # fmt: skip


@pytest.mark.parametrize("goals", ["all check", "all figures", "figures all"])
def test_with_all_everything_is_trained_first(make: Make, goals: str) -> None:
    """It took only the finished runs, trained nothing and said that it was done."""
    given = ("DATA=data/synthetic-7", "PROTOCOL=demo", "ARCHS=resnet18", "SEEDS=0")
    make.finished("demo/resnet18/baseline-s0", data="synthetic-7")
    text = make("-n", *goals.split(), *given)
    assert trained(text) == ["demo/resnet18/control-s0", "demo/resnet18/topo-s0"]
    assert make("-n", "plan", "figures", *given).count("== train") == 0


def test_given_checkpoints_keep_to_themselves(make: Make) -> None:
    make.finished("standard/resnet18/topo-s5")
    text = make("-n", "figures", f"CHECKPOINTS={make.runs}", "RUNS=runs")
    outs = {line.split("--out ")[1].split()[0] for line in commands(text, "--out ")}
    assert outs and all(out.startswith(f"{make.out}/given/") for out in outs)


def test_the_reference_results_need_no_run(make: Make) -> None:
    text = make("-n", "figures", "RESULTS=reference")
    profiles = [path for path in (ROOT / "paper_figures" / "reference").iterdir() if path.is_dir()]
    of_several_seeds = [path for path in profiles if len(list(path.glob("control-s*"))) > 1]
    drawing = commands(text, "-m paper_figures ")
    assert not commands(text, " evaluate ") and len(drawing) == len(profiles)
    assert sum("table_seeds" in command for command in drawing) == len(of_several_seeds)
    assert len(commands(make("-n", "site"), "-m paper_figures ")) == len(profiles)


def test_the_report_is_of_the_runs_that_are_shown(make: Make) -> None:
    """Verdicts depend on this list, so what other settings left there is not taken for up to date."""
    runs = make.out / "synthetic-7" / ".runs"
    on = ("DATA=data/synthetic-7", "PROTOCOL=demo", "ARCHS=resnet18", "SEEDS=0")

    def listed(*more: str) -> list[str]:
        make(*on, str(runs), *more)
        return runs.read_text(encoding="utf-8").split()

    first = listed()
    assert [Path(one).name for one in first] == ["baseline-s0", "control-s0", "topo-s0"]
    written = runs.stat().st_mtime_ns
    assert listed() == first and runs.stat().st_mtime_ns == written
    assert listed("EPOCHS=4") != first and runs.stat().st_mtime_ns > written
    assert "== claims" in make("-n", "-W", str(runs), *on, f"{make.out}/synthetic-7/claims.json")


def test_seeds_are_compared_where_there_are_several(make: Make) -> None:
    make.finished("standard/resnet18/control-s0", "standard/resnet18/topo-s0")
    assert "--group" not in make("-n", "figures")
    make.finished("standard/resnet18/control-s1", "standard/resnet18/topo-s1")
    assert "--group" in make("-n", "figures")


def test_the_control_is_analyzed_before_what_is_compared_with_it(make: Make) -> None:
    analyses = commands(make("-n", "quick", "SEEDS=1", "ROBUST_ARMS="), "pose-topo analyze ")
    names = [line.split(" analyze ")[1].split()[0].rsplit("/", 1)[1] for line in analyses]
    assert names.index("control-s1") < names.index("topo-s1")
    assert [" --control " in line for line in analyses] == [name == "topo-s1" for name in names]


# ---- what is made again


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A quick study of which everything is made, after all code."""
    make = Make(tmp_path_factory.mktemp("complete"))
    make("-n", "quick", "SEEDS=0 1")
    rules = (make.out / "study-quick.mk").read_text(encoding="utf-8")
    targets = [Path(target) for target in re.findall(r"^(\S+):(?: |$)", rules, re.M)]
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.name != ".runs":
            target.write_text("{}")
    for target in targets:
        if target.name == ".runs":
            make("STUDY=quick", "SEEDS=0 1", str(target))
        os.utime(target, (4e9, 4e9))
    return make


def again(make: Make, *touched: str) -> Counter[str]:
    """Return how often each step would be taken after these files have changed."""
    newer = [word for path in touched for word in ("-W", path)]
    return Counter(step.split(":")[0] for step in steps(make("-n", "all", "STUDY=quick", "SEEDS=0 1", *newer)))


def test_what_is_complete_is_not_made_again(complete: Make) -> None:
    assert again(complete) == {"== done": 1}


@pytest.mark.parametrize(
    ("touched", "expected"),
    [
        ("pose_topo/pictures/drawing.py", {}),  # evaluated and analyzed everything before
        ("pose_topo/download/fetch.py", {}),
        ("pose_topo/training/loop.py", {}),
        ("pose_topo/study/study.toml", {"report": 1}),  # a command on the page names the runs beside the demo's
        ("pose_topo/stages/silencing.py", {"analyze": 6}),
        ("pose_topo/stages/robustness.py", {"robustness": 6}),
        ("pose_topo/scoring/pckh.py", {"evaluate": 6, "analyze": 6, "robustness": 6}),
        ("pose_topo/scoring/published.csv", {"draw": 1, "claims": 1, "report": 1}),  # redrew nothing before
        ("paper_figures/lib/style.py", {"draw": 1, "claims": 1, "report": 1}),
        ("paper_figures/figures/moran.py", {"draw": 1, "report": 1}),
        ("paper_figures/claims/claims.toml", {"claims": 1, "report": 1}),
        ("paper_figures/report/report.css", {"report": 1}),
    ],
)
def test_a_change_of_code_makes_again_what_it_made(complete: Make, touched: str, expected: dict[str, int]) -> None:
    assert (ROOT / touched).is_file()
    found = again(complete, touched)
    measured = {"evaluate", "analyze", "robustness"} & expected.keys()
    follows = {"draw", "group", "claims", "report"} if measured else set()
    assert {step: n for step, n in found.items() if step[3:] not in follows | {"done"}} == {
        f"== {step}": n for step, n in expected.items()
    }
    assert follows <= {step[3:] for step in found}


def test_a_change_of_the_joints_redraws_everything(complete: Make) -> None:
    """The figures did not depend on them before."""
    for kind in ("draw", "claims", "report"):
        assert again(complete, "pose_topo/study/joints.py")[f"== {kind}"] == 1
