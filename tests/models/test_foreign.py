"""Checkpoints of other code: what is found in a state dict, and how it is converted."""

import pytest
import torch
from other_networks import Microsoft, MMPose, Study, stir
from torch import nn

from pose_topo.core.errors import PoseTopoError
from pose_topo.models.foreign import LAYOUTS, convert, fold_biases, input_size, turn_channels
from pose_topo.models.pose import build_model
from pose_topo.study import joints as J
from pose_topo.study.backbones import BACKBONES

ARCHS = [arch for arch in BACKBONES if arch.startswith("resnet")]


def skeleton(model_class, *arguments) -> dict[str, torch.Tensor]:
    """The names and shapes of a network, which need almost no memory."""
    with torch.device("meta"):
        state = model_class(*arguments).state_dict()
    return {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(
    ("make", "layout", "colours", "protocol"),
    [
        (lambda arch: skeleton(Microsoft, arch), "microsoft", "bgr", "standard"),
        (lambda arch: skeleton(MMPose, arch, "keypoint_head"), "mmpose", "rgb", "standard"),
        (lambda arch: skeleton(MMPose, arch, "head"), "mmpose", "rgb", "standard"),
        (lambda arch: skeleton(Study, arch), "study", "rgb", "paper"),
    ],
)
def test_layout_backbone_and_colours_are_found(arch, make, layout, colours, protocol):
    found = convert(make(arch), "model.pth")
    assert (found.layout.name, found.config.arch, found.config.model) == (layout, arch, "baseline")
    assert (found.config.recipe.colours, found.config.recipe.protocol) == (colours, protocol)
    with torch.device("meta"):
        expected = {key: value.shape for key, value in build_model(found.config).state_dict().items()}
    assert {key: value.shape for key, value in found.state.items()} == expected
    assert found.record() == {"layout": layout, "colours": colours, "input_size": 256}


@pytest.mark.parametrize(("channels", "grid"), [(256, (16, 16)), (20, (4, 5)), (7, (1, 7))])
def test_a_topographic_layer_and_its_grid_are_found(channels, grid):
    found = convert(skeleton(Study, "resnet18", channels), "model.pth")
    topography = found.config.topography
    assert found.config.model == "topo" and (topography.height, topography.width) == grid
    assert not topography.batch_norm
    assert any(f"{channels} topographic channels taken as a grid of {grid[0]} x {grid[1]}" in n for n in found.notes)
    assert convert(skeleton(Study, "resnet18", channels, True), "m").config.topography.batch_norm


def test_a_state_dict_is_unwrapped():
    bare = skeleton(Microsoft, "resnet18")
    for content in (
        {"state_dict": bare},
        {f"module.{key}": value for key, value in bare.items()},
        {"epoch": 3, "model": "pose_resnet", "state_dict": {f"module.{key}": value for key, value in bare.items()}},
        {key: value for key, value in bare.items() if "num_batches_tracked" not in key},  # written by PyTorch 0.4
    ):
        assert convert(content, "m").state.keys() == convert(bare, "m").state.keys()


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("pose_resnet_50_256x256.pth.tar", 256),
        ("pose_resnet_152_384x384.pth.tar", 384),
        ("res50_mpii_256x256-418ffc88_20200812.pth", 256),
        ("td-hm_res50_8xb64-210e_mpii-256x256-418ffc88_20200812.pth", 256),
        ("resnet18_TopoModelLambdaScheduled_time_1755000000.pth", 256),
        ("topo_16x16.pth", 256),
    ],
)
def test_the_input_size_is_read_from_the_name_or_assumed(name, side):
    found, note = input_size(name)
    assert found == side and ("assumed" in note) == ("x256" not in name and "x384" not in name)
    recipe = convert(skeleton(Microsoft, "resnet18"), name).config.recipe
    assert recipe.sigma == (3.0 if side == 384 else 2.0)


@pytest.mark.parametrize("name", ["pose_resnet_50_256x192.pth.tar", "model_250x250.pth"])
def test_other_sizes_are_refused(name):
    with pytest.raises(PoseTopoError, match="squares"):
        input_size(name)


def test_folding_a_bias_into_batch_norm_by_hand():
    state = {"deconv.0.bias": torch.tensor([0.5, -2.0]), "deconv.1.running_mean": torch.tensor([1.0, 1.0])}
    folded, places = fold_biases({**state, "deconv.4.running_mean": torch.tensor([9.0])})
    assert places == [0] and folded.keys() == {"deconv.1.running_mean", "deconv.4.running_mean"}
    assert folded["deconv.1.running_mean"].tolist() == [0.5, 3.0]
    assert state["deconv.1.running_mean"].tolist() == [1.0, 1.0]  # the argument is not changed


def test_turning_the_channels_of_the_study_by_hand():
    # the study writes joint i to channel i - 1: the right ankle (0) to the last, the right knee (1) to the first
    turned = turn_channels({"head.bias": torch.arange(100, 116)})["head.bias"]
    assert turned[J.R_ANKLE] == 115 and turned[J.R_KNEE] == 100 and turned[J.L_WRIST] == 114
    weight = torch.arange(16)[:, None, None, None].expand(16, 3, 1, 1)
    assert turn_channels({"head.weight": weight})["head.weight"][:, 0, 0, 0].tolist() == [15, *range(15)]


@pytest.mark.parametrize(
    ("layout", "state"),
    [
        (LAYOUTS[0], lambda: skeleton(Microsoft, "resnet50")),
        (LAYOUTS[1], lambda: skeleton(MMPose, "resnet50", "keypoint_head")),
        (LAYOUTS[2], lambda: skeleton(MMPose, "resnet50", "head")),
        (LAYOUTS[3], lambda: skeleton(Study, "resnet50", 16, True)),
    ],
)
def test_names_are_mapped_in_both_directions(layout, state):
    for key in state():
        ours = layout.ours(key)
        assert ours is not None and layout.theirs(ours) == key


def test_a_backbone_that_lacks_a_block_is_still_recognised():
    state = {key: value for key, value in skeleton(Microsoft, "resnet34").items() if not key.startswith("layer3.1.")}
    assert convert(state, "m").config.arch == "resnet34"


def without(state: dict, *keys: str) -> dict:
    return {key: value for key, value in state.items() if key not in keys}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {**s, "layer1.0.se.weight": s["conv1.weight"], "stem.0.weight": s["conv1.weight"]}, "stem.0.weight"),
        (lambda s: {**s, "fc.weight": s["conv1.weight"]}, "unknown keys fc.weight"),
        (lambda s: {**s, "final_layer.weight": torch.zeros(17, 256, 1, 1)}, "17 joints, not MPII's 16"),
        (lambda s: {**s, "epoch": 3}, "'epoch' is int"),
        (lambda s: {**s, 3: s["conv1.weight"]}, "'3' is Tensor"),
        (lambda s: {**s, "conv1.weight": s["conv1.weight"].to_sparse()}, "not an ordinary tensor"),
        (lambda s: {**s, "conv1.weight": s["conv1.weight"] * 1j}, "not an ordinary tensor"),
        (lambda s: {**s, "module.conv1.weight": s["conv1.weight"]}, "prefix module"),
        (lambda s: {"weights": s}, "'weights' is dict"),
        (lambda s: {"a": torch.zeros(1), "b": torch.zeros(1)}, "keys a, b"),
        (lambda s: {}, "no state_dict"),
        (lambda s: [1, 2], "no state_dict but list"),
        (lambda s: torch.zeros(3), "no state_dict but Tensor"),
        (lambda s: None, "no state_dict"),
        (lambda s: without(skeleton(Study, "resnet18"), "deconv.3.bias"), "without deconv.3.bias"),
        (lambda s: {**skeleton(Study, "resnet18"), "deconv.3.bias": torch.zeros(5)}, "deconvolution 3 does not fit"),
    ],
)
def test_another_network_is_refused(change, words):
    with pytest.raises(PoseTopoError, match=words):
        convert(change(skeleton(Microsoft, "resnet18")), "model.pth")


def test_a_batch_norm_without_scale_and_offset_gets_1_and_0():
    model = stir(Study("resnet18", 20, norm=True))
    state = convert(model.state_dict(), "m").state
    x = torch.randn(2, 20, 3, 3)
    norm = nn.BatchNorm2d(20).eval()
    norm.load_state_dict({key.removeprefix("topo.norm."): v for key, v in state.items() if key.startswith("topo.norm")})
    assert torch.equal(norm(x), model.topo.bn(x))
