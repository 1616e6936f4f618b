"""`people.npz`: the parsed annotation, kept so that the `.mat` (half a minute of parsing) is read once.

It lies in the cache folder, under the `.mat`'s sha256, since the data folder may be read-only. A cache that is damaged,
or was written by another version, is made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from pose_topo.data.mpii import Census, load_people
from pose_topo.data.people import People
from pose_topo.errors import PoseTopoError
from pose_topo.files import atomic_path, sha256_file

VERSION = 1  # raised whenever the parser's answer to the same file changes
_ARRAYS = tuple(f.name for f in dataclasses.fields(People) if f.name != "images")


def cached_people(mat_path: str | Path, cache: str | Path) -> tuple[People, Census]:
    """`load_people`, through `<cache>/people/<sha256 of the file>/people.npz`.

    Raises:
        PoseTopoError: as `load_people` does.
    """
    mat_path = Path(mat_path)
    if not mat_path.is_file():
        return load_people(mat_path)  # which says what to do
    try:
        sha256 = sha256_file(mat_path)
    except OSError as error:
        raise PoseTopoError(f"{mat_path}: {error.strerror or error}") from None
    path = Path(cache) / "people" / sha256 / "people.npz"
    if (found := _read(path)) is not None:
        return found
    people, census = load_people(mat_path)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        _write(path, people, census)
    return people, census


def _write(path: Path, people: People, census: Census) -> None:
    about = {
        "version": VERSION,
        "sha256": people.sha256(),
        "images": people.images,
        "census": dataclasses.asdict(census),
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    arrays: dict[str, Any] = {name: getattr(people, name) for name in _ARRAYS}
    with atomic_path(path) as temporary:
        np.savez(temporary, about=text, **arrays)


def _read(path: Path) -> tuple[People, Census] | None:
    """What `_write` wrote; None if it is not there or not whole."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            about = json.loads(saved["about"].tobytes())
            people = People(images=tuple(about["images"]), **{name: saved[name] for name in _ARRAYS})
        whole = about["version"] == VERSION and about["sha256"] == people.sha256()
        return (people, Census(**about["census"])) if whole else None
    except Exception:  # broken bytes raise whatever their readers meet first
        return None
