"""The articulated 3-D skeleton: from a random activity to joint angles, joint places, and their image.

Camera frame: x to the picture's right, y up, z towards the camera; the unit is the standing height. A person
who faces the camera has their left at +x, so their right shoulder is on the left of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from pose_topo.rendering.raster import ellipsoid_reach
from pose_topo.study import joints as J

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
    trunk: np.ndarray  # (3, 3)
    head: np.ndarray  # (3, 3)


def rotation(axis: str, degrees: float) -> np.ndarray:
    """(3, 3) right-handed rotation about "x", "y" or "z"."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def sample_yaw(rng: Generator) -> float:
    """Degrees: mostly towards the camera, some from behind, some from any side."""
    u = rng.random()
    if u < 0.68:
        return float(rng.normal(0, 25))
    if u < 0.88:
        return float(180 + rng.normal(0, 25))
    return float(rng.uniform(-180, 180))


def build_skeleton(rng: Generator, angles: Angles, yaw: float) -> Skeleton:
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
    return Skeleton(joints, toes, hands, trunk, head)


# bone lengths in standing heights; hips and shoulders are half widths
LENGTHS = {
    "trunk": 0.275, "neck": 0.055, "hips": 0.056, "thigh": 0.238, "shank": 0.236,
    "shoulders": 0.112, "upper arm": 0.166, "forearm": 0.148,
}  # fmt: skip


HEAD_SEMI = np.array([0.053, 0.076, 0.062])  # half axes of the head: left, up, front, in standing heights

# ---- A skeleton seen through a camera, and the names of the parts that are painted.

PARTS = 32  # owner = person * PARTS + part, person counted from 1
(HEAD, HAIR, NECK, TRUNK, HIPS, SKIRT, BACKPACK) = range(7)
# the parts of the left side; those of the right follow three later
THIGH, SHANK, FOOT, UPPER_ARM, FOREARM, HAND = 7, 8, 9, 13, 14, 15
RIGHT = 3


@dataclass(frozen=True)
class Figure:
    """A skeleton in the picture. Each place is x, y (y down) and depth, in pixels."""

    skeleton: Skeleton
    height: float  # pixels of a standing height at the pelvis' distance
    joints: np.ndarray  # (16, 3)
    toes: np.ndarray  # (2, 3)
    hands: np.ndarray  # (2, 3)
    head: tuple[float, float, float]  # centre of the head's ellipsoid
    head_box: tuple[float, float, float, float]  # x1, y1, x2, y2 of the drawn head

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of the joints."""
        low, high = self.joints[:, :2].min(0), self.joints[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def place(skeleton: Skeleton, height: float, centre: tuple[float, float], distance: float, depth: float) -> Figure:
    """Project a skeleton that is `distance` standing heights away, with its middle at `centre` in pixels."""
    low, high = skeleton.joints.min(0), skeleton.joints.max(0)
    middle = (low + high) / 2

    def project(points: np.ndarray) -> np.ndarray:
        moved = points - middle
        grow = distance / (distance - moved[..., 2])
        x = centre[0] + height * grow * moved[..., 0]
        y = centre[1] - height * grow * moved[..., 1]
        return np.stack([x, y, depth + height * moved[..., 2]], axis=-1)

    head = skeleton.joints[J.HEAD_TOP] - HEAD_SEMI[1] * skeleton.head[:, 1]
    x, y, z = (float(value) for value in project(head))
    reach_x, reach_y = ellipsoid_reach(skeleton.head, HEAD_SEMI * height)
    box = (x - reach_x, y - reach_y, x + reach_x, y + reach_y)
    joints, toes, hands = project(skeleton.joints), project(skeleton.toes), project(skeleton.hands)
    return Figure(skeleton, height, joints, toes, hands, (x, y, z), box)


# ---- Activities: joint angles of people who stand, walk, sit, play and so on, within the limits of the joints.


@dataclass
class Angles:
    """Degrees. Legs: flexion, abduction, knee, outward turn; arms: abduction, flexion, elbow, inward turn."""

    lean: float = 4.0  # the trunk, forwards
    tilt: float = 0.0  # the trunk, sideways
    twist: float = 0.0  # the shoulders against the hips
    legs: list[list[float]] = field(default_factory=lambda: [[0.0, 5.0, 0.0, 8.0] for _ in range(2)])
    arms: list[list[float]] = field(default_factory=lambda: [[10.0, 5.0, 15.0, 20.0] for _ in range(2)])
    plane: float = 0.0  # the whole body, in the picture plane


def spread(rng: Generator, mean: float, sd: float, low: float, high: float) -> float:
    """A normal draw, cut to [low, high]."""
    return float(min(max(rng.normal(mean, sd), low), high))


def _arm(rng: Generator, manner: int) -> list[float]:
    """An arm that hangs (0), is bent before the body (1), is raised (2) or does anything (3)."""
    turn = rng.uniform(-15, 75)
    if manner == 0:
        return [abs(rng.normal(11, 9)), rng.normal(4, 16), abs(rng.normal(14, 14)), turn]
    if manner == 1:
        return [abs(rng.normal(22, 16)), rng.normal(18, 24), rng.uniform(35, 120), turn]
    if manner == 2:
        return [rng.uniform(75, 170), rng.normal(10, 22), abs(rng.normal(28, 30)), turn]
    return [rng.uniform(0, 110), rng.uniform(-35, 100), rng.uniform(0, 135), turn]


def _free_arms(rng: Generator) -> list[list[float]]:
    """Both arms, alike more often than not."""
    shared = rng.choice(4, p=[0.4, 0.32, 0.16, 0.12])
    return [_arm(rng, int(shared if rng.random() < 0.6 else rng.integers(4))) for _ in range(2)]


def _stand(rng: Generator) -> Angles:
    legs = [[rng.normal(0, 8), abs(rng.normal(5, 6)), abs(rng.normal(0, 9)), rng.normal(10, 9)] for _ in range(2)]
    return Angles(spread(rng, 4, 6, -10, 25), rng.normal(0, 5), rng.normal(0, 9), legs, _free_arms(rng))


def _reach(rng: Generator) -> Angles:
    pose = _stand(rng)
    raised = 2 if rng.random() < 0.6 else 1
    for k in range(raised):
        pose.arms[k] = [rng.uniform(100, 172), rng.normal(8, 15), abs(rng.normal(15, 20)), rng.uniform(0, 60)]
    if raised == 1 and rng.random() < 0.5:
        pose.arms.reverse()
    return pose


def _stretch(rng: Generator) -> Angles:
    pose = _stand(rng)
    for k in range(2):
        pose.legs[k][1] = rng.uniform(12, 34)
        pose.arms[k] = [rng.uniform(65, 115), rng.normal(0, 12), abs(rng.normal(5, 12)), rng.uniform(0, 40)]
    return pose


def _stride(rng: Generator, swing: float, back_knee: float, elbow: float, lean: float) -> Angles:
    """One leg before and one behind; each arm swings with the other side's leg."""
    ahead = int(rng.integers(2))
    legs, arms = [], []
    for k in range(2):
        sign = 1.0 if k == ahead else -1.0
        size = abs(rng.normal(swing, swing * 0.4))
        knee = abs(rng.normal(swing * 0.4, 10)) if k == ahead else abs(rng.normal(back_knee, back_knee * 0.5))
        legs.append([sign * size, abs(rng.normal(3, 3)), knee, rng.normal(6, 6)])
        side, flexion = abs(rng.normal(10, 6)), -sign * size * rng.uniform(0.5, 1.1)
        arms.append([side, flexion, abs(rng.normal(elbow, 14)), rng.uniform(0, 45)])
    return Angles(spread(rng, lean, 6, -8, 35), rng.normal(0, 4), rng.normal(0, 10), legs, arms)


def _walk(rng: Generator) -> Angles:
    pose = _stride(rng, 22, 22, 22, 5)
    if rng.random() < 0.3:  # carrying, waving, on the telephone
        pose.arms[int(rng.integers(2))] = _arm(rng, int(rng.integers(1, 4)))
    return pose


def _run(rng: Generator) -> Angles:
    return _stride(rng, 38, 70, 85, 12)


def _sit(rng: Generator) -> Angles:
    legs = [[rng.uniform(62, 100), abs(rng.normal(11, 9)), rng.uniform(55, 105), rng.normal(6, 8)] for _ in range(2)]
    if rng.random() < 0.6:
        arms = [[abs(rng.normal(12, 9)), rng.uniform(5, 45), rng.uniform(20, 95), rng.uniform(0, 60)] for _ in range(2)]
    else:
        arms = _free_arms(rng)
    return Angles(spread(rng, 3, 12, -25, 35), rng.normal(0, 6), rng.normal(0, 8), legs, arms)


def _squat(rng: Generator) -> Angles:
    flexion = rng.uniform(65, 115)
    legs = [
        [flexion + rng.normal(0, 6), rng.uniform(5, 30), flexion + rng.uniform(0, 22), rng.normal(12, 8)]
        for _ in range(2)
    ]
    arms = [
        [abs(rng.normal(15, 12)), rng.uniform(30, 90), abs(rng.normal(30, 28)), rng.uniform(0, 60)] for _ in range(2)
    ]
    return Angles(spread(rng, 22, 10, 0, 45), rng.normal(0, 5), rng.normal(0, 6), legs, arms)


def _throw(rng: Generator) -> Angles:
    pose = _stride(rng, 24, 30, 40, 8)
    hand = int(rng.random() < 0.85)  # mostly right-handed
    pose.arms[hand] = [rng.uniform(70, 135), rng.uniform(-25, 30), rng.uniform(30, 110), rng.uniform(-60, 0)]
    pose.arms[1 - hand] = [rng.uniform(10, 80), rng.uniform(10, 70), rng.uniform(5, 60), rng.uniform(0, 50)]
    pose.twist, pose.tilt = rng.normal(0, 20), rng.normal(0, 9)
    return pose


def _kick(rng: Generator) -> Angles:
    pose = _stand(rng)
    foot = int(rng.random() < 0.75)
    pose.legs[foot] = [rng.uniform(35, 90), abs(rng.normal(10, 12)), abs(rng.normal(15, 18)), rng.normal(8, 8)]
    pose.legs[1 - foot][2] = abs(rng.normal(14, 10))
    pose.arms = [[rng.uniform(15, 85), rng.normal(10, 25), rng.uniform(5, 70), rng.uniform(0, 50)] for _ in range(2)]
    pose.lean = spread(rng, -3, 10, -25, 25)
    return pose


def _dance(rng: Generator) -> Angles:
    legs = [[rng.normal(8, 20), rng.uniform(0, 38), abs(rng.normal(15, 22)), rng.normal(14, 10)] for _ in range(2)]
    arms = [_arm(rng, int(rng.integers(1, 4))) for _ in range(2)]
    lean, tilt = spread(rng, 5, 14, -25, 40), rng.normal(0, 12)
    return Angles(lean, tilt, rng.normal(0, 16), legs, arms, plane=rng.normal(0, 10))


def _bend(rng: Generator) -> Angles:
    legs = [[rng.normal(5, 12), abs(rng.normal(6, 6)), abs(rng.normal(15, 14)), rng.normal(8, 8)] for _ in range(2)]
    arms = [
        [abs(rng.normal(10, 9)), rng.uniform(30, 95), abs(rng.normal(15, 16)), rng.uniform(0, 50)] for _ in range(2)
    ]
    return Angles(rng.uniform(40, 80), rng.normal(0, 6), rng.normal(0, 8), legs, arms)


def _lie(rng: Generator) -> Angles:
    pose = _stand(rng)
    for leg in pose.legs:
        leg[0], leg[2] = abs(rng.normal(10, 18)), abs(rng.normal(20, 25))
    pose.plane = float(rng.choice([-1, 1])) * spread(rng, 85, 12, 55, 110)
    return pose


# the sampler of an activity, its name, its category and its share: mostly upright, as people in photographs are
ACTIVITIES: tuple[tuple[Callable[[Generator], Angles], str, str, float], ...] = (
    (_stand, "standing", "miscellaneous", 0.37),
    (_reach, "reaching up", "conditioning exercise", 0.06),
    (_stretch, "stretching", "conditioning exercise", 0.04),
    (_walk, "walking", "walking", 0.17),
    (_run, "running", "running", 0.08),
    (_sit, "sitting", "inactivity quiet/light", 0.12),
    (_squat, "squatting", "conditioning exercise", 0.03),
    (_throw, "throwing a ball", "sports", 0.04),
    (_kick, "kicking a ball", "sports", 0.04),
    (_dance, "dancing", "dancing", 0.03),
    (_bend, "bending down", "home activities", 0.015),
    (_lie, "lying", "inactivity quiet/light", 0.005),
)


def sample_activity(rng: Generator) -> tuple[Angles, str, str]:
    """Joint angles of a random activity, and the activity's name and category."""
    shares = [share for *_, share in ACTIVITIES]
    sampler, name, category, _ = ACTIVITIES[int(rng.choice(len(shares), p=shares))]
    return sampler(rng), name, category
