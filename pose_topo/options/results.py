"""Of the commands that make results from a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from pose_topo.config import Data
from pose_topo.errors import UsageError
from pose_topo.options.data import DataOptions


@dataclass(frozen=True)
class ResultOptions(DataOptions):
    """What `evaluate` and `analyze` share."""

    data: Annotated[Path | None, Option(help="Data folder [default: the one the run was trained on].")] = None  # type: ignore[assignment]
    out: Annotated[Path | None, Option(help="Folder of the result files [default: out/<run name>].")] = None
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    precision: Annotated[str, Option(help="auto, fp32 or bf16.")] = "auto"
    progress: Annotated[bool, Option("--progress/--no-progress", help="Show progress bars.")] = True

    def elsewhere(self) -> Data | None:
        """Data given instead of those the run was trained on."""
        if self.data is None:
            if self.mat_path or self.img_dir:
                raise UsageError("--mat-path and --img-dir need --data here")
            return None
        return Data.at(self.data, self.mat_path, self.img_dir)


@dataclass(frozen=True)
class EvaluateOptions(ResultOptions):
    """What `evaluate` takes besides."""

    decode: Annotated[str | None, Option(help="argmax, quarter, dark or cell-centre [default: the protocol's].")] = None
    flip: Annotated[
        bool | None, Option("--flip/--no-flip", help="Average with the mirrored picture [default: the protocol's].")
    ] = None
    predictions: Annotated[
        Path | None, Option(help="Score this .h5 or .mat prediction file instead of a checkpoint.")
    ] = None
    ground_truth: Annotated[
        Path | None, Option(help="With --predictions: detections_our_format.mat, or our own predictions.h5.")
    ] = None

    def check(self, run: Path | None) -> None:
        """Raises:
        UsageError: neither a run nor a prediction file, or both, or options of the other."""
        if (run is None) == (self.predictions is None):
            raise UsageError("give either a run (or checkpoint), or --predictions FILE")
        if self.predictions is None:
            if self.ground_truth is not None:
                raise UsageError("--ground-truth goes with --predictions: a run is scored on its data set")
            return
        if self.ground_truth is None:
            raise UsageError("--predictions needs --ground-truth FILE")
        of_runs = {"--data": self.data, "--mat-path": self.mat_path, "--img-dir": self.img_dir,
                   "--decode": self.decode, "--flip": self.flip}  # fmt: skip
        if given := [name for name, value in of_runs.items() if value is not None]:
            raise UsageError(f"{' and '.join(given)}: of a run, and without effect on --predictions")


@dataclass(frozen=True)
class AnalyzeOptions(ResultOptions):
    """What `analyze` takes besides."""

    permutations: Annotated[int, Option(min=1, help="Permutations behind every p value.")] = 9999
    untrained: Annotated[bool, Option("--untrained", help="Also measure the network as its training found it.")] = False
    control: Annotated[
        Path | None, Option(help="The control's run, checkpoint or analysis: give I as a share of its best.")
    ] = None
    lesions: Annotated[
        bool, Option("--lesions", help="Also silence discs of the grid and score the held-out people each time.")
    ] = False
    lesion_grids: Annotated[int, Option(min=1, help="With --lesions: permuted grids behind its p value.")] = 19
    group: Annotated[
        bool, Option("--group", help="Compare the results folders of several seeds, arm by arm, with the control.")
    ] = False
