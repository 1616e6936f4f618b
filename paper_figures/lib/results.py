"""Read results folders as typed values. docs/results.md describes the files."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_figures.lib.arms import arm_order, chosen
from pose_topo.core.errors import PoseTopoError, in_short
from pose_topo.core.log import log
from pose_topo.study import joints, results
from pose_topo.study.arms import arm_consistency
from pose_topo.study.protocols import PROTOCOLS
from pose_topo.study.results import IDENTITY, check_one_study, read_documents

FILES = results.FILES | {"maps": "analysis.npz", "metrics": "metrics.csv", "examples": "examples.npz"}
WITHIN = {  # optional parts of analysis.json, as an error message names them
    "lesions": "lesions in its analysis.json (pose-topo analyze --lesions)",
    "grid": "an analysis.json of a network with a topographic layer",
    "directions": "directions in its analysis.json (of this version of pose-topo analyze)",
}

# The arrays that figures read: the kinds of their numbers, as NumPy names them, and their axes (docs/results.md). Axes
# of the same name have the same length.
_BY_DISTANCE = ("correlation_by_distance", "band_low", "band_high", "tuning_by_distance", "tuning_band_low",
                "tuning_band_high")  # fmt: skip
MAPS = {
    "labels": "iu h w",
    "strength": "f K h w",
    "neighbour_map": "f h w",
    "correlation_bins": "f b",
    "correlation_neighbours": "f b-1",
    "correlation_all": "f b-1",
    "distance_bins": "fiu d",
    **dict.fromkeys(_BY_DISTANCE, "f d"),
}
EXAMPLES = {"crops": "u n S S 3", "predicted": "f n K 2", "true": "f n K 2", "labelled": "b n K", "confidence": "f n K"}
MOST_BYTES = 500_000_000  # of the arrays of one file


@dataclass(frozen=True)
class Run:
    """The results of one run. JSON files are read at once, arrays on first use."""

    folder: Path
    arm: str
    seed: int
    arch: str
    protocol: str
    json: dict[str, dict[str, Any]]  # the content of the files in `results.FILES` that exist

    def has(self, *parts: str) -> bool:
        """Return whether the folder holds all of `parts` (keys of `FILES` and `WITHIN`)."""
        analysis = self.json.get("analysis", {})
        within = {part: analysis.get(part) is not None for part in WITHIN} | {"grid": analysis.get("model") == "topo"}
        return all(within[part] if part in within else (self.folder / FILES[part]).is_file() for part in parts)

    def value(self, file: str, key: str) -> Any:
        """Return the value at a dotted key, for example `("evaluation", "pckh.0.5.mean")`.

        Raises:
            PoseTopoError: there is no such file or key.
        """
        if file not in self.json:
            raise PoseTopoError(f"{self.folder} holds no {FILES.get(file, file)}")
        try:
            return _descend(self.json[file], key.split("."))
        except KeyError:
            raise PoseTopoError(f"{self.folder / FILES[file]} has no {key!r}") from None

    def number(self, file: str, key: str) -> float | None:
        """Return the number at a dotted key, or None where the file holds null.

        Raises:
            PoseTopoError: there is no such file or key, or the value is not a number.
        """
        value = self.value(file, key)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise PoseTopoError(f"{self.folder / FILES[file]}: {key!r} is not a number")

    @property
    def deviations(self) -> tuple[str, ...]:
        """The deviations from the study that the files of the run list."""
        return tuple(dict.fromkeys(d for content in self.json.values() for d in content.get("deviations", ())))

    @property
    def as_protocol(self) -> bool:
        """Whether all settings are those of the protocol. Any other run is left out of the claims."""
        return all(content.get("as_protocol") is True for content in self.json.values())

    @property
    def data(self) -> str | None:
        """The name of the data set, which only evaluation.json holds."""
        return self.json.get("evaluation", {}).get("data")

    @cached_property
    def maps(self) -> Arrays:
        grid = self.json.get("analysis", {}).get("grid", {})
        sides = {"h": grid["height"], "w": grid["width"]} if {"height", "width"} <= set(grid) else {}
        return Arrays(self.folder / FILES["maps"], MAPS, sides)

    @cached_property
    def examples(self) -> Arrays:
        return Arrays(self.folder / FILES["examples"], EXAMPLES, {})

    @cached_property
    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """The columns of metrics.csv, one value per epoch; NaN where a field is empty."""
        path = self.folder / FILES["metrics"]
        try:
            if path.stat().st_size > MOST_BYTES // 10:
                raise ValueError("longer than any training")
            with path.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            columns = {key: np.array([float(row[key] or "nan") for row in rows]) for key in (rows[0] if rows else ())}
        except (TypeError, ValueError, csv.Error, OSError) as error:
            raise PoseTopoError(f"{path}: not a table of numbers ({error})") from None
        if lacking := [name for name in ("epoch", "val_pckh") if name not in columns]:
            raise PoseTopoError(f"{path} has no column {' and no column '.join(lacking)}")
        return columns


Measure = Callable[[Run], float | None]


def measure(file: str, key: str) -> Measure:
    """Return the function from a run to its number at a dotted key (`Run.number`)."""
    return lambda run: run.number(file, key)


class Arrays(dict[str, NDArray[Any]]):
    """The arrays of an .npz file by name.

    Args:
        path: the file.
        layout: the arrays that are read, as in `MAPS`.
        sizes: lengths that are known from elsewhere.

    Raises:
        PoseTopoError: the file is damaged, or an array has another shape or kind of number than its layout.
    """

    def __init__(self, path: Path, layout: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as packed:
                size = sum(entry.file_size for entry in packed.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"{size / 1e6:,.0f} MB unpacked, more than any results")
            with np.load(path, allow_pickle=False) as content:
                super().__init__({key: content[key] for key in layout if key in content.files})
        except Exception as error:  # broken bytes fail in many ways inside NumPy and zipfile
            raise PoseTopoError(f"{path}: not readable ({in_short(error)})") from None
        known = {"K": joints.K, **sizes}
        for name, array in self.items():
            kinds, *axes = layout[name].split()
            fits = array.ndim == len(axes) and array.dtype.kind in kinds
            for axis, length in zip(axes, array.shape if fits else (), strict=False):
                length += axis.endswith("-1")
                # a length that is the first of its name is that of the others
                expected = int(axis) if axis.isdigit() else known.setdefault(axis.removesuffix("-1"), length)
                fits = fits and length == expected
            if not fits:
                shape = " x ".join(f"{axis} = {known[axis]}" if axis in known else axis for axis in axes)
                raise PoseTopoError(f"{path}: {name} holds {array.dtype} of shape {array.shape}, not {shape}")

    def __missing__(self, name: str) -> NDArray[Any]:
        raise PoseTopoError(f"{self.path} holds no array {name!r}")


def _descend(node: Any, parts: Sequence[str]) -> Any:
    """Follow the parts of a dotted key. A single key may contain dots ("0.5")."""
    if not parts:
        return node
    for stop in range(1, len(parts) + 1):
        key = ".".join(parts[:stop])
        if isinstance(node, dict) and key in node:
            return _descend(node[key], parts[stop:])
    raise KeyError(".".join(parts))


def load(folders: Iterable[Path], keep: Callable[[Run], bool] = lambda run: True) -> list[Run]:
    """Return the runs in `folders` for which `keep` is true, sorted by arm and seed.

    A folder that holds none of the files in `results.FILES` is skipped.

    Raises:
        PoseTopoError: a folder does not exist, its files contradict each other, or two folders hold the same run.
    """
    runs = [run for folder in folders if (run := _read(Path(folder))) is not None and keep(run)]
    seen: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        key = (run.protocol, run.arch, run.data, run.arm, run.seed)
        if key in seen:
            raise PoseTopoError(f"{seen[key].folder} and {run.folder} are both {run.arm}, seed {run.seed}: give one")
        seen[key] = run
    return sorted(runs, key=lambda run: (*arm_order(run.arm), run.seed))


def _read(folder: Path) -> Run | None:
    if not folder.is_dir():
        raise PoseTopoError(f"{folder}: no such results folder")
    found = read_documents(folder)
    if not found:
        return None
    first = next(iter(found.values()))
    if any(first.get(key) is None for key in IDENTITY):
        log.warning(f"{folder}: skipped, because its arm, seed, arch or protocol is null (not a run of pose-topo)")
        return None
    if not isinstance(first["seed"], int):
        raise PoseTopoError(f"{folder}: the seed {first['seed']!r} is not a number: make its results again")
    usual = PROTOCOLS.get(first["protocol"])
    if "analysis" in found and (wrong := arm_consistency(first["arm"], found["analysis"], usual)):
        raise PoseTopoError(f"{folder}: says it is {first['arm']}, with {wrong}: arms swapped?")
    return Run(folder, first["arm"], first["seed"], first["arch"], first["protocol"], found)


def check_comparable(runs: Sequence[Run]) -> None:
    """Check that the runs can be compared in one figure.

    Raises:
        UsageError: the runs differ in protocol, backbone, data set or, within a seed, in the split.
    """
    check_one_study([run.json for run in runs], {"data sets": [run.data for run in runs if run.data]})


def known(runs: Iterable[Run], value: Measure) -> list[float]:
    """Return the numbers of the runs that have one."""
    return [number for number in map(value, runs) if number is not None]


def shared(runs: Sequence[Run], value: Callable[[Run], Any], name: str) -> Any:
    """Return the value that all runs have in common.

    Raises:
        PoseTopoError: the runs differ in it. The message calls it `name`.
    """
    first = value(runs[0])
    for run in runs[1:]:
        if value(run) != first:
            raise PoseTopoError(f"{runs[0].folder} and {run.folder} have different {name}")
    return first


def by_arm(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Group the runs by arm, in the order of the study, with ascending seeds within an arm."""
    arms: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (*arm_order(run.arm), run.seed)):
        arms.setdefault(run.arm, []).append(run)
    return arms


def main_arms(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of the few arms (`arms.chosen`) that a figure with one panel or curve per arm can show."""
    shown = chosen(run.arm for run in runs)
    return [run for run in runs if run.arm in shown]


def one_run_per_arm(runs: Iterable[Run]) -> list[Run]:
    """Return one run per arm: of the lowest seed that all arms have, or else of the lowest seed of each arm."""
    arms = by_arm(runs)
    common = set.intersection(*({run.seed for run in group} for group in arms.values()))
    return [next((run for run in group if run.seed == min(common, default=None)), group[0]) for group in arms.values()]
