"""Two metrics besides PCKh: COCO's OKS AP, and the metric of the original study.

**OKS AP** is COCO's score of keypoints (cocodataset.org/#keypoints-eval), computed by pycocotools. The object keypoint
similarity of a prediction and a person is the mean of exp(-d^2 / (2 s^2 k^2)) over the labelled joints, with the
distance d, s^2 = the area of the person, and a constant k per joint. Networks of this project predict MPII's joints, of
which COCO has 12. The other five of COCO (nose, eyes, ears) count as not labelled.

**The original study's metric** is reimplemented to show what the difference in metric alone makes. It differs from PCKh
in four ways. Joints are compared on the 64 x 64 grid of the squeezed photograph. The "head size" is the distance from
the right wrist to the left shoulder (the study's channel order was off by one), without the factor 0.6. An unlabelled
joint counts, as if it were at (0, 0). The mean is over all 16 joints. docs/metrics.md measures the effect of each.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.study import joints as J

# ---- OKS AP

SHARED = (J.L_SHOULDER, J.R_SHOULDER, J.L_ELBOW, J.R_ELBOW, J.L_WRIST, J.R_WRIST,
          J.L_HIP, J.R_HIP, J.L_KNEE, J.R_KNEE, J.L_ANKLE, J.R_ANKLE)  # COCO's joints 5 to 16  # fmt: skip
FACE = 5  # COCO's joints 0 to 4
SCORES = ("AP", "AP50", "AP75", "AR")
NOTE = (
    "12 joints that COCO and MPII share; nose, eyes and ears count as not labelled. Each person is predicted in the "
    "annotated box; the score of a prediction is its mean confidence over the 12 joints"
)


def oks_report(
    predicted: NDArray,
    confidence: NDArray,
    truth: NDArray,
    labelled: NDArray,
    area: NDArray,
    image: NDArray,
    reason: str | None = None,
) -> dict[str, Any]:
    """The entry `oks` of `evaluation.json`: AP, AP50, AP75 and AR, from 0 to 1.

    Args:
        predicted, truth: (P, 16, 2), in pixels of the photograph, in MPII's order.
        confidence: (P, 16).
        labelled: (P, 16), bool.
        area: (P,), in square pixels. NaN where it is not known; then there is no score.
        image: (P,), which people share a photograph.
        reason: Why there is no score, if it is known already.
    """
    if reason is None and (lacking := int(np.isnan(area).sum())):
        reason = f"{lacking:,} of {len(area):,} people have no area in the annotation file"
    about = {"joints": [J.NAMES[k] for k in SHARED], "note": NOTE, "people": len(area), "reason": reason}
    if reason is not None:
        return {**dict.fromkeys(SCORES), **about}
    shared = list(SHARED)
    flags = np.where(labelled[:, shared], 2.0, 0.0)
    person = confidence[:, shared].mean(1), area, image
    true = _people(np.where(labelled[..., None], truth, 0.0)[:, shared], flags, *person)
    found = _people(predicted[:, shared], np.ones_like(flags), *person)
    return {**_average_precision(true, found, image), **about}


def _average_precision(true: list[dict[str, Any]], found: list[dict[str, Any]], image: NDArray) -> dict[str, Any]:
    """`SCORES` of one prediction per person, both from `_people`. None if nobody has a labelled joint."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    sides = []
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        for people in (true, found):
            side: Any = COCO()
            side.dataset = {
                "images": [{"id": number} for number in np.unique(image).tolist()],
                "categories": [{"id": 1}],
                "annotations": people,
            }
            side.createIndex()
            sides.append(side)
        run = COCOeval(*sides, iouType="keypoints")
        # COCO's limit of 20 predictions per photograph is for detectors; here every person has exactly one
        run.params.maxDets = [max(20, int(np.unique(image, return_counts=True)[1].max()))]
        run.evaluate()
        run.accumulate()
    # `summarize` would read the entry of 20 predictions, which may not exist
    precision, recall = run.eval["precision"][:, :, 0, 0, 0], run.eval["recall"][:, 0, 0, 0]  # (T, R), (T,)
    at = {"AP": precision, "AP50": precision[0], "AP75": precision[5], "AR": recall}  # T: OKS of .5, .55, ..., .95
    return {name: float(at[name][at[name] > -1].mean()) if (at[name] > -1).any() else None for name in SCORES}


def _people(points: NDArray, flags: NDArray, score: NDArray, area: NDArray, image: NDArray) -> list[dict[str, Any]]:
    """People in COCO's form, from the joints `SHARED` (P, 12, 2) and their flags v (P, 12). COCO's face has v 0."""
    triples = np.zeros((len(points), FACE + len(SHARED), 3))
    triples[:, FACE:] = np.concatenate([points, flags[..., None]], axis=-1)
    return [
        {
            "id": row + 1,  # pycocotools takes 0 for no match
            "image_id": int(image[row]),
            "category_id": 1,
            "keypoints": triples[row].ravel().tolist(),
            "num_keypoints": int((flags[row] > 0).sum()),
            "score": float(score[row]),  # by which predictions are sorted
            "area": float(area[row]),
            "bbox": [0.0, 0.0, 0.0, 0.0],  # read only for people without a labelled joint, who do not count
            "iscrowd": 0,
        }
        for row in range(len(points))
    ]


# ---- the original study's metric

GRID = 64
THRESHOLD = 0.5


def legacy_hits(predicted: NDArray, truth: NDArray, labelled: NDArray, sizes: NDArray) -> NDArray[np.bool_]:
    """Whether the study would count each joint as correct, (P, 16).

    The study compares the highest cells of heatmaps. For predictions that are cells of a squeezed photograph, the
    result is the same. Predictions from a person crop are finer and may lie outside the photograph: they are rounded to
    the study's cell, and at the border to the last cell.

    Args:
        predicted, truth: (P, 16, 2), 0-based pixels of the photograph.
        labelled: (P, 16), bool.
        sizes: (P, 2), width and height of each photograph.
    """
    found, true = (
        np.trunc(GRID * (np.where(keep, points, 0.0) + 0.5) / sizes[:, None])  # as int(): towards zero
        for points, keep in ((predicted, True), (truth, labelled[..., None]))
    )
    # unlabelled joints and joints outside the photograph have an empty target map, whose highest cell is (0, 0)
    drawn = labelled & ((true >= 0) & (true < GRID)).all(-1)
    return _within(np.clip(found, 0, GRID - 1), np.where(drawn[..., None], true, 0.0))


def head_ratio(truth: NDArray, labelled: NDArray, head_size: NDArray) -> dict[str, Any]:
    """The ratio of the study's "head size" to PCKh's, for the people who have both. It is about 2.4 on MPII."""
    both = labelled[:, J.R_WRIST] & labelled[:, J.L_SHOULDER] & (head_size > 0)
    ratio = _head(truth[both]) / head_size[both]
    known = {"mean": float(ratio.mean()), "median": float(np.median(ratio))} if ratio.size else {}
    return {"mean": None, "median": None, **known, "people": int(both.sum())}


def legacy_report(
    predicted: NDArray, truth: NDArray, labelled: NDArray, head_size: NDArray, sizes: NDArray | None
) -> dict[str, Any]:
    """The entry `legacy` of `evaluation.json`.

    `pckh` counts as the study does. `pckh_labelled` has the study's unit and grid, but only labelled joints. Both are
    None if `sizes` (P, 2) is None.
    """
    ratio = head_ratio(truth, labelled, head_size)
    about = {"threshold": THRESHOLD, "unlabelled": int((~labelled).sum()), "head_ratio": ratio}
    if sizes is None or not len(sizes):
        return {"pckh": None, "pckh_labelled": None, "reason": "the sizes of the photographs are not known", **about}
    right = legacy_hits(predicted, truth, labelled, sizes)
    return {
        "pckh": 100.0 * float(right.mean()),
        "pckh_labelled": 100.0 * float(right[labelled].mean()) if labelled.any() else None,
        "reason": None,
        **about,
    }


def _within(predicted: NDArray, truth: NDArray) -> NDArray[np.bool_]:
    """Whether joints are within half a head size, (P, 16). Predictions and truth (P, 16, 2) share any unit."""
    return np.linalg.norm(predicted - truth, axis=-1) <= THRESHOLD * _head(truth)[:, None]


def _head(truth: NDArray) -> NDArray[np.float64]:
    """The distance (P,) from the right wrist to the left shoulder: the study's channels 9 and 12."""
    return np.linalg.norm(truth[:, J.R_WRIST] - truth[:, J.L_SHOULDER], axis=-1)
