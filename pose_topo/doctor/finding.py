"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "FAIL"]
PROFILES = ("demo", "full")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. "note": it runs, but the reader should know; "FAIL": the profile cannot run."""

    what: str
    state: str
    level: Level = "ok"

    @property
    def ok(self) -> bool:
        return self.level != "FAIL"

    def line(self) -> str:
        return f"{self.level:<4}  {self.what}: {self.state}"
