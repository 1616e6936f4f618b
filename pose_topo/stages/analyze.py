"""The analysis stage: measure the topography of a checkpoint; write analysis.json and analysis.npz."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import atomic_path, sha256_file, write_json
from pose_topo.core.machine import autocast, pick_precision, seed_everything
from pose_topo.data.batches import Batch, Batches
from pose_topo.download.weights import start_file
from pose_topo.models.pose import (
    SimpleBaseline,
    TopoModel,
    build_model,
    head_weight,
    layer_weight,
    load_start,
    trained_order,
)
from pose_topo.stages.checkpoints import (
    grid_of,
    grid_settings,
    identity,
    open_checkpoint,
    open_data,
    people_sha256,
    plain,
)
from pose_topo.stages.evaluate import BATCH
from pose_topo.stages.silencing import measure_lesions
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.lattice import Lattice
from pose_topo.study.results import SCHEMAS, read_document
from pose_topo.topography import measures, weight_statistics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Extras:
    """The measures that need more passes over the photographs, or another network.

    Attributes:
        lesions: Silence discs of the grid.
        permuted_grids: The number of permuted grids behind the p value of the lesions.
        untrained: Also measure the network before training.
        control: A run, checkpoint or analysis of the control.
    """

    lesions: bool = False
    permuted_grids: int = 19
    untrained: bool = False
    control: Path | None = None


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

    The activations are those of all held-out people. The permutations have a fixed seed, so the results are
    reproducible.

    Raises:
        PoseTopoError: There is no such checkpoint, its data are missing, or the files of the control are broken.
        UsageError: The control has another grid.
    """
    extras = extras or Extras()
    opened = open_checkpoint(run, device)
    config, model = opened.config, opened.model
    lattice = grid_of(model)
    control = None if extras.control is None else best_of(extras.control, lattice)  # fails before the long work
    dataset, _ = open_data(opened, data, cache=cache, progress=progress)
    before_training = untrained(config, cache).to(opened.device) if extras.untrained else None
    precise = pick_precision(precision, opened.device)
    val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, opened.device)

    def respond(network: SimpleBaseline) -> Array:
        return mean_activations(network, mapped_layer(network), val.in_order(BATCH), precise)

    def brief(weights: Array, activations: Array) -> dict[str, Any]:
        return measures.brief(weights, activations, lattice, permutations)

    head, activations = head_weight(model), respond(model)
    numbers, maps = measures.all_measures(head, activations, lattice, permutations)
    order, start = trained_order(config), before_training
    trained_grid = None if order is None else brief(head[:, order], activations[:, order])
    rearranged, maps["arrangement"] = measures.rearranged(head, lattice)
    controls = {
        "permuted_grid": measures.permuted_grid(head, activations, lattice, permutations),
        "trained_grid": trained_grid,
        "trained_grid_reason": None if trained_grid else "the loss saw the grid as it is, or there was none",
        "rearranged": rearranged,
        "untrained": start and brief(head_weight(start), respond(start)),
        "untrained_reason": None if start else "not asked for: --untrained",
        "against": control and measures.control_reference(numbers["moran"]["mean_I"], control),
        "against_reason": None if control else "not asked for: --control",
    }
    lesions = None
    if extras.lesions:
        lesions, lesion_maps = measure_lesions(
            model, lattice, val, dataset.people, precision=precise, permuted_grids=extras.permuted_grids
        )
        maps |= lesion_maps
    people = dataset.people.take(dataset.split.val)
    result = plain(
        {
            "schema": SCHEMAS["analysis"],
            "kind": "analysis",
            "checkpoint_sha256": sha256_file(opened.path),
            "data_sha256": dataset.sha256,
            **identity(opened, dataset),
            **grid_settings(config, lattice, known=opened.foreign is None),
            "images": len(people),
            "images_sha256": people_sha256(people),
            **numbers,
            "health": weight_statistics.summary(layer_weight(model), lattice),
            "controls": controls,
            "lesions": lesions,
            "lesions_reason": None if extras.lesions else "not asked for: --lesions",
        }
    )
    maps |= {"images": np.array(people.names), "persons": people.person}
    with atomic_path(out / "analysis.npz") as temporary:
        np.savez_compressed(temporary, **maps)  # type: ignore[arg-type]  # NumPy's stub types ** as allow_pickle
    write_json(out / "analysis.json", result)
    return result


# ---- The network as the measures see it


def mapped_layer(model: SimpleBaseline) -> nn.Module:
    """The layer whose channels lie on the grid."""
    return model.topo if isinstance(model, TopoModel) else model.deconv


@torch.inference_mode()
def mean_activations(model: nn.Module, layer: nn.Module, batches: Iterable[Batch], precision: str) -> Array:
    """The spatial means (N, C) of the output of `layer`, for all people of `batches`.

    A forward hook keeps only the means, because the feature maps of a data set would need tens of GiB. The means stay
    on the device until the end, so that the host does not wait for a GPU between two batches. The hook is removed even
    if the network fails.
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


# ---- The networks it is compared with


def untrained(config: RunConfig, cache: Path | None) -> SimpleBaseline:
    """The network before training: the same seed, and the weights that the run started from.

    Raises:
        PoseTopoError: Those weights are not available.
    """
    seed_everything(config.seed)
    model = build_model(config)
    if (file := start_file(config, cache)) is not None:
        load_start(model, config, file)
    return model.eval()


def best_of(source: Path, lattice: Lattice) -> dict[str, Any]:
    """Arm, seed and best I of a control: the best I that rearranging its channels reaches.

    Args:
        source: A folder with analysis.json, or that file; otherwise a run or a checkpoint, whose I is computed.
        lattice: The grid that the control must have.

    Raises:
        PoseTopoError: `source` is none of these, or it is broken.
        UsageError: The control has another grid.
    """
    file = source / "analysis.json" if source.is_dir() else source
    if file.is_file() and file.suffix == ".json":
        result = read_document(file, "analysis")
        try:
            grid = result["grid"]["height"], result["grid"]["width"]
            best = {"arm": result["arm"], "seed": result["seed"], "best_I": result["controls"]["rearranged"]["mean_I"]}
        except (KeyError, TypeError):
            raise PoseTopoError(f"{file} has no controls.rearranged: make it again with pose-topo analyze") from None
    else:
        opened = open_checkpoint(source, "cpu")
        own = grid_of(opened.model)
        grid = own.height, own.width
        rearranged, _ = measures.rearranged(head_weight(opened.model), own)
        best = {"arm": opened.config.arm, "seed": opened.config.seed, "best_I": rearranged["mean_I"]}
    if grid != (lattice.height, lattice.width):
        raise UsageError(
            f"--control {source}: its grid is {grid[0]} x {grid[1]}, not {lattice.height} x {lattice.width} "
            "as the grid of this network"
        )
    return best
