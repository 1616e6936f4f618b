"""The analysis stage: measure the topography of a checkpoint; write analysis.json and analysis.npz."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.core.errors import PoseTopoError, UsageError, in_short
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
from pose_topo.topography.responses import Responses, selectivity_measures

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
    permuted_grids: int = 99
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
    control, inner = None, None
    if extras.control is not None:
        control, inner = control_of(extras.control, lattice)  # fails before the long work
    dataset, _ = open_data(opened, data, cache=cache, progress=progress)
    before_training = untrained(config, cache).to(opened.device) if extras.untrained else None
    precise = pick_precision(precision, opened.device)
    val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, opened.device)

    def respond(network: SimpleBaseline) -> Responses:
        return responses_of(network, mapped_layer(network), val.in_order(BATCH), precise)

    def brief(weights: Array, activations: Array) -> dict[str, Any]:
        return measures.brief(weights, activations, lattice, permutations)

    people = dataset.people.take(dataset.split.val)
    head, responses = head_weight(model), respond(model)
    activations = responses.mean
    numbers, maps = measures.all_measures(head, activations, lattice, permutations)
    numbers["selectivity"], maps["selectivity"] = selectivity_measures(
        responses, people.joints, people.visible, lattice, permutations
    )
    maps["gram"] = weight_statistics.gram(layer_weight(model))
    order, start = trained_order(config), before_training
    trained_grid = None if order is None else brief(head[:, order], activations[:, order])
    rearranged, maps["arrangement"] = measures.rearranged(head, lattice)
    controls = {
        "permuted_grid": measures.permuted_grid(head, activations, lattice, permutations),
        "trained_grid": trained_grid,
        "trained_grid_reason": None if trained_grid else "the loss saw the grid as it is, or there was none",
        "rearranged": rearranged,
        "untrained": start and brief(head_weight(start), respond(start).mean),
        "untrained_reason": None if start else "not asked for: --untrained",
        "against": control and measures.control_reference(numbers["moran"]["mean_I"], control),
        "against_reason": None if control else "not asked for: --control",
    }
    lesions = None
    if extras.lesions:
        lesions, lesion_maps = measure_lesions(
            model,
            lattice,
            val,
            dataset.people,
            means=activations.mean(axis=0),
            precision=precise,
            permuted_grids=extras.permuted_grids,
        )
        maps |= lesion_maps
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
            "directions": weight_statistics.direction_measures(maps["gram"], inner, lattice, permutations),
            "controls": controls,
            "lesions": lesions,
            "lesions_reason": None if extras.lesions else "not asked for: --lesions",
        }
    )
    maps |= {"images": np.array(people.names), "persons": people.person, "gram": maps["gram"].astype(np.float32)}
    with atomic_path(out / "analysis.npz") as temporary:
        np.savez_compressed(temporary, **maps)  # type: ignore[arg-type]  # NumPy's stub types ** as allow_pickle
    write_json(out / "analysis.json", result)
    return result


# ---- The network as the measures see it


def mapped_layer(model: SimpleBaseline) -> nn.Module:
    """The layer whose channels lie on the grid."""
    return model.topo if isinstance(model, TopoModel) else model.deconv


def responses_of(model: nn.Module, layer: nn.Module, batches: Iterable[Batch], precision: str) -> Responses:
    """The responses of `layer` to all people of `batches`: on average, near each joint, and away from it."""

    def pool(maps: Tensor, batch: Batch) -> Tensor:
        weight = batch.targets.float() * batch.mask[..., None, None]  # (B, K, h, w)
        inside, cells = weight.sum((2, 3)), maps.shape[2] * maps.shape[3]
        total = torch.einsum("bkhw,bchw->bkc", weight, maps)
        mean = maps.mean((2, 3))
        nothing = torch.where(inside > 0, 0.0, torch.nan)[..., None]
        near = total / inside.clamp(min=1e-12)[..., None] + nothing
        far = (cells * mean[:, None] - total) / (cells - inside)[..., None] + nothing
        return torch.cat([mean[:, None], near, far], dim=1)

    found = _pooled(model, layer, batches, precision, pool)
    return Responses(found[:, 0], *np.split(found[:, 1:], 2, axis=1))


def mean_activations(model: nn.Module, layer: nn.Module, batches: Iterable[Batch], precision: str) -> Array:
    """The spatial means (N, C) of the output of `layer`, for all people of `batches`."""
    return _pooled(model, layer, batches, precision, lambda maps, batch: maps.mean((2, 3)))


@torch.inference_mode()
def _pooled(
    model: nn.Module,
    layer: nn.Module,
    batches: Iterable[Batch],
    precision: str,
    pool: Callable[[Tensor, Batch], Tensor],
) -> Array:
    """What `pool` makes of the output (B, C, h, w) of `layer` for each batch, together.

    A forward hook keeps only that, because the feature maps of a data set would need tens of GiB. It stays on the
    device until the end, so that the host does not wait for a GPU between two batches. The hook is removed even if the
    network fails.
    """
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(pool(output.float(), batch)))
    try:
        model.eval()
        for batch in batches:  # the hook reads `batch`
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


def control_of(source: Path, lattice: Lattice) -> tuple[dict[str, Any], Array | None]:
    """Arm, seed and best I of a control (the best I that rearranging its channels reaches), and its weights.

    The weights are the inner products (C, C) of the rows of its layer; None where an old analysis.npz lacks them.

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
        inner = _inner_products(file.with_suffix(".npz"))
    else:
        opened = open_checkpoint(source, "cpu")
        own = grid_of(opened.model)
        grid = own.height, own.width
        rearranged, _ = measures.rearranged(head_weight(opened.model), own)
        best = {"arm": opened.config.arm, "seed": opened.config.seed, "best_I": rearranged["mean_I"]}
        inner = weight_statistics.gram(layer_weight(opened.model))
    if grid != (lattice.height, lattice.width):
        raise UsageError(
            f"--control {source}: its grid is {grid[0]} x {grid[1]}, not {lattice.height} x {lattice.width} "
            "as the grid of this network"
        )
    return best, inner


def _inner_products(path: Path) -> Array | None:
    """The array `gram` of an analysis.npz, or None without it."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            inner = content["gram"] if "gram" in content.files else None
    except Exception as error:  # broken bytes fail in many ways inside NumPy and zipfile
        raise PoseTopoError(f"{path}: not readable ({in_short(error)})") from None
    if inner is None:
        return None
    if inner.ndim != 2 or inner.dtype.kind != "f" or not np.isfinite(inner).all():
        raise PoseTopoError(f"{path}: gram holds {inner.dtype} of shape {inner.shape}, not (C, C): make it again")
    return inner.astype(np.float64)
