"""Predictions of a tiny network on photographs: files, skipped photographs, and agreement with `evaluate`."""

import io
import json
import os
import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_json
from pose_topo.data.dataset import prepare
from pose_topo.models.pose import build_model
from pose_topo.pictures.drawing import SIDES
from pose_topo.stages import predict as stage
from pose_topo.stages.checkpoints import load_network
from pose_topo.stages.evaluate import evaluate_checkpoint
from pose_topo.stages.predict import (
    CATEGORY,
    Person,
    annotation,
    draw_overlay,
    find_photographs,
    image_entry,
    predict_photographs,
)
from pose_topo.study import joints, runs
from pose_topo.study import joints as J
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.protocols import PAPER, SMALL


def checkpoint(path: Path, data: Path, recipe=SMALL) -> Path:
    """An untrained ResNet-18 at 32 px whose joints are spread over the picture."""
    recipe = replace(recipe, input_size=32)
    config = RunConfig(arch="resnet18", recipe=recipe, data=Data.at(data), arm="baseline")
    torch.manual_seed(0)
    model = build_model(config)
    torch.nn.init.normal_(model.head.weight)
    split = prepare(config.data, recipe, seed=0, progress=False).split_sha256
    runs.save_checkpoint(runs.Checkpoint(path, config, 1, model.state_dict(), split))
    return path


@pytest.fixture(scope="module")
def network(small_data, tmp_path_factory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("network") / "last.pt", small_data)


@pytest.fixture
def photo(tmp_path) -> Path:
    """Smooth random pixels, 120 x 80."""
    rng = np.random.default_rng(3)
    pixels = cv2.resize(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8), (120, 80))
    cv2.imwrite(str(tmp_path / "photo.png"), pixels)
    return tmp_path / "photo.png"


def predict(network: Path, paths: list[Path], out: Path, **options) -> dict:
    predict_photographs(network, paths, out, device="cpu", precision="fp32", **options)
    return read_json(out / "keypoints.json")


def keypoints(content: dict) -> np.ndarray:
    """(annotations, 16, 3)"""
    return np.array([record["keypoints"] for record in content["annotations"]]).reshape(-1, 16, 3)


def test_the_box_of_a_person_gives_the_joints_of_evaluate(network, small_data, tmp_path):
    """The crop of MPII is a box of side 200 * scale around the centre, moved down by 15 * scale."""
    evaluate_checkpoint(network, tmp_path / "e", device="cpu", precision="fp32", progress=False)
    data = Data.at(small_data)
    dataset = prepare(data, replace(SMALL, input_size=32), seed=0, progress=False)
    with h5py.File(tmp_path / "e" / "predictions.h5") as file:
        expected, confidence = np.asarray(file["preds"]) - 1.0, np.asarray(file["confidence"])
    assert len(expected) == len(dataset.split.val) > 0
    for row, points, sure in zip(dataset.split.val, expected, confidence, strict=True):
        person = dataset.people.take([row])
        (x, y), scale = person.center[0], float(person.scale[0])
        box = (x - 100 * scale, y + 15 * scale - 100 * scale, 200 * scale, 200 * scale)
        image = Path(data.img_dir) / person.names[0]
        found = keypoints(predict(network, [image], tmp_path / "p", boxes=(box,), overlay="none"))[0]
        there = sure > 0
        assert there.any()
        assert np.allclose(found[there, :2], points[there], atol=0.02)  # rounded to 0.01; other sums in other batches
        assert np.allclose(found[there, 2], sure[there], atol=1e-3)
        assert (found[~there] == 0).all()


def test_batches_and_boxes_do_not_mix_people(network, small_data, tmp_path):
    """Three photographs of two boxes each in batches of 1, 2 and 16 give the same people in the same order."""
    photos = sorted((small_data / "images").iterdir())[:3]
    boxes = ((10.0, 20.0, 200.0, 300.0), (100.0, 50.0, 300.0, 200.0))
    contents = [
        predict(network, photos, tmp_path / str(size), boxes=boxes, overlay="none", batch_size=size)
        for size in (1, 2, 16)
    ]
    for content in contents:
        assert [record["image_id"] for record in content["annotations"]] == [1, 1, 2, 2, 3, 3]
        assert [record["bbox"] for record in content["annotations"]] == [list(box) for box in boxes] * 3
        assert np.allclose(keypoints(content), keypoints(contents[0]), atol=0.05)
    alone = predict(network, photos[1:2], tmp_path / "alone", boxes=boxes[1:], overlay="none")
    assert np.allclose(keypoints(alone)[0], keypoints(contents[2])[3], atol=0.05)


def test_a_turned_photograph_gives_the_joints_of_the_upright_one(network, photo, tmp_path):
    """A JPEG that is stored on its side, with EXIF orientation 6, is turned as a viewer shows it."""
    upright = cv2.imread(str(photo))
    cv2.imwrite(str(tmp_path / "stored.jpg"), cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE))
    stored = (tmp_path / "stored.jpg").read_bytes()
    tag = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"\xff\xe1" + (len(tag) + 8).to_bytes(2, "big") + b"Exif\0\0" + tag
    (tmp_path / "turned.jpg").write_bytes(stored[:2] + exif + stored[2:])
    content = predict(network, [tmp_path / "turned.jpg"], tmp_path / "out")
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (120, 80)
    assert cv2.imread(str(tmp_path / "out" / "turned.overlay.jpg")).shape == (80, 120, 3)
    same = cv2.rotate(
        cv2.imread(str(tmp_path / "turned.jpg"), cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_COLOR),
        cv2.ROTATE_90_CLOCKWISE,
    )
    cv2.imwrite(str(tmp_path / "same.png"), same)
    assert np.allclose(
        keypoints(content), keypoints(predict(network, [tmp_path / "same.png"], tmp_path / "out2")), atol=0.02
    )


def test_the_squeezed_framing_keeps_joints_inside(small_data, photo, tmp_path):
    squeezing = checkpoint(tmp_path / "paper.pt", small_data, replace(PAPER, min_labelled=1, single_person=False))
    found = keypoints(predict(squeezing, [photo], tmp_path / "out"))[0]
    there = found[:, 2] > 0
    assert there.any() and (found[there, :2] >= 0).all() and (found[there, :2] <= [119, 79]).all()


def test_unusable_photographs_are_skipped_named_and_counted(network, photo, tmp_path, capfd, said: list[str]):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    whole = cv2.imencode(".png", cv2.imread(str(photo)))[1].tobytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((20, 20, 3), np.uint8))
    counted = predict_photographs(
        network, [tmp_path], tmp_path / "out", boxes=((50.0, 10.0, 40.0, 60.0),), device="cpu"
    )
    assert counted == (1, 3)
    assert [line.split(": ")[:2] for line in said] == [
        ["warning", f"skipped {tmp_path / name}"] for name in ("broken.jpg", "cut.png", "small.png")
    ]
    assert said[2].endswith("the box 50,10,40,60 lies outside the photograph of 20 x 20 pixels")
    content = read_json(tmp_path / "out" / "keypoints.json")
    assert [image["file_name"] for image in content["images"]] == ["photo.png"] and len(content["skipped"]) == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["keypoints.json", "photo.overlay.png"]
    # OpenCV and its readers print nothing of their own (a command that ran before may have switched the console on)
    assert all(line.startswith("warning: skipped ") for line in capfd.readouterr().err.splitlines())


def bomb(path: Path, width: int, height: int) -> None:
    """A small PNG file of a huge black picture. Its rows are compressed one by one, so that no memory is needed."""
    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_what_is_no_photograph_costs_only_itself(network, photo, tmp_path, said: list[str]):
    """A picture that no memory holds, a pipe, an endless device, and links that lead nowhere."""
    bomb(tmp_path / "bomb.png", 20_000, 20_000)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert predict_photographs(network, [tmp_path, tmp_path / "loop.jpg"], tmp_path / "out", device="cpu") == (1, 4)
    assert [line.removeprefix(f"warning: skipped {tmp_path}/") for line in said] == [
        "bomb.png: 20,000 x 20,000 pixels, more than --max-pixels 100,000,000",
        *(f"{name}.jpg: not a regular file" for name in ("device", "loop", "pipe")),
    ]


def test_the_limit_of_pixels_can_be_set_and_bounds_those_in_memory(network, photo, tmp_path, monkeypatch):
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    with pytest.raises(PoseTopoError, match="120 x 80 pixels, more than --max-pixels 9,599"):
        predict(network, [photo], tmp_path / "out", max_pixels=9_599)
    together = []
    monkeypatch.setattr(
        stage, "_predict_people", lambda photos, *_: together.append(len(photos)) or iter([[]] * len(photos))
    )
    for most, expected in ((9_600, [1, 1]), (19_200, [2])):
        together.clear()
        predict(network, [photo, other], tmp_path / "out", max_pixels=most, overlay="none")
        assert together == expected


def test_a_photograph_that_fails_in_an_unknown_way_costs_only_itself(network, photo, tmp_path, monkeypatch, said):
    (tmp_path / "bad.png").write_bytes(photo.read_bytes())
    whole = stage.network_input

    def failing(picture, box, recipe):
        if len(said) == 0:
            said.append("")
            raise MemoryError
        return whole(picture, box, recipe)

    monkeypatch.setattr(stage, "network_input", failing)
    assert predict_photographs(
        network, [photo, tmp_path / "bad.png"], tmp_path / "out", device="cpu", batch_size=1
    ) == (1, 1)
    assert said[1] == f"warning: skipped {photo}: not readable as a photograph (MemoryError)"


def test_no_usable_photograph_is_an_error_with_the_reason(network, photo, tmp_path):
    with pytest.raises(PoseTopoError, match="the box 500,0,5,5 lies outside the photograph of 120 x 80 pixels"):
        predict(network, [photo], tmp_path / "out", boxes=((500.0, 0.0, 5.0, 5.0),))
    assert not (tmp_path / "out").exists()


def test_equal_stems_from_two_folders_are_two_overlays(network, photo, tmp_path):
    for folder, level in (("a", 50), ("b", 200)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "same.png"), np.full((300, 400, 3), level, np.uint8))
    content = predict(network, [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    names = [image["overlay"] for image in content["images"]]
    assert names == ["same.overlay.png", "same-2.overlay.png"]
    for name, level in zip(names, (50, 200), strict=True):
        assert np.median(cv2.imread(str(tmp_path / "out" / name))) == level


@pytest.mark.parametrize(
    ("overlay", "names"),
    [
        ("auto", ["a.overlay.jpg", "b.overlay.png"]),
        ("png", ["a.overlay.png", "b.overlay.png"]),
        ("jpg", ["a.overlay.jpg", "b.overlay.jpg"]),
        ("none", []),
    ],
)
def test_overlays_have_the_requested_format_and_the_size_of_the_photograph(network, tmp_path, overlay, names):
    photos = [tmp_path / "a.jpg", tmp_path / "b.bmp"]
    for path in photos:
        cv2.imwrite(str(path), np.full((30, 50, 3), 90, np.uint8))
    content = predict(network, photos, tmp_path / "out", overlay=overlay)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*names, "keypoints.json"]
    assert [image["overlay"] for image in content["images"]] == (names or [None, None])
    for name in names:
        assert cv2.imread(str(tmp_path / "out" / name)).shape == (30, 50, 3)


def test_an_overlay_is_in_the_colours_of_the_sides_and_hollow_where_unsure():
    """A left thigh from (300, 200) to (300, 600) in RGB shows the order of the colour channels."""
    points, confidence = np.zeros((16, 2)), np.zeros(16)
    points[J.L_HIP], points[J.L_KNEE] = (300, 200), (300, 600)
    confidence[J.L_HIP] = confidence[J.L_KNEE] = 0.29
    photo = np.full((1000, 1000, 3), 128, np.uint8)
    person = Person((0.0, 0.0, 1000.0, 1000.0), points, confidence)
    sure = draw_overlay(photo, [person], 0.29)
    assert tuple(sure[400, 300]) == tuple(sure[600, 300]) == SIDES["left"].body
    assert tuple(draw_overlay(photo, [person], 0.3)[600, 300]) == SIDES["left"].rim
    assert (sure[:, 500:] == 128).all() and (sure[:100] == 128).all()  # joints at (0, 0) were not found


def test_a_given_box_is_drawn_and_the_whole_picture_is_not():
    photo, nowhere = np.full((100, 140, 3), 128, np.uint8), (np.zeros((16, 2)), np.zeros(16))
    whole = draw_overlay(photo, [Person((0.0, 0.0, 140.0, 100.0), *nowhere)], 0.3)
    assert (whole == 128).all()  # too small for a legend
    boxed = draw_overlay(photo, [Person((20.0, 30.0, 50.0, 40.0), *nowhere)], 0.3)
    assert (boxed[30, 25:65] > 200).all() and (boxed[40:60, 70] > 200).all()
    assert (boxed[36:64, 26:64] == 128).all() and (photo == 128).all()


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "progress", "bar"),
    [(io.StringIO, None, False), (Terminal, None, True), (io.StringIO, True, True), (Terminal, False, False)],
)
def test_the_progress_bar_needs_a_terminal_or_the_option(network, photo, tmp_path, monkeypatch, stderr, progress, bar):
    stream = stderr()
    monkeypatch.setattr(sys, "stderr", stream)
    predict(network, [photo], tmp_path / "out", progress=progress)
    assert ("1/1" in stream.getvalue()) == bar


def test_numbers_that_are_not_finite_are_refused(network, small_data, photo, tmp_path):
    spoilt = runs.load_checkpoint(network)
    spoilt.model["head.bias"] = torch.full((16,), float("nan"))
    runs.save_checkpoint(runs.Checkpoint(tmp_path / "nan.pt", spoilt.config, 1, spoilt.model, ""))
    with pytest.raises(PoseTopoError, match="not finite"):
        predict(tmp_path / "nan.pt", [photo], tmp_path / "out")


def test_the_file_identifies_the_network(network, photo, tmp_path):
    content = predict(network, [photo], tmp_path / "out")
    opened = load_network(network, "cpu", "fp32")
    assert content["checkpoint_sha256"] == opened.sha256 and len(opened.sha256) == 64
    assert content["settings"] == {"decode": "dark", "flip_test": True, "framing": "person", "precision": "fp32"}
    assert content["annotations"][0]["bbox"] == [0.0, 0.0, 120.0, 80.0]
    json.dumps(content, allow_nan=False)


def test_a_file_name_that_is_not_utf8_is_accepted(network, photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    strange = os.fsdecode(b"\xdcber.png")
    try:
        (folder / strange).write_bytes(photo.read_bytes())
        (folder / os.fsdecode(b"\xdctext.jpg")).write_text("no photograph")
    except OSError:
        pytest.skip("this file system knows UTF-8 only")
    content = predict(network, [folder], tmp_path / "out")
    assert [image["file_name"] for image in content["images"]] == ["\ufffdber.png"]
    assert len(content["skipped"]) == 1 and "\ufffdtext.jpg: not readable" in content["skipped"][0]
    assert len(content["annotations"]) == 1


def person(**changes) -> Person:
    """Joint k at (10 k, 10 k + 0.126), confidence 0.5; the last two were not found."""
    points = np.stack([10.0 * np.arange(16), 10.0 * np.arange(16) + 0.126], axis=1)
    confidence = np.full(16, 0.5)
    confidence[14:] = 0.0, -0.25
    return Person(**{"box": (1.0, 2.0, 3.0, 4.0), "points": points, "confidence": confidence, **changes})


def test_one_person():
    record = annotation(person(), 7, {"id": 3, "file_name": "a.jpg"})
    keypoints = record.pop("keypoints")
    assert record == {
        "id": 7, "image_id": 3, "file_name": "a.jpg", "category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.0],
        "score": 0.4375,  # 14 * 0.5 / 16
    }  # fmt: skip
    assert keypoints[:6] == [0.0, 0.13, 0.5, 10.0, 10.13, 0.5]
    assert keypoints[42:] == [0.0] * 6 and len(keypoints) == 48


def test_the_category_counts_limbs_from_one():
    found = CATEGORY
    assert found["keypoints"] == list(joints.NAMES) and found["id"] == 1
    assert [1, 2] in found["skeleton"] and [15, 16] in found["skeleton"]  # right ankle to knee, left elbow to wrist
    assert {k for limb in found["skeleton"] for k in limb} == set(range(1, 17))


def test_an_image_has_its_name_its_size_and_its_overlay():
    picture = np.zeros((480, 640, 3), np.uint8)
    assert [
        image_entry(1, Path("x/a.jpg"), picture, "a.overlay.jpg"),
        image_entry(2, Path("y/a.jpg"), picture[:100, :200], None),
    ] == [
        {"id": 1, "file_name": "a.jpg", "path": "x/a.jpg", "overlay": "a.overlay.jpg", "width": 640, "height": 480},
        {"id": 2, "file_name": "a.jpg", "path": "y/a.jpg", "overlay": None, "width": 200, "height": 100},
    ]


def test_ids_join_people_and_photographs(network, small_data, tmp_path):
    photos = sorted((small_data / "images").iterdir())[:2]
    boxes = ((10.0, 20.0, 200.0, 300.0), (100.0, 50.0, 300.0, 200.0))
    content = predict(network, photos, tmp_path, boxes=boxes, overlay="none")
    assert [image["id"] for image in content["images"]] == [1, 2]
    assert [(a["id"], a["image_id"]) for a in content["annotations"]] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert [a["file_name"] for a in content["annotations"]] == [photos[0].name] * 2 + [photos[1].name] * 2
    assert [c["id"] for c in content["categories"]] == [1]


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_equal_stems_get_different_names(tmp_path):
    """This includes photographs whose own name looks numbered, and file systems without upper and lower case."""
    files(tmp_path, "a/x.jpg", "a/x-2.jpg", "b/x.jpg", "b/X.png", "c/x.webp")
    found = find_photographs([tmp_path / "b", tmp_path / "a", tmp_path / "c" / "x.webp"])
    assert [(file.path.relative_to(tmp_path).as_posix(), file.name) for file in found] == [
        ("b/X.png", "X"), ("b/x.jpg", "x-2"), ("a/x-2.jpg", "x-2-2"), ("a/x.jpg", "x-3"), ("c/x.webp", "x-4"),
    ]  # fmt: skip
    assert len({file.name.casefold() for file in found}) == 5


def test_a_folder_gives_its_photographs_only(tmp_path):
    files(tmp_path, "b.JPG", "a.png", "notes.txt", "keypoints.json", "._b.jpg", "a.overlay.png", "sub/c.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert [file.path.name for file in find_photographs([tmp_path])] == ["a.png", "b.JPG"]


def test_a_named_file_is_accepted_with_any_suffix(tmp_path):
    files(tmp_path, "photo.dat", "a.overlay.png")
    assert len(find_photographs([tmp_path / "photo.dat", tmp_path / "a.overlay.png"])) == 2


def test_a_photograph_that_is_named_twice_is_read_once(tmp_path):
    files(tmp_path, "a.jpg")
    assert len(find_photographs([tmp_path / "a.jpg", tmp_path, tmp_path / ".." / tmp_path.name / "a.jpg"])) == 1


def test_missing_paths_are_named(tmp_path):
    with pytest.raises(PoseTopoError, match=r"absent\.jpg: no such photograph"):
        find_photographs([tmp_path / "absent.jpg"])
    files(tmp_path, "notes.txt")
    with pytest.raises(PoseTopoError, match="no photograph in this folder"):
        find_photographs([tmp_path])
