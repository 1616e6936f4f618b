"""What is measured after every epoch: loss and PCKh on the held-out people, and the grid's health."""

from __future__ import annotations

import numpy as np
import torch

from pose_topo.analysis import health, moran, parcellation
from pose_topo.config import Recipe
from pose_topo.data import geometry
from pose_topo.data.batches import Batches
from pose_topo.data.people import People, head_size
from pose_topo.evaluation.decoding import decode
from pose_topo.evaluation.inference import heatmaps
from pose_topo.evaluation.pckh import normalised_errors, pckh
from pose_topo.models.pose import SimpleBaseline, TopoModel
from pose_topo.training.losses import heatmap_loss


def validate(model: SimpleBaseline, val: Batches, people: People, precision: str, batch_size: int) -> dict[str, float]:
    """`val_loss` (heatmap loss, a mean over people) and `val_pckh` (official, @0.5, without flip test)."""
    recipe: Recipe = val.recipe
    model.eval()
    to_photo = val.input_to_photo()
    total, found, rows = torch.zeros((), dtype=torch.float64, device=val.device), [], []
    for batch in val.in_order(batch_size):
        maps = heatmaps(model, batch.images, flip_test=False, precision=precision)
        loss = heatmap_loss(maps, batch.targets, batch.weights, recipe.loss, recipe.mask_unlabelled)
        total += loss.double() * len(batch.index)
        pixels, _ = decode(maps, recipe.decode, recipe.sigma)
        found.append(geometry.apply(to_photo[batch.index], pixels.double().cpu().numpy()))
        rows.append(batch.index)
    seen = people.take(np.concatenate(rows))
    found_joints = np.nan_to_num(
        np.concatenate(found), nan=0.0, posinf=0.0, neginf=0.0
    )  # a diverged network scores nothing
    errors = normalised_errors(found_joints, seen.joints, seen.labelled, head_size(seen.head_box))
    return {"val_loss": float(total) / len(val), "val_pckh": pckh(errors, 0.5)["mean"] or 0.0}


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
