"""The flip test is exact: of a mirrored picture it gives the mirror image of its maps."""

import pytest
import torch

from pose_topo.models.pose import build_model
from pose_topo.models.prediction import heatmaps
from pose_topo.scoring.decoding import flip_back, shift_right
from pose_topo.study import joints as J
from pose_topo.study.config import Data, RunConfig
from pose_topo.study.protocols import STANDARD


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = RunConfig("baseline", "resnet18", STANDARD, Data("", ""))
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


def test_flip_back_is_indexing_by_the_swapped_joints():
    maps = torch.randn(3, J.K, 5, 7)
    assert torch.equal(flip_back(maps), maps.flip(-1)[:, list(J.FLIP_INDEX)])


def test_the_shift_is_right_for_the_benchmarks_cells_and_wrong_for_the_studys():
    x = torch.arange(256)  # pixels of the input, all of them
    nearest, mirrored = (x / 4 + 0.5).int(), ((255 - x) / 4 + 0.5).int()
    assert torch.equal(63 - mirrored + 1, nearest)  # flipped back, one column short of the cell
    assert torch.equal(63 - (255 - x) // 4, x // 4)  # int(x / 4): cells tile the picture
