"""What is measured after every epoch: loss and PCKh on the held-out people, and the grid's health."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

import numpy as np

from pose_topo.analysis import health, moran, parcellation
from pose_topo.config import Recipe
from pose_topo.data import geometry
from pose_topo.data.batches import Batches
from pose_topo.data.people import People, head_size
from pose_topo.evaluation.decoding import decode
from pose_topo.evaluation.inference import heatmaps
from pose_topo.evaluation.pckh import normalised_errors, pckh
from pose_topo.models.pose import SimpleBaseline, TopoModel
from pose_topo.training.distributed import Team
from pose_topo.training.losses import heatmap_loss


def validate(
    model: SimpleBaseline,
    val: Batches,
    people: People,
    precision: str,
    batch_size: int,
    team: Team | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """`val_loss` (heatmap loss, a mean over people) and `val_pckh` (official, @0.5, without flip test).

    Args:
        team: processes that share the work, by whole batches, so that the numbers are those of one process alone.
        after_batch: called between two batches.
    """
    recipe: Recipe = val.recipe
    team = team or Team()
    model.eval()
    to_photo = val.input_to_photo()
    losses, found, rows = [], [], []
    for batch in val.in_order(batch_size, process=team.rank, processes=team.size):
        maps = heatmaps(model, batch.images, flip_test=False, precision=precision)
        loss = heatmap_loss(maps, batch.targets, batch.weights, recipe.loss, recipe.mask_unlabelled)
        pixels, _ = decode(maps, recipe.decode, recipe.sigma)
        losses.append(loss.double() * len(batch.index))
        found.append(pixels.double())
        rows.append(batch.index)
        after_batch()
    # the device is waited for once, here
    mine = [(rows_, pixels.cpu().numpy(), float(loss)) for rows_, pixels, loss in zip(rows, found, losses, strict=True)]
    parts = [batch for by_turn in zip_longest(*team.gather(mine)) for batch in by_turn if batch is not None]
    index = np.concatenate([part[0] for part in parts])
    joints = geometry.apply(to_photo[index], np.concatenate([part[1] for part in parts]))
    joints = np.nan_to_num(joints, nan=0.0, posinf=0.0, neginf=0.0)  # a diverged network scores nothing
    seen = people.take(index)
    errors = normalised_errors(joints, seen.joints, seen.labelled, head_size(seen.head_box))
    return {"val_loss": sum(part[2] for part in parts) / len(val), "val_pckh": pckh(errors, 0.5)["mean"] or 0.0}


def grid_state(model: SimpleBaseline) -> dict[str, float]:
    """Mean Moran's I of |head weight| over joints, contiguity, and the health numbers of the topographic layer;
    nothing for a baseline."""
    if not isinstance(model, TopoModel):
        return {}
    lattice = model.topo.lattice
    head = model.head.weight.detach().float().cpu().numpy()[:, :, 0, 0].astype(np.float64)  # (K, C)
    weight = model.topo.conv.weight.detach().float().cpu().numpy()[:, :, 0, 0].astype(np.float64)  # (C, C_in)
    per_joint = moran.morans_i(np.abs(head), lattice.adjacency())
    state = {
        "moran_i": float(np.mean(per_joint[np.isfinite(per_joint)])) if np.isfinite(per_joint).any() else None,
        "contiguity": parcellation.contiguity(parcellation.labels(np.abs(head)), lattice),
        "mean_row_norm": health.mean_row_norm(weight),
        "cosine_excess": health.cosine_excess(weight, lattice),
        "participation_ratio": health.participation_ratio(weight),
    }
    return {key: float(value) for key, value in state.items() if value is not None}
