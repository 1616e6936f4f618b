"""PCKh with silenced channels against a network whose head weights are set to zero."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pose_topo.data.batches import Batch
from pose_topo.data.people import People, head_size
from pose_topo.models.pose import TopoModel, predict
from pose_topo.scoring.pckh import normalised_errors, scores_at
from pose_topo.stages.silencing import pckh_silenced
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import STANDARD

PEOPLE, LATTICE = 7, Lattice(2, 3)


@pytest.fixture
def network() -> TopoModel:
    torch.manual_seed(0)
    model = TopoModel("resnet18", LATTICE).eval()
    with torch.no_grad():
        model.topo.conv.weight.mul_(1e5)  # fresh deconvolutions put out 1e-5: beside a bias that is rounding
        assert model.topo.conv.bias is not None
        model.topo.conv.bias.fill_(9.0)  # no cell without features: in a flat map rounding would choose the peak
    torch.nn.init.normal_(model.head.weight)  # so that maps have peaks of either sign
    assert model.head.bias is not None
    torch.nn.init.normal_(model.head.bias)
    return model


@pytest.fixture
def people() -> People:
    rng = np.random.default_rng(0)
    labelled = rng.random((PEOPLE, 16)) < 0.8
    labelled[:, 4] = False
    zero = np.zeros(PEOPLE, np.int64)
    corner = rng.uniform(0, 30, (PEOPLE, 2))
    return People(
        images=("a.jpg",),
        image=zero,
        annolist_index=zero,
        person=zero,
        rects_in_image=zero,
        joints=rng.uniform(0, 64, (PEOPLE, 16, 2)),
        labelled=labelled,
        visible=labelled,
        center=np.full((PEOPLE, 2), 32.0),
        scale=np.ones(PEOPLE),
        head_box=np.concatenate([corner, corner + 40], axis=1),
    )


def batches() -> list[Batch]:
    images = torch.randn(PEOPLE, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    empty = torch.zeros(0)
    order = np.array([3, 0, 6, 1, 2, 5, 4])
    return [Batch(images[order[i : i + 4]], empty, empty, order[i : i + 4]) for i in (0, 4)]


@pytest.mark.parametrize("decode_by", ["argmax", "cell-centre"])
@pytest.mark.parametrize("at_once", [1, 1 << 30])
def test_against_zeroed_head_weights(
    network: TopoModel, people: People, decode_by: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pose_topo.stages.silencing._CPU_BYTES", at_once)
    rng = np.random.default_rng(2)
    to_photo = np.tile(np.array([[1.1, 0.1, 2.0], [-0.1, 0.9, 1.0]]), (PEOPLE, 1, 1)) + rng.normal(
        0, 0.05, (PEOPLE, 2, 3)
    )
    masks = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], bool)
    found = pckh_silenced(network, batches(), people, to_photo, masks, decode_by=decode_by, precision="fp32")
    recipe = replace(STANDARD, flip_test=False, decode=decode_by)
    for mask, per_joint, mean in zip(
        [np.zeros(6, bool), *masks], [found.intact, *found.joints], [found.intact_mean, *found.mean], strict=True
    ):
        cut = copy.deepcopy(network)
        with torch.no_grad():
            cut.head.weight[:, mask] = 0
        at, _, rows = predict(cut, batches(), to_photo, recipe, "fp32")
        truth = people.take(rows)
        expected = scores_at(normalised_errors(at, truth.joints, truth.labelled, head_size(truth.head_box)), 0.5)
        assert mean == pytest.approx(expected["mean"])
        values = [np.nan if value is None else value for value in expected["joints"].values()]
        np.testing.assert_allclose(per_joint, values)
    assert np.isnan(found.intact[4]) and found.intact_mean > 0


@pytest.mark.parametrize("mask", [[1, 0, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]])  # few channels, and most
def test_silenced_channels_may_keep_their_mean(network: TopoModel, people: People, mask: list[int]) -> None:
    to_photo, chosen = np.tile(np.eye(2, 3), (PEOPLE, 1, 1)), np.array([mask], bool)
    means = np.array([3.0, 1.0, -2.0, 0.5, 1.0, 1.0])
    by = [np.zeros(6), means]
    found = pckh_silenced(network, batches(), people, to_photo, chosen, fills=by, decode_by="argmax", precision="fp32")
    recipe = replace(STANDARD, flip_test=False, decode="argmax")
    for per_joint, fill in zip(found.joints, by, strict=True):
        cut = copy.deepcopy(network)
        with torch.no_grad():
            assert cut.head.bias is not None
            kept = torch.from_numpy(fill * chosen[0]).float()
            cut.head.bias += cut.head.weight.flatten(1) @ kept  # a constant channel is a bias
            cut.head.weight[:, chosen[0]] = 0
        at, _, rows = predict(cut, batches(), to_photo, recipe, "fp32")
        truth = people.take(rows)
        expected = scores_at(normalised_errors(at, truth.joints, truth.labelled, head_size(truth.head_box)), 0.5)
        values = [np.nan if value is None else value for value in expected["joints"].values()]
        np.testing.assert_allclose(per_joint, values)
