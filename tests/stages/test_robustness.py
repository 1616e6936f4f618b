"""Robustness: the intact network is the one that `evaluate` scores, and each harm is what it says."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from reasons import without_reason

from pose_topo.data.batches import Batches
from pose_topo.data.dataset import prepare
from pose_topo.data.people import People
from pose_topo.models.pose import SimpleBaseline, TopoModel, head_weight, predict
from pose_topo.scoring import intervals
from pose_topo.scoring.pckh import hits, normalised_errors
from pose_topo.stages import robustness
from pose_topo.stages.checkpoints import load_network
from pose_topo.stages.evaluate import evaluate_checkpoint
from pose_topo.stages.robustness import (
    LEVELS,
    PrunedHeads,
    add_noise,
    areas,
    blur,
    changes,
    curve,
    lower_contrast,
    measure_robustness,
    noisy_weights,
    prunings,
)
from pose_topo.study import runs
from pose_topo.study.config import Data
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import PROTOCOLS
from pose_topo.study.results import HARMS, read_document, read_documents

HOW = {"device": "cpu", "precision": "fp32", "progress": False}


@pytest.fixture(scope="module")
def run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released network as a run on 16 rendered people, of whom three are held out; with the flip test."""
    released = runs.load_checkpoint(runs.RELEASED)
    recipe = replace(PROTOCOLS["small"], val_split=0.2)
    config = replace(released.config, data=Data.at(small_data), recipe=recipe, weights=None, arm="baseline", seed=3)
    dataset = prepare(config.data, recipe, seed=config.seed, progress=False)
    folder = tmp_path_factory.mktemp("runs") / "baseline-s3"
    runs.write_config(folder, config)
    runs.save_checkpoint(
        runs.Checkpoint(folder / "last.pt", config, recipe.epochs, released.model, dataset.split_sha256)
    )
    return folder


@pytest.fixture
def topo() -> TopoModel:
    torch.manual_seed(0)
    return TopoModel("resnet18", Lattice(4, 5)).eval()


@pytest.fixture(scope="module")
def measured(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    measure_robustness(run, out, **HOW)
    return out


def opened(run: Path) -> tuple[SimpleBaseline, Batches, People]:
    network = load_network(run, "cpu")
    config = network.config
    dataset = prepare(config.data, config.recipe, seed=config.seed, progress=False)
    val = Batches(dataset.store, dataset.people, dataset.split.val, config.recipe, network.device)
    return network.model, val, dataset.people


# ---- the intact network


def test_level_0_is_what_evaluate_scores(run: Path, measured: Path, tmp_path: Path) -> None:
    intact = evaluate_checkpoint(run, tmp_path, **HOW)["pckh"]["0.5"]["mean"]
    result = read_document(measured / "robustness.json", "robustness")
    assert intact > 0 and result["intact"] == intact
    assert read_documents(measured)["robustness"] == result and (result["arm"], result["seed"]) == ("baseline", 3)
    for harm, found in result["harms"].items():
        assert found["levels"][0] == {"level": 0, "pckh": intact, "interval": found["levels"][0]["interval"]}
        assert [level["level"] for level in found["levels"]] == list(LEVELS[harm])
    assert list(HARMS) == list(LEVELS) and without_reason(result["harms"]) == []


def test_the_same_twice_to_the_byte(run: Path, measured: Path, tmp_path: Path) -> None:
    measure_robustness(run, tmp_path, **HOW)
    for name in ("robustness.json", "robustness.npz"):
        assert (tmp_path / name).read_bytes() == (measured / name).read_bytes()


def test_people_can_be_paired(measured: Path) -> None:
    """The arrays hold who was scored, and the scores of the JSON file follow from them."""
    result, arrays = json.loads((measured / "robustness.json").read_text()), np.load(measured / "robustness.npz")
    assert len(arrays["images"]) == len(arrays["persons"]) == result["images"]
    labelled = arrays["labelled"]
    for harm, found in result["harms"].items():
        counts = arrays[harm]  # (levels, P, K), in how many draws a joint is correct
        assert counts.max() <= found["draws"] and not counts[:, ~labelled].any()
        shares = [intervals.aggregate(one.sum(0), labelled.sum(0))[0] / found["draws"] for one in counts]
        assert shares == pytest.approx([level["pckh"] for level in found["levels"]])


@pytest.mark.parametrize("harm", ["blur", "noise", "contrast"])
def test_a_harm_of_level_0_changes_no_prediction(run: Path, harm: str) -> None:
    model, batches, people = opened(run)
    change = changes(people)[harm](0.0)
    same, other = (
        predict(model, batches.in_order(4, change=one), batches.input_to_photo(), batches.recipe, "fp32")
        for one in (None, change)
    )
    assert np.array_equal(same[0], other[0])


def test_noise_of_sd_0_leaves_the_weights(topo: TopoModel) -> None:
    for one, two in zip(topo.state_dict().values(), noisy_weights(topo, 0.0, 1).state_dict().values(), strict=True):
        assert torch.equal(one, two)


# ---- noise in the weights


def test_noise_is_relative_to_the_weights_of_each_convolution(topo: TopoModel) -> None:
    before, after = topo.state_dict(), noisy_weights(topo, 0.2, 0).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    convolutions = {f"{name}.weight" for name, layer in topo.named_modules() if "Conv" in type(layer).__name__}
    assert changed == {name for name in convolutions if name in before} and "topo.conv.weight" in changed
    for name in changed:
        noise = (after[name] - before[name]) / before[name].std(correction=0)
        assert float(noise.std()) == pytest.approx(0.2, rel=5 / noise.numel() ** 0.5)


def test_layers_that_two_networks_share_get_the_same_noise(topo: TopoModel) -> None:
    name, other = "backbone.0.weight", SimpleBaseline("resnet18").eval()
    noise = []
    for network, draw in ((topo, 2), (other, 2), (topo, 1)):
        before = network.state_dict()[name]
        noise.append((noisy_weights(network, 0.4, draw).state_dict()[name] - before) / before.std(correction=0))
    torch.testing.assert_close(noise[0], noise[1], rtol=0, atol=1e-5)
    assert float((noise[0] * noise[2]).mean()) == pytest.approx(0, abs=0.01)  # another draw


# ---- harms to the inputs


def picture(size: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(2, 3, size, size, generator=generator) * 255).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("level", [1.0, 2.5, 4.0])
def test_blur_is_that_of_opencv(level: float) -> None:
    inputs = picture()
    side = 2 * int(np.ceil(4 * level)) + 1
    expected = cv2.GaussianBlur(
        inputs[1].permute(1, 2, 0).numpy(), (side, side), level, borderType=cv2.BORDER_REFLECT_101
    )
    np.testing.assert_allclose(blur(inputs, level)[1].permute(1, 2, 0).numpy(), expected, atol=1e-3)


def test_a_wide_blur_of_a_small_input_is_cut_off() -> None:
    blurred = blur(picture(16), 8.0)
    assert blurred.shape == (2, 3, 16, 16) and float(blurred.std()) < float(picture(16).std()) / 4


def test_noise_depends_on_the_person_alone() -> None:
    inputs = picture()
    together, alone = add_noise(inputs, 10.0, [5, 9]), add_noise(inputs[1:], 10.0, [9])
    assert torch.equal(together[1:], alone)
    flat = torch.full_like(inputs, 128.0)
    noise = add_noise(flat, 10.0, [5, 9]) - flat
    assert float(noise.std()) == pytest.approx(10, abs=0.3) and not torch.equal(noise[0], noise[1])
    torch.testing.assert_close(add_noise(flat, 20.0, [5, 9]) - flat, 2 * noise, rtol=0, atol=1e-3)
    clipped = add_noise(inputs, 80.0, [5, 9])
    assert float(clipped.min()) == 0 and float(clipped.max()) == 255


def test_two_arms_see_the_same_noise(run: Path) -> None:
    """The noise of a person is the same if the people are served in other batches."""
    _, batches, people = opened(run)
    changed = [
        torch.cat([batch.images for batch in batches.in_order(size, change=changes(people)["noise"](20.0))])
        for size in (1, 3)
    ]
    assert len(changed[0]) > 1 and torch.equal(changed[0], changed[1])


def test_contrast_is_taken_from_each_colour() -> None:
    inputs = picture()
    mean = inputs.mean((2, 3), keepdim=True)
    torch.testing.assert_close(lower_contrast(inputs, 0.75), mean + 0.25 * (inputs - mean), rtol=0, atol=1e-3)
    assert torch.equal(lower_contrast(inputs, 0.0), inputs)


# ---- pruning


def test_prunings_by_hand() -> None:
    """Joint 0 has channels 0, 3, 4, 5; joint 1 has 1, 2, 6, 7, 8; channel 9 serves none."""
    owner = np.array([0, 1, 1, 0, 0, 0, 1, 1, 1, -1])
    size = np.array([4.0, 9.0, 1.0, 3.0, 2.0, 8.0, 7.0, 5.0, 6.0, 0.0])
    weight = np.zeros((2, 10))
    weight[owner[:9], np.arange(9)] = size[:9]
    found = prunings(weight)
    assert [mask[0].nonzero()[0].tolist() for mask in found["prune_norm"]][:3] == [[9], [2, 9], [0, 2, 3, 4, 9]]
    territory = [mask[0].nonzero()[0].tolist() for mask in found["prune_territory"]]
    assert territory[:3] == [[9], [4, 9], [0, 3, 4, 5, 9]] and territory[4] == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    draws = found["prune_random"]
    assert draws.shape == (5, 5, 10) and (draws.sum(-1) == np.array([1, 2, 5, 8, 9])[:, None]).all()
    assert (draws[1:] >= draws[:-1]).all()  # what is pruned stays pruned
    assert len({tuple(mask) for mask in draws[2]}) > 1


def test_pruned_heads_are_those_of_a_pruned_network(run: Path) -> None:
    model, batches, _ = opened(run)
    masks = np.concatenate([mask.reshape(-1, 256) for mask in prunings(head_weight(model)).values()])
    masks = np.concatenate([masks[::7], np.ones((1, 256), bool), np.zeros((1, 256), bool)])
    where = (batches.input_to_photo(), batches.recipe, "fp32")
    found, _, rows = predict(PrunedHeads(model, masks), batches.in_order(2), *where)
    for number, mask in enumerate(masks):
        cut = copy.deepcopy(model)
        with torch.no_grad():
            cut.head.weight[:, mask] = 0
        expected, _, order = predict(cut, batches.in_order(2), *where)
        for row, joints in zip(order, expected, strict=True):
            assert np.array_equal(found[rows == row][number], joints)


def test_the_scores_of_pruning_are_those_of_pruned_networks(run: Path, measured: Path) -> None:
    model, batches, people = opened(run)
    arrays = np.load(measured / "robustness.npz")
    by_hand = np.zeros_like(arrays["prune_random"][2])
    for mask in prunings(head_weight(model))["prune_random"][1]:  # the draws of level 2
        cut = copy.deepcopy(model)
        with torch.no_grad():
            cut.head.weight[:, mask] = 0
        found, _, rows = predict(cut, batches.in_order(3), batches.input_to_photo(), batches.recipe, "fp32")
        truth = people.take(rows)
        errors = normalised_errors(found, truth.joints, truth.labelled, truth.head_size)
        by_hand += hits(errors, 0.5).astype(np.uint8)
    assert by_hand.any() and np.array_equal(arrays["prune_random"][2], by_hand)
    assert np.array_equal(arrays["labelled"], ~np.isnan(errors))


# ---- the area under the curve


def test_areas_by_hand() -> None:
    area, relative = areas((0.0, 1.0, 3.0), np.array([80.0, 60.0, 20.0]))
    assert (area, relative) == (50.0, 0.625)  # (70 + 2 * 40) / 3
    assert areas((0.0, 0.4), np.array([70.0, 70.0])) == (70.0, 1.0)
    area, relative = areas((0.0, 2.0), np.array([[80.0, 0.0], [40.0, 0.0]]))
    assert area.tolist() == [60.0, 0.0] and relative[0] == 0.75 and np.isnan(relative[1])


def test_a_curve_by_hand() -> None:
    """Two people with one scored joint each: found at level 0, and at level 1 in one of two draws by one of them."""
    correct, labelled = np.zeros((2, 2, 2, 16), bool), np.zeros((2, 16), bool)
    labelled[:, 0] = True
    correct[0, :, :, 0] = True
    correct[1, 0, 1, 0] = True
    found = curve(correct, labelled, (0.0, 2.0))
    assert [level["pckh"] for level in found["levels"]] == [100.0, 25.0]
    assert (found["area"], found["relative"], found["draws"], found["reason"]) == (62.5, 0.625, 2, None)
    assert found["levels"][1]["interval"] == [0.0, 50.0]
    assert found["relative_interval"] == [0.5, 0.75]


def test_a_network_that_finds_nothing_has_a_reason() -> None:
    nothing, labelled = np.zeros((2, 1, 2, 16), bool), np.ones((2, 16), bool)
    found = robustness.plain(curve(nothing, labelled, (0.0, 1.0)))
    assert found["relative"] is None and found["relative_interval"] is None and found["reason"]
    assert without_reason(found) == []
