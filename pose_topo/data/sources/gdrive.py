"""The study's pre-organised copy of the data, from its Google Drive folder. Only when asked for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

from pose_topo.data.sources.catalog import DRIVE_FOLDER
from pose_topo.errors import PoseTopoError

URL = f"https://drive.google.com/drive/folders/{DRIVE_FOLDER}"


def fetch_drive_folder(folder: Path, say: Callable[[str], object]) -> None:
    """Fetch the Drive folder into `folder`, resuming what an earlier call left.

    Raises:
        PoseTopoError: gdown is not installed, or the folder cannot be fetched.
    """
    try:
        gdown = importlib.import_module("gdown")
    except ImportError:
        raise PoseTopoError(f"gdown is not installed: pip install gdown, or fetch {URL} by hand") from None
    say(f"Google Drive: {URL} -> {folder}")
    wanted = {"resume": True, "timeout": 60.0, "retries": 5}  # older releases know only the first
    known = inspect.signature(gdown.download_folder).parameters
    options = {name: value for name, value in wanted.items() if name in known}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = gdown.download_folder(id=DRIVE_FOLDER, output=str(folder), **options)
    except Exception as error:  # gdown and requests raise a dozen kinds; none can be mended here
        raise PoseTopoError(_by_hand(folder, _gist(error))) from None
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if not files:
        raise PoseTopoError(_by_hand(folder, "nothing came"))


def _gist(error: BaseException) -> str:
    """What went wrong in the first place: without a network, libraries wrap that several times."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__


def _by_hand(folder: Path, detail: str) -> str:
    return f"{URL}: not fetched ({detail}); fetch it by hand into {folder} and run this again"
