"""Predictions do not depend on batches. The flip test mirrors exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pose_topo.data.batches import Batch
from pose_topo.models.pose import build_model, heatmaps, predict
from pose_topo.scoring.decoding import DECODES, flip_back, shift_right
from pose_topo.study import joints as J
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.protocols import STANDARD

PEOPLE, SIDE = 11, 64


class Shrunk(nn.Module):
    """The heatmap of joint k is the mean colour of the picture at a quarter of the size, times k + 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        small = nn.functional.avg_pool2d(images, 4).mean(1, keepdim=True)
        return small * torch.arange(1, J.K + 1, device=images.device).view(1, J.K, 1, 1)


def images() -> torch.Tensor:
    return torch.rand(PEOPLE, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def affines() -> np.ndarray:
    matrix = np.zeros((PEOPLE, 2, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = np.linspace(0.5, 3, PEOPLE)
    matrix[:, :, 2] = np.arange(2 * PEOPLE).reshape(PEOPLE, 2)
    return matrix


def batches(order: np.ndarray, size: int, device: str = "cpu"):
    pictures = images().to(device)
    for start in range(0, len(order), size):
        index = order[start : start + size]
        yield Batch(pictures[torch.from_numpy(index).to(device)], torch.zeros(0), torch.zeros(0), index)


def ask(order: np.ndarray, size: int, how: str):
    recipe = replace(STANDARD, decode=how, flip_test=True)
    return predict(Shrunk(), batches(order, size), affines(), recipe, "fp32")


@pytest.mark.parametrize("how", DECODES)
def test_order_and_batch_size_do_not_matter(how):
    order = np.random.default_rng(0).permutation(PEOPLE)
    found, sure, rows = ask(np.arange(PEOPLE), PEOPLE, how)
    again, sure_again, rows_again = ask(order, 3, how)
    assert rows.tolist() == list(range(PEOPLE)) and rows_again.tolist() == order.tolist()
    assert np.allclose(again, found[order], atol=1e-4) and np.allclose(sure_again, sure[order], atol=1e-6)


def test_the_joints_of_each_person_are_in_their_own_photograph():
    found, sure, _ = ask(np.arange(PEOPLE), 4, "argmax")
    assert found.shape == (PEOPLE, J.K, 2) and sure.shape == (PEOPLE, J.K)
    cells = (found - affines()[:, None, :, 2]) / affines()[:, None, [0], 0] / 4
    assert np.allclose(cells, cells.round(), atol=1e-6) and cells.min() >= 0 and cells.max() <= SIDE / 4 - 1


def test_arguments_are_not_changed():
    pictures, matrix = images(), affines()
    kept = pictures.clone(), matrix.copy()
    batch = Batch(pictures, torch.zeros(0), torch.zeros(0), np.arange(PEOPLE))
    predict(Shrunk(), [batch], matrix, replace(STANDARD, decode="dark"), "fp32")
    assert torch.equal(kept[0], pictures) and np.array_equal(kept[1], matrix)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("how", DECODES)
def test_the_host_waits_for_no_batch_on_a_gpu(how):
    from pose_topo.models.pose import heatmaps
    from pose_topo.scoring.decoding import decode

    model, pictures = Shrunk().cuda(), images().cuda()
    for mode in ("default", "error"):  # the first call sets the libraries up
        torch.cuda.set_sync_debug_mode(mode)
        try:
            decode(heatmaps(model, pictures, flip_test=True, precision="bf16"), how)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = RunConfig("resnet18", STANDARD, Data("", ""))
    return build_model(config).eval()


def averaged(model, images, shift=True):
    with torch.inference_mode():
        return heatmaps(model, images, flip_test=True, precision="fp32", shift=shift)


def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_a_mirrored_pictures_maps_are_the_mirror_image_rolled_by_one_column(model):
    images = pictures()
    maps, mirrored = averaged(model, images), averaged(model, images.flip(-1))
    rolled = flip_back(maps).roll(1, -1)
    assert torch.equal(mirrored[..., 1:], rolled[..., 1:])
    assert mirrored.std() > 0 and not torch.equal(mirrored[..., 1:], flip_back(maps)[..., 1:])


def test_without_the_shift_they_are_the_mirror_image_itself(model):
    images = pictures()
    maps, mirrored = averaged(model, images, shift=False), averaged(model, images.flip(-1), shift=False)
    assert torch.equal(mirrored, flip_back(maps))


def test_the_average_is_of_both_pictures(model):
    images = pictures()
    with torch.inference_mode():
        plain, other = model(images), model(images.flip(-1))
    assert torch.equal(averaged(model, images), (plain + shift_right(flip_back(other))) / 2)
    with torch.inference_mode():
        assert torch.equal(heatmaps(model, images, flip_test=False, precision="fp32"), plain)


def test_the_shift_is_correct_for_nearest_cells_and_wrong_for_tiling_cells():
    x = torch.arange(256)  # pixels of the input, all of them
    nearest, mirrored = (x / 4 + 0.5).int(), ((255 - x) / 4 + 0.5).int()
    assert torch.equal(63 - mirrored + 1, nearest)  # flipped back, one column short of the cell
    assert torch.equal(63 - (255 - x) // 4, x // 4)  # int(x / 4): cells tile the picture
