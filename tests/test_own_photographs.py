"""A COCO keypoint file of one's own photographs, through every command."""

import json
import math
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from paper_figures.lib import command
from pose_topo import cli
from pose_topo.data import coco
from pose_topo.data.mpii import load_people
from pose_topo.study import joints
from pose_topo.study.config import MAT_NAME

TRAIN = "--protocol demo --arch resnet18 --input-size 64 --epochs 1 --split random --batch-size 4 --threads 1"
QUIET = "--no-progress"


def run(*arguments: object) -> int:
    """Call the command line in this process, and return its exit code."""
    old, sys.argv = sys.argv, ["pose-topo", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        sys.argv = old
    return int(left.value.code or 0)


def write_coco(path: Path, mat: Path, names: tuple[str, ...], **changes: object) -> None:
    """Write the people of an MPII file in COCO's format, with these joints. COCO's face is not labelled."""
    people, _ = load_people(mat)
    images = [{"id": 10 + k, "file_name": f"photos/{name}"} for k, name in enumerate(people.images)]
    annotations = []
    for row, image in enumerate(people.image.tolist()):
        triples = [
            [*people.joints[row, k].tolist(), 1 + int(people.visible[row, k])] if people.labelled[row, k] else [0, 0, 0]
            for k in (joints.NAMES.index(name) if name in joints.NAMES else None for name in names)
            if k is not None
        ]
        triples = [[0, 0, 0]] * (len(names) - len(triples)) + triples
        low, high = np.nanmin(people.joints[row], axis=0), np.nanmax(people.joints[row], axis=0)
        size = (high - low).tolist()
        entry = {"id": row + 1, "image_id": 10 + image, "category_id": 1, "iscrowd": 0, "area": 0.6 * math.prod(size),
                 "bbox": [*low.tolist(), *size], "keypoints": list(chain(*triples)), **changes}  # fmt: skip
        annotations.append(entry)
    categories = [{"id": 1, "name": "person", "keypoints": list(names)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def mine(small_data, tmp_path_factory):
    """The folder of a COCO file with its photographs in images/, and a network trained on it: (file, run)."""
    folder = tmp_path_factory.mktemp("mine") / "holiday"
    folder.mkdir()
    (folder / "images").symlink_to(small_data / "images")
    write_coco(folder / "mine.json", small_data / MAT_NAME, coco.NAMES)
    where = ["--annotations", folder / "mine.json", "--save-dir", folder / "runs", "--run-name", "tiny"]
    assert run("train-baseline", *where, *TRAIN.split(), QUIET) == 0
    return folder / "mine.json", folder / "runs" / "tiny"


def test_evaluate_gives_pck_and_oks_where_there_is_no_head(mine, tmp_path, capsys):
    _, trained = mine
    assert run("evaluate", trained, "--out", tmp_path, QUIET) == 0
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert (told["data"], told["rendered"], told["settings"]["split"]) == ("holiday", False, "random")
    assert [told["pckh"][threshold]["mean"] for threshold in ("0.5", "0.1", "0.11")] == [None] * 3
    assert told["auc"] is None and told["curve"] is None
    lengths = told["reference_lengths"]
    assert lengths["pckh"] == {"length": "head segment", "people": 0, "without": told["people"]}
    assert lengths["pck"]["people"] + lengths["pck"]["without"] == told["people"]
    assert 0 <= told["pck"]["mean"] <= 100 and told["pck"]["groups"]["Head"] is None
    assert all(0 <= told["oks"][name] <= 1 for name in ("AP", "AP50", "AP75", "AR")) and told["oks"]["reason"] is None
    words = capsys.readouterr().out
    assert "no PCKh: nobody has the head segment annotated" in words and "OKS (12 of COCO's 17 joints): AP 0." in words


@pytest.mark.slow
def test_results_of_people_without_heads_go_through_every_figure(mine, tmp_path, capsys):
    file, trained = mine
    where = ["--annotations", file, "--save-dir", tmp_path, "--run-name", "topo", "--topo-grid", 4, 5]
    assert run("train-topo", *where, *TRAIN.split(), QUIET) == 0
    results = [str(tmp_path / name) for name in ("a", "b")]
    for checkpoint, out, more in ((trained, results[0], []), (tmp_path / "topo", results[1], ["--lesions"])):
        assert run("evaluate", checkpoint, "--out", out, QUIET) == 0
        assert run("analyze", checkpoint, "--out", out, "--permutations", 19, *more, QUIET) == 0
    assert run("compare", *results, "--out", tmp_path / "a") == 1
    assert "nobody in these results has a head size" in capsys.readouterr().err
    assert command.main(["--list"]) == 0
    names = [name for name in capsys.readouterr().out.split() if name != "table_seeds"]
    assert {"table_pckh", "table_metrics", "overlays", "tradeoff"} <= set(names)
    figures = tmp_path / "figures"
    for name in names:
        assert command.main([name, "--results", *results, "--out", str(figures), "--if-there"]) == 0, name
    not_shown = [name for name in names if "Not shown" in (figures / f"{name}.caption.md").read_text()]
    assert set(not_shown) == {"tradeoff", "robustness", "table_robustness"}  # PCKh against I; not measured here
    table = (figures / "table_pckh.csv").read_text().splitlines()
    scores = json.loads((tmp_path / "a" / "evaluation.json").read_text())["pck"]
    assert "mean_pck" in table[0] and f",{scores['mean']}," in table[1]
    assert "There is no PCKh" in (figures / "table_pckh.caption.md").read_text()
    assert "PCK@0.2 after the last epoch" in (figures / "training_curves.caption.md").read_text()
    assert "loss of PCK@0.2" in (figures / "lesions.caption.md").read_text()


def test_evaluate_takes_another_file_of_the_same_people(mine, small_data, tmp_path, capsys):
    """The same people with MPII's names have head joints, hence PCKh, but no OKS; without areas there is none."""
    file, trained = mine
    write_coco(file.with_name("mpii.json"), small_data / MAT_NAME, joints.NAMES)
    assert run("evaluate", trained, "--annotations", file.with_name("mpii.json"), "--out", tmp_path, QUIET) == 0
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert told["pckh"]["0.5"]["mean"] is not None and told["oks"]["AP"] is None
    assert "the annotation file has others" in told["oks"]["reason"]
    write_coco(file.with_name("no-areas.json"), small_data / MAT_NAME, coco.NAMES, area=None)
    assert run("evaluate", trained, "--mat-path", file.with_name("no-areas.json"), "--out", tmp_path, QUIET) == 0
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert told["oks"]["AP"] is None and "have no area" in told["oks"]["reason"]
    assert "no OKS AP: " in capsys.readouterr().out


def test_predict_and_show(mine, small_data, tmp_path, capsys):
    file, trained = mine
    photograph = sorted((small_data / "images").iterdir())[0]
    assert run("predict", trained, photograph, "--out", tmp_path) == 0
    assert (tmp_path / "keypoints.json").is_file()
    shown = ["--annotations", file, "--protocol", "demo", "--count", 2, "--out", tmp_path / "show.png"]
    assert run("show", file.parent, *shown, QUIET) == 0
    # predictions have confidences where annotations have v
    capsys.readouterr()
    assert run("show", file.parent, "--annotations", tmp_path / "keypoints.json", "--img-dir", tmp_path) == 1
    assert "not 0, 1 or 2 (in a file of predictions it is a confidence)" in capsys.readouterr().err


def test_worst_people_without_heads_are_shown(mine, tmp_path):
    file, trained = mine
    shown = ["--annotations", file, "--worst", trained, "--count", 1, "--out", tmp_path / "worst.png"]
    assert run("show", file.parent, *shown, QUIET) == 0
    assert (tmp_path / "worst.png").is_file()


def test_img_dir_alone_says_what_it_needs(mine, tmp_path, capsys):
    _, trained = mine
    assert run("evaluate", trained, "--img-dir", tmp_path, "--out", tmp_path) == 2
    assert "--img-dir needs --data or --annotations here" in capsys.readouterr().err
