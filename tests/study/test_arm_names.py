"""An arm's name says what the arm sets, can be read back, and is compared with the settings of the results."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose_topo import cli
from pose_topo.commands import train
from pose_topo.commands.train import TopoOptions, TrainOptions
from pose_topo.core.errors import UsageError
from pose_topo.study.arms import USUAL, Arm, arm_consistency, shortest
from pose_topo.study.config import TOPO_LOSSES, Topography
from pose_topo.study.protocols import PROTOCOLS, SMALL, STANDARD

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    "baseline",
    "control",
    "control-m3",
    "topo",
    "topo-l5",
    "topo-l0.005",
    "topo-l1e-05",
    "topo-m0.5",
    "topo-permuted",
    "topoloss-l0.5",
    "topographic-l5-m3-8x4-rook-torus-norm-kaiming",
    "activation-similarity-l0.05-torus-permuted-equal-norm",
]

positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
topographies = st.builds(
    Topography,
    height=st.integers(1, 64),
    width=st.integers(1, 64),
    neighbours=st.sampled_from([4, 8]),
    torus=st.booleans(),
    batch_norm=st.booleans(),
    init=st.sampled_from(["orthogonal", "kaiming", "equal-norm"]),
    loss=st.sampled_from([*TOPO_LOSSES]),
    weight=st.just(0.0) | positive,
    permuted=st.booleans(),
)


@given(st.builds(Arm, st.none() | topographies, st.none() | positive))
def test_every_arm_is_read_back_from_its_name(arm: Arm) -> None:
    assert Arm.parse(str(arm)) == arm


@pytest.mark.parametrize("name", NAMES)
def test_the_options_of_an_arm_train_that_arm(name: str) -> None:
    words = Arm.parse(name, SMALL).train_options()
    config = parsed([*words, "--protocol", "small"]).config()
    assert config.arm == str(Arm.of(config, SMALL)) == name


def parsed(words: list[str]) -> TrainOptions:
    """The options of a training command, as the command line reads them."""
    caught = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_train", caught.append)
        cli.app(words, standalone_mode=False)
    return caught[0]


def test_no_digit_of_a_number_is_lost() -> None:
    """The name once kept six digits, which the figures then took for exchanged arms."""
    config = TopoOptions(spatial_lambda=0.1234567).config()
    assert config.arm == "topo-l0.1234567" and Arm.parse(config.arm).topography == config.topography
    assert arm_consistency(config.arm, {"lambda": 0.1234567}, STANDARD) is None
    assert [shortest(value) for value in (5.0, 0.5, 0.005, 1e-5, 1e6, 123456789.0)] == [
        "5", "0.5", "0.005", "1e-05", "1e+06", "123456789",
    ]  # fmt: skip


def test_a_multiplier_is_named_where_it_is_not_the_protocols() -> None:
    assert str(Arm.parse("topo-m10", SMALL)) == "topo" and str(Arm.parse("topo-m10", STANDARD)) == "topo-m10"
    assert str(Arm(USUAL, 1.0).under(STANDARD)) == "topo" and str(Arm(USUAL, 1.0).under(SMALL)) == "topo-m1"


def test_what_need_not_be_named_is_accepted() -> None:
    assert str(Arm.parse("topo-l0.5")) == "topo" and str(Arm.parse("topo-l0")) == "control"


@pytest.mark.parametrize("name", ["topo-x", "mine", "baseline-m2", "topo-l", "topo-m10-l5", "weight-similarity-l5", ""])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"no arm {name}: give one such as baseline, control, topo"):
        Arm.parse(name)


SETTINGS = {
    "lambda": 0.5,
    "topo_lr_mult": 10.0,
    "topo_loss": "weight-similarity",
    "permuted": False,
    "grid": {"height": 16, "width": 16, "neighbours": 8, "torus": False},
}
BASELINE = {**SETTINGS, "lambda": None, "topo_lr_mult": None, "topo_loss": None, "permuted": None}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("topo", {}),
        ("topo-l5", {"lambda": 5.0}),
        ("topo-m10", {}),  # given by hand: demo need not name it
        ("topo-m1", {"topo_lr_mult": 1.0}),
        ("topo-permuted", {"permuted": True}),
        ("topo-l0.123457", {"lambda": 0.1234567}),  # written when names kept six digits
        ("control", {"lambda": 0.0}),
        ("control", {"lambda": 0.0, "permuted": True, "topo_loss": "topoloss"}),  # neither acts without a spatial loss
        ("topoloss-l0.5", {"topo_loss": "topoloss"}),
        ("topo", {"topo_loss": None, "permuted": None, "topo_lr_mult": None, "grid": None}),  # not known
        ("mine", {"lambda": 7.0}),
        ("baseline", BASELINE),
        ("baseline", {**BASELINE, "grid": {"height": 2, "width": 4, "neighbours": 8, "torus": False}}),
    ],
)
def test_settings_that_agree_with_the_name(name: str, settings: dict) -> None:
    assert arm_consistency(name, SETTINGS | settings, SMALL) is None


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("topo-l1e-05", {}, "lambda 0.5"),  # passed before: the name was split at each "-"
        ("topo", {"lambda": 5.0}, "lambda 5"),  # passed before
        ("topoloss-l0.5", {"topo_loss": "topographic"}, "the spatial loss topographic"),  # passed before
        ("topo", {"topo_loss": "topographic"}, "the spatial loss topographic"),  # passed before
        ("topo", {"topo_lr_mult": 1.0}, "learning-rate multiplier 1"),  # passed before
        ("control", {"lambda": 0.0, "topo_lr_mult": 1.0}, "learning-rate multiplier 1"),  # passed before
        ("topo-8x4", {}, "a grid of 16 x 16 channels, height 16"),  # passed before
        ("topo-torus", {}, "a grid of 16 x 16 channels, torus False"),  # passed before
        ("topoloss-l5-permuted", {"lambda": 5.0, "topo_loss": "topoloss"}, "the loss on the grid itself"),
        ("topo", {"permuted": True}, "the loss on a permuted grid"),
        ("topo-permuted", {}, "the loss on the grid itself"),
        ("topo-m1", {}, "learning-rate multiplier 10"),
        ("topo-l5", {}, "lambda 0.5"),
        ("topo", {"lambda": 0.0}, "lambda 0"),
        ("control", {}, "lambda 0.5"),
        ("baseline", {}, "a topographic layer (lambda 0.5)"),
        ("topo", BASELINE, "no topographic layer"),
        ("topoloss-l5", BASELINE, "no topographic layer"),  # passed before
    ],
)
def test_settings_that_the_name_denies(name: str, settings: dict, said: str) -> None:
    assert arm_consistency(name, SETTINGS | settings, SMALL) == said


REFERENCE = sorted(ROOT.glob("paper_figures/reference/*/*/analysis.json"))


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.parent.name)
def test_the_reference_results_agree_with_their_names(path: Path) -> None:
    analysis = json.loads(path.read_text(encoding="utf-8"))
    name, protocol = analysis["arm"], PROTOCOLS[analysis["protocol"]]
    assert str(Arm.parse(name, protocol)) == name == path.parent.name.rpartition("-s")[0]
    assert arm_consistency(name, analysis, protocol) is None


def test_no_two_arms_of_the_reference_can_be_exchanged() -> None:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in REFERENCE]
    arms = {(one["arm"], one["protocol"]): one for one in found}
    for name, protocol in arms:
        for (other, other_protocol), analysis in arms.items():
            if protocol == other_protocol and name != other:
                assert arm_consistency(name, analysis, PROTOCOLS[protocol]) is not None, (name, other)


def test_the_study_needs_no_package_but_the_standard_library() -> None:
    """tools/study.py prints the graph before anything is installed."""
    code = "import sys; from pose_topo.study import arms, protocols, joints; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    foreign = {name.split(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names)
    assert {name for name in foreign if not re.match(r"_|pose_topo", name)} == set()


def test_a_family_is_the_arm_without_its_lambda() -> None:
    assert Arm.parse("topo-l5-m1").family == "topo-m1" and Arm.parse("topoloss-l5").family == "topoloss"
    assert replace(Arm.parse("topo-l5"), topography=USUAL) == Arm()
