"""A run's folder: config.json, metrics.csv, last.pt, best.pt, provenance.json."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import atomic_path, locked, read_json, write_json, write_text
from pose_topo.study.config import RunConfig, from_dict, to_dict

FORMAT = 1  # of our checkpoints
FILES = ("config.json", "last.pt", "best.pt", "metrics.csv", "provenance.json")
_KEYS = {"config", "epoch", "model", "split_sha256"}
WANDB_ID = "wandb_id"  # a run's name at Weights & Biases
COLUMNS = (
    "epoch",
    "train_loss",
    "train_heatmap_loss",
    "topo_loss",
    "lambda",
    "val_loss",
    "val_pckh",
    "moran_i",
    "contiguity",
    "mean_row_norm",
    "cosine_excess",
    "participation_ratio",
    "lr",
    "images_per_s",
    "seconds",
)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    path: Path
    config: RunConfig
    epoch: int
    model: dict[str, torch.Tensor]
    split_sha256: str  # of the people that were trained on and held out
    training: dict[str, Any] | None


def save_checkpoint(
    path: Path,
    config: RunConfig,
    epoch: int,
    model: dict[str, torch.Tensor],
    split_sha256: str,
    training: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint atomically: a full disk or a kill leaves the previous one.

    Raises:
        PoseTopoError: the disk is full or not writable.
    """
    content = {
        "format": FORMAT,
        "config": to_dict(config),
        "epoch": epoch,
        "model": model,
        "split_sha256": split_sha256,
    }
    if training is not None:
        content["training"] = training
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as RuntimeError
        raise PoseTopoError(
            f"cannot write {path} ({error}): the previous one, if any, is untouched; free some disk space"
        ) from None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of this project on the CPU. Code inside a pickle is never run.

    Raises:
        PoseTopoError: it is missing, or not such a checkpoint.
    """
    return parse_checkpoint(Path(path), read_content(path))


def read_content(path: str | Path) -> Any:
    """Whatever torch.save wrote, on the CPU. Only tensors and plain values are read: code inside a pickle is never run.

    Raises:
        PoseTopoError: it is missing, broken, or asks for more than that.
    """
    path = Path(path)
    if not path.is_file():
        raise PoseTopoError(f"checkpoint {path} not found")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what pickle it is; what follows from that is told as an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file fails in many ways, all of which mean the same
        with path.open("rb") as stream:
            start = stream.read(2)
        raise PoseTopoError(f"{path} is not a checkpoint ({_why_unread(start, error)})") from None


def _why_unread(start: bytes, error: Exception) -> str:
    """Why torch.load refuses a file that begins so; its advice to load it all the same, code included, is left out."""
    words = str(error)
    if asked := re.search(r"GLOBAL ([\w.]+)", words):
        return f"it asks for {asked[1]}, which was not run: save the state_dict alone"
    if not start:
        return "it is empty"
    if start != b"PK" and start[:1] != b"\x80":  # neither a zip nor a pickle
        return "torch.save writes no such file"
    if isinstance(error, EOFError) or "central directory" in words:
        return "it ends too early: fetch or copy it again"
    if "weights_only" in words:
        return "a pickle of more than tensors and plain values, which was not run: save the state_dict alone"
    return " ".join(words.split())[:120] or type(error).__name__


def is_ours(content: Any) -> bool:
    """Whether a file's content says that this project wrote it, in whatever format."""
    return isinstance(content, dict) and {"format", "config"} <= set(content)


def parse_checkpoint(path: Path, content: Any) -> Checkpoint:
    """Read content of our own.

    Raises:
        PoseTopoError: it is not, or its settings are broken.
    """
    if not is_ours(content) or content["format"] != FORMAT or not set(content) >= _KEYS:
        raise PoseTopoError(f"{path} is not a checkpoint of pose_topo (format {FORMAT})")
    if not (isinstance(content["model"], dict) and isinstance(content["epoch"], int)):
        raise PoseTopoError(f"{path} is not a checkpoint: its weights or its epoch are of the wrong type")
    try:
        config = from_dict(RunConfig, content["config"])
    except PoseTopoError as error:
        raise PoseTopoError(f"{path} is not a checkpoint: its settings are broken ({error})") from None
    return Checkpoint(
        path, config, content["epoch"], content["model"], content["split_sha256"], content.get("training")
    )


def reported_checkpoint(run: str | Path) -> Path:
    """The checkpoint whose numbers are reported: `best.pt` where the recipe says so, else `last.pt`; a file is taken
    as it is.

    Raises:
        PoseTopoError: no such run.
    """
    run = Path(run)
    if run.is_file():
        return run
    if not (run / "config.json").is_file():
        raise PoseTopoError(f"{run} is neither a checkpoint nor a run folder")
    config: RunConfig = from_dict(RunConfig, read_json(run / "config.json"))
    return run / ("best.pt" if config.recipe.report == "best" else "last.pt")


def write_metrics(path: Path, history: list[dict[str, Any]]) -> None:
    """Write metrics.csv, one row an epoch; what does not apply is empty.

    Floats carry 9 significant digits: enough for an fp32 number to come back.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in history:
        cells = (row.get(key, "") for key in COLUMNS)
        writer.writerow([format(cell, ".9g") if isinstance(cell, float) else cell for cell in cells])
    write_text(path, text.getvalue())


def write_config(run: Path, config: RunConfig) -> None:
    """Write config.json."""
    write_json(run / "config.json", to_dict(config))


def remove(run: Path) -> None:
    """Delete a run's files, to start anew."""
    for path in (*(run / name for name in FILES), *(run / "plots").glob("epoch-*.png")):
        path.unlink(missing_ok=True)


def clear_leftovers(run: Path) -> None:
    """Delete what a kill left of files that were being written."""
    for name in FILES:
        stem, _, suffix = name.rpartition(".")
        for leftover in run.glob(f".{stem}.*.{suffix}"):  # as files.atomic_path names them
            leftover.unlink(missing_ok=True)


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold the folder while it is trained into; whoever is killed lets go of it.

    Raises:
        PoseTopoError: another training holds it.
    """

    def refuse() -> None:
        raise PoseTopoError(f"{run}: another training writes there: give another --run-name")

    run.mkdir(parents=True, exist_ok=True)
    try:
        with locked(run, refuse):
            yield
    finally:
        with suppress(OSError):
            run.rmdir()  # if nothing came of it


def plain(config: RunConfig) -> dict[str, Any]:
    """A config as config.json holds it."""
    return json.loads(json.dumps(to_dict(config)))


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two configs differ, as "name: old -> new"."""
    found: list[str] = []
    for key in sorted(set(old) | set(new)):
        mine, theirs = old.get(key), new.get(key)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            found += differences(mine, theirs, f"{prefix}{key}.")
        elif mine != theirs:
            found.append(f"{prefix}{key}: {mine} -> {theirs}")
    return found
