"""Command-line options as dataclasses: each field is an option, its annotation carries the help line.

`as_command` turns a function of such a dataclass into one that typer understands, so that an option that two commands
share is written once.
"""

from pose_topo.options.command import as_command
from pose_topo.options.data import DataOptions
from pose_topo.options.results import AnalyzeOptions, EvaluateOptions, ResultOptions
from pose_topo.options.training import TopoOptions, TrainOptions
from pose_topo.options.use import PredictOptions, ShowOptions

__all__ = [
    "AnalyzeOptions",
    "DataOptions",
    "EvaluateOptions",
    "PredictOptions",
    "ResultOptions",
    "ShowOptions",
    "TopoOptions",
    "TrainOptions",
    "as_command",
]
