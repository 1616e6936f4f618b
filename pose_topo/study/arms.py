"""The names of the arms that the study compares: `baseline`, `control`, `topo`, `topo-l5`, `topoloss-l0.5`, ...

`Arm` is the only code that writes or reads such a name. Paths, result files, figures and claims use the same names. A
name lists what an arm sets otherwise than `topo` does under the same protocol, joined by "-":

    baseline | control | topo | <loss>   no topographic layer; lambda 0; the study's spatial loss; another spatial loss
    l<number>                            lambda: always named after another spatial loss, else where it is not 0.5
    m<number>                            learning-rate multiplier, where it is not the protocol's
    <height>x<width>, rook, torus        the grid
    permuted                             the spatial loss sees the channels on permuted places
    norm, kaiming, equal-norm            BatchNorm in the topographic layer; how its weights are initialized

This module imports the standard library only, so that tools/study.py runs before anything is installed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from pose_topo.core.errors import UsageError
from pose_topo.study.config import TOPO_LOSSES, Recipe, RunConfig, Topography, TopoInit

USUAL = Topography()
_HEADS = ("baseline", "control", "topo", *(loss for loss in TOPO_LOSSES if loss != USUAL.loss))
_INITS = tuple(init for init in get_args(TopoInit) if init != USUAL.init)
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_NAME = re.compile(
    rf"(?P<head>{'|'.join(_HEADS)})(?:-l(?P<weight>{_NUMBER}))?(?:-m(?P<multiplier>{_NUMBER}))?"
    rf"(?:-(?P<height>\d+)x(?P<width>\d+))?(?P<rook>-rook)?(?P<torus>-torus)?(?P<permuted>-permuted)?(?P<norm>-norm)?"
    rf"(?:-(?P<init>{'|'.join(_INITS)}))?"
)


@dataclass(frozen=True)
class Arm:
    """What distinguishes an arm from the other arms of the same protocol; `str(arm)` is its name.

    Attributes:
        topography: the topographic layer and its spatial loss; None for the baseline. Lambda 0 is the control, for
            which the choice of the loss makes no difference.
        multiplier: the learning-rate multiplier of the topographic layer; None for the protocol's own.
    """

    topography: Topography | None = USUAL
    multiplier: float | None = None

    def __post_init__(self) -> None:
        if self.topography is None:
            object.__setattr__(self, "multiplier", None)
        elif self.topography.weight == 0:
            object.__setattr__(self, "topography", replace(self.topography, loss=USUAL.loss, permuted=False))

    @staticmethod
    def of(config: RunConfig, protocol: Recipe) -> Arm:
        """Return the arm of a run, given the unchanged recipe of its protocol."""
        return Arm(config.topography, config.recipe.topo_lr_mult).under(protocol)

    @staticmethod
    def parse(name: str, protocol: Recipe | None = None) -> Arm:
        """Return the arm that has this name.

        Args:
            name: as `str(arm)` gives it. Values that need not be named are accepted: "topo-l0.5" is "topo".
            protocol: the recipe whose multiplier need not be named; None takes a multiplier as it is.

        Raises:
            UsageError: this is not the name of an arm.
        """
        found = _NAME.fullmatch(name)
        if found is None or (found["head"] == "baseline" and name != "baseline"):
            raise UsageError(f"no arm {name}: give one such as {', '.join(_HEADS[:3])}, topo-l5 or {_HEADS[-1]}-l0.5")
        head = found["head"]
        if head == "baseline":
            return Arm(None)
        topography = Topography(
            height=int(found["height"] or USUAL.height),
            width=int(found["width"] or USUAL.width),
            neighbours=4 if found["rook"] else USUAL.neighbours,
            torus=bool(found["torus"]),
            batch_norm=bool(found["norm"]),
            init=found["init"] or USUAL.init,  # type: ignore[arg-type]  # the pattern admits no other
            loss=head if head in TOPO_LOSSES else USUAL.loss,
            weight=0.0 if head == "control" else float(found["weight"] or USUAL.weight),
            permuted=bool(found["permuted"]),
        )
        return Arm(topography, float(found["multiplier"]) if found["multiplier"] else None).under(protocol)

    def under(self, protocol: Recipe | None) -> Arm:
        """Return the same arm without a multiplier that is the protocol's own."""
        own = protocol is not None and self.multiplier == protocol.topo_lr_mult
        return replace(self, multiplier=None) if own else self

    @property
    def head(self) -> str:
        """The first part of the name: "baseline", "control", "topo" or the name of another spatial loss."""
        if self.topography is None:
            return "baseline"
        if self.topography.weight == 0:
            return "control"
        return "topo" if self.topography.loss == USUAL.loss else self.topography.loss

    @property
    def family(self) -> str:
        """The name without lambda, e.g. "topo-m1" of "topo-l5-m1"."""
        return "-".join([self.head, *self._other_parts()])

    def __str__(self) -> str:
        return "-".join([self.head, *self._lambda_part(), *self._other_parts()])

    def train_options(self) -> list[str]:
        """Return the words after `pose-topo` that train this arm: the command and the options that differ."""
        commands = {"baseline": "train-baseline", "control": "train-topo --spatial-lambda 0", "topo": "train-topo"}
        command = commands.get(self.head, f"train-topo --topo-loss {self.head}")
        return " ".join([command, *self._lambda_part().values(), *self._other_parts().values()]).split()

    def _lambda_part(self) -> dict[str, str]:
        """The part of the name that says lambda, if it is named, and the option that sets it."""
        layer = self.topography
        if layer is None or layer.weight == 0 or (layer.weight, layer.loss) == (USUAL.weight, USUAL.loss):
            return {}
        return {f"l{shortest(layer.weight)}": f"--spatial-lambda {shortest(layer.weight)}"}

    def _other_parts(self) -> dict[str, str]:
        """The other parts of the name, each with the option that sets it."""
        layer = self.topography
        if layer is None:
            return {}
        parts: dict[str, str] = {}
        if self.multiplier is not None:
            parts[f"m{shortest(self.multiplier)}"] = f"--topo-lr-mult {shortest(self.multiplier)}"
        if (layer.height, layer.width) != (USUAL.height, USUAL.width):
            parts[f"{layer.height}x{layer.width}"] = f"--topo-grid {layer.height} {layer.width}"
        if layer.neighbours != USUAL.neighbours:
            parts["rook"] = f"--topo-neighbours {layer.neighbours}"
        switches = {"torus": layer.torus, "permuted": layer.permuted, "norm": layer.batch_norm}
        parts |= {name: f"--topo-{name}" for name, on in switches.items() if on}
        if layer.init != USUAL.init:
            parts[layer.init] = f"--topo-init {layer.init}"
        return parts


def shortest(value: float) -> str:
    """Return the shortest text that reads back as the same number: "5", "0.005", "1e-05", "0.1234567"."""
    text = f"{value:g}"
    return text if float(text) == value else repr(float(value)).removesuffix(".0")


def arm_consistency(name: str, analysis: Mapping[str, Any], protocol: Recipe | None) -> str | None:
    """Return which setting in analysis.json contradicts the arm's name, e.g. "lambda 0"; None where they agree.

    Exchanged arms turn every comparison around and still look like results. A name that was given by hand
    (`--arm mine`) promises nothing and is not judged, nor is a setting that the analysis does not hold.

    Args:
        name: the arm that the result files name.
        analysis: the content of analysis.json.
        protocol: the recipe of the run's protocol; None where it is unknown.
    """
    try:
        arm = Arm.parse(name)
    except UsageError:
        return None
    weight, expected = analysis.get("lambda"), arm.topography
    if expected is None:
        return None if weight is None else f"a topographic layer (lambda {weight:g})"
    if weight is None:
        return "no topographic layer"
    if not math.isclose(weight, expected.weight, rel_tol=1e-5):  # names once kept six digits
        return f"lambda {shortest(weight)}"
    named = arm.multiplier or (protocol.topo_lr_mult if protocol else None)
    multiplier = analysis.get("topo_lr_mult")
    if named and multiplier and not math.isclose(multiplier, named, rel_tol=1e-5):
        return f"learning-rate multiplier {shortest(multiplier)}"
    grid = analysis.get("grid") or {}
    for key in ("height", "width", "neighbours", "torus"):
        if grid.get(key) not in (None, getattr(expected, key)):
            return f"a grid of {grid.get('height')} x {grid.get('width')} channels, {key} {grid[key]}"
    if weight == 0:
        return None  # without a spatial loss neither its kind nor its grid makes a difference
    if analysis.get("topo_loss") not in (None, expected.loss):
        return f"the spatial loss {analysis['topo_loss']}"
    if analysis.get("permuted") not in (None, expected.permuted):
        return "the loss on a permuted grid" if analysis["permuted"] else "the loss on the grid itself"
    return None
