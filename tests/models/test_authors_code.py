"""The spatial losses against the code of their authors, to the rounding of float64.

Skipped unless POSE_TOPO_AUTHORS names a folder with clones at OWNER/NAME (the repositories and their commits:
docs/regularizers.md). The largest differences are printed with `-s`. All tensors are random.
"""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pose_topo.models.regularizers import spatial_loss
from pose_topo.study.lattice import Lattice

pytestmark = pytest.mark.skipif("POSE_TOPO_AUTHORS" not in os.environ, reason="POSE_TOPO_AUTHORS names no clones")
LIMIT = 1e-13
SQUARES = [3, 8, 11, 16]


@pytest.fixture
def doubles() -> Iterator[None]:
    """Their constants are made in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs(repository: str, file: str, *names: str, **given: Any) -> SimpleNamespace:
    """Some functions and classes of a file, run without the rest of the file and without what the file imports."""
    path = Path(os.environ["POSE_TOPO_AUTHORS"]) / repository / file
    tree = ast.parse(path.read_text(encoding="utf-8"))
    chosen = [node for node in tree.body if getattr(node, "name", None) in names]
    names_of_tables = ("_DISTANCES", "_POSITIONS")
    chosen += [
        node for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in names_of_tables
    ]
    code = ast.Module([ast.ImportFrom("__future__", [ast.alias("annotations")], 0), *chosen], [])
    space = {"torch": torch, "nn": torch.nn, "math": math, "__name__": path.stem, **given}
    exec(compile(ast.fix_missing_locations(code), str(path), "exec"), space)
    return SimpleNamespace(**{name: space[name] for name in names})


def compare(what: str, ours: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], given: Tensor) -> None:
    """Value and gradient agree."""
    first, second = given.clone().requires_grad_(), given.clone().requires_grad_()
    one, two = ours(first), other(second)
    one.backward()
    two.backward()
    assert first.grad is not None and second.grad is not None
    differences = [abs(one.item() - two.item()), (first.grad - second.grad).abs().max().item()]
    print(f"{what}: value {differences[0]:.1e}, gradient {differences[1]:.1e}")
    assert max(differences) < LIMIT


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def loss(name: str, lattice: Lattice) -> Callable[[Tensor], Tensor]:
    return lambda given: spatial_loss(name, lattice, given, given)


@pytest.mark.parametrize("side", SQUARES)
def test_topographic_is_that_of_its_authors(side, doubles):
    distance = theirs(
        "bootphon/topography", "topography/core/distance.py", "inverse_distance", "hypercube", "nested", "hypersphere"
    )
    code = theirs(
        "bootphon/topography",
        "topography/core/loss.py",
        "topographic_loss",
        "_channel_correlation",
        "_reduce",
        OrderedDict=dict,
        MetricOutput=lambda value, extras: value,
    )
    lattice = Lattice(side, side)
    closeness = distance.inverse_distance({"layer": side * side})
    other = lambda maps: code.topographic_loss({"layer": maps}, closeness)  # noqa: E731
    compare(f"topographic {side}", loss("topographic", lattice), other, noise(3, side * side, 4, 5))
    row = distance.inverse_distance({"layer": side}, dimension=1)
    other = lambda maps: code.topographic_loss({"layer": maps}, row)  # noqa: E731
    compare(f"topographic 1 x {side}", loss("topographic", Lattice(1, side)), other, noise(3, side, 4, 5))


@pytest.mark.parametrize("shape", [(3, 5), (16, 16)])
def test_spatial_correlation_is_that_of_tdann_with_one_neighbourhood_of_all_units(shape, doubles):
    tools = theirs("neuroailab/TDANN", "spacetorch/utils/torch_utils.py", "corrcoef", "pearsonr", "pdist", "lower_tri")
    code = theirs("neuroailab/TDANN", "spacetorch/losses/losses_torch.py", "spatial_correlation_loss", **vars(tools))
    lattice = Lattice(*shape)
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij"), -1).reshape(-1, 2).double()
    everyone = torch.arange(lattice.channels)[None]
    other = lambda units: code.spatial_correlation_loss(units, places, everyone)  # noqa: E731
    compare(f"spatial-correlation {shape}", loss("spatial-correlation", lattice), other, noise(40, lattice.channels))


@pytest.mark.parametrize("side", SQUARES)
def test_weight_similarity_is_that_of_the_study(side):
    code = theirs("dellastone/TopographicConstraints4PE", "topographic.py", "build_edges", "TopographicConv2d")
    layer = code.TopographicConv2d(7, side, side).double()

    def other(weight: Tensor) -> Tensor:
        del layer.conv.weight
        layer.conv.weight = weight
        return layer.weight_similarity_loss()

    compare(f"weight-similarity {side}", loss("weight-similarity", Lattice(side, side)), other, noise(side**2, 7, 1, 1))


class _Keras:
    """The few functions of Keras and TensorFlow that All-TNN's loss calls, in torch."""

    math = SimpleNamespace(l2_normalize=lambda x, axis: x / x.square().sum(axis, keepdim=True).sqrt())
    reshape = staticmethod(lambda x, shape: x.reshape(shape))
    permute_dimensions = staticmethod(lambda x, order: x.permute(order))
    concatenate = staticmethod(torch.cat)
    mean = staticmethod(torch.mean)
    reduce_sum = staticmethod(lambda x, axis: x.sum(axis))


@pytest.mark.parametrize("side", SQUARES)
@pytest.mark.parametrize("near", [4, 8])
def test_neighbour_cosine_is_that_of_all_tnn_up_to_the_weight_of_a_direction(side, near):
    """They take the mean of each direction, then the mean of the directions."""
    code = theirs(
        "KietzmannLab/All-TNN",
        "all_tnn/models/model_helper/tnn_helper_functions.py",
        "compute_weights_cosine_distance",
        "_compute_eight_neighbourhood_sim",
        k=_Keras,
        tf=_Keras,
        extract_weight_dims=lambda x, size: (1, 1, x.shape[0], (side, side)),
    )

    def other(weight: Tensor) -> Tensor:
        return code.compute_weights_cosine_distance(weight.T, None, (1, 1), False, eight_neighbourhood=near == 8)

    lattice, given = Lattice(side, side, near), noise(side**2, 7)
    if near == 4:  # as many pairs across as down
        compare(f"neighbour-cosine {side}, 4", loss("neighbour-cosine", lattice), other, given)
        return
    print(f"neighbour-cosine {side}, 8: {abs(loss('neighbour-cosine', lattice)(given) - other(given)):.1e}")
    # the same with as many diagonal pairs as pairs of sides: the rows of the sheet are weighted as they weight them
    sheet = torch.nn.functional.normalize(given, dim=1).reshape(side, side, 7)
    directions = [
        (sheet[1:] * sheet[:-1]).sum(-1).mean(),
        (sheet[:, 1:] * sheet[:, :-1]).sum(-1).mean(),
        (sheet[1:, 1:] * sheet[:-1, :-1]).sum(-1).mean(),
        (sheet[1:, :-1] * sheet[:-1, 1:]).sum(-1).mean(),
    ]
    assert other(given).item() == pytest.approx(0.5 - 0.5 * torch.stack(directions).mean().item(), abs=LIMIT)


def test_truong_and_hasson_take_distances_without_the_square():
    """Their one function serves weights (units, inputs) and, transposed, activations (stimuli, units)."""
    code = theirs("tlmnhut/weight_vs_act_toponet", "utils.py", "spatial_loss", "cosine_distance")
    lattice, given = Lattice(11, 11), noise(121, 9)
    first, second = lattice.edges().T
    lengths = (given[first] - given[second]).norm(dim=1)
    assert code.spatial_loss(given).item() == pytest.approx(lengths.mean().item(), abs=LIMIT)
    assert spatial_loss("weight-similarity", lattice, given).item() == pytest.approx(lengths.square().mean().item())
    activations = given.T  # 9 stimuli
    squares = lengths.square().mean().item() / 9
    assert spatial_loss("activation-similarity", lattice, given, activations).item() == pytest.approx(squares)
    # their cosine distance runs from 0 to 2, and is computed in fp32 with an epsilon
    cosine = loss("neighbour-cosine", lattice)(given).item()
    assert code.spatial_loss(given, "cosine").item() / 2 == pytest.approx(cosine, abs=1e-6)
