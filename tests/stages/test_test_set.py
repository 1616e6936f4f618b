"""MPII's test set: who is predicted, what the benchmark's file holds, and that labels are scored if there are any."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from pose_topo.cli import app
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.data.dataset import prepare_test_set
from pose_topo.data.mpii import load_people, load_test_set
from pose_topo.data.people import People
from pose_topo.rendering.annotation import ImageEntry, RectEntry, write_mpii_mat
from pose_topo.scoring.predictions import read_record
from pose_topo.stages.evaluate import SUBMISSION
from pose_topo.study.config import MAT_NAME, Data
from pose_topo.study.protocols import PHOTOGRAPHS

NOBODY = RectEntry()  # neither scale nor position


def of_distinct_images(small_data: Path) -> People:
    """The first person of each image."""
    people, _ = load_people(small_data / MAT_NAME)
    return people.take(np.unique(people.image, return_index=True)[1])


def mpii(folder: Path, small_data: Path, *, labelled: bool) -> Path:
    """A folder in MPII's layout: a training image, an empty test image, one of three people, and one of one person."""
    people = of_distinct_images(small_data)

    def person(row: int) -> RectEntry:
        x, y = (people.center[row] + 1).tolist()
        points = [(*(people.joints[row, k] + 1).tolist(), k, None) for k in np.flatnonzero(people.labelled[row])]
        head_box = tuple((people.head_box[row] + 1).tolist())
        entry = RectEntry(head_box, points, float(people.scale[row]), (x, y))
        return entry if labelled else replace(entry, head_box=None, points=None)

    name = people.names
    entries = [
        ImageEntry(name[0], [replace(person(0), scale=1.0)], train=True, single=[1]),
        ImageEntry(name[1], [], train=False),
        ImageEntry(name[2], [NOBODY, person(2), person(2)], train=False, single=[2]),
        ImageEntry(name[3], [person(3)], train=False, single=[1]),
    ]
    folder.mkdir()
    (folder / "images").symlink_to(small_data / "images")
    write_mpii_mat(folder / MAT_NAME, entries)
    return folder


def evaluate(data: Path, out: Path) -> None:
    app(
        ["evaluate", "released", "--test-set", "--data", str(data), "--out", str(out), "--device", "cpu"],
        standalone_mode=False,
    )


def test_people_of_test_images_with_scale_and_position_are_taken(small_data, tmp_path):
    test = load_test_set(mpii(tmp_path / "mpii", small_data, labelled=False) / MAT_NAME)
    assert test.entries.tolist() == [1, 2, 3] and test.rects.tolist() == [0, 3, 1]
    people = test.people
    assert (people.annolist_index.tolist(), people.person.tolist()) == ([2, 2, 3], [1, 2, 0])
    assert test.single.tolist() == [True, False, True]
    assert not people.labelled.any() and np.isnan(people.head_box).all()
    before = of_distinct_images(small_data)
    assert np.allclose(people.center, before.center[[2, 2, 3]]) and np.allclose(people.scale, before.scale[[2, 2, 3]])


def test_the_file_has_the_benchmarks_layout_and_the_predictions(small_data, tmp_path, said):
    data, out = mpii(tmp_path / "mpii", small_data, labelled=True), tmp_path / "out"
    evaluate(data, out)
    pred = loadmat(out / SUBMISSION, struct_as_record=False, squeeze_me=True)["pred"]
    assert [one.image.name for one in pred] == list(load_test_set(data / MAT_NAME).names)
    assert pred[0].annorect.size == 0
    nobody, second, _ = pred[1].annorect
    assert nobody.annopoints.size == 0 and nobody.scale.size == 0
    record = read_record(out / "predictions.h5")  # of the two people who stand apart
    assert record.who is not None and record.who.tolist() == [[2, 1], [3, 0]]
    for rect, found in zip((second, pred[2].annorect), record.found, strict=True):
        assert [point.id for point in rect.annopoints.point] == list(range(16))
        assert np.allclose([[point.x, point.y] for point in rect.annopoints.point], found + 1)
    assert json.loads((out / "evaluation.json").read_text())["people"] == 2


def test_without_labels_there_is_only_the_file(small_data, tmp_path, said):
    out = tmp_path / "out"
    evaluate(mpii(tmp_path / "mpii", small_data, labelled=False), out)
    assert [path.name for path in out.iterdir()] == [SUBMISSION]
    assert any("no labels" in line for line in said)
    before = (out / SUBMISSION).read_bytes()
    evaluate(tmp_path / "mpii", out)
    assert (out / SUBMISSION).read_bytes() == before


@pytest.mark.skipif(shutil.which("octave-cli") is None, reason="Octave is not installed")
def test_octave_reads_the_file(small_data, tmp_path):
    out = tmp_path / "out"
    evaluate(mpii(tmp_path / "mpii", small_data, labelled=False), out)
    script = (
        f"load('{out / SUBMISSION}'); p = pred(3).annorect(1).annopoints.point; "
        "printf('%d %d %d %d\\n', numel(pred), numel(pred(2).annorect), numel(p), "
        "isempty(pred(2).annorect(1).annopoints)); printf('%d %.6f %.6f\\n', [[p.id]; [p.x]; [p.y]]);"
    )
    command = ["octave-cli", "--no-init-file", "--eval", script]
    head, *points = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert head == "3 3 16 1"
    pred = loadmat(out / SUBMISSION, struct_as_record=False, squeeze_me=True)["pred"]
    expected = [[point.id, point.x, point.y] for point in pred[2].annorect.annopoints.point]
    assert np.allclose([list(map(float, line.split())) for line in points], expected, atol=1e-5)


def test_a_missing_photograph_is_counted_and_has_no_prediction(small_data, tmp_path, said):
    data = mpii(tmp_path / "mpii", small_data, labelled=False)
    (data / "images").unlink()
    name = load_test_set(data / MAT_NAME).names[2]
    (data / "images").mkdir()
    shutil.copyfile(small_data / "images" / name, data / "images" / name)
    evaluate(data, tmp_path / "out")
    assert any("2 of 3 people of the test set get no prediction" in line for line in said)
    pred = loadmat(tmp_path / "out" / SUBMISSION, struct_as_record=False, squeeze_me=True)["pred"]
    assert pred[2].annorect.annopoints.point.size == 16
    assert all(rect.scale.size == 0 for rect in pred[1].annorect)


def test_what_has_no_test_set_is_one_line(small_data, tmp_path):
    with pytest.raises(PoseTopoError, match="none of its 0 test images"):
        load_test_set(small_data / MAT_NAME)
    with pytest.raises(UsageError, match="not MPII's annotation file"):
        prepare_test_set(Data("lspet/joints.mat", "lspet/images", name="lspet"), PHOTOGRAPHS, cache=tmp_path)
    with pytest.raises(UsageError, match="--test-set: of a run"):
        app(["evaluate", "--predictions", "a.h5", "--ground-truth", "b.mat", "--test-set"], standalone_mode=False)
