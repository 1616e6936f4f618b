"""Keypoint files in COCO's format: joints by name, flags, boxes, and files that are not what they should be."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.data import coco, geometry
from pose_topo.data.dataset import cached_people, present_people
from pose_topo.study import joints as J
from pose_topo.study.config import Data

# cocodataset.org/#format-data lists them in this order
COCO = ["nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle"]  # fmt: skip


def person(number: int = 1, image: float = 1, **changes: Any) -> dict[str, Any]:
    """A person whose joint k lies at (10 + 3 k, 20 + 5 k), all visible."""
    keypoints = [value for k in range(17) for value in (10 + 3 * k, 20 + 5 * k, 2)]
    entry = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": [5, 10, 60, 100],
             "area": 3000.0, "num_keypoints": 17, "keypoints": keypoints}  # fmt: skip
    return {key: value for key, value in {**entry, **changes}.items() if value is not ...}


def content(*people: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A file of three photographs, 1 to 3, with these people."""
    images = [{"id": k, "file_name": f"{k}.jpg", "width": 200, "height": 200} for k in (1, 2, 3)]
    category = {"id": 1, "name": "person", "keypoints": COCO, "skeleton": [[16, 14]]}
    return {"info": {}, "images": images, "categories": [category], "annotations": list(people), **changes}


def flags(*hidden_or_not: tuple[int, int]) -> list[float]:
    """The keypoints of `person`, with other flags v for some joints."""
    keypoints = list(person()["keypoints"])
    for k, v in hidden_or_not:
        keypoints[3 * k + 2] = v
    return keypoints


@pytest.fixture
def read(tmp_path):
    def load(what: Any):
        path = tmp_path / "annotations.json"
        path.write_text(what if isinstance(what, str) else json.dumps(what), encoding="utf-8")
        return coco.load_people(path)

    return load


def test_every_joint_gets_its_name(read):
    people, counts = read(content(person()))
    for k, name in enumerate(COCO[5:], start=5):
        assert people.joints[0, J.NAMES.index(name.replace("_", " "))].tolist() == [10 + 3 * k, 20 + 5 * k], name
    absent = [J.NAMES.index(name) for name in ("pelvis", "thorax", "upper neck", "head top")]
    assert np.flatnonzero(~people.labelled[0]).tolist() == absent and np.isnan(people.joints[0, absent]).all()
    assert np.isnan(people.head_box).all() and np.isnan(people.head_size).all()
    assert people.torso[0] == pytest.approx(np.hypot(3 * 7, 5 * 7))  # joint 5 to joint 12
    assert (counts.images, counts.rects, counts.kept, counts.left_out) == (3, 1, 1, {})
    assert [name.replace("_", " ") for name in COCO] == list(coco.NAMES)


@pytest.mark.parametrize("spelt", [str, str.upper, lambda name: name.replace(" ", "_"), lambda name: f" {name} "])
def test_names_of_mpii_in_any_order_and_spelling(read, spelt):
    order = [9, 3, 15, *(k for k in range(16) if k not in (9, 3, 15))]
    names = [spelt(J.NAMES[k]) for k in order] + ["nose", "tail"]  # these two have no joint here
    keypoints = [value for k in [*order, 50, 60] for value in (k, 2 * k + 1, 2)]
    people, _ = read(content(person(keypoints=keypoints), categories=[{"id": 1, "keypoints": names}]))
    np.testing.assert_array_equal(people.joints[0], [(k, 2 * k + 1) for k in range(16)])
    assert people.head_size[0] == pytest.approx(np.hypot(1, 2))  # from upper neck 8 to head top 9


def test_flags(read):
    people, _ = read(content(person(keypoints=flags((5, 0), (6, 1), (9, 1.0)))))
    assert not people.labelled[0, J.L_SHOULDER] and np.isnan(people.joints[0, J.L_SHOULDER]).all()
    assert people.labelled[0, [J.R_SHOULDER, J.L_WRIST]].all() and people.labelled[0].sum() == 11
    assert not people.visible[0, [J.R_SHOULDER, J.L_WRIST]].any() and people.visible[0].sum() == 9


def test_the_box_of_the_standard_recipe_lies_around_the_given_one(read):
    people, _ = read(content(person(), person(bbox=[0, 0, 90, 30]), person(bbox=...), person(bbox=[])))
    np.testing.assert_allclose(people.scale[:2], [0.5, 0.45])
    np.testing.assert_allclose(people.center[:2], [(35, 60 - 7.5), (45, 15 - 6.75)])
    to_photo = geometry.person_to_photo(people.center, people.scale, 128)
    corners = geometry.apply(to_photo, np.full((4, 1, 2), geometry.stored_size(128) / 2))[:, 0]
    np.testing.assert_allclose(corners[:2], [(35, 60), (45, 15)], atol=1e-2)  # the centres of the boxes
    # without a box: joints 5 to 16 lie from (25, 45) to (58, 100), and a box of 55 px is enlarged as LSPET's
    np.testing.assert_allclose(corners[2:], [(41.5, 72.5)] * 2, atol=1e-2)
    np.testing.assert_allclose(people.scale[2:], 0.75)  # small people get as many pixels as one of 150 px


def test_people_know_their_place_in_the_file(read):
    things = {"id": 7, "name": "dog"}
    file = content(person(image=3), person(7, 2.0, category_id=7), person(image=2.0), person(image=3, iscrowd=1),
                   person(image=3, category_id=1.0))  # fmt: skip
    file["categories"].append(things)
    people, counts = read(file)
    assert people.names == ["3.jpg", "2.jpg", "3.jpg"]
    assert people.annolist_index.tolist() == [2, 1, 2] and people.person.tolist() == [0, 0, 2]
    assert people.rects_in_image.tolist() == [3, 1, 3]
    assert counts.left_out == {"another category": 1, "a crowd": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iscrowd": 1}, "a crowd"),
        ({"image_id": 99}, "image unknown"),
        ({"category_id": 5}, "another category"),
        ({"keypoints": [0] * 51}, "no labelled joint"),
        ({"keypoints": ...}, "no labelled joint"),
        ({"keypoints": []}, "no labelled joint"),
        ({"keypoints": flags(*((k, 0) for k in range(5, 17)))}, "no labelled joint"),  # a face only
        ({"bbox": [5, 5, 0, 0]}, "no usable size"),
        ({"bbox": [5, 5, -20, 50]}, "no usable size"),
        ({"bbox": ..., "keypoints": flags(*((k, 0) for k in range(6, 17)))}, "no usable size"),  # a single point
        ({"bbox": [5, 5, 20_001, 50]}, "coordinates not finite or beyond 20,000 px"),
        ({"bbox": [math.nan, 5, 50, 50]}, "coordinates not finite or beyond 20,000 px"),
        ({"keypoints": [10**400, 5, 2] * 17}, "coordinates not finite or beyond 20,000 px"),
        ({"keypoints": [5, -math.inf, 2] * 17}, "coordinates not finite or beyond 20,000 px"),
    ],
)
def test_unusable_annotations_are_counted(read, changes, reason):
    people, counts = read(content(person(), person(**changes)))
    assert (len(people), counts.rects, counts.left_out) == (1, 2, {reason: 1})
    with pytest.raises(PoseTopoError, match=r"annotations\.json: no usable person in 1 annotations"):
        read(content(person(**changes)))


def test_coordinates_of_unlabelled_joints_mean_nothing(read):
    keypoints = flags((0, 2), (5, 0))
    keypoints[0], keypoints[15] = math.nan, 1e9  # the nose has no joint here
    assert read(content(person(keypoints=keypoints)))[0].labelled.sum() == 11


BAD_IMAGES = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "x/a.jpg"}]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("", "not readable as JSON"),
        ("no json", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ("1" * 10_000, "not a COCO|not readable as JSON"),
        ("[]", "it has no list images and no list annotations and no list categories"),
        ({"images": [], "annotations": {}}, "it has no list annotations and no list categories"),
        (content(images=[3]), r"images\[0\] is 3, not an object"),
        (content([]), r"annotations\[0\] is a list, not an object"),
        (content(categories=[{"id": 1, "keypoints": ["tail", "nose"]}]), r"known names: give COCO's \(nose, .* MPII's"),
        (content(categories=[{"id": 1}]), "no category has keypoints"),
        (content(categories=[{"id": 1, "keypoints": [1]}]), r"categories\[0\]: keypoints is not a list of names"),
        (content(categories=[{"id": 1, "keypoints": ["left_hip", "Left Hip"]}]), "two keypoints have the name"),
        (content(categories=[{"id": "1", "keypoints": COCO}]), r"categories\[0\]: id is '1', not a whole number"),
        (content(categories=[{"id": 1, "keypoints": COCO}] * 2), r"categories\[1\]: another category has the id 1"),
        (content(images=[{"id": 1}]), r"images\[0\]: it has no file_name"),
        (content(images=[{"file_name": "a.jpg"}]), r"images\[0\]: it has no id"),
        (content(images=[{"id": 1, "file_name": 5}]), "file_name is no text"),
        (content(images=[{"id": 1, "file_name": "a/.."}]), "names no file"),
        (content(images=[{"id": 1, "file_name": "a\udcff.jpg"}]), "names no file"),
        (content(images=[{"id": 1, "file_name": "a.jpg"}, {"id": 1.0, "file_name": "b.jpg"}]), "both have the id 1"),
        (content(images=BAD_IMAGES), r"images\[0\] and images\[1\] are both the file a\.jpg"),
        (content(person(image_id="1")), r"annotations\[0\]: image_id is '1', not a whole number"),
        (content(person(image_id=1.5)), "image_id is 1.5, not a whole number"),
        (content(person(image_id=True)), "image_id is True"),
        (content(person(category_id=...)), r"annotations\[0\]: it has no category_id"),
        (content(person(iscrowd="no")), "iscrowd is 'no', not 0 or 1"),
        (content(person(bbox=[1, 2, 3])), "bbox has 3 numbers, not 4"),
        (content(person(bbox=[1, 2, 3, "4"])), "bbox is not a list of numbers"),
        (content(person(keypoints=[1] * 50)), "keypoints has 50 numbers, not 51"),
        (content(person(keypoints={"a": 1})), "keypoints is not a list of numbers"),
        (content(person(keypoints=[1, 2, None] * 17)), "keypoints is not a list of numbers"),
        (content(person(keypoints=flags((5, 3)))), "a keypoint has v 3, not 0, 1 or 2"),
        (content(person(keypoints=[1, 2, 0.83] * 17)), r"v 0\.83, not 0, 1 or 2 \(in a file of predictions"),
        (content(), "no usable person in 0 annotations"),
    ],
)
def test_another_file_is_one_line(read, what, message):
    with pytest.raises(PoseTopoError, match=message) as told:
        read(what)
    assert "\n" not in str(told.value) and "annotations.json: " in str(told.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(PoseTopoError, match=r"none\.json: .*give --annotations"):
        coco.load_people(tmp_path / "none.json")


def test_areas_of_people(read, tmp_path):
    file = content(person(area=50), person(iscrowd=1), person(area=...), person(area=0), person(area=math.nan))
    people, _ = read(file)
    area, all_coco = coco.areas(tmp_path / "annotations.json", people)
    np.testing.assert_array_equal(area, [50, np.nan, np.nan, np.nan])
    assert all_coco
    read(content(person(area="5")))
    with pytest.raises(PoseTopoError, match=r"annotations\[0\]: area is not a number"):
        coco.areas(tmp_path / "annotations.json", people.take(np.array([0])))
    people, _ = read(content(person(keypoints=[5, 5, 2] * 16), categories=[{"id": 1, "keypoints": J.NAMES}]))
    assert not coco.areas(tmp_path / "annotations.json", people)[1]


# ---- A data set of such a file.


def data_at(folder: Path, file: str, images: str) -> Data:
    """Write a file and two of its three photographs, and return the data set that --annotations would name."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    for name in ("1.jpg", "3.jpg"):
        (folder / images / name).write_bytes(b"no picture is opened here")
    what = content(*(person(image=k) for k in (1, 2, 3)))
    for image, name in zip(what["images"], ("val2017/1.jpg", "../../2.jpg", "C:\\photos\\3.jpg"), strict=True):
        image["file_name"] = name
    (folder / file).write_text(json.dumps(what))
    return Data.at(mat_path=folder / file)


@pytest.mark.parametrize("images", ["images", "."])
def test_photographs_lie_in_images_or_beside_the_file(tmp_path, said, images):
    folder = tmp_path / "mine"
    data = data_at(folder, "Mine.JSON", images)
    assert (Path(data.img_dir), data.name) == (folder / images, "mine")
    people, counts = present_people(data, tmp_path / "cache")
    assert people.names == ["1.jpg", "3.jpg"] and counts.left_out == {"photograph missing": 1}
    assert any("1 annotated photographs are missing" in line and "2.jpg" in line for line in said)
    again, _ = cached_people(data.mat_path, tmp_path / "cache")
    assert again.names == ["1.jpg", "2.jpg", "3.jpg"]


def test_a_folder_with_annotations_json_is_a_data_folder(tmp_path):
    data_at(tmp_path, "annotations.json", "images")
    data = Data.at(tmp_path)
    assert Path(data.mat_path) == tmp_path / "annotations.json" and Path(data.img_dir) == tmp_path / "images"
    assert Path(Data.at(mat_path=tmp_path / "gone" / "a.json").img_dir) == tmp_path / "gone" / "images"
    with pytest.raises(UsageError, match=r"must end in joints\.mat or \.mat or \.json"):
        cached_people(tmp_path / "a.txt", tmp_path)
