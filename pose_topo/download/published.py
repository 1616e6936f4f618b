"""Trained networks that were published: the files that `paper_figures/checkpoints.toml` lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import read_toml
from pose_topo.download.catalog import Checks, Remote
from pose_topo.download.transfer import is_http

LIST = Path(__file__).parents[2] / "paper_figures" / "checkpoints.toml"
FIELDS = {"name": str, "run": str, "url": str, "sha256": str, "size": int}


def published_checkpoints(listing: Path = LIST) -> tuple[Remote, ...]:
    """The listed files, each with the place it takes below the folder of checkpoints: `<run>/<name>`.

    Raises:
        PoseTopoError: the list is missing or an entry of it makes no sense.
    """
    entries = read_toml(listing).get("checkpoint", [])
    try:
        remotes = tuple(_remote(entry) for entry in entries)
    except (ValueError, TypeError, AttributeError) as error:
        raise PoseTopoError(f"{listing}: {error}") from None
    targets = [remote.target for remote in remotes]
    if twice := sorted({target for target in targets if targets.count(target) > 1}):
        raise PoseTopoError(f"{listing}: lists {twice[0]} twice")
    return remotes


def _remote(entry: Mapping[str, Any]) -> Remote:
    label = f"checkpoint {entry.get('run', '?')}/{entry.get('name', '?')}"
    for key, kind in FIELDS.items():
        if type(entry.get(key)) is not kind:
            raise ValueError(f"{label}: {key} must be {'text' if kind is str else 'a whole number'}")
    if unknown := sorted(set(entry) - set(FIELDS)):
        raise ValueError(f"{label}: unknown {', '.join(unknown)}")
    if not re.fullmatch("[0-9a-fA-F]{64}", entry["sha256"]):
        raise ValueError(f"{label}: sha256 must be 64 hex digits")
    if not is_http(entry["url"]):
        raise ValueError(f"{label}: {entry['url']} is not an http(s) URL")
    if entry["size"] <= 0:
        raise ValueError(f"{label}: size must be the file's bytes")
    target = _inside(label, f"{entry['run']}/{entry['name']}")
    # named by its place: a mirror then holds the same tree, where every run has files of the same names
    checks = Checks(size=entry["size"], sha256=entry["sha256"].lower())
    return Remote(target, (entry["url"],), target, entry["size"], checks)


def _inside(label: str, target: str) -> str:
    """`target`, if it names a place below a folder and nothing else."""
    path = PurePosixPath(target)
    if path.is_absolute() or {"..", "."} & set(target.split("/")) or str(path) != target or "\\" in target:
        raise ValueError(f"{label}: must lie below the folder of checkpoints, in plain names")
    return target
