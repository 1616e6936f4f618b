"""keypoints.json: COCO's layout of known joints."""

from pathlib import Path

import numpy as np

from pose_topo.scoring.coco import Found, FoundPerson, annotation, category
from pose_topo.study import joints


def person(**changes) -> FoundPerson:
    """Joint k at (10 k, 10 k + 0.126), confidence 0.5; the last two were not found."""
    points = np.stack([10.0 * np.arange(16), 10.0 * np.arange(16) + 0.126], axis=1)
    confidence = np.full(16, 0.5)
    confidence[14:] = 0.0, -0.25
    return FoundPerson(**{"box": (1.0, 2.0, 3.0, 4.0), "points": points, "confidence": confidence, **changes})


def test_one_person():
    record = annotation(person(), 7, 3, "a.jpg")
    keypoints = record.pop("keypoints")
    assert record == {
        "id": 7, "image_id": 3, "file_name": "a.jpg", "category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.0],
        "score": 0.4375,  # 14 * 0.5 / 16
    }  # fmt: skip
    assert keypoints[:6] == [0.0, 0.13, 0.5, 10.0, 10.13, 0.5]
    assert keypoints[42:] == [0.0] * 6 and len(keypoints) == 48


def test_the_category_counts_limbs_from_one():
    found = category()
    assert found["keypoints"] == list(joints.NAMES) and found["id"] == 1
    assert [1, 2] in found["skeleton"] and [15, 16] in found["skeleton"]  # right ankle to knee, left elbow to wrist
    assert {k for limb in found["skeleton"] for k in limb} == set(range(1, 17))


def test_ids_join_people_and_photographs():
    found = Found()
    found.add(Path("x/a.jpg"), 640, 480, "a.overlay.jpg", [person(), person()])
    found.add(Path("y/a.jpg"), 200, 100, None, [person()])
    content = found.as_json()
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "path": "x/a.jpg", "overlay": "a.overlay.jpg", "width": 640, "height": 480},
        {"id": 2, "file_name": "a.jpg", "path": "y/a.jpg", "overlay": None, "width": 200, "height": 100},
    ]
    assert [(a["id"], a["image_id"]) for a in content["annotations"]] == [(1, 1), (2, 1), (3, 2)]
    assert [c["id"] for c in content["categories"]] == [1]
