"""Foreign checkpoints give the same heatmaps as in their own code. Other files are refused and never executed."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from other_networks import Microsoft, MMPose, Study, stir

from pose_topo.core.errors import PoseTopoError, UsageError, one_line
from pose_topo.data.batches import Batches
from pose_topo.data.crops import network_input
from pose_topo.data.dataset import prepare
from pose_topo.models.foreign import convert
from pose_topo.models.pose import build_model
from pose_topo.stages.checkpoints import Network, fill, load_network, open_data
from pose_topo.study import runs
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.protocols import STANDARD

LARGE = [pytest.param(arch, marks=pytest.mark.slow) for arch in ("resnet101", "resnet152")]
ARCHS = ["resnet18", "resnet34", "resnet50", *LARGE]
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def opened(path: Path, content) -> torch.nn.Module:
    torch.save(content, path)
    model = load_network(path, "cpu").model
    path.unlink()  # a ResNet-152 has 270 MB
    return model


@torch.inference_mode()
def both(one: torch.nn.Module, other: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    x = x.to(memory_format=torch.channels_last)
    return one(x), other(x)


@pytest.mark.parametrize("arch", ARCHS)
def test_microsofts_network_is_the_same_to_the_bit(arch, tmp_path):
    theirs = stir(Microsoft(arch))
    content = {"epoch": 140, "state_dict": {f"module.{key}": value for key, value in theirs.state_dict().items()}}
    expected, found = both(theirs, opened(tmp_path / "pose_resnet_256x256.pth.tar", content))
    assert torch.equal(expected, found) and expected.std() > 1e-3


@pytest.mark.parametrize("arch", ARCHS)
def test_mmposes_network_is_the_same_to_the_bit(arch, tmp_path):
    theirs = stir(MMPose(arch, "keypoint_head" if arch == "resnet50" else "head"))
    content = {"meta": {"mmpose_version": "0.7.0", "epoch": 210}, "state_dict": theirs.state_dict()}
    expected, found = both(theirs, opened(tmp_path / "res_mpii_256x256.pth", content))
    assert torch.equal(expected, found) and expected.std() > 1e-3


@pytest.mark.parametrize(("channels", "norm"), [(None, False), (256, False), (20, True)])
@pytest.mark.parametrize("arch", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_the_studys_network_is_the_same_with_its_channels_in_our_order(arch, channels, norm, tmp_path):
    theirs = stir(Study(arch, channels, norm))
    expected, found = both(theirs, opened(tmp_path / "study.pth", theirs.state_dict()))
    expected = expected[:, [(joint - 1) % 16 for joint in range(16)]]  # its channel k is joint k + 1
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()
    without_biases = stir(Study(arch, channels, norm))
    for place in (0, 3, 6):
        torch.nn.init.zeros_(without_biases.deconv[place].bias)
    assert (both(without_biases, theirs)[0] - both(theirs, theirs)[0]).abs().max() > 1e-2  # they do something


def test_old_files_without_zip_are_read(tmp_path):
    theirs = stir(Microsoft("resnet18"))
    state = {key: value for key, value in theirs.state_dict().items() if "num_batches_tracked" not in key}
    torch.save(state, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    assert torch.equal(*both(theirs, load_network(tmp_path / "old.pth.tar", "cpu").model))


def test_half_precision_is_widened(tmp_path):
    theirs = stir(Microsoft("resnet18")).half()
    state = dict(theirs.state_dict())
    model = opened(tmp_path / "half.pth", state)
    assert torch.equal(*both(theirs.float(), model)) and next(model.parameters()).dtype == torch.float32


@pytest.fixture(scope="module")
def microsoft(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("elsewhere") / "pose_resnet_18_64x64.pth.tar"
    torch.save(stir(Microsoft("resnet18")).state_dict(), path)
    return path


@pytest.mark.parametrize("colours", ["rgb", "bgr"])
def test_inputs_have_the_channel_order_and_scale_of_the_network(colours, small_data, tmp_path):
    recipe = replace(STANDARD, input_size=64, colours=colours)
    dataset = prepare(Data.at(small_data), recipe, seed=0, cache=tmp_path, progress=False)
    val = Batches(dataset.store, dataset.people, dataset.split.val, recipe, torch.device("cpu"))
    batch = next(val.in_order(2))
    crops = dataset.store.crops[batch.index, 24:88, 24:88].astype(np.float64) / 255  # 112 stored, 64 seen
    seen = crops if colours == "rgb" else crops[..., ::-1]
    expected = ((seen - MEAN) / SD).transpose(0, 3, 1, 2)
    assert np.abs(batch.images.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("colours", ["rgb", "bgr"])
def test_a_photograph_has_the_channel_order_of_the_network(colours, monkeypatch):
    seen = []

    class Eye(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return torch.zeros(1, 16, 16, 16)

    photo = np.zeros((100, 100, 3), np.uint8)
    photo[:] = (10, 20, 200)  # OpenCV's order: blue 10, green 20, red 200
    recipe = replace(STANDARD, input_size=64, colours=colours, flip_test=False)
    config = RunConfig("resnet18", recipe, Data("a.mat", "images"))
    network = Network(Path("none"), config, Eye(), torch.device("cpu"), "fp32")
    network.joints([network_input(photo, (30.0, 30.0, 40.0, 40.0), recipe)[0]])
    rgb = [200, 20, 10] if colours == "rgb" else [10, 20, 200]
    middle = seen[0][0, :, 32, 32].numpy()
    assert np.allclose(middle, (np.array(rgb) / 255 - MEAN) / SD, atol=1e-5)


def test_data_must_be_named(microsoft):
    with pytest.raises(UsageError, match="give --data"):
        open_data(load_network(microsoft, "cpu"), None)


# --- what is no checkpoint ---------------------------------------------------------------------------------------


class Evil:
    """Unpickling this object runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("force", ["0", "1"])
@pytest.mark.parametrize(("zipped", "protocol"), [(True, 2), (False, 2), (None, 0), (None, 2), (None, 4)])
def test_code_in_a_pickle_is_refused_and_not_run(zipped, protocol, force, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", force)
    path, ran = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"state_dict": {"conv1.weight": torch.zeros(1), "x": Evil(f"touch {ran}")}}
    if zipped is None:
        path.write_bytes(pickle.dumps(Evil(f"touch {ran}"), protocol))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(PoseTopoError, match="not a checkpoint") as refused:
        load_network(path, "cpu")
    line = one_line(refused.value)[0]
    assert "which was not run" in line and "2.6" not in line
    assert not ran.exists()
    if zipped is None:
        pickle.loads(path.read_bytes())
        assert ran.exists()  # it would have been


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda zipped, old: b"", "it is empty"),
        (lambda zipped, old: b"\xff\xd8\xff\xe0 a photograph", "torch.save writes no such file"),
        (lambda zipped, old: b"hello", "torch.save writes no such file"),
        (lambda zipped, old: zipped[:200], "it ends too early: fetch or copy it again"),
        (lambda zipped, old: old[:60], "it ends too early: fetch or copy it again"),
    ],
)
def test_the_message_says_what_is_wrong_with_a_file(make, words, tmp_path):
    for zipped in (True, False):
        torch.save({"a": torch.ones(3)}, tmp_path / str(zipped), _use_new_zipfile_serialization=zipped)
    (tmp_path / "x.pth").write_bytes(make((tmp_path / "True").read_bytes(), (tmp_path / "False").read_bytes()))
    with pytest.raises(PoseTopoError, match=rf"x\.pth is not a checkpoint \({words}\)"):
        load_network(tmp_path / "x.pth", "cpu")


def resnet18() -> tuple[dict[str, torch.Tensor], torch.nn.Module]:
    state = stir(Microsoft("resnet18")).state_dict()
    return state, build_model(convert(state, "m").config)


SPOILT = {
    "missing": lambda state, key: {k: v for k, v in state.items() if k != key},
    "renamed": lambda state, key: {f"{k}x" if k == key else k: v for k, v in state.items()},
    "longer": lambda state, key: {**state, key: torch.zeros(*state[key].shape, 2)},
    "wider": lambda state, key: {**state, key: torch.zeros([n + 1 for n in state[key].shape] or [1])},
    "empty": lambda state, key: {**state, key: torch.zeros(0)},
    "whole": lambda state, key: {**state, key: torch.zeros(state[key].shape, dtype=torch.int8)},
    "complex": lambda state, key: {**state, key: torch.zeros(state[key].shape, dtype=torch.complex64)},
    "boolean": lambda state, key: {**state, key: torch.zeros(state[key].shape, dtype=torch.bool)},
    "not finite": lambda state, key: {**state, key: torch.full(state[key].shape, float("nan"))},
    "a list": lambda state, key: {**state, key: state[key].flatten()[:3].tolist()},
    "a string": lambda state, key: {**state, key: "weights"},
    "nothing": lambda state, key: {**state, key: None},
}


@pytest.fixture(scope="module")
def good() -> tuple[dict[str, torch.Tensor], torch.nn.Module]:
    return resnet18()


@settings(max_examples=80, deadline=None)
@given(which=st.floats(0, 0.9999), how=st.sampled_from(sorted(SPOILT)))
def test_any_damaged_weight_is_named(good, which, how):
    state, model = good
    weights = sorted(key for key in state if not key.endswith("num_batches_tracked"))
    key = weights[int(which * len(weights))]
    with pytest.raises(PoseTopoError) as refused:
        found = convert(SPOILT[how](state, key), "m")
        fill(model, found.state, Path("some.pth"), found.layout.theirs)
    said = one_line(refused.value)[0]
    assert key in said or (key == "final_layer.weight" and "joints" in said), said


def test_all_problems_of_a_file_are_listed_at_once(good):
    state, model = good
    spoilt = {key: value for key, value in state.items() if not key.startswith("final_layer")}
    spoilt["layer1.0.extra"] = spoilt["bn1.weight"]
    spoilt["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    found = convert(spoilt, "m")
    with pytest.raises(PoseTopoError) as refused:
        fill(model, found.state, Path("some.pth"), found.layout.theirs)
    line = one_line(refused.value)[0]
    assert "missing: final_layer.bias, final_layer.weight" in line and "unknown: layer1.0.extra" in line
    assert "conv1.weight torch.float32 (64, 1, 7, 7) (here (64, 3, 7, 7))" in line


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    zipped=st.booleans(),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(1, 255)), max_size=5),
)
def test_broken_bytes_are_one_line(tmp_path, zipped, cut, flips):
    path = tmp_path / "broken.pth"
    torch.save({"state_dict": {"conv1.weight": torch.ones(4), "x": 1.5}}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    path.write_bytes(content[: int(cut * len(content))] if cut < 0.5 else content)
    with pytest.raises(PoseTopoError) as refused:
        load_network(path, "cpu")
    line, code = one_line(refused.value)
    assert code == 1 and "broken.pth" in line and "\n" not in line and len(line) < 400


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("format", "config", "epoch", "model", "split_sha256")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(KEYS), ANYTHING, min_size=1), place=st.none() | st.integers(0, 30))
def test_our_own_with_broken_settings_is_one_line(tmp_path, changes, place):
    config = runs.plain(RunConfig("resnet18", STANDARD, Data("a.mat", "images")))
    content = {"format": runs.FORMAT, "config": config, "epoch": 1, "model": {}, "split_sha256": "0", **changes}
    if place is not None and "config" in changes:  # one setting instead of all
        recipe = dict(config["recipe"])
        recipe[sorted(recipe)[place % len(recipe)]] = changes["config"]
        content["config"] = {**config, "recipe": recipe}
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(PoseTopoError) as refused:  # whatever else is well, it holds no weights
        load_network(tmp_path / "own.pt", "cpu")
    assert "\n" not in one_line(refused.value)[0]
