"""The released network: its file, its scores and the catalogue agree, and the commands take it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from pose_topo.cli import app
from pose_topo.core.files import sha256_file
from pose_topo.data.dataset import cached_people
from pose_topo.download.catalog import RELEASED_CHECKS, mismatch
from pose_topo.models.pose import SimpleBaseline
from pose_topo.scoring.pckh import pck
from pose_topo.stages.checkpoints import load_network
from pose_topo.stages.predict import predict
from pose_topo.study.config import Data
from pose_topo.study.runs import RELEASED, load_checkpoint


def test_file_scores_and_catalogue_agree():
    assert RELEASED_CHECKS.sha256 is not None and mismatch(RELEASED, RELEASED_CHECKS) is None
    scores = json.loads(RELEASED.with_name("scores.json").read_text())
    assert {scores[name]["checkpoint_sha256"] for name in scores if name != "training"} == {RELEASED_CHECKS.sha256}


def test_the_file_is_small_and_names_no_machine():
    assert RELEASED.stat().st_size < 32e6
    config = load_checkpoint(RELEASED).config
    assert (
        config.data == Data("lspet/joints.mat", "lspet/images", name="lspet")
        and config.weights is not None
        and "/" not in config.weights
    )
    assert b"/tmp" not in RELEASED.read_bytes()[:100_000]


def test_the_safetensors_library_alone_loads_it():
    weights = load_file(RELEASED)
    model = SimpleBaseline("resnet18")
    model.load_state_dict(weights)
    assert {str(value.dtype) for value in weights.values()} == {"torch.float16", "torch.int64"}


def test_predict_without_a_run_uses_it(tmp_path):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 255, (90, 60, 3), np.uint8))
    app(["predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")], standalone_mode=False)
    content = json.loads((tmp_path / "out" / "keypoints.json").read_text())
    assert content["checkpoint_sha256"] == sha256_file(RELEASED)
    assert len(content["annotations"]) == 1 and (tmp_path / "out" / "a.overlay.png").is_file()


@pytest.mark.data
def test_it_finds_people_on_real_photographs(real_data: Path, tmp_path: Path):
    """24 people of LSPET, some of whom it was trained on, in boxes around their joints."""
    people, _ = cached_people(real_data / "mini-lspet" / "joints.mat", tmp_path)
    network, found = load_network(), []
    for i, name in enumerate(people.names):
        low, high = np.nanmin(people.joints[i], 0), np.nanmax(people.joints[i], 0)
        joints, _ = predict(network, real_data / "mini-lspet" / "images" / name, [(*low, *(high - low))])
        found.append(joints[0])
    result = pck(np.stack(found), people.joints, people.labelled, people.torso, resamples=2)
    # a network that always predicts the mean pose has about 10
    assert result["mean"] > 25
