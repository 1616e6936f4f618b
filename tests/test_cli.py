"""The command line: an error is one line and an exit code, and all commands work together."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_topo import __version__, cli
from pose_topo.study.config import MAT_NAME

TINY = [
    "--protocol",
    "demo",
    "--arch",
    "resnet18",
    "--input-size",
    "32",
    "--batch-size",
    "4",
    "--no-progress",
    "--threads",
    "1",
]


def run(*arguments: object) -> int:
    """Call the command line in this process; returns its exit code."""
    old = sys.argv
    sys.argv = ["pose-topo", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        sys.argv = old
    return int(left.value.code or 0)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The single error line on stderr, apart from status lines."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pose-topo: error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(small_data, tmp_path_factory):
    """A TopoModel trained for two tiny epochs."""
    folder = tmp_path_factory.mktemp("work")
    where = ["--data", small_data, "--save-dir", folder / "runs", "--run-name", "tiny"]
    assert run("train-topo", *where, *TINY, "--epochs", 2, "--topo-grid", 4, 5, "--save-plts") == 0
    return folder / "runs" / "tiny"


COMMANDS = ["download", "train-baseline", "train-topo", "evaluate", "compare", "analyze", "predict", "show", "doctor"]


def test_help_imports_nothing_heavy():
    code = "import sys; sys.argv = ['pose-topo', '--help']\nfrom pose_topo import cli\n"
    code += "try: cli.main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'scipy', 'cv2', 'matplotlib', 'wandb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert [command for command in COMMANDS if f"  {command} " not in done.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_line(command, capsys):
    assert run(command, "--help") == 0
    text = capsys.readouterr().out
    blocks = text.split("Options:")[1].strip("\n").split("\n  --")
    for block in blocks:
        words = " ".join(block.split())
        assert any(len(word) > 2 for word in words.split()[1:]), words
        assert words.rstrip().endswith((".", "]", ")", "exit.")), words


def test_the_flags_of_the_original_study_exist(capsys):
    run("train-topo", "--help")
    text = capsys.readouterr().out
    flags = "--device --batch-size --lr --epochs --val-split --save-dir --wandb --no-wandb --save-plts --no-save-plts"
    flags += " --pretrained --no-pretrained --arch --mat-path --img-dir --spatial-lambda --topo-grid"
    assert [flag for flag in flags.split() if flag not in text] == []


def test_the_minimal_examples_of_the_study_read_the_folder_mpii(here, small_data, capsys):
    (here / "mpii").symlink_to(small_data)
    flags = (
        "--arch resnet18 --no-wandb --save-plts --no-pretrained --epochs 1 --input-size 32 --no-progress --batch-size 8"
    )
    assert run("train-baseline", *flags.split()) == 0
    assert run("train-topo", *flags.split()) == 0
    names = sorted(path.name for path in (here / "runs").iterdir())
    assert [name.rsplit("_", 1)[0] for name in names] == ["RESNET18_SimpleBaseline_time", "RESNET18_TopoModel_time"]


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pose_topo.stages.compare.compare_results", interrupted)
    assert run("compare", "a", "b") == 130
    assert one_line(capsys) == "pose-topo: error: interrupted"


def test_a_run_writes_its_files(trained):
    assert sorted(path.name for path in trained.iterdir()) == [
        "best.pt", "config.json", "last.pt", "metrics.csv", "plots", "provenance.json",
    ]  # fmt: skip
    assert len(list((trained / "plots").iterdir())) == 4
    rows = (trained / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[1].startswith("1,") and rows[2].startswith("2,")
    provenance = json.loads((trained / "provenance.json").read_text())
    (session,) = provenance["sessions"]
    assert session["seed"] == 0 and session["wall_seconds"] > 0 and session["peak_memory"]["rss"] > 1e8


def test_evaluate_and_analyze_write_plain_json(trained, here, capsys):
    assert run("evaluate", trained, "--out", here / "out", "--no-progress") == 0
    assert run("analyze", trained, "--out", here / "out", "--no-progress", "--permutations", 99) == 0
    evaluation = json.loads((here / "out" / "evaluation.json").read_text())
    analysis = json.loads((here / "out" / "analysis.json").read_text())
    assert set(evaluation["pckh"]) == {"0.5", "0.1", "0.11"} and 0 <= evaluation["pckh"]["0.5"]["mean"] <= 100
    assert analysis["grid"] == {"height": 4, "width": 5, "neighbours": 8, "torus": False}
    assert analysis["moran"]["expected"] == pytest.approx(-1 / 19)
    assert evaluation["schema"] == 2 and evaluation["rendered"] is True
    assert 0 <= evaluation["legacy"]["pckh"] <= 100 and evaluation["legacy"]["head_ratio"]["people"] >= 1
    low, high = evaluation["intervals"]["0.5"]["mean"]
    assert low <= evaluation["pckh"]["0.5"]["mean"] <= high
    assert evaluation["checkpoint_sha256"] == analysis["checkpoint_sha256"]
    assert evaluation["data_sha256"] == analysis["data_sha256"]
    words = capsys.readouterr().out
    assert "Moran's I" in words and "are rendered: none is comparable" in words and "legacy" in words
    with np.load(here / "out" / "analysis.npz") as maps:
        assert maps["labels"].shape == (4, 5) and maps["strength"].shape == (16, 4, 5)
    with np.load(here / "out" / "examples.npz") as examples:
        assert examples["crops"].shape[1:] == (32, 32, 3)
    # our own predictions.h5 scores the same as a foreign file would
    own = here / "out" / "predictions.h5"
    assert run("evaluate", "--predictions", own, "--ground-truth", own, "--out", here / "again") == 0
    again = json.loads((here / "again" / "evaluation.json").read_text())
    assert again["pckh"] == evaluation["pckh"] and again["legacy"] == evaluation["legacy"]
    # and compares with itself: nothing won, nothing lost; a run's folder is not its results
    assert run("compare", here / "out", here / "again", "--out", here / "out") == 0
    assert "b finds 0 joints that a misses and misses 0" in capsys.readouterr().out
    assert json.loads((here / "out" / "comparison.json").read_text())["pckh"]["0.5"]["mean"]["interval"] == [0, 0]
    assert run("compare", trained, here / "out") == 1
    assert "a run, not its results" in one_line(capsys)


def test_results_contain_no_absolute_path(trained, here):
    run("evaluate", trained, "--out", here / "out", "--no-progress")
    assert str(here) not in (here / "out" / "evaluation.json").read_text()


def test_scoring_other_people_than_those_of_the_training_warns(trained, small_data, here, capsys):
    moved = copy_of(small_data, here / "moved")
    assert run("evaluate", trained, "--data", moved, "--out", here / "out", "--no-progress") == 0
    assert "not the people" not in capsys.readouterr().err  # the same data elsewhere
    for photo in sorted((moved / "images").iterdir())[:2]:
        photo.unlink()
    assert run("evaluate", trained, "--data", moved, "--out", here / "out", "--no-progress") == 0
    assert "warning" in (words := capsys.readouterr().err) and "not the people" in words
    told = json.loads((here / "out" / "evaluation.json").read_text())
    assert told["as_protocol"] is False and "not the people" in told["deviations"][-1]


def test_results_name_a_half_trained_network_and_changed_settings(trained, here, capsys):
    torch = pytest.importorskip("torch")
    half = here / "half"
    shutil.copytree(trained, half)
    (half / "provenance.json").unlink()
    content = torch.load(half / "last.pt", weights_only=True)
    torch.save({**content, "epoch": 1}, half / "last.pt")
    for command, name in (("evaluate", "evaluation"), ("analyze", "analysis")):
        assert run(command, half, "--out", here / "out", "--no-progress") == 0
        assert "warning: " in (words := capsys.readouterr().err) and "1 of 2 epochs were trained" in words
        told = json.loads((here / "out" / f"{name}.json").read_text())
        assert told["as_protocol"] is False and told["deviations"][-1] == "1 of 2 epochs were trained"
    assert run("evaluate", trained, "--no-flip", "--decode", "argmax", "--out", here / "out", "--no-progress") == 0
    told = json.loads((here / "out" / "evaluation.json").read_text())["deviations"]
    assert told[-2:] == ["decode argmax (the run: dark)", "flip test False (the run: True)"]


def test_a_network_with_outputs_that_are_not_finite_is_not_scored(trained, here, capsys):
    torch = pytest.importorskip("torch")
    broken = here / "broken"
    shutil.copytree(trained, broken)
    content = torch.load(broken / "last.pt", weights_only=True)
    name = next(key for key in content["model"] if key.endswith("running_var"))
    content["model"][name].fill_(-1.0)
    torch.save(content, broken / "last.pt")
    for command in (["evaluate"], ["analyze", "--lesions"]):
        assert run(command[0], broken, *command[1:], "--out", here / "out", "--no-progress") == 1
        assert "not finite" in one_line(capsys)
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    "target", ["mpii", "images", "annotations", "split", "lspet", "reference", "weights", "gdrive"]
)
def test_dry_run_reports_what_would_be_fetched(here, capsys, target):
    assert run("download", target, "--data", here / "mpii", "--dry-run") == 0
    said = capsys.readouterr().err
    assert (
        re.search("https?://", said)
        and str(here / "mpii" if target != "weights" else "weights") in said
        and "B" in said
    )
    assert not (here / "mpii").exists()


def test_dry_run_reports_what_would_be_rendered(here, capsys):
    assert run("download", "synthetic", "--data", here / "people", "--people", 1000, "--dry-run") == 0
    assert re.search(r"1,000 people, seed 0, into .*people \(about \d+ MB\)", capsys.readouterr().err)
    assert list(here.iterdir()) == []


def test_predict_writes_an_overlay_and_coco_keypoints(trained, small_data, here, capsys):
    photos = sorted((small_data / "images").iterdir())[:2]
    (here / "broken.jpg").write_bytes(b"no picture")
    what = ["predict", trained, photos[0], photos[1], here / "broken.jpg", "--overlay", "png", "--out", here / "p"]
    assert run(*what, "--box", "10,20,200,300") == 0
    assert "2 photographs; 1 skipped" in capsys.readouterr().err
    found = json.loads((here / "p" / "keypoints.json").read_text())["annotations"]
    assert [record["file_name"] for record in found] == [photo.name for photo in photos]
    assert all(len(record["keypoints"]) == 48 and record["bbox"] == [10, 20, 200, 300] for record in found)
    photo, overlay = cv2.imread(str(photos[0])), cv2.imread(str(here / "p" / f"{photos[0].stem}.overlay.png"))
    assert photo.shape == overlay.shape and (photo != overlay).any()


def test_show_draws_a_contact_sheet_also_of_the_worst(trained, small_data, here, capsys):
    assert run("show", small_data, "--protocol", "demo", "--split", "all", "--count", 3, "--seed", 1) == 0
    assert "out/show.png, 3 people" in capsys.readouterr().err
    assert cv2.imread("out/show.png").shape == (376, 2 * 14 + 3 * 256 + 2 * 10, 3)
    assert run("show", small_data, "--worst", trained, "--count", 1, "--out", here / "worst.jpg", "--no-progress") == 0
    assert cv2.imread("worst.jpg").shape[1] == 2 * 14 + 2 * 256 + 4


def test_a_finished_run_is_not_trained_again_and_other_settings_are_refused(trained, small_data, capsys):
    same = [
        "train-topo",
        "--data",
        small_data,
        *TINY,
        "--topo-grid",
        4,
        5,
        "--save-dir",
        trained.parent,
        "--run-name",
        "tiny",
    ]
    before, origin = (trained / "last.pt").read_bytes(), (trained / "provenance.json").read_bytes()
    assert run(*same, "--epochs", 2) == 0
    assert run(*same, "--epochs", 2, "--data", Path(os.path.relpath(small_data)), "--device", "cpu") == 0
    assert (trained / "last.pt").read_bytes() == before and (trained / "provenance.json").read_bytes() == origin
    capsys.readouterr()
    assert run(*same, "--epochs", 3) == 1
    assert "recipe.epochs: 2 -> 3" in one_line(capsys)
    assert (trained / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train-baseline"], 1, "data folder mpii not found"),
        (["train-baseline", "--arch", "resnet19"], 2, "resnet50"),
        (["train-topo", "--topo-grid", "0", "4", "--no-pretrained"], 2, "at least 1"),
        (["train-topo", "--topo-grid", "4", "-4", "--no-pretrained"], 2, "at least 1"),
        (["train-topo", "--topo-loss", "smooth", "--no-pretrained"], 2, "'topoloss'"),
        (["train-topo", "--topo-grid", "1", "1", "--no-pretrained"], 2, "no neighbours"),
        (["train-topo", "--protocol", "quick"], 2, "'standard', 'paper', 'synthetic', 'photographs', 'small', 'demo'"),
        (["train-topo", "--split", "tomson"], 2, "'tompson'"),
        (["train-topo", "--protocol", "demo", "--warm-up", "1"], 2, "one-cycle"),
        (["train-topo", "--split", "file"], 2, "--split-file"),
        (["train-topo", "--epochs", "0"], 2, "at least 1"),
        (["train-topo", "--spatial-lambda", "-1"], 2, "0 or more"),
        (["train-topo", "--lr", "abc"], 2, "--lr"),
        (["train-topo", "--precision", "fp8"], 2, "bf16"),
        (["train-topo", "--input-size", "100"], 2, "multiple of 32"),
        (["train-topo", "--compile", "auto"], 2, "on"),
        (["train-topo", "--nonsense"], 2, "--nonsense"),
        (["nonsense"], 2, "nonsense"),
        (["evaluate"], 2, "--predictions"),
        (["evaluate", "nowhere"], 1, "nowhere"),
        (["analyze", "nowhere"], 1, "nowhere"),
        (["compare", "nowhere", "nowhere"], 1, "nowhere is no results folder"),
        (["predict", "nowhere", "a.jpg", "--box", "1,2,3"], 2, "x,y,w,h"),
        (["predict", "nowhere", "a.jpg", "--box", "1,2,0,5"], 2, "positive"),
        (["predict", "nowhere", "a.jpg", "--box", "1,2,3,5", "--box", "5"], 2, "--box 5"),
        (["predict", "nowhere", "a.jpg", "--min-confidence", "2"], 2, "from 0 to 1"),
        (["predict", "nowhere", "a.jpg", "--min-confidence", "nan"], 2, "from 0 to 1"),
        (["predict", "nowhere", "a.jpg", "--overlay", "gif"], 2, "jpg"),
        (["predict", "nowhere", "a.jpg", "--precision", "fp8"], 2, "bf16"),
        (["predict", "nowhere", "a.jpg", "--batch-size", "0"], 2, "--batch-size"),
        (["predict", "nowhere", "a.jpg"], 1, "nowhere: no such photograph, folder or run"),
        (["predict", "released", "a.jpg"], 1, "a.jpg: no such photograph"),
        (["predict", "released"], 2, "give photographs"),
        (["predict", "released", "."], 1, "no photograph in this folder"),
        (["show", "nowhere"], 1, "data folder nowhere not found"),
        (["show", "nowhere", "--worst", "norun"], 1, "norun"),
        (["show", "nowhere", "--split", "test"], 2, "'train', 'val', 'all'"),
        (["show", "nowhere", "--protocol", "quick"], 2, "'synthetic', 'photographs', 'small', 'demo'"),
        (["show", "nowhere", "--worst", "norun", "--protocol", "demo"], 2, "--protocol"),
        (["show", "nowhere", "--out", "sheet.pdf"], 2, ".png or .jpg"),
        (["show", "nowhere", "--count", "0"], 2, "--count"),
        (["evaluate", "--predictions", "no.h5", "--ground-truth", "no.mat"], 1, "not found"),
        (["evaluate", "--predictions", "no.h5"], 2, "--predictions needs --ground-truth"),
        (["evaluate", "run", "--ground-truth", "no.mat"], 2, "--ground-truth goes with --predictions"),
        (["evaluate", "--predictions", "no.h5", "--ground-truth", "no.mat", "--decode", "dark", "--no-flip"], 2,
         "--decode and --flip: of a run"),
        (["doctor", "--profile", "large"], 2, "demo"),
        (["download", "synthetic", "--people", "0"], 2, "people"),
        (["download", "nonsense"], 2, "no target"),
        (["train-topo", "--seed", "-1"], 2, "--seed -1"),
        (["train-topo", "--device", "tpu"], 2, "cuda:N"),
        (["train-topo", "--augment", "wild"], 2, "mild"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(here, capsys, arguments, code, words):
    assert run(*arguments) == code
    assert words in one_line(capsys)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "tomson"], "'tompson'"),
        (["--split", "random", "--split-file", "val.txt"], "takes no --split-file"),
        (["--split", "file"], "needs --split-file"),
        (["--augment", "wild"], "'mild'"),
        (["--topo-init", "zeros"], "'kaiming'"),
        (["--topo-neighbours", "6"], "neighbours 6"),
        (["--topo-grid", "1", "2", "--topo-loss", "spatial-correlation"], "equally far"),
        (["--device", "tpu"], "cuda:N"),
    ],
)
def test_options_are_validated_before_data_are_read_or_weights_downloaded(
    here, small_data, capsys, monkeypatch, arguments, words
):
    def too_early(*_, **__):
        raise AssertionError("the options are not validated yet")

    monkeypatch.setattr("pose_topo.download.weights.fetch_weights", too_early)
    monkeypatch.setattr("pose_topo.data.dataset.prepare", too_early)
    assert run("train-topo", "--data", small_data, *arguments) == 2
    assert words in one_line(capsys)


def copy_of(data: Path, folder: Path) -> Path:
    shutil.copytree(data, folder)
    return folder


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: (data / MAT_NAME).unlink(), "annotation file"),
        (lambda data: (data / MAT_NAME).write_bytes((data / MAT_NAME).read_bytes()[:3000]), "MATLAB"),
        (lambda data: (data / MAT_NAME).write_text("not MATLAB"), "MATLAB"),
        (lambda data: shutil.rmtree(data / "images"), "image folder"),
        (lambda data: [path.unlink() for path in (data / "images").iterdir()], "none of the"),
    ],
)
def test_bad_data_is_one_line(here, small_data, capsys, spoil, words):
    data = copy_of(small_data, here / "data")
    spoil(data)
    assert run("train-baseline", "--data", data, *TINY) == 1
    assert words in one_line(capsys)
    assert not (here / "runs").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 almost a zip"])
def test_a_file_that_is_not_a_checkpoint_is_refused(here, capsys, content):
    (here / "model.pt").write_bytes(content)
    for command in ("evaluate", "analyze"):
        assert run(command, here / "model.pt", "--out", here / "out") == 1
        assert "not a checkpoint" in one_line(capsys)
    assert not (here / "out").exists()


def test_a_pickle_with_code_in_it_is_refused_and_not_run(here, capsys):
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (here / "executed",))

    (here / "model.pt").write_bytes(pickle.dumps(Evil()))
    assert run("evaluate", here / "model.pt") == 1
    assert "not a checkpoint" in one_line(capsys)
    assert not (here / "executed").exists()


def test_more_than_one_percent_unreadable_photographs_stop(here, small_data, capsys):
    data = copy_of(small_data, here / "data")
    spoilt = sorted((data / "images").iterdir())[0]
    spoilt.write_bytes(spoilt.read_bytes()[:2000])
    assert run("train-baseline", "--data", data, *TINY) == 1
    assert "unreadable" in (line := one_line(capsys)) and spoilt.name in line
    assert not (here / "runs").exists()


def test_people_of_an_unreadable_photograph_are_skipped_by_all_commands(here, small_data, capsys, monkeypatch):
    monkeypatch.setattr("pose_topo.data.crop_store.MAX_UNREADABLE", 0.5)
    data = copy_of(small_data, here / "data")
    spoilt = sorted((data / "images").iterdir())[0]
    spoilt.write_bytes(spoilt.read_bytes()[:2000])
    assert run("train-topo", "--data", data, *TINY, "--epochs", 1) == 0
    assert f"{spoilt} is unreadable" in capsys.readouterr().err
    (checkpoint,) = (here / "runs").rglob("last.pt")
    for command in ("evaluate", "analyze"):
        assert run(command, checkpoint, "--data", data, "--out", here / "out") == 0
    assert (here / "out" / "analysis.json").is_file()


def test_a_missing_photograph_is_named_and_skipped(here, small_data, capsys):
    data = copy_of(small_data, here / "data")
    missing = sorted((data / "images").iterdir())[0]
    missing.unlink()
    assert run("train-baseline", "--data", data, *TINY, "--epochs", 1, "--device", "cuda") == 0
    words = capsys.readouterr().err
    assert missing.name in words
    import torch

    if not torch.cuda.is_available():
        assert "no CUDA here" in words


def test_the_version_is_printed_without_a_command(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == __version__


def test_doctor_prints_its_findings(capsys):
    assert run("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1].rstrip(":") for line in lines} >= {"Python", "torch", "GPU", "disk", "lock"}


@pytest.mark.data
def test_all_commands_work_with_real_photographs(real_data, here, capsys):
    data = real_data / "mini-mpii"
    flags = "--epochs 2 --arch resnet18 --no-pretrained --val-split 0.4 --no-progress"
    assert run("train-topo", "--data", data, *flags.split(), "--input-size", 64, "--run-name", "real") == 0
    assert "099999999.jpg" in capsys.readouterr().err
    assert run("evaluate", "runs/real", "--no-progress") == 0
    assert run("analyze", "runs/real", "--no-progress", "--permutations", 99) == 0
    assert run("predict", "runs/real", data / "images") == 0
    assert (here / "out" / "real" / "evaluation.json").is_file()


@pytest.mark.slow
def test_help_answers_in_half_a_second():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pose_topo", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


SHARED = """
import os, sys
from pathlib import Path
from pose_topo.commands.app import share_cores
cores = os.sched_getaffinity(0)
share_cores({threads})
bound = "torch" in sys.modules
import torch
torch.set_num_threads(2)
torch.randn(600, 600) @ torch.randn(600, 600)
assert os.sched_getaffinity(0) == cores and not any(name.startswith(("OMP_PROC", "GOMP_")) for name in os.environ)
lists = [len(os.sched_getaffinity(int(task.name))) for task in Path("/proc/self/task").iterdir()]
print(bound, min(lists))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
@pytest.mark.parametrize(
    ("threads", "variables", "bound"), [("None", {}, True), ("2", {}, False), ("None", {"OMP_NUM_THREADS": "2"}, False)]
)
def test_threads_are_bound_to_cores_only_if_torch_takes_all_of_them(threads, variables, bound):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", SHARED.format(threads=threads)]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(bound), "1" if bound else str(len(os.sched_getaffinity(0)))]
