"""What a network starts from: an ImageNet backbone, a trained network, or the released one."""

from dataclasses import replace

import pytest
import torch

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import sha256_file
from pose_topo.download.fetch import FetchResult
from pose_topo.download.weights import start_file
from pose_topo.models.pose import build_model, load_start
from pose_topo.study import runs
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import PAPER, SMALL, STANDARD


def test_imagenet_weights_land_in_the_backbone_and_nowhere_else(tmp_path):
    import torchvision

    torch.manual_seed(1)
    resnet = torchvision.models.resnet18()
    torch.save(resnet.state_dict(), tmp_path / "weights.pth")
    config = RunConfig("resnet18", STANDARD, Data.at("mpii"), weights=str(tmp_path / "weights.pth"))
    model = build_model(config).eval()
    head = model.head.weight.clone()
    source = load_start(model, config, start_file(config))
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        r = resnet.eval()
        expected = r.layer4(r.layer3(r.layer2(r.layer1(r.maxpool(r.relu(r.bn1(r.conv1(x))))))))
        assert torch.equal(model.backbone(x), expected)
    assert torch.equal(model.head.weight, head)
    assert source == {
        "file": "weights.pth", "sha256": sha256_file(tmp_path / "weights.pth"), "source": "--weights"
    }  # fmt: skip


def test_weights_of_the_cache_name_where_they_are_published(tmp_path, monkeypatch):
    import torchvision

    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    monkeypatch.setattr(
        "pose_topo.download.weights.fetch_weights", lambda *_, **__: FetchResult("resnet18", path, "kept")
    )
    config = RunConfig("resnet18", STANDARD, Data.at("mpii"))
    found = load_start(build_model(config), config, start_file(config))
    assert found["source"].startswith("https://") and found["source"].endswith(path.name)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a file of torch", "not a state_dict"), (None, "no such file")],
)
def test_wrong_weights_are_one_line(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    config = RunConfig("resnet18", PAPER, Data.at("mpii"), weights=str(path))
    with pytest.raises(PoseTopoError, match=message):
        load_start(build_model(config), config, start_file(config))


def test_weights_of_another_resnet_are_refused(tmp_path):
    import torchvision

    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "r34.pth")
    config = RunConfig("resnet18", PAPER, Data.at("mpii"), weights=str(tmp_path / "r34.pth"))
    with pytest.raises(PoseTopoError, match="does not fit resnet18"):
        load_start(build_model(config), config, start_file(config))


@pytest.fixture
def trained(tmp_path):
    """A checkpoint whose weights are random numbers, and its weights."""
    config = RunConfig("resnet18", SMALL, Data.at("synthetic-20"), Topography(), arm="topo")
    torch.manual_seed(5)
    weights = build_model(config).to(memory_format=torch.channels_last).state_dict()  # as a training leaves them
    (tmp_path / "run").mkdir()
    runs.save_checkpoint(runs.Checkpoint(tmp_path / "run" / "last.pt", config, 6, weights, "0" * 64))
    runs.write_config(tmp_path / "run", config)
    return tmp_path / "run", weights


def started(config):
    torch.manual_seed(1)
    model = build_model(config)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    file = start_file(config)
    assert file is not None
    return load_start(model, config, file), before, model.state_dict()


@pytest.mark.parametrize("topography", [None, Topography(), Topography(4, 4)])
def test_backbone_and_deconvolutions_come_from_the_network_and_the_rest_is_new(trained, topography):
    run, weights = trained
    recipe = replace(SMALL, start="network")
    config = RunConfig("resnet18", recipe, Data.at("mpii"), topography, weights=str(run))
    source, before, after = started(config)
    assert source == {"file": "last.pt", "sha256": sha256_file(run / "last.pt"), "source": "--start"}
    for key, value in after.items():
        taken = key.startswith(("backbone.", "deconv."))
        assert torch.equal(value, weights[key] if taken else before[key]), key


def test_a_network_in_half_precision_is_the_same_to_eleven_bits(trained, tmp_path):
    run, weights = trained
    file = tmp_path / "model.safetensors"
    runs.save_safetensors(file, runs.load_checkpoint(run / "last.pt"))
    again = runs.load_checkpoint(file)
    assert again.config == runs.load_checkpoint(run / "last.pt").config and again.epoch == 6
    assert file.stat().st_size < 0.6 * (run / "last.pt").stat().st_size
    for key, value in again.model.items():
        assert value.dtype == weights[key].dtype
        torch.testing.assert_close(value, weights[key], rtol=2**-11, atol=2**-24)


@pytest.mark.parametrize(
    ("name", "content"), [("a.safetensors", b"no tensors"), ("a.safetensors", b""), ("a.pt", b"PK no zip")]
)
def test_a_start_that_is_no_network_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    recipe = replace(SMALL, start="network")
    for weights, message in ((str(tmp_path / name), "a "), (str(tmp_path / "none"), "no such network")):
        config = RunConfig("resnet18", recipe, Data.at("mpii"), weights=weights)
        with pytest.raises(PoseTopoError, match=message):
            started(config)


def test_a_network_with_another_backbone_is_refused(trained):
    config = RunConfig("resnet34", replace(SMALL, start="network"), Data.at("mpii"), weights=str(trained[0]))
    with pytest.raises(PoseTopoError, match="is a resnet18, not a resnet34: give --arch resnet18"):
        started(config)


def test_the_word_released_names_the_network_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.reported_checkpoint("released") == runs.RELEASED
    assert runs.is_network(runs.RELEASED) and not runs.is_network(tmp_path / "photo.jpg")
    assert not runs.is_network(tmp_path)
    monkeypatch.setattr(runs, "RELEASED", tmp_path / "model.safetensors")
    with pytest.raises(PoseTopoError, match=r"the released network .* is missing: install the package again"):
        started(RunConfig("resnet18", replace(SMALL, start="released"), Data.at("mpii")))
