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

`TopographicLoss` applies a loss to a layer of any network.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Literal

import torch
from torch import Tensor, nn

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
    smooth = grid.on(grid.smoothing_matrix, lattice, rows) @ rows
    lengths = _inverse_lengths(rows.square().sum(1)) * _inverse_lengths(smooth.square().sum(1))
    return 1 - ((rows * smooth).sum(1) * lengths).mean()


def activation_similarity(activations: Tensor, lattice: Lattice) -> Tensor:
    """Mean squared difference of the responses of two channels, over all neighbour pairs and responses.

    It follows the "activation similarity" of Truong & Hasson, arXiv 2508.00043, but they use activations before the
    ReLU. It is not invariant to scale. It does not change if the same number is added to all channels at one cell.
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
    correlation that all pairs have in common. It does not subtract the mean over channels at a cell. It does not
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


LOSSES: dict[str, Callable[[Tensor, Lattice], Tensor]] = {  # a missing function is a KeyError here
    name: globals()[name.replace("-", "_")] for name in TOPO_LOSSES
}


def tensor_read(name: str) -> Literal["weights", "activations"]:
    """Which tensor of the topographic layer a loss reads.

    Raises:
        UsageError: there is no loss of this name; the message lists the names.
    """
    if name not in LOSSES:
        raise UsageError(f"--topo-loss {name}: give one of {', '.join(LOSSES)}")
    return TOPO_LOSSES[name]


def check(name: str, lattice: Lattice) -> None:
    """Check that a loss exists and is defined on this grid.

    Raises:
        UsageError: an unknown name, or a grid without the pairs that the loss compares.
    """
    shape = (lattice.channels, 1) if tensor_read(name) == "weights" else (1, lattice.channels)
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
    read = weight if tensor_read(name) == "weights" else activations
    if read is None:
        raise ValueError(f"{name} reads the layer's activations: give them")
    with torch.autocast(read.device.type, enabled=False):
        return LOSSES[name](read, lattice)


def neighbour_differences(sheet: Tensor, lattice: Lattice) -> list[Tensor]:
    """Differences of neighbouring vectors of a sheet (h, w, D): (n, D) for each direction. Every pair occurs once."""
    h, w = lattice.height, lattice.width
    if lattice.torus:
        flat = sheet.reshape(h * w, -1)
        first, second = grid.cached(Lattice.edges, lattice, sheet.device, torch.int64).T
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


# ---- A layer of any network

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class TopographicLoss:
    """A spatial loss on a layer of any network, to be added to the loss of its task.

    It is used like the package `topoloss`. A loss on weights can be computed at any time. A loss on activations keeps a
    copy of the layer's output in the last forward pass, as the layer returned it (before a ReLU that follows). `close`
    stops that, as does leaving a `with` block.

    Args:
        model: The network. It is not changed, but a loss on activations registers a forward hook on the layer.
        layer: The name of a linear or convolutional layer, for example "layer4.1.conv2", or the layer itself.
        lattice: The grid of the layer's C outputs or channels: a `Lattice`, or (height, width) for queen neighbours on
            a bounded grid. Default: the most nearly square grid, as in `topoloss`.
        loss: The name of one of the six losses (docs/regularizers.md).
        scale: A factor of the value, lambda.

    Raises:
        UsageError: There is no such layer, the grid does not have its number of channels or is too small for the loss,
            there is no such loss, or the layer has groups, whose channels read different inputs (losses on weights).
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        lattice: Lattice | tuple[int, int] | None = None,
        loss: str = "topoloss",
        scale: float = 1.0,
    ) -> None:
        self.name, self.layer = find_layer(model, layer)
        self.lattice = grid_for(self.name, self.layer, lattice or Lattice.squarest(channels_of(self.layer)))
        self.loss, self.scale = loss, scale
        check(loss, self.lattice)
        self._output: Tensor | None = None
        self._hook = None
        if tensor_read(loss) == "activations":
            self._hook = self.layer.register_forward_hook(self._keep)
        else:
            incoming_weights(self.layer, self.name)

    def _keep(self, _layer: nn.Module, _inputs: tuple, output: Tensor) -> None:
        self._output = output.clone()  # an in-place ReLU that follows would change it

    def compute(self) -> Tensor:
        """The loss times `scale`, a scalar. A loss on activations is that of the last forward pass.

        Raises:
            UsageError: The loss reads activations, and there was no forward pass since it was made, or it is closed.
        """
        if tensor_read(self.loss) == "weights":
            return self.scale * spatial_loss(self.loss, self.lattice, incoming_weights(self.layer, self.name))
        if self._output is None:
            state = "is closed" if self._hook is None else "reads the output of a forward pass: call the model first"
            raise UsageError(f"{self.loss} on {self.name} {state}")
        linear, output = isinstance(self.layer, nn.Linear), self._output
        responses = output.flatten(0, -2) if linear else output.flatten(2).unsqueeze(-1)  # (B, C) or (B, C, N, 1)
        return self.scale * spatial_loss(self.loss, self.lattice, output, responses)  # reads no weights

    __call__ = compute

    def close(self) -> None:
        """Remove the hook, and drop the kept output. A loss on weights stays as it is."""
        if self._hook is not None:
            self._hook.remove()
        self._hook = self._output = None

    def __enter__(self) -> TopographicLoss:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_layer(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """The name and the module of a linear or convolutional layer, from either of the two.

    Raises:
        UsageError: The model has no such layer; the message names similar ones.
    """
    every = dict(model.named_modules())
    known = [name for name, module in every.items() if isinstance(module, _WEIGHTED)]
    name = layer if isinstance(layer, str) else next((name for name, module in every.items() if module is layer), None)
    if name in known:
        return name, every[name]
    similar = ", ".join(get_close_matches(name or "", known, 4, 0.5) or known[-4:])
    if name is None:
        raise UsageError(f"the given {type(layer).__name__} is no layer of this model: give a name, such as {similar}")
    why = f"is a {type(every[name]).__name__}" if name in every else "does not exist"
    raise UsageError(f"layer {name!r} {why}: give a linear or convolutional layer, such as {similar}")


def channels_of(layer: nn.Module) -> int:
    """The number of channels that a linear or convolutional layer puts out."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def grid_for(name: str, layer: nn.Module, lattice: Lattice | tuple[int, int]) -> Lattice:
    """The lattice, checked against the number of channels of the layer.

    Raises:
        UsageError: The numbers differ.
    """
    grid = lattice if isinstance(lattice, Lattice) else Lattice(*lattice)
    if grid.channels != (channels := channels_of(layer)):
        near = Lattice.squarest(channels)
        raise UsageError(
            f"layer {name!r} has {channels} channels, a {grid.height} x {grid.width} grid has {grid.channels}: give a "
            f"grid of {channels}, such as {near.height} x {near.width}"
        )
    return grid


def incoming_weights(layer: nn.Module, name: str) -> Tensor:
    """The incoming weight vector of each channel, (C, D).

    Raises:
        UsageError: The layer has groups: its channels read different inputs, so their vectors cannot be compared.
    """
    if (groups := getattr(layer, "groups", 1)) != 1:
        raise UsageError(
            f"layer {name!r} has {groups} groups: its channels read different inputs and are not comparable"
        )
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return (weight.transpose(0, 1) if "Transpose" in type(layer).__name__ else weight).flatten(1)
