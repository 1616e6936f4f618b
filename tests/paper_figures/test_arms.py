"""Arms have one look in every figure, told apart in colour, by the colour-blind and in grey; few are shown of many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from paper_figures.lib import arms
from paper_figures.lib.arms import LOSSES, MAIN, arm_order, arm_style, chosen, family
from pose_topo.study.config import TOPO_LOSSES

SWEEP = [f"{loss}-l{weight}" for loss in LOSSES for weight in ("0.05", "0.5", "5")]
SEEN = {  # linear RGB as seen with full severity: Machado, Oliveira & Fernandes 2009
    "all": np.eye(3),
    "protan": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deutan": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritan": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


def lab(color: str, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of a colour as somebody sees it."""
    given = np.array(to_rgb(color))
    linear = np.where(given <= 0.04045, given / 12.92, ((given + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(seen @ linear, 0, 1) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize(
    "together", [list(MAIN), ["control", "topo", "topo-permuted", *LOSSES]], ids=["main arms", "losses"]
)
def test_colors_are_told_apart(together: list[str], seen: str) -> None:
    """A difference of 2.3 is just noticeable; 15 is plain."""
    colors = [lab(arm_style(arm).color, SEEN[seen]) for arm in together]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colors, 2)) > 15
    assert max(color[0] for color in colors) < 85  # on white paper


def test_looks_differ_without_color() -> None:
    looks = [*MAIN.values(), *LOSSES.values(), *arms._OTHERS]
    assert len({look.marker for look in looks}) == len({look.color for look in looks}) == len(looks)
    assert len({str(look.dashes) for look in looks}) == len(looks)


def test_the_looks_are_those_of_losses_in_the_order_of_the_study() -> None:
    """A loss without a look gets one by its name. The first loss is that of `topo`."""
    assert list(LOSSES) == [loss for loss in [*TOPO_LOSSES][1:] if loss in LOSSES]


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        ("topo", "topo"),
        ("topo-l0.005", "topo"),
        ("topo-l1e-05", "topo"),
        ("topo-l5-m1", "topo-m1"),
        ("neighbour-cosine-l0.5", "neighbour-cosine"),
        ("topo-permuted", "topo-permuted"),
        ("topo-l5 (reference)", "topo"),
    ],
)
def test_a_look_is_the_familys(arm: str, name: str) -> None:
    assert family(arm) == name and arm_style(arm) is arm_style(name)


def test_an_unknown_arm_keeps_its_look() -> None:
    assert arm_style("topo-torus") is arm_style("topo-torus")
    assert arm_style("topo-torus") not in [*MAIN.values(), *LOSSES.values()]


def test_order_is_that_of_the_study() -> None:
    ordered = ["baseline", "control", "topo", "topo-m1", "topo-permuted", "topo-l0.05", "topo-l5", "topo-l10"]
    ordered += ["neighbour-cosine-l0.5", "topoloss-l0.05", "topographic-l0.5", "z", "control (reference)"]
    assert sorted(set(ordered), key=arm_order) == ordered


def test_few_of_many_arms_are_shown() -> None:
    assert chosen([*SWEEP, "topo-l5", "topo", "topo-permuted", "control"]) == ["control", "topo", "topo-permuted"]
    assert chosen(["topo-l5", "topo-l0.05", "topo", "control"]) == ["control", "topo"]
    assert chosen(["topoloss-l5", "topoloss-l0.5", "control"]) == ["control", "topoloss-l0.5"]
    assert chosen(["topoloss-l5", "topoloss-l0.05"]) == ["topoloss-l0.05"]
    assert chosen(SWEEP) == [f"{loss}-l0.5" for loss in LOSSES]
    assert chosen([*MAIN][::-1]) == list(MAIN) and len(MAIN) == arms.MOST
    assert len(chosen(f"unknown{n}" for n in range(9))) == arms.MOST
