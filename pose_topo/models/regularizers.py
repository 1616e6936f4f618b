"""The spatial losses, which make channels alike that are neighbours on the grid.

Each loss is a pure function of one tensor and the lattice, and returns a scalar. It raises ValueError if the shape of
the tensor does not match the lattice, and UsageError if the grid is too small for the loss. `TOPO_LOSSES` in
`study/config.py` lists the losses, and which tensor each one reads:

- "weights": (C, ...), one incoming weight vector per channel. Channel c is at row c // w, column c % w of the grid.
- "activations": (B, C, H, W), the output of the topographic layer on a training batch, after its ReLU. The layer and
  the head are 1x1 convolutions, so a *response* of a channel is its value at one cell of one input, and a batch holds
  B * H * W responses of each channel. (B, C) is accepted as well: one response per input.

The cosine of a zero vector with any other vector is defined as 0, and so is the correlation of a constant channel with
any other channel. Such a channel gets no gradient from its pairs, so values and gradients stay finite. Tensors in half
precision are converted to fp32 first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pose_topo.core.errors import UsageError
from pose_topo.models import grid_matrices as grid
from pose_topo.study.config import TOPO_LOSSES
from pose_topo.study.lattice import Lattice

MIN_SQUARED_LENGTH = 1e-24  # a shorter vector is treated as zero


def weight_similarity(weight: Tensor, lattice: Lattice) -> Tensor:
    """Mean squared distance of the incoming weight vectors of two channels, over all neighbour pairs.

    This is the study's loss. It is related to the "weight similarity" of Truong & Hasson, arXiv 2508.00043. It is not
    invariant to scale: a layer can lower it by shrinking its weights. Therefore training also logs the mean row norm.

    Returns:
        A scalar: exactly 4 for orthogonal rows of norm sqrt(2).
    """
    sheet = _rows(weight, lattice).reshape(lattice.height, lattice.width, -1)
    differences = neighbour_differences(sheet, lattice)
    total = torch.stack([d.square().sum() for d in differences]).sum()
    return total / sum(len(d) for d in differences)


def neighbour_cosine(weight: Tensor, lattice: Lattice) -> Tensor:
    """(1 - mean cosine of the incoming weight vectors of neighbours) / 2, from All-TNN, arXiv 2308.09431.

    It is invariant to the scale of every row. It is 0.5 for orthogonal rows and 0 for parallel rows.
    """
    rows = _rows(weight, lattice)
    near = grid.on(Lattice.adjacency, lattice, rows)
    return 0.5 - 0.5 * (_cosines(rows @ rows.T) * near).sum() / near.sum()


def topoloss(weight: Tensor, lattice: Lattice) -> Tensor:
    """1 - mean over channels of cos(W, Up(Down(W))), from TopoNets, arXiv 2501.16396.

    Down reads the grid of incoming weight vectors at every third place, and Up enlarges the result to the size of the
    grid. Both interpolate bilinearly. The loss is invariant to the scale of the layer and 0 for equal rows. It does not
    depend on the neighbourhood (4 or 8). On a torus the interpolation wraps round.
    """
    rows = _rows(weight, lattice)
    smooth = grid.on(grid.topoloss_smoothing, lattice, rows) @ rows
    lengths = _inverse_lengths(rows.square().sum(1)) * _inverse_lengths(smooth.square().sum(1))
    return 1 - ((rows * smooth).sum(1) * lengths).mean()


def activation_similarity(activations: Tensor, lattice: Lattice) -> Tensor:
    """Mean squared difference of the responses of two channels, over all neighbour pairs and responses.

    It follows the "activation similarity" of Truong & Hasson, arXiv 2508.00043, but they use activations before the
    ReLU. It is not invariant to scale. It does not change if the same number is added to all channels of a response.
    """
    responses = _responses(activations, lattice).flatten(0, 1)  # (N, C)
    # the mean over channels cancels in every difference; it is subtracted first to reduce rounding errors
    responses = responses - responses.mean(1, keepdim=True).detach()
    # the sum of (a_i - a_j)^2 over pairs is a L a', with the graph Laplacian L: one product reads the batch only once
    laplacian = grid.on(grid.laplacian, lattice, responses)
    total = (responses * (responses @ laplacian)).sum()
    return total / (len(responses) * laplacian.trace() / 2)


def spatial_correlation(activations: Tensor, lattice: Lattice) -> Tensor:
    """(1 - r) / 2; r is the Pearson correlation, over all pairs of channels, of corr(a_i, a_j) and 1 / (d_ij + 1).

    d is the distance on the grid in cells. The loss follows the spatial correlation loss of TDANN (Margalit et al.
    2024), but TDANN uses random neighbourhoods. It is invariant to the scale and the mean of every channel, and to a
    correlation that all pairs have in common. It does not subtract the mean over channels from a response. It does not
    depend on the neighbourhood (4 or 8). On a torus d is the distance round the torus.

    Raises:
        UsageError: all channels are equally far apart, so r is not defined.
    """
    responses = _responses(activations, lattice).flatten(0, 1)  # (N, C)
    centred = responses - responses.mean(0)
    correlations = _cosines(centred.T @ centred)
    # the centred responses of a constant channel are not exactly 0, because its mean is rounded
    rounding = (8 * torch.finfo(responses.dtype).eps) ** 2
    varies = (centred.square().sum(0) > rounding * responses.square().sum(0)).to(responses.dtype)
    correlations = correlations * varies[:, None] * varies
    pairs, wanted = grid.on(grid.pairs, lattice, responses), grid.on(grid.standard_closeness, lattice, responses)
    count = lattice.channels * (lattice.channels - 1)
    spread = (correlations - (correlations * pairs).sum() / count) * pairs
    r = (correlations * wanted).sum() * _inverse_lengths(spread.square().sum(), rounding * count)
    return 0.5 - 0.5 * r


def topographic(activations: Tensor, lattice: Lattice) -> Tensor:
    """Mean over inputs and pairs of channels of (cos(a_i, a_j) - 1 / (d_ij + 1))^2.

    a_i is the map of channel i for one input (Poli, Dupoux & Riad, arXiv 2211.13152). As in their code, the
    channels lie in the unit square: d is the distance on the grid divided by the length of its longer side, so
    neighbours of a 16 x 16 grid are 1/15 apart. For activations (B, C), a_i is the vector of B responses. The loss
    is invariant to the scale of every map. An offset that all channels share moves all cosines towards 1. It does
    not depend on the neighbourhood (4 or 8).
    """
    maps = _responses(activations, lattice)  # (inputs, cells, C)
    cosines = _cosines(maps.transpose(1, 2) @ maps)  # (inputs, C, C)
    wanted = grid.on(grid.closeness_in_the_unit_square, lattice, maps)
    missed = (cosines - wanted) * grid.on(grid.pairs, lattice, maps)
    return missed.square().sum() / (len(maps) * lattice.channels * (lattice.channels - 1))


@dataclass(frozen=True)
class SpatialLoss:
    """A spatial loss: its function, and which tensor of the topographic layer the function reads."""

    function: Callable[[Tensor, Lattice], Tensor]
    reads: Literal["weights", "activations"]


LOSSES: dict[str, SpatialLoss] = {  # a missing function is a KeyError here
    name: SpatialLoss(globals()[name.replace("-", "_")], reads) for name, reads in TOPO_LOSSES.items()
}


def find_loss(name: str) -> SpatialLoss:
    """The entry of `LOSSES` for a name.

    Raises:
        UsageError: there is no loss of this name; the message lists the names.
    """
    if name not in LOSSES:
        raise UsageError(f"--topo-loss {name}: give one of {', '.join(LOSSES)}")
    return LOSSES[name]


def check(name: str, lattice: Lattice) -> None:
    """Check that a loss exists and is defined on this grid.

    Raises:
        UsageError: an unknown name, or a grid without the pairs that the loss compares.
    """
    shape = (lattice.channels, 1) if find_loss(name).reads == "weights" else (1, lattice.channels)
    spatial_loss(name, lattice, *[torch.zeros(shape, device="cpu")] * 2)  # raises if the grid is too small


def spatial_loss(name: str, lattice: Lattice, weight: Tensor, activations: Tensor | None = None) -> Tensor:
    """The value of a spatial loss, a scalar, in the precision of the tensor it reads but at least fp32.

    Args:
        name: a key of `LOSSES`, e.g. "weight-similarity".
        lattice: the grid of the C channels.
        weight: (C, ...), one incoming weight vector per channel.
        activations: (B, C, H, W), the output of the layer for a batch. Losses on weights do not need it.

    Raises:
        UsageError: an unknown name, or a grid that is too small for the loss.
        ValueError: the loss reads activations and they are None, or a tensor does not match the grid.
    """
    loss = find_loss(name)
    read = weight if loss.reads == "weights" else activations
    if read is None:
        raise ValueError(f"{name} reads the layer's activations: give them")
    with torch.autocast(read.device.type, enabled=False):
        return loss.function(read, lattice)


def neighbour_differences(sheet: Tensor, lattice: Lattice) -> list[Tensor]:
    """Differences of neighbouring vectors, (n, D) for each direction. Every pair of neighbours occurs once.

    Args:
        sheet: (h, w, D), one vector per channel.
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
        raise ValueError(f"weights {tuple(weight.shape)}: give one row for each of the {lattice.channels} channels")
    return _wide(weight).flatten(1)


def _responses(activations: Tensor, lattice: Lattice) -> Tensor:
    """Activations as (inputs, cells, C), a view where memory is channels_last. (B, C) becomes one input of B cells."""
    _refuse_one_channel(lattice)
    if activations.ndim not in (2, 4) or activations.shape[1] != lattice.channels:
        raise ValueError(
            f"activations {tuple(activations.shape)}: give (B, {lattice.channels}) or (B, {lattice.channels}, H, W)"
        )
    responses = activations.permute(0, 2, 3, 1).flatten(1, 2) if activations.ndim == 4 else activations[None]
    return _wide(responses)


def _inverse_lengths(squares: Tensor, floor: float = MIN_SQUARED_LENGTH) -> Tensor:
    """1 / length of vectors, from their squared lengths. 0 without gradient where a square is at most `floor`."""
    return torch.where(squares > floor, squares, torch.inf).rsqrt()


def _cosines(products: Tensor) -> Tensor:
    """Cosines (..., C, C) from scalar products (..., C, C)."""
    lengths = _inverse_lengths(products.diagonal(dim1=-2, dim2=-1))
    return products * lengths[..., :, None] * lengths[..., None, :]
