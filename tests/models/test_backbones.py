"""The registry of backbones: every entry agrees with the network that is built from it."""

import pytest
import torch
import torchvision

from pose_topo.core.errors import UsageError
from pose_topo.download.catalog import WEIGHTS
from pose_topo.models.pose import build_backbone
from pose_topo.study.backbones import BACKBONES, HEATMAP_STRIDE
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.protocols import STANDARD


@pytest.mark.parametrize("arch", BACKBONES)
def test_an_entry_states_the_channels_and_the_stride_of_its_network(arch):
    entry = BACKBONES[arch]
    with torch.device("meta"):  # shapes need no numbers
        maps = build_backbone(arch).eval()(torch.zeros(1, 3, 2 * entry.stride, 3 * entry.stride))
    assert maps.shape == (1, entry.channels, 2, 3)
    assert entry.stride == HEATMAP_STRIDE * 2**entry.deconvolutions


@pytest.mark.parametrize("arch", BACKBONES)
def test_an_entry_states_the_weights_that_torchvision_publishes(arch):
    published = [weights.url for weights in torchvision.models.get_model_weights(arch)]
    assert WEIGHTS[arch].urls[0] in published
    assert WEIGHTS[arch].checks.sha256 == BACKBONES[arch].weights[-12:-4]


def test_keys_of_a_resnet_in_a_checkpoint_do_not_change():
    with torch.device("meta"):
        keys = build_backbone("resnet18").state_dict()
    assert {key.split(".")[0] for key in keys} == {"0", "1", "4", "5", "6", "7"}
    assert {"0.weight", "1.running_var", "4.0.conv1.weight", "7.1.bn2.num_batches_tracked"} <= keys.keys()


def test_an_unknown_backbone_is_refused_with_the_list():
    with pytest.raises(UsageError, match=r"--arch resnet20: give one of resnet18, .*resnet152"):
        RunConfig("resnet20", STANDARD, Data.at("mpii"))
    with pytest.raises(UsageError, match="--arch resnet20"):
        build_backbone("resnet20")
