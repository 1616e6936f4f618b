"""Losses that make grid neighbours alike: pure functions of what the topographic layer holds or answers.

Each takes a tensor and the lattice and gives a scalar. Which tensor, `config.TOPO_LOSSES` says:

- "weights": (C, ...), one incoming weight vector a channel, channel c at row c // w, column c % w of the lattice.
- "activations": (B, C, H, W), what the layer puts out (after its ReLU: what the head reads) on a training batch. The
  layer and the head are 1x1 convolutions, so an *answer* is the value of a channel at one cell of one picture; a batch
  gives B * H * W answers of each channel. (B, C) is taken as well: one answer a picture.

A channel that is all zeros (or constant, where means are taken off) has no direction: its cosine (correlation) with
every other counts as 0 and pulls at nothing, so values and gradients stay finite. Half precision is computed in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pose_topo.core.errors import UsageError
from pose_topo.models import grid_matrices as grid
from pose_topo.study.config import TOPO_LOSSES
from pose_topo.study.lattice import Lattice

NO_LENGTH = 1e-24  # squared length below which a vector has no direction


def check(name: str, lattice: Lattice) -> None:
    """Whether `--topo-loss` names a loss, and one that means something on this grid.

    Raises:
        UsageError: an unknown name, or a grid without the pairs that the loss compares.
    """
    if name not in TOPO_LOSSES:
        raise UsageError(f"--topo-loss {name}: give one of {', '.join(TOPO_LOSSES)}")
    shape = (lattice.channels, 1) if TOPO_LOSSES[name] == "weights" else (1, lattice.channels)
    spatial_loss(name, lattice, *[torch.zeros(shape, device="cpu")] * 2)  # each loss knows what it refuses


def spatial_loss(name: str, lattice: Lattice, weight: Tensor, activations: Tensor | None = None) -> Tensor:
    """The spatial loss of a layer whose output channels lie on a lattice, a scalar.

    It is computed in at least fp32, also inside autocast.

    Args:
        name: one of the six losses, e.g. "weight-similarity" or "topoloss" (docs/regularizers.md).
        lattice: of C channels.
        weight: (C, ...), one incoming weight vector per channel.
        activations: (B, C, H, W), the output of the layer for a batch. Losses on weights do not need it.

    Raises:
        ValueError: the loss reads activations and there are none.
    """
    given = weight if TOPO_LOSSES[name] == "weights" else activations
    if given is None:
        raise ValueError(f"{name} reads the layer's activations: give them")
    loss = globals()[name.replace("-", "_")]
    with torch.autocast(given.device.type, enabled=False):
        return loss(given, lattice)


def weight_similarity(weight: Tensor, lattice: Lattice) -> Tensor:
    """Mean over neighbour pairs of the squared distance of their incoming weight vectors (the study's loss; cf. the
    "weight similarity" arm of Truong & Hasson, arXiv 2508.00043).

    Not invariant to scale: a layer can lower it by shrinking, so row norms are logged beside it.

    Returns:
        A scalar: exactly 4 for orthogonal rows of norm sqrt(2).
    """
    sheet = _rows(weight, lattice).reshape(lattice.height, lattice.width, -1)
    differences = neighbour_differences(sheet, lattice)
    total = torch.stack([d.square().sum() for d in differences]).sum()
    return total / sum(len(d) for d in differences)


def neighbour_cosine(weight: Tensor, lattice: Lattice) -> Tensor:
    """(1 - mean cosine of the incoming weight vectors of neighbours) / 2 (All-TNN, arXiv 2308.09431).

    Invariant to the scale of every row. 0.5 for orthogonal rows, 0 for parallel ones.
    """
    rows = _rows(weight, lattice)
    near = grid.on(Lattice.adjacency, lattice, rows)
    return 0.5 - 0.5 * (_cosines(rows @ rows.T) * near).sum() / near.sum()


def topoloss(weight: Tensor, lattice: Lattice) -> Tensor:
    """1 - mean over channels of cos(W, Up(Down(W))): each incoming weight vector against the same place of a sheet that
    was read at every third place and enlarged again, both bilinearly (TopoNets, arXiv 2501.16396).

    Invariant to the scale of the layer. 0 for equal rows. The neighbourhood (4 or 8) does not enter; a torus wraps.
    """
    rows = _rows(weight, lattice)
    smooth = grid.on(grid.topoloss_smoothing, lattice, rows) @ rows
    lengths = _inverse_lengths(rows.square().sum(1)) * _inverse_lengths(smooth.square().sum(1))
    return 1 - ((rows * smooth).sum(1) * lengths).mean()


def activation_similarity(activations: Tensor, lattice: Lattice) -> Tensor:
    """Mean over neighbour pairs and answers of the squared difference of their activations (the "activation similarity"
    arm of Truong & Hasson, arXiv 2508.00043, which takes them before the ReLU).

    Not invariant to scale; blind to what all channels share in an answer.
    """
    answers = _answers(activations, lattice).flatten(0, 1)  # (N, C)
    # what is shared cancels in every difference: taken off beforehand, it costs no digits (and has no gradient)
    answers = answers - answers.mean(1, keepdim=True).detach()
    # sum over pairs of (a_i - a_j)^2 = a L a: one product where slices pass over the batch once a direction, and back
    laplacian = grid.on(grid.laplacian, lattice, answers)
    total = (answers * (answers @ laplacian)).sum()
    return total / (len(answers) * laplacian.trace() / 2)


def spatial_correlation(activations: Tensor, lattice: Lattice) -> Tensor:
    """(1 - r) / 2, with r the Pearson correlation over all pairs of channels between corr(a_i, a_j) and 1 / (d_ij + 1),
    d in cells (the spatial correlation loss of TDANN, Margalit et al. 2024, which takes it over random neighbourhoods).

    Invariant to the scale and mean of every channel, and to a correlation that all pairs have in common. What all
    channels share in an answer is not taken off. The neighbourhood (4 or 8) does not enter; a torus has its distances.
    """
    answers = _answers(activations, lattice).flatten(0, 1)  # (N, C)
    centred = answers - answers.mean(0)
    correlations = _cosines(centred.T @ centred)
    # a constant channel keeps the rounding of its mean
    rounding = (8 * torch.finfo(answers.dtype).eps) ** 2
    varies = (centred.square().sum(0) > rounding * answers.square().sum(0)).to(answers.dtype)
    correlations = correlations * varies[:, None] * varies
    pairs, wanted = grid.on(grid.pairs, lattice, answers), grid.on(grid.standard_closeness, lattice, answers)
    count = lattice.channels * (lattice.channels - 1)
    spread = (correlations - (correlations * pairs).sum() / count) * pairs
    r = (correlations * wanted).sum() * _inverse_lengths(spread.square().sum(), rounding * count)
    return 0.5 - 0.5 * r


def topographic(activations: Tensor, lattice: Lattice) -> Tensor:
    """Mean over pictures and pairs of channels of (cos(a_i, a_j) - 1 / (d_ij + 1))^2, with a_i the map of channel i in
    that picture and d in cells (Poli, Dupoux & Riad, arXiv 2211.13152). For (B, C) a_i runs over the batch.

    Invariant to the scale of every map; a shared offset draws all cosines to 1. The neighbourhood does not enter.
    """
    maps = _answers(activations, lattice)  # (pictures, cells, C)
    cosines = _cosines(maps.transpose(1, 2) @ maps)  # (pictures, C, C)
    missed = (cosines - grid.on(grid.closeness, lattice, maps)) * grid.on(grid.pairs, lattice, maps)
    return missed.square().sum() / (len(maps) * lattice.channels * (lattice.channels - 1))


def neighbour_differences(sheet: Tensor, lattice: Lattice) -> list[Tensor]:
    """Differences (n, D) along the edges of the grid, one tensor a direction; together every edge once.

    Args:
        sheet: (h, w, D), one vector a channel.
    """
    h, w = lattice.height, lattice.width
    if lattice.torus:
        flat = sheet.reshape(h * w, -1)
        first, second = grid.edges_on(lattice, sheet.device)
        return [flat[first] - flat[second]]
    pairs = [(sheet[:, 1:], sheet[:, :-1]), (sheet[1:], sheet[:-1])]
    if lattice.neighbours == 8:
        pairs += [(sheet[1:, 1:], sheet[:-1, :-1]), (sheet[1:, :-1], sheet[:-1, 1:])]
    return [(a - b).reshape(-1, sheet.shape[-1]) for a, b in pairs if a.numel()]


def _refuse_one_channel(lattice: Lattice) -> None:
    if lattice.channels < 2:
        raise UsageError("--topo-grid 1 1: a single channel has no neighbours; give at least two")


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _rows(weight: Tensor, lattice: Lattice) -> Tensor:
    """Weights as (C, D)."""
    _refuse_one_channel(lattice)
    if weight.ndim < 2 or len(weight) != lattice.channels:
        raise ValueError(f"weights {tuple(weight.shape)}: the grid has {lattice.channels} channels, give one row each")
    return _wide(weight).flatten(1)


def _answers(activations: Tensor, lattice: Lattice) -> Tensor:
    """Activations as (pictures, cells, C): a view where memory is channels_last; (B, C) as one picture of B cells."""
    _refuse_one_channel(lattice)
    if activations.ndim not in (2, 4) or activations.shape[1] != lattice.channels:
        raise ValueError(
            f"activations {tuple(activations.shape)}: give (B, {lattice.channels}) or (B, {lattice.channels}, H, W)"
        )
    answers = activations.permute(0, 2, 3, 1).flatten(1, 2) if activations.ndim == 4 else activations[None]
    return _wide(answers)


def _inverse_lengths(squares: Tensor, floor: float = NO_LENGTH) -> Tensor:
    """1 / length of vectors from their squared lengths; 0, with no gradient, for one that is not above `floor`."""
    return torch.where(squares > floor, squares, torch.inf).rsqrt()


def _cosines(products: Tensor) -> Tensor:
    """Cosines (..., C, C) from scalar products (..., C, C)."""
    lengths = _inverse_lengths(products.diagonal(dim1=-2, dim2=-1))
    return products * lengths[..., :, None] * lengths[..., None, :]
