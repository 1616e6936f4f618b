"""Every loss against its definition and values by hand; its gradient, its invariances, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pose_topo.core.errors import UsageError
from pose_topo.models import grid_matrices, regularizers
from pose_topo.models.regularizers import LOSSES, check, spatial_loss
from pose_topo.study.config import TOPO_LOSSES
from pose_topo.study.lattice import Lattice

ON_WEIGHTS = [name for name, reads in TOPO_LOSSES.items() if reads == "weights"]
ON_ACTIVATIONS = [name for name, reads in TOPO_LOSSES.items() if reads == "activations"]
GRIDS = [(3, 7), (1, 16), (16, 16), (2, 5)]
DOUBLE = torch.float64


def function(name: str):
    return LOSSES[name]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def given_to(name: str, lattice: Lattice, seed: int = 0) -> Tensor:
    """What the loss reads: weights (C, 6, 1, 1), or activations (2, C, 3, 2) after a ReLU, without a zero map."""
    if name in ON_WEIGHTS:
        return noise(lattice.channels, 6, 1, 1, seed=seed)
    return noise(2, lattice.channels, 3, 2, seed=seed).relu() + 0.1 * noise(2, lattice.channels, 3, 2, seed=9).abs()


# ---- the definition of every loss, as loops over pairs of channels ----
def offsets(a: int, b: int, lattice: Lattice) -> tuple[int, int]:
    down = abs(a // lattice.width - b // lattice.width)
    right = abs(a % lattice.width - b % lattice.width)
    if lattice.torus:
        down, right = min(down, lattice.height - down), min(right, lattice.width - right)
    return down, right


def all_pairs(lattice: Lattice) -> list[tuple[int, int]]:
    return [(a, b) for a in range(lattice.channels) for b in range(a + 1, lattice.channels)]


def neighbours(lattice: Lattice) -> list[tuple[int, int]]:
    reach = max if lattice.neighbours == 8 else (lambda down, right: down + right)
    return [(a, b) for a, b in all_pairs(lattice) if reach(*offsets(a, b, lattice)) == 1]


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x.ravel() @ y.ravel()) / float(np.linalg.norm(x) * np.linalg.norm(y))


def closeness(a: int, b: int, lattice: Lattice) -> float:
    return 1 / (math.hypot(*offsets(a, b, lattice)) + 1)


def weight_similarity(weight: np.ndarray, lattice: Lattice) -> float:
    return float(np.mean([((weight[a] - weight[b]) ** 2).sum() for a, b in neighbours(lattice)]))


def neighbour_cosine(weight: np.ndarray, lattice: Lattice) -> float:
    return (1 - float(np.mean([cosine(weight[a], weight[b]) for a, b in neighbours(lattice)]))) / 2


def topoloss(weight: np.ndarray, lattice: Lattice) -> float:
    """By torch's interpolation; on a torus, in the middle of a sheet that is repeated."""
    h, w = lattice.height, lattice.width
    times = 5 if lattice.torus else 1
    rows = weight.reshape(lattice.channels, -1)
    maps = torch.from_numpy(rows).T.reshape(1, -1, h, w).repeat(1, 1, times, times)
    small = [max(1, side // 3) for side in (h, w)]
    if lattice.torus:
        down = interpolate(maps, size=[times * side for side in small], mode="bilinear")
    else:
        down = interpolate(maps, scale_factor=[1 / min(3, side) for side in (h, w)], mode="bilinear")
    up = interpolate(down, size=(times * h, times * w), mode="bilinear")
    middle = times // 2
    up = up[0, :, middle * h : (middle + 1) * h, middle * w : (middle + 1) * w].flatten(1).T.numpy()
    return 1 - float(np.mean([cosine(rows[c], up[c]) for c in range(lattice.channels)]))


def activation_similarity(maps: np.ndarray, lattice: Lattice) -> float:
    return float(np.mean([((maps[:, a] - maps[:, b]) ** 2).mean() for a, b in neighbours(lattice)]))


def spatial_correlation(maps: np.ndarray, lattice: Lattice) -> float:
    table = np.corrcoef(maps.swapaxes(0, 1).reshape(lattice.channels, -1))
    pairs = all_pairs(lattice)
    r = np.corrcoef([table[pair] for pair in pairs], [closeness(*pair, lattice) for pair in pairs])[0, 1]
    return (1 - float(r)) / 2


def in_the_unit_square(lattice: Lattice) -> dict[tuple[int, int], float]:
    """1 / (d + 1) of every two channels; the longer side of the grid runs from 0 to 1, as in its authors' code."""
    cells = max(lattice.height, lattice.width)
    along = np.linspace(0, 1, cells)
    period = np.array([lattice.height, lattice.width]) * (along[1] - along[0])  # once round the torus
    places = np.array([(y, x) for y in along[: lattice.height] for x in along[: lattice.width]])
    found = {}
    for a, b in all_pairs(lattice):
        apart = np.abs(places[a] - places[b])
        found[a, b] = 1 / (1 + float(np.hypot(*(np.minimum(apart, period - apart) if lattice.torus else apart))))
    return found


def topographic(maps: np.ndarray, lattice: Lattice) -> float:
    wanted = in_the_unit_square(lattice)
    missed = [cosine(one[a], one[b]) - wanted[a, b] for one in maps for a, b in all_pairs(lattice)]
    return float(np.mean(np.square(missed)))


DEFINITIONS: dict[str, tuple[Callable[[np.ndarray, Lattice], float], int]] = {
    # name: (definition, degree), where loss(c x) = c ** degree loss(x): 0 is invariant to scale
    "weight-similarity": (weight_similarity, 2),
    "neighbour-cosine": (neighbour_cosine, 0),
    "topoloss": (topoloss, 0),
    "activation-similarity": (activation_similarity, 2),
    "spatial-correlation": (spatial_correlation, 0),
    "topographic": (topographic, 0),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("torus", [False, True])
@pytest.mark.parametrize("near", [4, 8])
@pytest.mark.parametrize(("height", "width"), GRIDS)
def test_a_loss_equals_its_definition(height, width, near, torus, name):
    lattice = Lattice(height, width, near, torus)
    given = given_to(name, lattice)
    expected = DEFINITIONS[name][0](given.numpy(), lattice)
    assert function(name)(given, lattice).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", ON_ACTIVATIONS)
def test_memory_order_does_not_matter_and_an_input_may_have_one_response(name):
    lattice = Lattice(3, 5)
    maps = given_to(name, lattice)
    channels_last = maps.to(memory_format=torch.channels_last)
    torch.testing.assert_close(function(name)(channels_last, lattice), function(name)(maps, lattice))
    vectors = noise(8, 15).abs()
    single = vectors[..., None, None]  # (8, 15, 1, 1): the same responses
    if name == "topographic":  # a map of one cell has no direction to compare: (B, C) is one map of B cells
        single = vectors.T.reshape(1, 15, 8, 1)
    torch.testing.assert_close(function(name)(vectors, lattice), function(name)(single, lattice))


# ---- by hand: channels 0 1 / 2 3, or 0 1 2 in a row ----
SQUARE, ROW = Lattice(2, 2), Lattice(1, 3)


def test_neighbour_cosine_by_hand():
    # cosines 01: 0, 02: 1/sqrt 2, 03: -1, 12: 1/sqrt 2, 13: 0, 23: -1/sqrt 2; rook leaves out 03 and 12
    weight = torch.tensor([[1.0, 0], [0, 3], [2, 2], [-5, 0]], dtype=DOUBLE)
    root = math.sqrt(0.5)
    assert regularizers.neighbour_cosine(weight, SQUARE).item() == pytest.approx((1 - (root - 1) / 6) / 2, abs=1e-12)
    # 01: 0, 02: root, 13: 0, 23: -root
    assert regularizers.neighbour_cosine(weight, Lattice(2, 2, 4)).item() == pytest.approx(0.5, abs=1e-12)


def test_topoloss_by_hand():
    # a row of three is read at its middle (factor 3): every vector is compared with that of channel 1
    weight = torch.tensor([[1.0, 0], [1, 1], [0, -1]], dtype=DOUBLE)
    root = math.sqrt(0.5)
    assert regularizers.topoloss(weight, ROW).item() == pytest.approx(1 - (root + 1 - root) / 3, abs=1e-12)
    # a 2 x 2 sheet shrinks to its mean, here (1, 1): cosines 1/sqrt 2, 1/sqrt 2, 1, 1
    weight = torch.tensor([[2.0, 0], [0, 2], [1, 1], [1, 1]], dtype=DOUBLE)
    assert regularizers.topoloss(weight, SQUARE).item() == pytest.approx(1 - (2 * root + 2) / 4, abs=1e-12)


def test_activation_similarity_by_hand():
    # two responses per channel: (0, 1), (2, 1), (2, 5); neighbours 01: (4 + 0) / 2, 12: (0 + 16) / 2 -> mean 5
    activations = torch.tensor([[0.0, 2, 2], [1, 1, 5]], dtype=DOUBLE)
    assert regularizers.activation_similarity(activations, ROW).item() == pytest.approx(5, abs=1e-12)
    # the ring of three joins 02 too: (4 + 16) / 2 -> mean 20 / 3
    ring = Lattice(1, 3, torus=True)
    assert regularizers.activation_similarity(activations, ring).item() == pytest.approx(20 / 3, abs=1e-12)


def test_spatial_correlation_by_hand():
    # centred responses (-1, 0, 1), (-1, 2, -1), (-1, 0, 1): correlations 01: 0, 02: 1, 12: 0; 1 / (d + 1) is
    # 1/2, 1/3, 1/2: exactly opposed, r = -1
    activations = torch.tensor([[0.0, 5, 1], [1, 8, 2], [2, 5, 3]], dtype=DOUBLE)
    assert regularizers.spatial_correlation(activations, ROW).item() == pytest.approx(1.0, abs=1e-12)
    # with channels 1 and 2 exchanged: correlations 01: 1, 02: 0, 12: 0 against 1/2, 1/3, 1/2: r = 1/2
    assert regularizers.spatial_correlation(activations[:, [0, 2, 1]], ROW).item() == pytest.approx(0.25, abs=1e-12)


def test_topographic_by_hand():
    # maps of two cells (1, 0), (1, 1), (0, 2): cosines 01: 1/sqrt 2, 02: 0, 12: 1/sqrt 2
    maps = torch.tensor([[[[1.0, 0]], [[1, 1]], [[0, 2]]]], dtype=DOUBLE)
    # channels at 0, 1/2 and 1: 1 / (d + 1) is 2/3, 1/2, 2/3
    expected = (2 * (math.sqrt(0.5) - 2 / 3) ** 2 + (1 / 2) ** 2) / 3
    assert regularizers.topographic(maps, ROW).item() == pytest.approx(expected, abs=1e-12)
    # inputs are averaged after the square: a second input of three equal maps, all cosines 1
    both = torch.cat([maps, torch.ones_like(maps)])
    second = (2 * (1 / 3) ** 2 + (1 / 2) ** 2) / 3
    assert regularizers.topographic(both, ROW).item() == pytest.approx((expected + second) / 2, abs=1e-12)


@pytest.mark.parametrize(("name", "value"), [("weight-similarity", 4.0), ("neighbour-cosine", 0.5)])
@pytest.mark.parametrize("torus", [False, True])
def test_the_value_at_orthogonal_rows_of_norm_sqrt_two(name, value, torus):
    weight = torch.empty(256, 256, dtype=DOUBLE)
    torch.nn.init.orthogonal_(weight, gain=math.sqrt(2))
    assert function(name)(weight, Lattice(16, 16, torus=torus)).item() == pytest.approx(value, abs=1e-12)


# ---- gradients ----
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("lattice", [Lattice(2, 3), Lattice(3, 3, 4, torus=True), Lattice(1, 4)])
def test_the_gradient_is_right(name, lattice):
    given = given_to(name, lattice, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(name)(x, lattice), (given,), eps=1e-6, atol=1e-7)


# ---- invariances ----
@pytest.mark.parametrize("name", LOSSES)
def test_how_a_loss_follows_the_scale_of_what_it_reads(name):
    lattice = Lattice(3, 4)
    given = given_to(name, lattice)
    before, after = function(name)(given, lattice).item(), function(name)(0.1 * given, lattice).item()
    assert after == pytest.approx(0.1 ** DEFINITIONS[name][1] * before, rel=1e-9)


@pytest.mark.parametrize("name", ["neighbour-cosine", "spatial-correlation", "topographic"])
def test_the_gain_of_a_single_channel_does_not_matter(name):
    lattice = Lattice(3, 4)
    given = given_to(name, lattice)
    gain = noise(12, seed=5).abs() + 0.5
    scaled = given * (gain[:, None, None, None] if name in ON_WEIGHTS else gain[:, None, None])
    assert function(name)(scaled, lattice).item() == pytest.approx(function(name)(given, lattice).item(), abs=1e-12)


def test_the_closeness_of_topographic_on_the_grid_of_the_study():
    """Channels in the unit square: from .41 (opposite corners) to .94 (neighbours), whatever the size of the grid."""
    wanted = grid_matrices.closeness_in_the_unit_square(Lattice(16, 16))
    assert wanted[0, 255] == pytest.approx(1 / (1 + math.sqrt(2)), abs=1e-15)
    assert wanted[0, 1] == wanted[0, 16] == pytest.approx(15 / 16, abs=1e-15)


def test_an_offset_that_all_channels_share_in_an_input():
    lattice = Lattice(3, 4)
    given = noise(6, 12, 3, 2)
    offset = 30 * noise(6, 1, 1, 1, seed=7).abs()
    similar, correlated = regularizers.activation_similarity, regularizers.spatial_correlation
    alike = regularizers.topographic
    assert similar(given + offset, lattice).item() == pytest.approx(similar(given, lattice).item(), rel=1e-12)
    # all cosines go to 1, whatever the distance
    far = [(1 - wanted) ** 2 for wanted in in_the_unit_square(lattice).values()]
    assert alike(given + offset, lattice).item() == pytest.approx(float(np.mean(far)), abs=0.05)
    # all correlations go to 1 as well, and what is left of their differences changes
    assert abs(correlated(given + offset, lattice).item() - correlated(given, lattice).item()) > 1e-3
    # the mean of a channel does not change its correlations
    means = noise(12, 1, 1, seed=8)
    assert correlated(given + means, lattice).item() == pytest.approx(correlated(given, lattice).item(), abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_channels_matters_to_every_loss(name):
    lattice = Lattice(4, 4)
    given = given_to(name, lattice)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    moved = given[order] if name in ON_WEIGHTS else given[:, order]
    assert abs(function(name)(moved, lattice).item() - function(name)(given, lattice).item()) > 1e-6


@pytest.mark.parametrize("name", LOSSES)
def test_a_torus_has_no_border(name):
    lattice = Lattice(3, 6, torus=True)
    given = given_to(name, lattice)
    channel = 1 if name in ON_ACTIVATIONS else 0
    places = torch.arange(18).reshape(3, 6).roll((0, 3), (0, 1)).flatten()  # by one cell of topoloss's small sheet
    moved = given.index_select(channel, places)
    assert function(name)(moved, lattice).item() == pytest.approx(function(name)(given, lattice).item(), abs=1e-12)


# ---- degenerate input ----
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["zero", "constant", "one dead", "equal channels", "one input", "tiny"])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_degenerate_input_gives_finite_values_and_gradients(name, kind, dtype):
    lattice = Lattice(3, 4)
    given = given_to(name, lattice).to(dtype)
    if kind == "zero":
        given = torch.zeros_like(given)
    elif kind == "constant":
        given = torch.full_like(given, 0.1)
    elif kind == "one dead":
        given.select(0 if name in ON_WEIGHTS else 1, 5).zero_()
    elif kind == "equal channels":
        given = given[:1].expand_as(given).clone() if name in ON_WEIGHTS else given[:, :1].expand_as(given).clone()
    elif kind == "one input":
        given = given[:1, :, :1, :1].clone() if name in ON_ACTIVATIONS else given[:, :1].clone()
    else:
        given = given * 1e-15
    given.requires_grad_()
    loss = function(name)(given, lattice)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(given.grad).all()
    # rounding errors are not amplified: no gradient where all channels are equal or zero
    if kind in ("zero", "constant", "equal channels") and name != "topographic":
        assert given.grad.abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "constant", "zero"),
    [
        ("weight-similarity", 0, 0),
        ("neighbour-cosine", 0, 0.5),
        ("topoloss", 0, 1),
        ("activation-similarity", 0, 0),
        ("spatial-correlation", 0.5, 0.5),  # no channel varies: no correlation
    ],
)
def test_the_values_of_constant_and_zero_input(name, constant, zero):
    lattice = Lattice(3, 4)
    given = torch.full_like(given_to(name, lattice), 0.1)
    assert function(name)(given, lattice).item() == pytest.approx(constant, abs=1e-12)
    assert function(name)(0 * given, lattice).item() == pytest.approx(zero, abs=1e-12)


def test_the_cosine_of_a_dead_channel_counts_as_zero():
    # rows (1, 0), 0, (1, 0) in a row of three: both neighbour cosines are 0
    weight = torch.tensor([[1.0, 0], [0, 0], [1, 0]], dtype=DOUBLE)
    assert regularizers.neighbour_cosine(weight, ROW).item() == pytest.approx(0.5, abs=1e-12)
    maps = torch.tensor([[[[1.0, 0]], [[0, 0]], [[1, 0]]]], dtype=DOUBLE)
    # cosines 0, 1, 0 against 2/3, 1/2, 2/3
    assert regularizers.topographic(maps, ROW).item() == pytest.approx((4 / 9 + 1 / 4 + 4 / 9) / 3, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_single_channel_is_refused(name):
    with pytest.raises(UsageError, match="no neighbours"):
        check(name, Lattice(1, 1))


def test_spatial_correlation_refuses_a_grid_of_equal_distances():
    for lattice in (Lattice(1, 2), Lattice(1, 3, torus=True)):
        with pytest.raises(UsageError, match="equally far apart"):
            check("spatial-correlation", lattice)
        check("topographic", lattice)
    for lattice in (Lattice(2, 2), Lattice(1, 3), Lattice(2, 2, torus=True)):
        check("spatial-correlation", lattice)


def test_an_unknown_loss_is_refused_with_the_list():
    with pytest.raises(UsageError, match=r"--topo-loss smooth.*topographic"):
        check("smooth", Lattice(4, 4))


@pytest.mark.parametrize("name", LOSSES)
def test_another_number_of_channels_is_refused(name):
    given = given_to(name, Lattice(3, 4))
    with pytest.raises(ValueError, match="16"):
        function(name)(given, Lattice(4, 4))


# ---- calls ----
def test_every_loss_is_defined_here_and_documented():
    assert list(LOSSES) == list(DEFINITIONS)
    for name in LOSSES:
        assert function(name).__doc__


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_fp32_also_under_autocast(name):
    lattice = Lattice(4, 4)
    given = given_to(name, lattice).bfloat16()
    expected = function(name)(given.float(), lattice)
    with torch.autocast("cpu", torch.bfloat16):
        loss = spatial_loss(name, lattice, given, given)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_training_works_after_a_first_use_in_inference_mode(name):
    lattice = Lattice(5, 3, torus=True)  # used in no other test, so that no matrix of it is cached yet
    with torch.inference_mode():
        function(name)(given_to(name, lattice).float(), lattice)
    given = given_to(name, lattice).float().requires_grad_()
    function(name)(given, lattice).backward()
    assert given.grad.abs().max() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("torus", [False, True])
def test_gradient_descent_lowers_a_loss(name, torus):
    lattice = Lattice(4, 4, torus=torus)
    given = given_to(name, lattice).requires_grad_()
    optimizer = torch.optim.Adam([given], lr=0.02)
    values = []
    for _ in range(50):
        loss = function(name)(given, lattice)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]
