"""The articulated 3-D skeleton: from joint angles to joint places.

Camera frame: x to the picture's right, y up, z towards the camera; the unit is the standing height. A person
who faces the camera has their left at +x, so their right shoulder is on the left of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pose_topo import joints as J
from pose_topo.data.synthetic.activities import Angles, spread

DOWN = np.array([0.0, -1.0, 0.0])
# (side, hip, knee, ankle) and (side, shoulder, elbow, wrist); side is the sign of x in the person's own frame
LEGS = ((1, J.L_HIP, J.L_KNEE, J.L_ANKLE), (-1, J.R_HIP, J.R_KNEE, J.R_ANKLE))
ARMS = ((1, J.L_SHOULDER, J.L_ELBOW, J.L_WRIST), (-1, J.R_SHOULDER, J.R_ELBOW, J.R_WRIST))
HEAD_HEIGHT = 0.15  # chin to crown, in standing heights


@dataclass(frozen=True)
class Skeleton:
    """A posed body. The columns of each rotation are the person's left, up and front in the camera frame."""

    joints: np.ndarray  # (16, 3) standing heights
    toes: np.ndarray  # (2, 3) left and right toe tip
    hands: np.ndarray  # (2, 3) left and right finger tips
    pelvis: np.ndarray  # (3, 3)
    trunk: np.ndarray  # (3, 3)
    head: np.ndarray  # (3, 3)
    activity: str


def rotation(axis: str, degrees: float) -> np.ndarray:
    """(3, 3) right-handed rotation about "x", "y" or "z"."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def sample_yaw(rng: np.random.Generator) -> float:
    """Degrees: mostly towards the camera, some from behind, some from any side."""
    u = rng.random()
    if u < 0.68:
        return float(rng.normal(0, 25))
    if u < 0.88:
        return float(180 + rng.normal(0, 25))
    return float(rng.uniform(-180, 180))


def build_skeleton(rng: np.random.Generator, angles: Angles, yaw: float) -> Skeleton:
    """Joints by forward kinematics from the pelvis outwards."""
    camera = rotation("x", spread(rng, 4, 6, -12, 25))  # seen a little from above
    pelvis = camera @ rotation("z", angles.plane + rng.normal(0, 4)) @ rotation("y", yaw)
    trunk = pelvis @ rotation("x", angles.lean) @ rotation("z", angles.tilt) @ rotation("y", angles.twist)
    # the eyes stay near the horizon: the neck gives back part of the trunk's lean
    nod = rng.normal(0, 10) - 0.45 * angles.lean
    head = trunk @ rotation("y", spread(rng, 0, 22, -60, 60)) @ rotation("x", nod) @ rotation("z", rng.normal(0, 7))
    length = {name: base * spread(rng, 1, 0.045, 0.9, 1.1) for name, base in LENGTHS.items()}
    joints = np.zeros((J.K, 3))
    joints[J.THORAX] = trunk @ np.array([0, length["trunk"], 0])
    joints[J.UPPER_NECK] = joints[J.THORAX] + head @ np.array([0, length["neck"], 0.012])
    joints[J.HEAD_TOP] = joints[J.UPPER_NECK] + head @ np.array([0, HEAD_HEIGHT + 0.006, 0])
    toes, hands = np.zeros((2, 3)), np.zeros((2, 3))
    for k, (side, hip, knee, ankle) in enumerate(LEGS):
        flexion, abduction, bend, turn = angles.legs[k]
        thigh = pelvis @ rotation("z", side * abduction) @ rotation("x", -flexion) @ rotation("y", side * turn)
        shank = thigh @ rotation("x", min(bend, 140.0))
        joints[hip] = pelvis @ np.array([side * length["hips"], -0.012, 0])
        joints[knee] = joints[hip] + length["thigh"] * (thigh @ DOWN)
        joints[ankle] = joints[knee] + length["shank"] * (shank @ DOWN)
        toes[k] = joints[ankle] + shank @ np.array([0, -0.03, 0.085])
    for k, (side, shoulder, elbow, wrist) in enumerate(ARMS):
        abduction, flexion, bend, turn = angles.arms[k]
        shrug = 0.02 * max(0.0, math.sin(math.radians(min(abduction, 170.0) / 2)))  # a raised arm lifts its shoulder
        upper = trunk @ rotation("z", side * abduction) @ rotation("x", -flexion) @ rotation("y", -side * turn)
        lower = upper @ rotation("x", -min(bend, 140.0))
        joints[shoulder] = joints[J.THORAX] + trunk @ np.array([side * length["shoulders"], -0.02 + shrug, 0])
        joints[elbow] = joints[shoulder] + length["upper arm"] * (upper @ DOWN)
        joints[wrist] = joints[elbow] + length["forearm"] * (lower @ DOWN)
        hands[k] = joints[wrist] + 0.045 * (lower @ DOWN)
    return Skeleton(joints, toes, hands, pelvis, trunk, head, angles.activity)


# bone lengths in standing heights; hips and shoulders are half widths
LENGTHS = {
    "trunk": 0.275, "neck": 0.055, "hips": 0.056, "thigh": 0.238, "shank": 0.236,
    "shoulders": 0.112, "upper arm": 0.166, "forearm": 0.148,
}  # fmt: skip
