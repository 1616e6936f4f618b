"""Where the data are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from pose_topo.config import MAT_NAME, Data


@dataclass(frozen=True)
class DataOptions:
    """Where the data are."""

    data: Annotated[Path, Option(help="Data folder: the annotation file and images/ in it.")] = Path("mpii")
    mat_path: Annotated[Path | None, Option(help=f"Annotation file [default: DATA/{MAT_NAME}].")] = None
    img_dir: Annotated[Path | None, Option(help="Folder of the photographs [default: DATA/images].")] = None
    cache_dir: Annotated[
        Path | None, Option(help="Where crops and weights are kept [default: $POSE_TOPO_CACHE or ~/.cache/pose_topo].")
    ] = None

    def where(self) -> Data:
        return Data.at(self.data, self.mat_path, self.img_dir)
