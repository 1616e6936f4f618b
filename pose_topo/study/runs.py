"""The folder of a run: config.json, metrics.csv, last.pt, best.pt and provenance.json."""

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
from pose_topo.study.results import ANYTHING, COUNT, NOTHING, Whole, misfit

FORMAT = 1  # the version of the checkpoints
FILES = ("config.json", "last.pt", "best.pt", "metrics.csv", "provenance.json")
RELEASED = Path(__file__).resolve().parent.parent / "released" / "model.safetensors"  # its card lies beside it
# what a training needs to go on (see results.misfit)
TRAINING = Whole({
    "optimizer": dict, "history": [dict], "best": ANYTHING, "waited": COUNT, "best_epoch": COUNT, "step": COUNT,
    "sessions": [dict], "processes": COUNT, "generator": torch.Tensor, "cuda_generator": ANYTHING,
    "begun": (Whole({"sums": dict, "seconds": float}), NOTHING),
})  # fmt: skip
_KEYS = {"config", "epoch", "model", "split_sha256"}
WANDB_ID = "wandb_id"  # the file that keeps the run's id at Weights & Biases
COLUMNS = (
    "epoch", "train_loss", "train_heatmap_loss", "topo_loss", "lambda", "val_loss", "val_pckh",
    "moran_i", "contiguity", "mean_row_norm", "cosine_excess", "participation_ratio",
    "lr", "images_per_s", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """The path and the content of a checkpoint."""

    path: Path
    config: RunConfig
    epoch: int
    model: dict[str, torch.Tensor]
    split_sha256: str  # a hash of who was trained on and who was held out
    training: dict[str, Any] | None = None  # what is needed to continue; only in last.pt


def save_checkpoint(checkpoint: Checkpoint) -> None:
    """Write a checkpoint to its path, atomically, so that a full disk or a kill leaves the previous one.

    Raises:
        PoseTopoError: the disk is full or cannot be written.
    """
    path = checkpoint.path
    held = {key: value for key, value in vars(checkpoint).items() if key != "path" and value is not None}
    content = {"format": FORMAT, **held, "config": to_dict(checkpoint.config)}
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch's zip writer raises RuntimeError on a full disk
        why = f"cannot write {path} ({error})"
        raise PoseTopoError(f"{why}: the previous one, if any, is untouched; free some disk space") from None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of this project, on the CPU. Code inside a pickle is never run.

    Raises:
        PoseTopoError: the file is missing, or is not such a checkpoint.
    """
    return parse_checkpoint(Path(path), read_content(path))


def read_content(path: str | Path) -> Any:
    """Read a file that torch.save or `save_safetensors` wrote, on the CPU. Code inside a pickle is never run.

    Raises:
        PoseTopoError: the file is missing or broken, or contains more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise PoseTopoError(f"checkpoint {path} not found")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the kind of pickle; problems are raised as errors below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on a file that is no checkpoint
        with path.open("rb") as stream:
            start = stream.read(2)
        raise PoseTopoError(f"{path} is not a checkpoint ({_why_unread(start, error)})") from None


def save_safetensors(path: Path, checkpoint: Checkpoint, *, half: bool = True) -> None:
    """Write a checkpoint's weights, with its settings as metadata, for other people to use.

    Args:
        half: in half precision, which halves the file. Otherwise the weights are those of the checkpoint to the bit.
    """
    from safetensors.torch import save_file

    about = {key: getattr(checkpoint, key) for key in ("epoch", "split_sha256")} | {"config": plain(checkpoint.config)}
    weights = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous()  # the only layout it knows
        for key, value in checkpoint.model.items()
    }
    with atomic_path(path) as temporary:
        save_file(weights, temporary, {"pose_topo": json.dumps({"format": FORMAT, **about}, sort_keys=True)})


def _read_safetensors(path: Path) -> Any:
    """The content of a safetensors file: as of a checkpoint of this project if it is one, else its tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it is no dictionary
            about = json.loads((file.metadata() or {}).get("pose_topo", "null"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise PoseTopoError(f"{path} is not a safetensors file ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(about, dict):
        return weights
    model = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    return {**about, "model": model}


def is_network(path: Path) -> bool:
    """Whether a path names a network, by its name and the files in it: a run, a checkpoint, or "released"."""
    if path.is_dir():
        return (path / "config.json").is_file() or (path / "last.pt").is_file()
    return path.suffix in (".pt", ".pth", ".tar", ".bin", ".safetensors") or str(path) == "released"


def _why_unread(start: bytes, error: Exception) -> str:
    """Why torch.load refuses a file that starts with these bytes. Its advice to run the code in it is left out."""
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
    """Whether this project wrote a file with this content, in any version of the format."""
    return isinstance(content, dict) and {"format", "config"} <= set(content)


def parse_checkpoint(path: Path, content: Any) -> Checkpoint:
    """Make a `Checkpoint` from the content of a file of this project.

    Raises:
        PoseTopoError: the content is not such a checkpoint, or its settings are broken.
    """
    if not is_ours(content) or content["format"] != FORMAT or not set(content) >= _KEYS:
        raise PoseTopoError(f"{path} is not a checkpoint of pose_topo (format {FORMAT})")
    weights = content["model"]
    named = isinstance(weights, dict) and all(isinstance(key, str) for key in weights)
    if not (named and isinstance(content["epoch"], int)):
        raise PoseTopoError(f"{path} is not a checkpoint: its weights or its epoch are of the wrong type")
    try:
        config = from_dict(RunConfig, content["config"])
    except PoseTopoError as error:
        raise PoseTopoError(f"{path} is not a checkpoint: its settings are broken ({error})") from None
    training = content.get("training")
    if training is not None and (wrong := misfit(training, TRAINING, "training")):
        raise PoseTopoError(f"{path} is not a checkpoint: {wrong}")
    return Checkpoint(path, config, content["epoch"], content["model"], content["split_sha256"], training)


def reported_checkpoint(run: str | Path) -> Path:
    """The checkpoint whose numbers are reported: `best.pt` if the recipe says so, else `last.pt`.

    Args:
        run: the folder of a run, or "released", the network that comes with pose_topo; the path of a file is returned
            unchanged.

    Raises:
        PoseTopoError: there is no such run.
    """
    run = Path(run)
    if run.is_file():
        return run
    if str(run) == "released" and not run.exists():
        return RELEASED
    if not (run / "config.json").is_file():
        raise PoseTopoError(f"{run} is neither a checkpoint nor a run folder")
    return run / ("best.pt" if read_config(run).recipe.report == "best" else "last.pt")


def write_metrics(path: Path, history: list[dict[str, Any]]) -> None:
    """Write metrics.csv, with one row per epoch. A number that does not apply is left empty. Floats have 9 significant
    digits, which is enough to restore an fp32 number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in history:
        cells = (row.get(key, "") for key in COLUMNS)
        writer.writerow([format(cell, ".9g") if isinstance(cell, float) else cell for cell in cells])
    write_text(path, text.getvalue())


def read_config(run: Path) -> RunConfig:
    """Read config.json of a run's folder.

    Raises:
        PoseTopoError: it is missing, or a setting is not one that a run can have. The message names the file.
    """
    path = run / "config.json"
    try:
        return from_dict(RunConfig, read_json(path))
    except PoseTopoError as error:
        raise PoseTopoError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def write_config(run: Path, config: RunConfig) -> None:
    """Write config.json."""
    write_json(run / "config.json", to_dict(config))


def remove(run: Path) -> None:
    """Delete the files of a run, so that it can be started again."""
    for path in (*(run / name for name in FILES), *(run / "plots").glob("epoch-*.png")):
        path.unlink(missing_ok=True)


def clear_leftovers(run: Path) -> None:
    """Delete the temporary files of a training that was killed while it wrote."""
    for name in FILES:
        stem, _, suffix = name.rpartition(".")
        for leftover in run.glob(f".{stem}.*.{suffix}"):  # the names that files.atomic_path makes
            leftover.unlink(missing_ok=True)


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold a run's folder while it is trained, so that no other process trains into it.

    The folder is created, and deleted at the end if it is empty. A killed process does not keep it.

    Raises:
        PoseTopoError: another training holds it.
    """

    def refuse() -> None:
        raise PoseTopoError(f"{run}: another training writes there: give another --run-name")

    run.mkdir(parents=True, exist_ok=True)
    lock = run / ".lock"
    try:
        with locked(lock, refuse):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # it is not empty
            run.rmdir()


def identity(config: RunConfig) -> dict[str, Any]:
    """The settings that decide which network is trained, as config.json has them.

    The other settings say where and how it is trained: device, precision, threads, and the paths of the data. They may
    change when a run is continued. The content of the data is compared by its hashes (training/state.py).
    """
    values = plain(config)
    return {key: values[key] for key in ("model", "arch", "recipe", "topography", "seed", "arm", "sync_batch_norm")}


def check_run(run: Path, config: RunConfig, *, resume: bool = True, overwrite: bool = False) -> None:
    """Check whether a configuration may be trained into a folder. Nothing is written.

    Raises:
        PoseTopoError: the folder holds a run of another identity, or any run if `resume` is False. With `overwrite`
            everything is allowed.
    """
    if overwrite or not (run / "config.json").is_file():
        return
    before = read_config(run)  # a setting that is missing there has its default
    changed = differences(identity(before), identity(config))
    if changed or not resume:
        why = " with other settings (" + "; ".join(changed[:6]) + ")" if changed else ""
        raise PoseTopoError(f"{run} holds a run{why}: give another --run-name, or --overwrite to start anew")


def plain(config: RunConfig) -> dict[str, Any]:
    """The configuration as config.json holds it."""
    return json.loads(json.dumps(to_dict(config)))


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two configurations differ, as "name: old -> new"."""
    found: list[str] = []
    for key in sorted(set(old) | set(new)):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key}: {before} -> {now}")
    return found
