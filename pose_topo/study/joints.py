"""The 16 joints of MPII: their names, pairs, limbs and groups. No other module knows which index is which joint.

The order is that of the ids in the annotation file, which are 0-based. "Left" and "right" are those of the person.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

Side = Literal["right", "left", "middle"]

NAMES: tuple[str, ...] = (
    "right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle",
    "pelvis", "thorax", "upper neck", "head top",
    "right wrist", "right elbow", "right shoulder", "left shoulder", "left elbow", "left wrist",
)  # fmt: skip
K = len(NAMES)

R_ANKLE, R_KNEE, R_HIP, L_HIP, L_KNEE, L_ANKLE = range(6)
PELVIS, THORAX, UPPER_NECK, HEAD_TOP = range(6, 10)
R_WRIST, R_ELBOW, R_SHOULDER, L_SHOULDER, L_ELBOW, L_WRIST = range(10, K)

# each joint of the right side with the one of the same name on the left
FLIP_PAIRS: tuple[tuple[int, int], ...] = tuple(
    (k, NAMES.index(name.replace("right", "left"))) for k, name in enumerate(NAMES) if name.startswith("right")
)
# joints[FLIP_INDEX] are the joints of the mirrored person
_OTHER_SIDE = dict(FLIP_PAIRS) | {left: right for right, left in FLIP_PAIRS}
FLIP_INDEX: tuple[int, ...] = tuple(_OTHER_SIDE.get(k, k) for k in range(K))

_CHAINS = (
    (R_ANKLE, R_KNEE, R_HIP, PELVIS, L_HIP, L_KNEE, L_ANKLE),
    (PELVIS, THORAX, UPPER_NECK, HEAD_TOP),
    (THORAX, R_SHOULDER, R_ELBOW, R_WRIST),
    (THORAX, L_SHOULDER, L_ELBOW, L_WRIST),
)
LIMBS: tuple[tuple[int, int], ...] = tuple(limb for chain in _CHAINS for limb in pairwise(chain))

# the groups of PCKh in the order of the published tables; "Head" is only the head top
GROUPS: dict[str, tuple[int, ...]] = {
    "Head": (HEAD_TOP,),
    "Shoulder": (R_SHOULDER, L_SHOULDER),
    "Elbow": (R_ELBOW, L_ELBOW),
    "Wrist": (R_WRIST, L_WRIST),
    "Hip": (R_HIP, L_HIP),
    "Knee": (R_KNEE, L_KNEE),
    "Ankle": (R_ANKLE, L_ANKLE),
}

# the mean PCKh is over all joints except pelvis and thorax
SCORED: tuple[int, ...] = tuple(k for k in range(K) if k not in (PELVIS, THORAX))


def side(joint: int) -> Side:
    """The side of the body that a joint belongs to."""
    first = NAMES[joint].split()[0]
    return first if first in ("right", "left") else "middle"


def limb_side(a: int, b: int) -> Side:
    """The side of the body that the limb between two joints belongs to."""
    return side(a) if side(a) != "middle" else side(b)


# ---- Colours: every picture and figure takes them from here

SIDE_COLOURS: dict[Side, str] = {"right": "#E69F00", "left": "#56B4E9", "middle": "#CC79A7"}  # after Okabe & Ito
_PAIRS = {  # one hue per pair of joints: dark for right, light for left
    "shoulder": ("#0B62A4", "#8CC4F0"),
    "elbow": ("#1B7F4B", "#9BDDB0"),
    "wrist": ("#5E3C99", "#B9A5E2"),
    "hip": ("#B8860B", "#F5D480"),
    "knee": ("#B5301A", "#F4A582"),
    "ankle": ("#D01C8B", "#F7B8DE"),
}
_MIDDLE = {HEAD_TOP: 0.10, UPPER_NECK: 0.36, THORAX: 0.62, PELVIS: 0.84}  # grey levels


def colour(joint: int) -> tuple[float, float, float]:
    """The RGB colour (0..1) of a joint: grey in the middle, a dark (right) or light (left) tone in a pair."""
    if grey := _MIDDLE.get(joint):
        return grey, grey, grey
    right, left = _PAIRS[NAMES[joint].split()[-1]]
    red, green, blue = bytes.fromhex((right if side(joint) == "right" else left)[1:])
    return red / 255, green / 255, blue / 255
