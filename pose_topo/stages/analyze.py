"""A network as the measures see it: its grid, the layer that lies on it, and the weights in and out of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.core import schemas
from pose_topo.core.devices import autocast, pick_precision, seed_everything
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import atomic_path, read_json, sha256_file, write_json
from pose_topo.data.batches import Batch, Batches
from pose_topo.data.people import Dataset, People
from pose_topo.models.backbones import load_imagenet
from pose_topo.models.pose import SimpleBaseline, TopoModel, build_model, head_weight, layer_weight, trained_order
from pose_topo.stages.checkpoints import identity, open_checkpoint, open_data
from pose_topo.stages.evaluate import BATCH
from pose_topo.stages.silencing import lesion
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.lattice import Lattice
from pose_topo.topography import measures as controls
from pose_topo.topography import weight_statistics as health
from pose_topo.topography.measures import measure

Array = NDArray[np.float64]


def grid_of(model: SimpleBaseline) -> Lattice:
    """The lattice of the layer; for a baseline its channels in an arbitrary, as square as possible, arrangement."""
    if isinstance(model, TopoModel):
        return model.topo.lattice
    return Lattice.squarest(model.head.in_channels)


def mapped_layer(model: SimpleBaseline) -> nn.Module:
    """The layer whose channels lie on the grid."""
    return model.topo if isinstance(model, TopoModel) else model.deconv


def untrained(config: RunConfig, cache: Path | None) -> SimpleBaseline:
    """The network as its training found it: the run's seed, and ImageNet weights where the run took them.

    Raises:
        PoseTopoError: the ImageNet weights are not to be had.
    """
    seed_everything(config.seed)
    model = build_model(config)
    if config.recipe.pretrained:
        load_imagenet(model, config, cache)
    return model.eval()


# ---- What the channels of the grid answer: one number a channel and picture, pooled inside the hook.


@torch.inference_mode()
def mean_activations(
    model: nn.Module, layer: nn.Module, batches: Iterable[Batch], precision: str
) -> NDArray[np.float64]:
    """Spatial means (N, C) of what `layer` puts out, over all pictures.

    The hook keeps only the means (whole feature maps of a data set are tens of GiB) and is removed whatever happens.
    They stay on the device until the end, so that a GPU is never waited for between two batches.
    """
    kept: list[Tensor] = []

    def pool(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        kept.append(output.float().mean((2, 3)))

    handle = layer.register_forward_hook(pool)
    try:
        model.eval()
        for batch in batches:
            with autocast(batch.images.device, precision):
                model(batch.images)
    finally:
        handle.remove()
    return torch.cat(kept).double().cpu().numpy()


# ---- The control that a network is held against: the best I that moving the control's channels reaches.


def best_of(source: Path, lattice: Lattice) -> dict[str, Any]:
    """Arm, seed and best I of a control: from its analysis, else from the head weights of its checkpoint.

    Raises:
        PoseTopoError: neither is there, or it is broken.
        UsageError: its grid is another.
    """
    file = source / "analysis.json" if source.is_dir() else source
    if file.is_file() and file.suffix == ".json":
        result = read_json(file)
        try:
            grid = result["grid"]["height"], result["grid"]["width"]
            found = {"arm": result["arm"], "seed": result["seed"], "best_I": result["controls"]["rearranged"]["mean_I"]}
        except (KeyError, TypeError):
            raise PoseTopoError(f"{file} has no controls.rearranged: make it anew with pose-topo analyze") from None
    else:
        opened = open_checkpoint(source, "cpu")
        own = grid_of(opened.model)
        grid = own.height, own.width
        best, _ = controls.rearranged(head_weight(opened.model), own)
        found = {"arm": opened.config.arm, "seed": opened.config.seed, "best_I": best["mean_I"]}
    if grid != (lattice.height, lattice.width):
        raise UsageError(
            f"--control {source}: its grid is {grid[0]} x {grid[1]}, this one's {lattice.height} x {lattice.width}"
        )
    return found


# ---- The analysis stage: a checkpoint -> analysis.json and analysis.npz.


@dataclass(frozen=True)
class Extras:
    """What is measured only when asked for, since it costs more passes over the pictures or another network."""

    lesions: bool = False
    permuted_grids: int = 19  # behind the p value of the lesions
    untrained: bool = False
    control: Path | None = None  # a run, checkpoint or analysis of the control


def analyze_checkpoint(
    run: str | Path,
    out: Path,
    *,
    data: Data | None = None,
    permutations: int = 9999,
    extras: Extras | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure the topography of a checkpoint; write analysis.json and analysis.npz to `out`.

    Activations are taken over all held-out people. Permutations have a seed of their own (0): results repeat.

    Raises:
        PoseTopoError: no such checkpoint, or its data are missing; the control's files are broken.
        UsageError: the control has another grid.
    """
    extras = extras or Extras()
    opened = open_checkpoint(run, device)
    config, model, where = opened.config, opened.model, opened.device
    control = None if extras.control is None else best_of(extras.control, grid_of(model))  # refused before the work
    dataset, _ = open_data(opened, data, cache=cache, progress=progress)
    fresh = untrained(config, cache).to(where) if extras.untrained else None
    network = _Network(model, dataset, config, pick_precision(precision, where), where)
    numbers, maps = network.measure(permutations, fresh, control)
    lesions, lesion_maps = network.lesion(extras.permuted_grids) if extras.lesions else (None, {})
    seen = dataset.people.take(dataset.split.val)
    result = plain(
        {
            "schema": schemas.ANALYSIS,
            "kind": "analysis",
            "checkpoint_sha256": sha256_file(opened.path),
            "data_sha256": dataset.sha256,
            **identity(opened, dataset),
            **_settings(config, network.lattice, known=opened.foreign is None),
            "images": len(seen),
            "images_sha256": people_sha256(seen),
            **numbers,
            "lesions": lesions,
            "lesions_reason": None if extras.lesions else "not asked for: --lesions",
        }
    )
    maps |= {**lesion_maps, "images": np.array(seen.names), "persons": seen.person}
    with atomic_path(out / "analysis.npz") as temporary:
        np.savez_compressed(temporary, **maps)  # type: ignore[arg-type]
    write_json(out / "analysis.json", result)
    return result


class _Network:
    """A network and the held-out people it is asked about."""

    def __init__(
        self, model: SimpleBaseline, dataset: Dataset, config: RunConfig, precision: str, device: torch.device
    ) -> None:
        self.model, self.people, self.precision = model, dataset.people, precision
        self.lattice, self.loss_order = grid_of(model), trained_order(config)
        self.val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, device)

    def respond(self, model: SimpleBaseline) -> Array:
        """Spatial means (N, C) of the mapped layer of `model`."""
        return mean_activations(model, mapped_layer(model), self.val.in_order(BATCH), self.precision)

    def measure(
        self, permutations: int, fresh: SimpleBaseline | None, control: dict[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """All measures and controls; `fresh` is the untrained network, `control` what `best_of` gave."""
        head, activations = head_weight(self.model), self.respond(self.model)
        numbers, maps = measure(head, activations, self.lattice, permutations)
        best, maps["arrangement"] = controls.rearranged(head, self.lattice)
        start = trained = None
        if self.loss_order is not None:
            order = self.loss_order
            trained = controls.brief(head[:, order], activations[:, order], self.lattice, permutations)
        if fresh is not None:
            start = controls.brief(head_weight(fresh), self.respond(fresh), self.lattice, permutations)
        numbers["health"] = health.summary(layer_weight(self.model), self.lattice)
        numbers["controls"] = {
            "permuted_grid": controls.permuted_grid(head, activations, self.lattice, permutations),
            "trained_grid": trained,
            "trained_grid_reason": None if trained else "the loss saw the grid as it is, or there was none",
            "rearranged": best,
            "untrained": start,
            "untrained_reason": None if start else "not asked for: --untrained",
            "against": control and controls.against(numbers["moran"]["mean_I"], control),
            "against_reason": None if control else "not asked for: --control",
        }
        return numbers, maps

    def lesion(self, permuted_grids: int) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """The lesions of `intervention.lesion`."""
        return lesion(
            self.model,
            self.lattice,
            self.val,
            self.people,
            batch_size=BATCH,
            precision=self.precision,
            permuted_grids=permuted_grids,
        )


def people_sha256(people: People) -> str:
    """Which people were seen, in which order: the sha256 of "photograph person" lines."""
    lines = (f"{name} {person}\n" for name, person in zip(people.names, people.person.tolist(), strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _settings(config: RunConfig, lattice: Lattice, *, known: bool) -> dict[str, Any]:
    """How the layer was trained; null where that is not known, or there is none."""
    topography = config.topography if known else None
    return {
        "model": config.model,
        "grid": {
            "height": lattice.height,
            "width": lattice.width,
            "neighbours": lattice.neighbours,
            "torus": lattice.torus,
        },
        "topo_lr_mult": config.recipe.topo_lr_mult if topography else None,
        "lambda": topography.weight if topography else None,
        "topo_loss": topography.loss if topography else None,
        "permuted": topography.permuted if topography else None,
    }


def plain(value: Any) -> Any:
    """NaN -> null, all the way down: a number that does not exist has no place in JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
