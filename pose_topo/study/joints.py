"""The 16 joints of MPII: their names, pairs, limbs and groups. No other module knows which index is which joint.

The order is that of the ids in the annotation file, which are 0-based. "Left" and "right" are those of the person.
"""

from __future__ import annotations

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


def side(joint: int) -> str:
    """The side of the body that a joint is on: "right", "left" or "middle"."""
    for word in ("right", "left"):
        if NAMES[joint].startswith(word):
            return word
    return "middle"
