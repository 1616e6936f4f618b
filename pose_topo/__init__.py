"""Topographic human pose estimation: two networks, their spatial losses, PCKh and Moran's I.

The names below are loaded when they are first used, so that `import pose_topo` alone is fast. docs/python.md has an
example for each.
"""

from __future__ import annotations

import getpass
import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

try:
    getpass.getuser()
except (KeyError, OSError):  # the system has no name for this user id; torch's compiler would fail when it is imported
    os.environ["USER"] = f"user-{os.getuid()}"

if TYPE_CHECKING:  # for editors and type checkers
    from pose_topo.models.pose import SimpleBaseline, TopographicConv2d, TopoModel
    from pose_topo.models.regularizers import TopographicLoss, spatial_loss
    from pose_topo.scoring.pckh import pckh
    from pose_topo.stages.audit import audit
    from pose_topo.stages.checkpoints import load_network
    from pose_topo.stages.predict import predict
    from pose_topo.study.lattice import Lattice
    from pose_topo.topography.moran import moran_test, morans_i

_NAMES = {
    "models.pose": ("SimpleBaseline", "TopoModel", "TopographicConv2d"),
    "models.regularizers": ("TopographicLoss", "spatial_loss"),
    "scoring.pckh": ("pckh",),
    "stages.audit": ("audit",),
    "stages.checkpoints": ("load_network",),
    "stages.predict": ("predict",),
    "study.lattice": ("Lattice",),
    "topography.moran": ("moran_test", "morans_i"),
}

__all__ = [
    "Lattice",
    "SimpleBaseline",
    "TopoModel",
    "TopographicConv2d",
    "TopographicLoss",
    "audit",
    "load_network",
    "moran_test",
    "morans_i",
    "pckh",
    "predict",
    "spatial_loss",
]


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
