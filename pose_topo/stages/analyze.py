"""The analysis stage: measure the topography of a checkpoint; write analysis.json and analysis.npz."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.core.errors import PoseTopoError, UsageError, in_short
from pose_topo.core.files import atomic_path, write_json
from pose_topo.core.machine import autocast, seed_everything
from pose_topo.data.batches import Batch, Batches
from pose_topo.download.weights import start_file
from pose_topo.models import pose
from pose_topo.stages.checkpoints import grid_of, identity, load_network, of_grid, open_data, plain
from pose_topo.stages.evaluate import BATCH
from pose_topo.stages.silencing import measure_lesions
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.lattice import Lattice
from pose_topo.study.results import read_document
from pose_topo.topography import measures, weight_statistics
from pose_topo.topography.responses import Responses, selectivity_measures

Array = NDArray[np.float64]


def analyze_checkpoint(
    run: str | Path,
    out: Path,
    *,
    data: Data | None = None,
    permutations: int = 9999,
    lesion_grids: int | None = None,
    untrained: bool = False,
    control: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure the topography of a checkpoint; write analysis.json and analysis.npz to `out`.

    The activations are those of all held-out people. The permutations have a fixed seed, so the results are
    reproducible.

    Args:
        lesion_grids: Also silence discs of the grid, with so many permuted grids behind the p value.
        untrained: Also measure the network before training.
        control: A run, checkpoint or analysis of the control.

    Raises:
        PoseTopoError: There is no such checkpoint, its data are missing, or the files of the control are broken.
        UsageError: The control has another grid.
    """
    network = load_network(run, device, precision)
    config, model = network.config, network.model
    lattice = grid_of(model)
    reference, inner = control_of(control, lattice) if control else (None, None)  # fails before the long work
    dataset = open_data(network, data, cache=cache, progress=progress)
    start = network_before(config, cache).to(network.device) if untrained else None
    val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, network.device)

    def respond(model: pose.SimpleBaseline) -> Responses:
        layer = model.topo if isinstance(model, pose.TopoModel) else model.deconv  # its channels lie on the grid
        return responses_of(model, layer, val.in_order(BATCH), network.precision)

    def brief(weights: Array, activations: Array) -> dict[str, Any]:
        return measures.brief(weights, activations, lattice, permutations)

    people = dataset.people.take(dataset.split.val)
    head, responses = pose.head_weight(model), respond(model)
    activations = responses.mean
    numbers, maps = measures.all_measures(head, activations, lattice, permutations)
    numbers["selectivity"], maps["selectivity"] = selectivity_measures(
        responses, people.joints, people.visible, lattice, permutations
    )
    gram = weight_statistics.gram(pose.layer_weight(model))
    order = pose.trained_order(config)
    trained_grid = None if order is None else brief(head[:, order], activations[:, order])
    rearranged, maps["arrangement"] = measures.rearranged(head, lattice)
    controls = {
        "permuted_grid": measures.permuted_grid(head, activations, lattice, permutations),
        "trained_grid": trained_grid,
        "trained_grid_reason": None if trained_grid else "the loss saw the grid as it is, or there was none",
        "rearranged": rearranged,
        "untrained": start and brief(pose.head_weight(start), respond(start).mean),
        "untrained_reason": None if start else "not asked for: --untrained",
        "against": reference and measures.control_reference(numbers["moran"]["mean_I"], reference),
        "against_reason": None if reference else "not asked for: --control",
    }
    lesions, lesion_maps = None, {}
    if lesion_grids:
        means = activations.mean(axis=0)
        lesions, lesion_maps = measure_lesions(network, val, dataset.people, means, lesion_grids)
    result = plain(
        {
            **identity("analysis", network, dataset),
            **of_grid(network, people),
            **numbers,
            "health": weight_statistics.summary(pose.layer_weight(model), lattice),
            "directions": weight_statistics.direction_measures(gram, inner, lattice, permutations),
            "controls": controls,
            "lesions": lesions,
            "lesions_reason": None if lesions else "not asked for: --lesions",
        }
    )
    maps |= lesion_maps
    maps |= {"images": np.array(people.names), "persons": people.person, "gram": gram.astype(np.float32)}
    with atomic_path(out / "analysis.npz") as temporary:
        np.savez_compressed(temporary, **maps)  # type: ignore[arg-type]  # NumPy's stub types ** as allow_pickle
    write_json(out / "analysis.json", result)
    return result


@torch.inference_mode()
def responses_of(model: nn.Module, layer: nn.Module, batches: Iterable[Batch], precision: str) -> Responses:
    """The responses of `layer` to all people of `batches`: on average, near each joint, and away from it.

    A forward hook keeps only these, because the feature maps of a data set would need tens of GiB. They stay on the
    device until the end, so that the host does not wait for a GPU between two batches. The hook is removed even if the
    network fails.
    """

    def pool(maps: Tensor, batch: Batch) -> Tensor:
        weight = batch.targets.float() * batch.mask[..., None, None]  # (B, K, h, w)
        inside, cells = weight.sum((2, 3)), maps.shape[2] * maps.shape[3]
        total = torch.einsum("bkhw,bchw->bkc", weight, maps)
        mean = maps.mean((2, 3))
        nothing = torch.where(inside > 0, 0.0, torch.nan)[..., None]
        near = total / inside.clamp(min=1e-12)[..., None] + nothing
        far = (cells * mean[:, None] - total) / (cells - inside)[..., None] + nothing
        return torch.cat([mean[:, None], near, far], dim=1)

    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(pool(output.float(), batch)))
    try:
        model.eval()
        for batch in batches:  # the hook reads `batch`
            with autocast(batch.images.device, precision):
                model(batch.images)
    finally:
        handle.remove()
    found = torch.cat(kept).double().cpu().numpy()
    return Responses(found[:, 0], *np.split(found[:, 1:], 2, axis=1))


# ---- The networks it is compared with


def network_before(config: RunConfig, cache: Path | None) -> pose.SimpleBaseline:
    """The network before training: the same seed, and the weights that the run started from.

    Raises:
        PoseTopoError: Those weights are not available.
    """
    seed_everything(config.seed)
    model = pose.build_model(config)
    if (file := start_file(config, cache)) is not None:
        pose.load_start(model, config, file)
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
        network = load_network(source, "cpu")
        own = grid_of(network.model)
        grid = own.height, own.width
        rearranged, _ = measures.rearranged(pose.head_weight(network.model), own)
        best = {"arm": network.config.arm, "seed": network.config.seed, "best_I": rearranged["mean_I"]}
        inner = weight_statistics.gram(pose.layer_weight(network.model))
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
    if inner is not None and (inner.ndim != 2 or inner.dtype.kind != "f" or not np.isfinite(inner).all()):
        raise PoseTopoError(f"{path}: gram holds {inner.dtype} of shape {inner.shape}, not (C, C): make it again")
    return None if inner is None else inner.astype(np.float64)
