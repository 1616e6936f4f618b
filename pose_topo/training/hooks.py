"""Hooks that run after every epoch: pictures, and a log at Weights & Biases. A failing hook never stops a training."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from pose_topo.core.files import write_text
from pose_topo.core.log import log
from pose_topo.data.batches import Batches
from pose_topo.data.people import Dataset
from pose_topo.models.pose import SimpleBaseline, TopoModel, head_weight
from pose_topo.models.prediction import heatmaps
from pose_topo.pictures import drawing
from pose_topo.scoring.decoding import decode
from pose_topo.study import runs
from pose_topo.study.config import RunConfig, to_dict
from pose_topo.training.loop import EpochHook

WANDB_PROJECT = "ABNS"  # the project of the original study
SHOWN = 8  # people in a picture


def default_run_name(config: RunConfig) -> str:
    """The name that the original study gives to a run: <ARCH>_<Model>_time_<timestamp>."""
    model = "TopoModel" if config.model == "topo" else "SimpleBaseline"
    return f"{config.arch.upper()}_{model}_time_{time.strftime('%Y%m%d-%H%M%S')}"


def chosen_hooks(run: Path, dataset: Dataset, config: RunConfig, *, plots: bool, wandb: bool) -> tuple[EpochHook, ...]:
    """The hooks that were asked for. Pictures are drawn first, because the log sends them."""
    hooks = [plot_hook(run, dataset, config)] if plots or wandb else []
    if wandb:
        hooks.append(wandb_hook(run, run.name, config))
    return tuple(hooks)


def plot_hook(run: Path, dataset: Dataset, config: RunConfig) -> EpochHook:
    """A hook that draws `plots/epoch-NNN-predictions.png` and the parcellation of a topographic layer."""
    rows = dataset.split.val[:SHOWN]

    def draw(model: SimpleBaseline, row: dict[str, Any]) -> None:
        device = next(model.parameters()).device
        people = Batches(dataset.store, dataset.people, rows, config.recipe, device)
        model.eval()
        batch = next(people.in_order(SHOWN))
        pixels, _ = decode(
            heatmaps(model, batch.images, flip_test=False, precision="fp32"), config.recipe.decode, config.recipe.sigma
        )
        inner = slice(people.margin, people.margin + config.recipe.input_size)
        stem = run / "plots" / _stem(row)
        crops = [dataset.store.crops[i, inner, inner] for i in rows]
        drawing.write_overlays(stem.with_name(stem.name + "-predictions.png"), crops, pixels.cpu().numpy())
        if isinstance(model, TopoModel):
            parcellation = stem.with_name(stem.name + "-parcellation.png")
            drawing.write_parcellation(parcellation, head_weight(model), model.topo.lattice)

    return draw


def wandb_hook(run: Path, name: str, config: RunConfig) -> EpochHook:
    """A hook that sends every epoch's row and pictures to Weights & Biases. Without a connection it only warns."""
    try:
        import wandb

        session = wandb.init(
            project=WANDB_PROJECT, name=name, config=to_dict(config), id=_wandb_id(run), resume="allow"
        )
    except Exception as error:  # the client may fail in any way, for example without a network
        log.warning(f"no wandb logging ({' '.join(str(error).split())[:120]})")
        return lambda _model, _row: None

    def send(_model: SimpleBaseline, row: dict[str, Any]) -> None:
        pictures = sorted((run / "plots").glob(f"{_stem(row)}-*.png"))
        try:
            shown = {path.stem.removeprefix(_stem(row) + "-"): wandb.Image(str(path)) for path in pictures}
            session.log(row | shown, step=row["epoch"])
        except Exception as error:  # the same
            log.warning(f"wandb lost epoch {row['epoch']} ({' '.join(str(error).split())[:120]})")

    return send


def _wandb_id(run: Path) -> str:
    """The id of the run's log. It is kept beside the checkpoints, so that a continued run has a single log."""
    path = run / runs.WANDB_ID
    if not path.is_file():
        write_text(path, secrets.token_hex(8) + "\n")
    return path.read_text(encoding="utf-8").strip()


def _stem(row: dict[str, Any]) -> str:
    return f"epoch-{row['epoch']:03d}"
