"""The control that a network is held against: the best I that moving the control's channels reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pose_topo.analysis import controls
from pose_topo.analysis.network import grid_of, head_weight
from pose_topo.errors import PoseTopoError, UsageError
from pose_topo.evaluation.checkpoints import open_checkpoint
from pose_topo.files import read_json
from pose_topo.lattice import Lattice


def best_of(source: Path, lattice: Lattice) -> dict[str, Any]:
    """Arm, seed and best I of a control: from its analysis, else from the head weights of its checkpoint.

    Raises:
        PoseTopoError: neither is there, or it is broken.
        UsageError: its grid is another.
    """
    file = source / "analysis.json" if source.is_dir() else source
    if file.is_file() and file.suffix == ".json":
        result = read_json(file)
        try:
            grid = result["grid"]["height"], result["grid"]["width"]
            found = {"arm": result["arm"], "seed": result["seed"], "best_I": result["controls"]["rearranged"]["mean_I"]}
        except (KeyError, TypeError):
            raise PoseTopoError(f"{file} has no controls.rearranged: make it anew with pose-topo analyze") from None
    else:
        opened = open_checkpoint(source, "cpu", lambda _: None)
        own = grid_of(opened.model)
        grid = own.height, own.width
        best, _ = controls.rearranged(head_weight(opened.model), own)
        found = {"arm": opened.config.arm, "seed": opened.config.seed, "best_I": best["mean_I"]}
    if grid != (lattice.height, lattice.width):
        raise UsageError(
            f"--control {source}: its grid is {grid[0]} x {grid[1]}, this one's {lattice.height} x {lattice.width}"
        )
    return found
