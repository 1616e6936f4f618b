"""Prediction files and ground truth, ours and other people's. Inside, pixels are 0-based; in the files they are
1-based."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo import joints as J
from pose_topo.data.people import head_size
from pose_topo.errors import PoseTopoError
from pose_topo.files import atomic_path


@dataclass(frozen=True)
class GroundTruth:
    """What predictions are scored against."""

    joints: NDArray[np.float64]  # (P, 16, 2) 0-based
    labelled: NDArray[np.bool_]  # (P, 16)
    head_size: NDArray[np.float64]  # (P,) pixels


def write_predictions(path: Path, predicted: NDArray[np.float64], **arrays: Any) -> None:
    """Write `preds` (P, 16, 2), given 0-based, and whatever else describes the people, as HDF5.

    Names of images are stored as fixed-length bytes.
    """
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=False) as file:
        file["preds"] = predicted + 1.0
        for name, values in sorted(arrays.items()):
            array = np.asarray(values)
            file[name] = np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array


def read_predictions(path: str | Path) -> NDArray[np.float64]:
    """Read field `preds` of an .h5 or .mat file: (P, 16, 2) or (2, 16, P), 1-based -> (P, 16, 2) 0-based.

    Raises:
        PoseTopoError: missing, unreadable, no such field, another shape, or not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise PoseTopoError(f"predictions {path} not found")
    raw = np.asarray(_field(path, "preds"))
    if raw.ndim == 3 and raw.shape[1:] == (J.K, 2):
        found = raw
    elif raw.ndim == 3 and raw.shape[:2] == (2, J.K):
        found = raw.transpose(2, 1, 0)
    else:
        raise PoseTopoError(f"{path}: preds has shape {raw.shape}, not (people, 16, 2) or (2, 16, people)")
    if found.dtype.kind not in "fiu":
        raise PoseTopoError(f"{path}: preds holds {found.dtype}, not numbers")
    if not np.isfinite(found).all():
        raise PoseTopoError(f"{path}: {int((~np.isfinite(found)).sum())} values of preds are not finite")
    return found.astype(np.float64) - 1.0


def read_ground_truth(path: str | Path) -> GroundTruth:
    """Read `detections_our_format.mat` (the field's), or this project's own predictions.h5, which holds the truth as
    well.

    Raises:
        PoseTopoError: missing, unreadable, or another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise PoseTopoError(f"ground truth {path} not found; fetch it with `pose-topo download split`")
    try:
        if path.suffix == ".mat":
            truth = np.asarray(_field(path, "pos_gt_src"), float).transpose(2, 0, 1)
            labelled = np.asarray(_field(path, "jnt_missing")).T == 0
            box = np.asarray(_field(path, "headboxes_src"), float).transpose(2, 0, 1).reshape(-1, 4)
        else:
            truth, labelled = np.asarray(_field(path, "joints"), float), np.asarray(_field(path, "labelled"), bool)
            box = np.asarray(_field(path, "head_box"), float)
    except ValueError as error:
        raise PoseTopoError(f"{path}: not a ground truth file ({error})") from None
    return GroundTruth(truth - 1.0, labelled, head_size(box))


def _field(path: Path, name: str) -> Any:
    """One array of an HDF5 or MATLAB 5 file."""
    import h5py
    from scipy.io import loadmat

    try:
        if path.suffix == ".mat" and not h5py.is_hdf5(path):
            return loadmat(path, variable_names=[name])[name]
        with h5py.File(path, "r") as file:
            return np.asarray(file[name])
    except KeyError:
        raise PoseTopoError(f"{path}: no field {name}") from None
    except Exception as error:  # broken bytes fail in many ways inside h5py and scipy
        raise PoseTopoError(
            f"{path}: not readable as HDF5 or MATLAB 5 ({' '.join(str(error).split())[:100]})"
        ) from None
