"""The synthetic data set: exact counts, the same bits everywhere, joints that sit where the person is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.rendering import poses as parts
from pose_topo.rendering.annotation import ImageEntry, RectEntry, look_up, write_mpii_mat
from pose_topo.rendering.appearance import F, sample_look
from pose_topo.rendering.folder import MAT_NAME, count_annotated, keep_first, picture, render_dataset
from pose_topo.rendering.person import draw_figure
from pose_topo.rendering.poses import Angles, build_skeleton
from pose_topo.rendering.raster import Canvas, Light
from pose_topo.rendering.scene import NEAR, block, render_scene
from pose_topo.study import joints as J

PEOPLE = 12
# change these together with folder.VERSION, and only on purpose
ANNOTATIONS_SHA256 = "45dc8a7cd44aaabc1abb03659c4b47fb809085917f8e0cd168875781b0c608de"
MEAN_GREY = [121.22, 132.94, 90.95, 121.84, 82.75, 110.79, 119.15]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("synthetic") / "set"
    return folder, render_dataset(folder, PEOPLE, seed=0, workers=1, progress=False)


def load(folder: Path):
    return loadmat(folder / MAT_NAME, struct_as_record=False, squeeze_me=True)["RELEASE"]


def rects_of(image) -> list:
    return list(np.atleast_1d(image.annorect))


def annotated(image) -> list:
    return [rect for rect in rects_of(image) if hasattr(getattr(rect, "annopoints", None), "point")]


def frontal(yaw: float = 0.0) -> tuple[Canvas, parts.Figure]:
    """A person alone on a plain grey picture, arms a little away from the body."""
    rng = np.random.default_rng(5)
    canvas = Canvas(np.full((480, 640, 3), 128, np.uint8), np.ones((480, 640), F), Light((0.0, -0.6, 0.8), 0.6))
    skeleton = build_skeleton(rng, Angles(arms=[[25.0, 0.0, 5.0, 0.0] for _ in range(2)]), yaw)
    figure = parts.place(skeleton, 400.0, (320.0, 240.0), 8.0, 4000.0)
    look = replace(sample_look(rng, np.full(3, 128, F)), skirt=None)  # a skirt hides the knees
    draw_figure(canvas, figure, look, 1)
    return canvas, figure


def test_manifest_and_count(rendered: tuple[Path, dict]) -> None:
    folder, manifest = rendered
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    release = load(folder)
    assert sum(len(annotated(image)) for image in release.annolist) == PEOPLE == manifest["people"]
    assert len(release.annolist) == manifest["images"] == len(list((folder / "images").iterdir()))
    assert {entry.name for entry in folder.parent.iterdir()} == {"set"}  # nothing temporary is left


def test_the_annotation_file_has_the_same_bytes_whenever_it_is_written(tmp_path: Path, monkeypatch) -> None:
    entries = [ImageEntry("a.jpg", [RectEntry(scale=1.5, objpos=(3, 4))])]
    for name, year in (("a.mat", "2020"), ("b.mat", "2030")):
        monkeypatch.setattr(time, "asctime", lambda *_, year=year: f"Fri Nov 27 05:12:42 {year}")
        write_mpii_mat(tmp_path / name, entries)
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()


RENDER = """
import sys
from pathlib import Path
from pose_topo.core.errors import guarded
from pose_topo.rendering import folder
if __name__ == "__main__":
    folder.FEW = 1  # processes even for few people
    action = lambda: folder.render_dataset(Path(sys.argv[1]), int(sys.argv[2]), 0, workers=2, progress=False)
    sys.exit(guarded("render", action))
"""


def rendering(tmp_path: Path, people: int) -> subprocess.Popen[str]:
    """Another process, with workers, that renders into `set`. It leads a process group, as in a terminal."""
    (tmp_path / "render.py").write_text(RENDER)
    command = [sys.executable, str(tmp_path / "render.py"), str(tmp_path / "set"), str(people)]
    pipe = subprocess.PIPE
    inherited = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background job ignores it, and so its child
    try:
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, inherited)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def of_group(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(") ")[2].split()[:3]
        except OSError:  # it has ended
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_killed_rendering_leaves_no_process_and_its_folder_is_cleared(tmp_path: Path) -> None:
    process = rendering(tmp_path, 10_000)
    images = tmp_path / ".set.partial" / "images"
    wait_for(lambda: images.is_dir() and any(images.iterdir()))
    process.kill()
    process.communicate()
    wait_for(lambda: of_group(process.pid) == [])
    assert [path.name for path in tmp_path.glob(".*.partial")] == [".set.partial"]
    render_dataset(tmp_path / "set", 2, seed=0, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["render.py", "set"]


@pytest.mark.parametrize("moment", [0.7, 1.4, 2.5])
def test_ctrl_c_while_rendering_starts_is_one_line(tmp_path: Path, moment: float) -> None:
    process = rendering(tmp_path, 10_000)
    wait_for(lambda: (tmp_path / ".set.partial").is_dir())
    time.sleep(moment)  # the workers are being started, import, and render
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert said == "render: interrupted\n" and process.returncode == 130
    wait_for(lambda: of_group(process.pid) == [])
    assert [path.name for path in tmp_path.iterdir()] == ["render.py"]


def test_two_renderings_into_one_folder_are_one(tmp_path: Path) -> None:
    both = [rendering(tmp_path, 12) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(said) in (["", ""], ["", f"another process is rendering {tmp_path / 'set'}; waiting for it\n"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["render.py", "set"]


def test_every_listed_image_is_a_picture(rendered: tuple[Path, dict]) -> None:
    folder, _ = rendered
    for image in load(folder).annolist:
        pixels = cv2.imread(str(folder / "images" / image.image.name))
        assert pixels is not None
        assert min(pixels.shape[:2]) >= 480


def test_layout_is_the_real_one(rendered: tuple[Path, dict]) -> None:
    release = load(rendered[0])
    assert release._fieldnames == ["annolist", "img_train", "version", "single_person", "act", "video_list"]
    images = len(release.annolist)
    for name in ("img_train", "single_person", "act"):
        assert len(getattr(release, name)) == images
    assert release.annolist[0]._fieldnames == ["image", "annorect", "frame_sec", "vididx"]
    rect = next(rect for image in release.annolist for rect in annotated(image))
    assert rect._fieldnames == ["x1", "y1", "x2", "y2", "annopoints", "scale", "objpos"]
    ids = [point.id for point in rect.annopoints.point]
    assert ids != sorted(ids)


def test_head_box_and_scale_obey_the_identity(rendered: tuple[Path, dict]) -> None:
    for image in load(rendered[0]).annolist:
        for rect in annotated(image):
            width, height = float(rect.x2) - float(rect.x1), float(rect.y2) - float(rect.y1)
            assert 0.6 * np.hypot(width, height) == pytest.approx(25 * rect.scale, abs=1e-6)


@pytest.mark.parametrize("index", range(12))
def test_points_match_the_picture(index: int) -> None:
    image, entry = render_scene(3, index)
    height, width = image.shape[:2]
    for rect in entry.rects:
        if rect.points is None:
            continue
        ids = [joint for _, _, joint, _ in rect.points]
        assert len(set(ids)) == len(ids) >= 10
        assert {J.UPPER_NECK, J.HEAD_TOP} <= set(ids)
        assert all(1 <= x <= width and 1 <= y <= height for x, y, _, _ in rect.points)
        assert all(seen in (0, 1, "0", "1", None) for *_, seen in rect.points)
        assert rect.scale is not None
        assert 0.9 <= rect.scale <= 2.8


def test_few_joints_are_unlabelled_and_some_are_hidden() -> None:
    rects = [rect for i in range(40) for rect in render_scene(4, i)[1].rects if rect.points is not None]
    labelled = [seen for rect in rects for *_, seen in rect.points or ()]
    unlabelled = 1 - len(labelled) / (J.K * len(rects))
    assert 0.01 < unlabelled < 0.09
    assert 0.03 < sum(str(seen) == "0" for seen in labelled) / len(labelled) < 0.3


def test_same_bits_for_any_number_of_workers(tmp_path: Path) -> None:
    one = render_dataset(tmp_path / "one", 26, seed=2, workers=1, progress=False)
    two = render_dataset(tmp_path / "two", 26, seed=2, workers=2, progress=False)
    assert one == two


def test_smaller_set_is_a_prefix(rendered: tuple[Path, dict], tmp_path: Path) -> None:
    folder, _ = rendered
    small = render_dataset(tmp_path / "small", 5, seed=0, workers=1, progress=False)
    assert sum(len(annotated(image)) for image in load(tmp_path / "small").annolist) == 5
    for k in range(small["images"]):
        name = f"images/{k:09d}.jpg"
        assert (tmp_path / "small" / name).read_bytes() == (folder / name).read_bytes()


def test_seeds_differ() -> None:
    assert picture(0, 0)[0] != picture(1, 0)[0]


def test_annotations_are_frozen(rendered: tuple[Path, dict]) -> None:
    assert rendered[1]["annotations_sha256"] == ANNOTATIONS_SHA256


def test_pictures_are_frozen(rendered: tuple[Path, dict]) -> None:
    paths = sorted((rendered[0] / "images").iterdir())
    means = [float(np.mean(np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)))) for path in paths]
    assert means == pytest.approx(MEAN_GREY, abs=0.5)


def test_frontal_person_has_the_right_side_on_the_left() -> None:
    _, figure = frontal()
    assert figure.joints[J.R_SHOULDER, 0] < figure.joints[J.L_SHOULDER, 0]
    assert figure.joints[J.R_HIP, 0] < figure.joints[J.L_HIP, 0]
    _, turned = frontal(180.0)
    assert turned.joints[J.R_SHOULDER, 0] > turned.joints[J.L_SHOULDER, 0]


def test_upright_person_is_as_high_as_the_scale_says() -> None:
    _, figure = frontal()
    top, bottom = figure.joints[J.HEAD_TOP, 1], figure.joints[[J.R_ANKLE, J.L_ANKLE], 1].max()
    assert bottom - top == pytest.approx(400, rel=0.12)


def test_every_joint_of_a_frontal_person_is_seen() -> None:
    canvas, figure = frontal()
    sight = look_up(canvas, figure, 1)
    assert sight.inside.all()
    assert sight.visible.all()


def test_profile_hides_the_far_shoulder() -> None:
    canvas, figure = frontal(90.0)  # the person's left turns away from the camera
    sight = look_up(canvas, figure, 1)
    near, far = sorted((J.R_SHOULDER, J.L_SHOULDER), key=lambda joint: -figure.joints[joint, 2])
    assert sight.visible[near]
    assert not sight.visible[far]


def test_occluder_hides_a_joint() -> None:
    canvas, figure = frontal()
    x, y = figure.joints[J.L_KNEE, :2]
    corners = np.array([[x - 9, y - 9], [x + 9, y - 9], [x + 9, y + 9], [x - 9, y + 9]])
    block(canvas, corners, np.zeros(3, F), NEAR)
    sight = look_up(canvas, figure, 1)
    assert sight.foreign[J.L_KNEE]
    assert not sight.visible[J.L_KNEE]
    assert sight.visible[J.R_KNEE]


def test_another_person_hides_a_joint() -> None:
    canvas, figure = frontal()
    assert not look_up(canvas, figure, 2).visible.any()
    assert look_up(canvas, figure, 2).foreign.all()


def test_existing_set_is_kept(rendered: tuple[Path, dict]) -> None:
    folder, manifest = rendered
    before = (folder / MAT_NAME).stat().st_mtime_ns
    assert render_dataset(folder, PEOPLE, seed=0, progress=False) == manifest
    assert (folder / MAT_NAME).stat().st_mtime_ns == before


def test_other_folder_is_refused(rendered: tuple[Path, dict], tmp_path: Path) -> None:
    with pytest.raises(PoseTopoError, match="not the data set"):
        render_dataset(rendered[0], PEOPLE, seed=1, progress=False)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PoseTopoError, match="not the data set"):
        render_dataset(tmp_path, 1, seed=0, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_incomplete_set_is_refused(tmp_path: Path) -> None:
    render_dataset(tmp_path / "set", 1, seed=0, progress=False)
    next((tmp_path / "set" / "images").iterdir()).unlink()
    with pytest.raises(PoseTopoError, match="incomplete"):
        render_dataset(tmp_path / "set", 1, seed=0, progress=False)


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pose_topo.rendering.folder.write_mpii_mat", fail)
    with pytest.raises(OSError, match="disk full"):
        render_dataset(tmp_path / "set", 1, seed=0, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [{"people": 0}, {"people": 1, "seed": -1}, {"people": 1, "workers": 0}])
def test_bad_numbers_are_refused(tmp_path: Path, arguments: dict) -> None:
    with pytest.raises(UsageError):
        render_dataset(tmp_path / "set", **{"seed": 0, **arguments})


def test_keep_first_strips_the_others() -> None:
    rect = RectEntry((1, 1, 9, 9), [(1.0, 2.0, 6, 1)], 1.0, (5, 5))
    entry = keep_first(ImageEntry("a.jpg", [rect, RectEntry(scale=1.0), rect], single=(1, 3)), 1)
    assert count_annotated(entry) == 1
    assert entry.rects[0] == rect
    assert entry.rects[2] == RectEntry(scale=1.0, objpos=(5, 5))
    assert list(entry.single) == [1]


def test_mat_keeps_values_and_quirks(tmp_path: Path) -> None:
    points = [(300, 7.25, 6, "1"), (10.5, 20, 0, "0"), (3.0, 4.0, 9, None)]
    full = RectEntry((1, 2, 300, 4), points, 1.5, (40, 50))
    entries = [
        ImageEntry("a.jpg", [full, RectEntry(head_box=(5, 6, 7, 8)), RectEntry(scale=2.0, objpos=(1, 2))]),
        ImageEntry("b.jpg", [], train=False),
        ImageEntry("c.jpg", [RectEntry(scale=2.5, objpos=(3, 4))], train=False),
        ImageEntry("d.jpg", [RectEntry((1, 2, 3, 4), [(1.0, 2.0, 3, None)], 1.0, (1, 1))], activity="walking"),
    ]
    write_mpii_mat(tmp_path / "x.mat", entries)
    release = loadmat(tmp_path / "x.mat", struct_as_record=False, squeeze_me=True)["RELEASE"]
    first, second, third, fourth = release.annolist
    assert [point.x for point in first.annorect[0].annopoints.point] == [300, 10.5, 3]
    assert [point.is_visible for point in first.annorect[0].annopoints.point[:2]] == ["1", "0"]
    assert first.annorect[0].annopoints.point[2].is_visible.size == 0
    assert first.annorect[1].annopoints.size == first.annorect[1].objpos.size == 0
    assert first.annorect[2].x1.size == 0
    assert second.annorect.size == 0
    assert third.annorect._fieldnames == ["scale", "objpos"]
    assert fourth.annorect.annopoints.point._fieldnames == ["x", "y", "id"]
    assert list(release.img_train) == [1, 0, 0, 1]
    assert release.act[3].act_name == "walking"
    raw = loadmat(tmp_path / "x.mat")["RELEASE"]["annolist"][0, 0]["annorect"][0, 0]
    assert raw["x1"][0, 0].dtype == np.uint8
    assert raw["x2"][0, 0].dtype == np.uint16
