"""Files and folders already on disk (`--from`): found, verified, then copied or linked."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import atomic_path
from pose_topo.download.archives import incomplete, index_path, set_aside
from pose_topo.download.catalog import Remote, mismatch


def find(remote: Remote, source: Path, *, sole: bool, deep: bool = False) -> Path | None:
    """What `source` (a file or a folder) holds for `remote`: the target itself, or its archive.

    A file that is the only one asked for (`sole`) may have any name. `deep` looks into subfolders as well.
    """
    names = _names(remote)
    if source.is_file():
        return source if sole or source.name in names else None
    folders = [source]
    if deep:
        folders += sorted(path for path in source.rglob("*") if path.is_dir())
    for folder in folders:
        found = _in_folder(remote, folder, names)
        if found is not None:
            return found
    return None


def _names(remote: Remote) -> list[str]:
    """The names to look for, the finished target before its archive."""
    return [remote.target, PurePosixPath(remote.target).name, remote.name]


def _in_folder(remote: Remote, folder: Path, names: list[str]) -> Path | None:
    for name in names:
        path = folder / name
        if path.is_dir() if remote.folder and name != remote.name else path.is_file():
            return path
    if remote.folder is not None and next(folder.glob("*.jpg"), None) is not None:
        return folder  # last: a stray picture beside `images` makes no image folder
    return None


def is_archive_of(remote: Remote, found: Path) -> bool:
    """Whether `found` is the archive to extract rather than the finished target."""
    if remote.folder is not None:
        return found.is_file()
    return remote.member is not None and zipfile.is_zipfile(found)


def take_file(found: Path, remote: Remote, final: Path) -> None:
    """Copy a finished file; the copy is what is verified.

    Raises:
        PoseTopoError: its bytes are not the expected ones.
    """
    with atomic_path(final) as copy:
        shutil.copyfile(found, copy)
        wrong = mismatch(copy, remote.final_checks)
        if wrong:
            raise PoseTopoError(f"{found}: {wrong}; not used")
        set_aside(final)


def take_folder(found: Path, remote: Remote, final: Path) -> str:
    """Link a complete image folder (copy it where links are not possible). Returns which it was.

    Raises:
        PoseTopoError: it is not complete, a file in it is not a JPEG, or a copy does not fit the disk.
    """
    wrong = incomplete(found, remote.count) or _not_jpeg(found)
    if wrong:
        raise PoseTopoError(f"{found}: {wrong}; not used")
    if final.resolve() == found.resolve():
        raise PoseTopoError(f"{found}: is the place it should be brought to")
    final.parent.mkdir(parents=True, exist_ok=True)
    # not where an extraction grows: what it finds there it takes for its own, from a verified archive
    new = final.with_name(f".{final.name}.taken")
    _remove(new)
    try:
        new.symlink_to(_link_text(found.resolve(), final.parent.resolve()), target_is_directory=True)
        action = "linked"
    except OSError:
        _copy(found, new)
        action = "copied"
    set_aside(final)
    index_path(final).unlink(missing_ok=True)
    new.rename(final)
    return action


def _copy(folder: Path, new: Path) -> None:
    needed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if needed > (free := shutil.disk_usage(new.parent).free):
        raise PoseTopoError(
            f"{folder}: cannot be linked, and its {needed:,} bytes do not fit {new.parent} ({free:,} bytes free)"
        )
    shutil.copytree(folder, new)


def _remove(path: Path) -> None:
    """What a killed call left."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _link_text(found: Path, parent: Path) -> Path:
    """Relative for what lies in the data folder, which may then be moved as a whole."""
    return found.relative_to(parent) if found.is_relative_to(parent) else found


def _not_jpeg(folder: Path) -> str | None:
    for path in sorted(folder.glob("*.jpg")):
        with path.open("rb") as stream:
            if stream.read(2) != b"\xff\xd8":
                return f"holds {path.name}, which is no JPEG"
    return None
