"""Read and write prediction files and ground truth, of this project and of other systems.

Pixels are 1-based in the files and 0-based in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_topo.core.errors import PoseTopoError, in_short
from pose_topo.core.files import atomic_path
from pose_topo.data.matlab import MOST_VALUES, read_array
from pose_topo.data.people import head_size
from pose_topo.study import joints as J

EXCHANGED = 0.2  # the share of joints that (y, x) must place better than (x, y); chance differs by a few hundredths
TRUTH = ("joints", "labelled")
HEAD = ("head_size", "head_box")  # one of them; the ground truth of other systems may have no boxes
WHO = ("annolist_index", "person")  # the annotation entry, and the person in it
KINDS = {**dict.fromkeys(WHO, "iu"), "labelled": "fiub", "image": "SO"}  # NumPy's kinds of the fields; others are "fiu"
SHAPES = {"joints": (J.K, 2), "labelled": (J.K,), "head_box": (4,), "image_size": (2,)}  # of one person; others are ()


@dataclass(frozen=True)
class GroundTruth:
    """The annotation that predictions are scored against."""

    joints: NDArray[np.float64]  # (P, 16, 2), 0-based; arbitrary where not labelled
    labelled: NDArray[np.bool_]  # (P, 16)
    head_size: NDArray[np.float64]  # (P,), in pixels


@dataclass(frozen=True)
class Record(GroundTruth):
    """The people of a `predictions.h5` as they were scored."""

    found: NDArray[np.float64]  # (P, 16, 2), 0-based
    who: NDArray[np.int64] | None  # (P, 2), annolist index and person. None if the file does not contain them

    def take(self, index: NDArray) -> Record:
        """The people at `index`."""
        who = None if self.who is None else self.who[index]
        return Record(self.joints[index], self.labelled[index], self.head_size[index], self.found[index], who)


def write_predictions(path: Path, predicted: NDArray[np.float64], **arrays: Any) -> None:
    """Write predictions (P, 16, 2), given 0-based, and other arrays that describe the people, as HDF5.

    Strings are stored as fixed-length bytes.

    Raises:
        PoseTopoError: The disk is full or cannot be written.
    """
    import h5py

    try:
        with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=False) as file:
            file["preds"] = predicted + 1.0
            for name, values in sorted(arrays.items()):
                array = np.asarray(values)
                file[name] = np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array
    except (OSError, RuntimeError) as error:  # h5py raises RuntimeError if the file cannot be closed
        raise PoseTopoError(f"cannot write {path} ({in_short(error)})") from None


def read_predictions(path: str | Path) -> NDArray[np.float64]:
    """Read the field `preds` of an .h5 or .mat file: (P, 16, 2) or (2, 16, P), 1-based, to (P, 16, 2), 0-based.

    The shape (2, 16, 2) is read as two people, not transposed.

    Raises:
        PoseTopoError: The file is missing or unreadable, or the field is missing, has another shape, or is not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise PoseTopoError(f"predictions {path} not found")
    raw = _field(path, "preds", "fiu")
    if raw.ndim == 3 and raw.shape[1:] == (J.K, 2):
        found = raw
    elif raw.ndim == 3 and raw.shape[:2] == (2, J.K):
        found = raw.transpose(2, 1, 0)
    else:
        exchanged = raw.ndim == 3 and {2, J.K} < set(raw.shape)
        raise PoseTopoError(
            f"{path}: preds has shape {raw.shape}, not (people, 16, 2) or (2, 16, people)"
            + (": exchange its axes" if exchanged else "")
        )
    if not len(found):
        raise PoseTopoError(f"{path}: preds holds nobody")
    if not np.isfinite(found).all():
        raise PoseTopoError(f"{path}: {int((~np.isfinite(found)).sum())} values of preds are not finite")
    return found.astype(np.float64) - 1.0


def read_ground_truth(path: str | Path) -> GroundTruth:
    """Read `detections_our_format.mat`, or a predictions.h5 of this project, which also contains the ground truth.

    Raises:
        PoseTopoError: The file is missing, unreadable, or another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise PoseTopoError(f"ground truth {path} not found; fetch it with `pose-topo download split`")
    try:
        if path.suffix == ".mat":
            truth = _field(path, "pos_gt_src", "fiu").astype(float).transpose(2, 0, 1)
            labelled = _field(path, "jnt_missing", "fiub").T == 0
            size = head_size(_field(path, "headboxes_src", "fiu").astype(float).transpose(2, 0, 1).reshape(-1, 4))
        else:
            truth, labelled = _field(path, "joints", "fiu").astype(float), _field(path, "labelled", "fiub").astype(bool)
            boxed = "head_size" not in read_fields(path, HEAD)
            size = _field(path, "head_box" if boxed else "head_size", "fiu").astype(float)
            size = head_size(size) if boxed else size
    except (ValueError, IndexError) as error:
        raise PoseTopoError(f"{path}: not a ground truth file ({error})") from None
    people = truth.shape[0] if truth.ndim else 0
    if (truth.shape, labelled.shape, size.shape) != ((people, J.K, 2), (people, J.K), (people,)):
        raise PoseTopoError(
            f"{path}: not a ground truth file (joints {truth.shape}, labelled {labelled.shape}, head boxes "
            f"{size.shape})"
        )
    if not np.isfinite(truth[labelled]).all():
        raise PoseTopoError(f"{path}: some labelled joints are not finite")
    return GroundTruth(truth - 1.0, labelled, size)


def read_record(path: str | Path) -> Record:
    """Read a `predictions.h5` that `pose-topo evaluate` wrote.

    Raises:
        PoseTopoError: The file is missing or broken, or it does not contain the ground truth.
    """
    found = read_predictions(path)
    fields = read_fields(path, (*TRUTH, *HEAD, *WHO), len(found))
    if any(name not in fields for name in TRUTH) or not any(name in fields for name in HEAD):
        raise PoseTopoError(f"{path}: holds predictions alone; `pose-topo evaluate --predictions {path}` scores them")
    boxed = "head_size" not in fields
    labelled = fields["labelled"].astype(bool)
    joints = fields["joints"].astype(np.float64) - 1.0
    if not np.isfinite(joints[labelled]).all():
        raise PoseTopoError(f"{path}: some labelled joints are not finite")
    size = head_size(fields["head_box"].astype(np.float64)) if boxed else fields["head_size"].astype(np.float64)
    who = np.stack([fields[name] for name in WHO], axis=1) if all(name in fields for name in WHO) else None
    return Record(joints, labelled, size, found, who)


def read_fields(path: str | Path, names: tuple[str, ...], people: int | None = None) -> dict[str, NDArray]:
    """The arrays among `names` that an HDF5 file contains. None of them if it is another kind of file.

    Raises:
        PoseTopoError: One of them is broken, too large, or of another kind than its name says; or it has another shape,
            if the number of `people` is given.
    """
    import h5py

    if not h5py.is_hdf5(path):
        return {}
    try:
        with h5py.File(path, "r") as file:
            there = [name for name in names if name in file]
    except (OSError, RuntimeError) as error:
        raise PoseTopoError(f"{path}: not readable as HDF5 ({in_short(error)})") from None
    fields = {name: _field(Path(path), name, KINDS.get(name, "fiu")) for name in there}
    for name, array in fields.items():
        if people is not None and array.shape != (shape := (people, *SHAPES.get(name, ()))):
            raise PoseTopoError(f"{path}: {name} has shape {array.shape}, not {shape} as preds has {people:,} people")
    return fields


def check_same_people(predictions: str | Path, ground_truth: str | Path) -> None:
    """Check that two files hold the same people in the same order, if both say who they are. Those of this project do.

    Raises:
        PoseTopoError: The people or their order differ.
    """
    one, other = _people(Path(predictions)), _people(Path(ground_truth))
    if one is not None and other is not None and not np.array_equal(one, other):
        raise PoseTopoError(f"{predictions} and {ground_truth} are of different people, or in different order")


def check_axes(path: str | Path, found: NDArray[np.float64], truth: GroundTruth) -> None:
    """Check that predictions (P, 16, 2) are (x, y) and not (y, x).

    Raises:
        PoseTopoError: With x and y exchanged, a fifth more of the joints lie within half a head size.
    """
    as_given, exchanged = (_share_near(points, truth) for points in (found, found[..., ::-1]))
    if exchanged > as_given + EXCHANGED:
        raise PoseTopoError(
            f"{path}: x and y are exchanged: read as (y, x), {exchanged:.0%} of the joints lie within half a head size "
            f"of the truth, as (x, y) {as_given:.0%}"
        )


def _share_near(found: NDArray[np.float64], truth: GroundTruth) -> float:
    distance = np.hypot(*np.moveaxis(np.where(truth.labelled[..., None], found - truth.joints, np.inf), -1, 0))
    return float((distance <= 0.5 * truth.head_size[:, None]).sum() / max(1, truth.labelled.sum()))


def _people(path: Path) -> NDArray[np.int64] | None:
    """Annotation entry and person, (P, 2). None for a file that does not identify its people."""
    try:
        columns = [_field(path, name, "iu") for name in WHO]
    except PoseTopoError:
        return None
    return np.stack(columns, 1) if columns[0].shape == columns[1].shape and columns[0].ndim == 1 else None


def _field(path: Path, name: str, kinds: str) -> NDArray[Any]:
    """Read one array of an HDF5 or MATLAB 5 file. `kinds` are the NumPy kinds of number that are accepted."""
    import h5py

    try:
        if path.suffix == ".mat" and not h5py.is_hdf5(path):
            return _numbers(path, name, kinds, read_array(path, name))
        with h5py.File(path, "r") as file:
            return np.asarray(_numbers(path, name, kinds, file[name])[()])
    except PoseTopoError:
        raise
    except KeyError:
        raise PoseTopoError(f"{path}: no field {name}") from None
    except TypeError:
        raise PoseTopoError(f"{path}: {name} holds no real numbers") from None
    except Exception as error:  # broken bytes fail in many ways inside h5py
        raise PoseTopoError(f"{path}: not readable as HDF5 or MATLAB 5 ({in_short(error)})") from None


def _numbers(path: Path, name: str, kinds: str, field: Any) -> Any:
    """Check a field by its type and shape before it is read, because a broken header may promise terabytes."""
    if not (hasattr(field, "dtype") and field.shape is not None):
        raise PoseTopoError(f"{path}: {name} is no array")
    if field.dtype.kind not in kinds:
        raise PoseTopoError(f"{path}: {name} holds {field.dtype}, not numbers")
    if field.size > MOST_VALUES:
        raise PoseTopoError(f"{path}: {name} has shape {field.shape}: more than any data set")
    return field
