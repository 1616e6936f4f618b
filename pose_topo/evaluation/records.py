"""Our own `predictions.h5` read back: what was found, the truth it was scored against, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose_topo.data.people import head_size
from pose_topo.errors import PoseTopoError
from pose_topo.evaluation.predictions import read_predictions

TRUTH = ("joints", "labelled")
UNITS = ("head_size", "head_box")  # one of them; other systems' ground truth may come without boxes
WHO = ("annolist_index", "person")


@dataclass(frozen=True)
class Record:
    """P people as they were scored; pixels 0-based."""

    found: NDArray[np.float64]  # (P, 16, 2)
    joints: NDArray[np.float64]  # (P, 16, 2), anything where not labelled
    labelled: NDArray[np.bool_]  # (P, 16)
    head_size: NDArray[np.float64]  # (P,)
    who: NDArray[np.int64] | None  # (P, 2) annolist index and person; None: the file does not say

    def take(self, index: NDArray) -> Record:
        """The people at `index`."""
        who = None if self.who is None else self.who[index]
        return Record(self.found[index], self.joints[index], self.labelled[index], self.head_size[index], who)


def read_record(path: str | Path) -> Record:
    """Read a `predictions.h5` that `pose-topo evaluate` wrote.

    Raises:
        PoseTopoError: missing, broken, or a prediction file without the truth it was scored against.
    """
    found = read_predictions(path)
    fields = read_fields(path, (*TRUTH, *UNITS, *WHO))
    if any(name not in fields for name in TRUTH) or not any(name in fields for name in UNITS):
        raise PoseTopoError(f"{path}: holds predictions alone; `pose-topo evaluate --predictions {path}` scores them")
    size = fields["head_size"] if "head_size" in fields else head_size(fields["head_box"])
    who = np.stack([fields[name] for name in WHO], axis=1) if all(name in fields for name in WHO) else None
    if any(len(array) != len(found) for array in (fields["joints"], fields["labelled"], size)):
        raise PoseTopoError(f"{path}: its predictions and its true joints are not of the same people")
    return Record(found, fields["joints"] - 1.0, fields["labelled"].astype(bool), size, who)


def read_fields(path: str | Path, names: tuple[str, ...]) -> dict[str, NDArray]:
    """Those arrays of `names` that an HDF5 file has; none of another file."""
    import h5py

    if not h5py.is_hdf5(path):
        return {}
    with h5py.File(path, "r") as file:
        return {name: np.asarray(file[name]) for name in names if name in file}
