"""The 16 joints of MPII: their names, pairs, limbs and groups. No other module knows which index is which joint.

The order is that of the ids in the annotation file, which are 0-based. "Left" and "right" are those of the person.
"""

from __future__ import annotations

from typing import Literal

Side = Literal["right", "left", "middle"]

NAMES: tuple[str, ...] = (
    "right ankle",
    "right knee",
    "right hip",
    "left hip",
    "left knee",
    "left ankle",
    "pelvis",
    "thorax",
    "upper neck",
    "head top",
    "right wrist",
    "right elbow",
    "right shoulder",
    "left shoulder",
    "left elbow",
    "left wrist",
)
K = len(NAMES)

(
    R_ANKLE,
    R_KNEE,
    R_HIP,
    L_HIP,
    L_KNEE,
    L_ANKLE,
    PELVIS,
    THORAX,
    UPPER_NECK,
    HEAD_TOP,
    R_WRIST,
    R_ELBOW,
    R_SHOULDER,
    L_SHOULDER,
    L_ELBOW,
    L_WRIST,
) = range(K)

FLIP_PAIRS: tuple[tuple[int, int], ...] = (
    (R_ANKLE, L_ANKLE),
    (R_KNEE, L_KNEE),
    (R_HIP, L_HIP),
    (R_WRIST, L_WRIST),
    (R_ELBOW, L_ELBOW),
    (R_SHOULDER, L_SHOULDER),
)


def _flip_index() -> tuple[int, ...]:
    index = list(range(K))
    for right, left in FLIP_PAIRS:
        index[right], index[left] = left, right
    return tuple(index)


# joints[FLIP_INDEX] are the joints of the mirrored person
FLIP_INDEX: tuple[int, ...] = _flip_index()

LIMBS: tuple[tuple[int, int], ...] = (
    (R_ANKLE, R_KNEE),
    (R_KNEE, R_HIP),
    (R_HIP, PELVIS),
    (PELVIS, L_HIP),
    (L_HIP, L_KNEE),
    (L_KNEE, L_ANKLE),
    (PELVIS, THORAX),
    (THORAX, UPPER_NECK),
    (UPPER_NECK, HEAD_TOP),
    (THORAX, R_SHOULDER),
    (R_SHOULDER, R_ELBOW),
    (R_ELBOW, R_WRIST),
    (THORAX, L_SHOULDER),
    (L_SHOULDER, L_ELBOW),
    (L_ELBOW, L_WRIST),
)

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
    for word in ("right", "left"):
        if NAMES[joint].startswith(word):
            return word
    return "middle"


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
    if joint in _MIDDLE:
        return _MIDDLE[joint], _MIDDLE[joint], _MIDDLE[joint]
    right, left = _PAIRS[NAMES[joint].split()[-1]]
    red, green, blue = bytes.fromhex((right if side(joint) == "right" else left)[1:])
    return red / 255, green / 255, blue / 255
