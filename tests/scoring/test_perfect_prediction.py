"""A perfect network loses next to nothing through the targets, the flip test and the decoding."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pose_topo.data import geometry
from pose_topo.data.batches import generate_heatmaps
from pose_topo.data.dataset import present_people
from pose_topo.data.people import head_size
from pose_topo.scoring.decoding import decode, flip_back, shift_right
from pose_topo.scoring.pckh import normalised_errors, scores_at
from pose_topo.scoring.predictions import read_ground_truth
from pose_topo.study import joints as J
from pose_topo.study.config import Data

REAL = os.environ.get("POSE_TOPO_REAL_DATA")
INPUT, CELLS, SIGMA = 256, 64, 2.0


def perfect(
    joints: NDArray, labelled: NDArray, center: NDArray, scale: NDArray, centre: str, how: str
) -> NDArray[np.float64]:
    """Joints (P, 16, 2) in the photograph, as predicted by a network whose output is exactly the target."""
    margin = (geometry.stored_size(INPUT) - INPUT) // 2
    affine = geometry.translate_input(geometry.person_to_photo(center, scale, INPUT), margin)
    inside = geometry.apply(geometry.invert(affine), np.where(labelled[..., None], joints, 0.0))  # (P, 16, 2) pixels
    mirrored = inside[:, list(J.FLIP_INDEX)] * [-1, 1] + [INPUT - 1, 0]

    def targets(pixels: NDArray, there: NDArray) -> torch.Tensor:
        return generate_heatmaps(torch.from_numpy(pixels / 4), torch.from_numpy(there), CELLS, SIGMA, centre)[0]

    found = []
    for part in np.array_split(np.arange(len(joints)), max(1, len(joints) // 256)):
        back = flip_back(targets(mirrored[part], labelled[part][:, list(J.FLIP_INDEX)]))
        maps = 0.5 * (targets(inside[part], labelled[part]) + shift_right(back))
        found.append(decode(maps, how, SIGMA)[0].double().numpy())
    return geometry.apply(affine, np.concatenate(found))


def scores(joints, labelled, center, scale, size, centre, how) -> tuple[float, float]:
    errors = normalised_errors(perfect(joints, labelled, center, scale, centre, how), joints, labelled, size)
    return scores_at(errors, 0.5)["mean"], scores_at(errors, 0.1)["mean"]


def made_up_people(people: int = 200) -> tuple[NDArray, ...]:
    """Joints anywhere in their boxes, with the scales of MPII (0.5 to 8, most about 2.5) and head size 25 x scale."""
    rng = np.random.default_rng(0)
    scale = np.clip(np.exp(rng.normal(np.log(2.6), 0.5, people)), 0.5, 8)
    center = rng.uniform(0, [1280, 720], (people, 2))
    reach = 200 * 1.25 * scale[:, None, None] / 2 * 0.95
    joints = center[:, None] + [0, 15] * scale[:, None, None] + rng.uniform(-1, 1, (people, J.K, 2)) * reach
    return joints, rng.random((people, J.K)) < 0.93, center, scale, 25 * scale


def real_people() -> tuple[NDArray, ...]:
    """MPII val: true joints and head sizes, and the centres and scales of the benchmark (stored adjusted)."""
    import h5py

    folder = Path(str(REAL)) / "mpii-val"
    truth = read_ground_truth(folder / "detections_our_format.mat")
    with h5py.File(folder / "valid.h5", "r") as file:
        center, scale = np.asarray(file["center"]), np.asarray(file["scale"]) / 1.25
    center = center - [0, 15] * scale[:, None] - 1.0
    return truth.joints, truth.labelled, center, scale, truth.head_size


def check(people: tuple[NDArray, ...]) -> None:
    half, tenth = scores(*people, "nearest", "quarter")
    assert half >= 99.8 and tenth >= 98.5
    assert scores(*people, "exact", "dark")[1] >= 99.4


def test_made_up_people():
    check(made_up_people())


def test_each_decoding_method_is_better_than_the_one_before():
    people = made_up_people()
    tenths = [scores(*people, *way)[1] for way in (("nearest", "argmax"), ("nearest", "quarter"), ("exact", "dark"))]
    assert tenths[0] < 98.5 < tenths[1] < 99.6 < tenths[2]


def test_rendered_people(small_data: Path):
    people, _ = present_people(Data.at(small_data))
    size = head_size(people.head_box)
    given = people.joints, people.labelled, people.center, people.scale, size
    half, tenth = scores(*given, "exact", "dark")
    assert half == 100.0 and tenth >= 99.0  # 16 people: one joint is 0.4 points
    assert scores(*given, "nearest", "quarter")[0] == 100.0


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason="POSE_TOPO_REAL_DATA is not set")
def test_mpii_val():
    """Every eighth person. The missing joints lie outside the crop. docs/metrics.md has all 2,958 people."""
    check(tuple(array[::8] for array in real_people()))
