"""Published scores on MPII val with their sources: one table for the terminal and for the paper."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pose_topo.study import joints

TABLE = Path(__file__).with_name("published.csv")
MEANS = ("mean_0.5", "mean_0.1", "mean_0.11")
PEOPLE = "MPII val (Tompson's 2,958 people)"


@dataclass(frozen=True)
class Published:
    """One row of the table."""

    system: str
    arch: str
    input_size: int
    values: dict[str, float | None]  # by joint group, and the `MEANS`. None: not published
    source: str

    @property
    def label(self) -> str:
        return f"{self.system}, {self.input_size} px"


@cache
def rows() -> tuple[Published, ...]:
    """All rows of the table."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return tuple(
            Published(
                line["system"],
                line["arch"],
                int(line["input"]),
                {key: float(line[key]) if line[key] else None for key in (*joints.GROUPS, *MEANS)},
                line["source"],
            )
            for line in csv.DictReader(stream)
        )


def same_people(settings: dict[str, Any] | None) -> bool:
    """Whether an evaluation with these `settings` scored the same people as the publications."""
    return settings is not None and settings["split"] == "tompson" and settings["split_mismatch"] is None
