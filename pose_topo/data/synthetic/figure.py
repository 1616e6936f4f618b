"""A skeleton seen through a camera, and the names of the parts that are painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose_topo import joints as J
from pose_topo.data.synthetic.head import HEAD_SEMI
from pose_topo.data.synthetic.raster import ellipsoid_reach
from pose_topo.data.synthetic.skeleton import Skeleton

PARTS = 32  # owner = person * PARTS + part, person counted from 1
(HEAD, HAIR, NECK, TRUNK, HIPS, SKIRT, BACKPACK) = range(7)
# the parts of the left side; those of the right follow three later
THIGH, SHANK, FOOT, UPPER_ARM, FOREARM, HAND = 7, 8, 9, 13, 14, 15
RIGHT = 3


@dataclass(frozen=True)
class Figure:
    """A skeleton in the picture. `points` hold x, y in pixels (y down) and the depth in pixels."""

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
    """See a skeleton from `distance` standing heights away, its middle at `centre` in pixels."""
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
