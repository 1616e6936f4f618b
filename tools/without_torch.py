"""Print a hashed lock without torch, torchvision and the CUDA packages that only torch's CUDA build needs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CUDA = re.compile(r"^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")


def without_torch(lock: str) -> str:
    """The lock's text without those requirements; one requirement is a line and its indented continuation."""
    kept, skipping = [], False
    for line in lock.splitlines(keepends=True):
        if line[:1] not in (" ", "\t", "\n", "#"):
            skipping = bool(CUDA.match(line))
        if not skipping:
            kept.append(line)
    return "".join(kept)


if __name__ == "__main__":
    sys.stdout.write(without_torch(Path(sys.argv[1]).read_text(encoding="utf-8")))
