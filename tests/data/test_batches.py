"""Batches: images, joints and targets that belong together, however they are served."""

import math
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from made_up_people import make_people, picture

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import augmentation, batches, geometry
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD, Batch, Batches, generate_heatmaps, prefetched, warp
from pose_topo.data.crops import warp_person
from pose_topo.data.people import CropSettings, CropStore, People
from pose_topo.study import joints as J
from pose_topo.study.config import Recipe
from pose_topo.study.protocols import PAPER, STANDARD

CPU = torch.device("cpu")
SIZE, SIDE = 64, 112
RECIPE = replace(STANDARD, input_size=SIZE)


def make_store(people: People, photo: np.ndarray, framing: str = "person") -> CropStore:
    """All people stand in one photograph."""
    settings = CropSettings(framing, SIZE)
    if framing == "person":
        affines = geometry.person_to_photo(people.center, people.scale, SIZE)
        crops = np.stack([warp_person(photo, matrix, SIDE) for matrix in affines])
    else:
        affines = geometry.squeeze_to_photo(np.tile([photo.shape[1], photo.shape[0]], (len(people), 1)), SIZE)
        crops = np.stack([cv2.resize(photo, (SIZE, SIZE))] * len(people))
    return CropStore(crops, affines, np.ones(len(people), bool), settings, {})


@pytest.fixture(scope="module")
def people() -> People:
    found = make_people(40, scale=1.0)
    labelled = np.random.default_rng(0).random((40, 16)) < 0.8
    return replace(found, labelled=labelled, joints=np.where(labelled[..., None], found.joints, np.nan))


@pytest.fixture(scope="module")
def store(people: People) -> CropStore:
    return make_store(people, picture(0))


def make_batches(
    store: CropStore, people: People, recipe: Recipe = RECIPE, rows: np.ndarray | None = None, **how: int
) -> Batches:
    """`how`: how the crops are served, which differs on a GPU."""
    served = Batches(store, people, np.arange(len(people)) if rows is None else rows, recipe, CPU)
    if how.pop("resident", False):
        served._resident = served._to_device()
    for name, value in how.items():
        setattr(served, f"_{name}", value)
    return served


def grey(batch: Batch) -> np.ndarray:
    """Pictures (B, H, W, 3) in 0..255, normalisation undone."""
    sd, mean = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_SD, IMAGENET_MEAN))
    return ((batch.images * sd + mean) * 255).permute(0, 2, 3, 1).numpy()


def gather(found: list[Batch]) -> dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    return {int(row): (b.images[i], b.targets[i], b.mask[i]) for b in found for i, row in enumerate(b.index)}


def test_without_augmentation_the_images_are_slices_of_the_crops(store: CropStore, people: People) -> None:
    rows = np.array([3, 7, 8, 20, 31])
    found = list(make_batches(store, people, rows=rows).in_order(2))
    assert [b.index.tolist() for b in found] == [[3, 7], [8, 20], [31]]
    for batch in found:
        assert batch.images.dtype == torch.float32
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert np.abs(grey(batch) - store.crops[batch.index, 24:88, 24:88]).max() < 1e-3
        assert (batch.targets.shape, batch.mask.shape) == ((len(batch.index), 16, 16, 16), (len(batch.index), 16))
        assert not batch.mask[torch.from_numpy(~people.labelled[batch.index])].any()


def test_without_augmentation_targets_peak_at_the_joints(store: CropStore, people: People) -> None:
    served = make_batches(store, people)
    to_photo = served.input_to_photo()
    for batch in served.in_order(16):
        where = geometry.apply(geometry.invert(to_photo[batch.index]), people.joints[batch.index]) / 4
        for b, k in np.argwhere(batch.mask.numpy() > 0):
            x, y = np.trunc(where[b, k] + 0.5)
            if 0 <= x < 16 and 0 <= y < 16:
                assert divmod(int(batch.targets[b, k].argmax()), 16) == (y, x)
                assert batch.targets[b, k].max() == 1


def test_augmented_images_are_those_of_opencv(store: CropStore, people: People) -> None:
    draws = augmentation.draw_epoch(40, 5, 2, augment="standard")
    matrix = augmentation.to_stored(draws, np.arange(40), SIDE, SIZE)
    total = 0.0
    for batch in make_batches(store, people).epoch(5, 2, 8):
        images = grey(batch)
        for place, row in enumerate(batch.index):
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            theirs = cv2.warpAffine(store.crops[row], matrix[row], (SIZE, SIZE), flags=flags)
            difference = np.abs(images[place] - theirs)
            assert difference.max() < 1.01
            total += difference.mean()
    assert total / 40 < 0.3


def test_augmented_targets_match_the_formula_at_the_moved_joints(store: CropStore, people: People) -> None:
    """Each joint is moved by OpenCV's inverse, left and right are exchanged, and each cell is computed."""
    draws = augmentation.draw_epoch(40, 5, 2, augment="standard")
    matrix = augmentation.to_stored(draws, np.arange(40), SIDE, SIZE)
    found = gather(list(make_batches(store, people).epoch(5, 2, 8)))
    seen = 0
    for row in range(40):
        from_photo = cv2.invertAffineTransform(store.to_photo[row]), cv2.invertAffineTransform(matrix[row])
        for k in range(16):
            joint = J.FLIP_INDEX[k] if draws.flip[row] else k
            point = people.joints[row, joint]
            for affine in from_photo:
                point = affine @ [*point, 1.0]
            if not people.labelled[row, joint]:
                assert found[row][2][k] == 0 and not found[row][1][k].any()
            elif np.abs((point / 4 + 0.5) % 1 - 0.5).max() < 0.4999:  # else single precision decides which cell it is
                heat, weight = nearest(point[0] / 4, point[1] / 4, SIZE // 4, RECIPE.sigma)
                assert np.abs(found[row][1][k].numpy() - heat).max() < 1e-6 and found[row][2][k] == weight
                seen += weight
    assert seen > 200


def test_two_warps_give_nearly_the_image_of_one(people: People) -> None:
    """Warping photograph -> stored crop -> image differs little from photograph -> image."""
    photo = picture(0)
    store = make_store(people, photo)
    draws = augmentation.draw_epoch(40, 0, 1, augment="standard")
    matrix = augmentation.to_stored(draws, np.arange(40), SIDE, SIZE)
    differences, lost = [], 0.0
    for batch in make_batches(store, people).epoch(0, 1, 40):
        for found, row in zip(grey(batch), batch.index, strict=True):
            onto = np.vstack([store.to_photo[row], [0, 0, 1]]) @ np.vstack([matrix[row], [0, 0, 1]])
            direct = warp_person(photo, onto[:2], SIZE)
            differences.append(np.abs(found - direct).mean())
            lost += ((found.sum(-1) < 1) & (direct.sum(-1) > 60)).mean() / 40
    print(f"mean {np.mean(differences):.2f} grey levels, worst crop {np.max(differences):.2f}, lost {lost:.5f}")
    assert np.mean(differences) < 8
    assert lost < 1e-3  # the stored margin is wide enough: the photograph has almost no pixel that is black here


def test_bright_dots_land_at_the_joints() -> None:
    """One dot per person is drawn at a joint. In the augmented image it lies at the target of that joint, or, in a
    mirrored image, at the target of the joint of the other side."""
    count = 32
    blank = make_people(count, scale=1.0)
    center = np.full((count, 2), 160.0)
    offsets = np.random.default_rng(1).uniform(-35, 35, (count, 16, 2))
    people = replace(blank, center=center, scale=np.full(count, 0.8), joints=center[:, None] + [0, 12] + offsets)
    affines = geometry.person_to_photo(people.center, people.scale, SIZE)
    crops = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    joint = np.arange(count) % 16
    for row in range(count):
        photo = np.zeros((320, 320, 3), np.uint8)
        x, y = (people.joints[row, joint[row]] * 16).round().astype(int)
        cv2.circle(photo, (int(x), int(y)), 6 * 16, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
        crops[row] = warp_person(photo, affines[row], SIDE)
    store = CropStore(crops, affines, np.ones(count, bool), CropSettings("person", SIZE), {})
    recipe = replace(RECIPE, target_centre="exact", sigma=1.0)
    draws = augmentation.draw_epoch(count, 0, 1, augment="standard")
    seen = 0
    for batch in make_batches(store, people, recipe).epoch(0, 1, 8):
        images = np.maximum(grey(batch).mean(-1) - 1, 0)
        for place, row in enumerate(batch.index):
            k = J.FLIP_INDEX[joint[row]] if draws.flip[row] else joint[row]
            dot, heat = images[place], batch.targets[place, k].numpy()
            if dot[0].any() or dot[-1].any() or dot[:, 0].any() or dot[:, -1].any() or not heat.any():
                continue  # cut off by the edge
            y, x = (np.indices(dot.shape) * dot).sum((1, 2)) / dot.sum()
            assert abs(heat - gaussian(x / 4, y / 4)).max() < 0.08
            seen += 1
    assert seen > 20
    assert 8 < draws.flip.sum() < 24


def gaussian(x: float, y: float, size: int = 16) -> np.ndarray:
    cells = np.arange(size)
    return np.exp(-((cells[None] - x) ** 2 + (cells[:, None] - y) ** 2) / 2)


def test_flip_swaps_left_and_right_labels(people: People, store: CropStore) -> None:
    draws = augmentation.draw_epoch(40, 0, 1, augment="standard")
    for row, (_, _, weights) in gather(list(make_batches(store, people).epoch(0, 1, 16))).items():
        labelled = people.labelled[row][list(J.FLIP_INDEX)] if draws.flip[row] else people.labelled[row]
        assert not weights[torch.from_numpy(~labelled)].any()


def test_epoch_serves_everybody_once_in_a_seeded_order(store: CropStore, people: People) -> None:
    rows = np.arange(0, 40, 3)
    served = make_batches(store, people, rows=rows)
    order = np.concatenate([b.index for b in served.epoch(0, 1, 5)])
    assert sorted(order) == rows.tolist()
    assert np.array_equal(order, np.concatenate([b.index for b in served.epoch(0, 1, 5)]))
    assert not np.array_equal(order, np.concatenate([b.index for b in served.epoch(0, 2, 5)]))
    assert not np.array_equal(order, np.concatenate([b.index for b in served.epoch(1, 1, 5)]))


def test_order_of_two_people_does_not_depend_on_the_split(store: CropStore, people: People) -> None:
    rows = np.arange(1, 40, 2)
    order = [
        np.concatenate([b.index for b in make_batches(store, people, rows=r).epoch(4, 2, 7)]) for r in (None, rows)
    ]
    assert order[1].tolist() == [row for row in order[0] if row in rows]


def test_batches_differ_by_at_most_one_person(store: CropStore, people: People) -> None:
    served = make_batches(store, people, rows=np.arange(9))
    assert [len(b.index) for b in served.epoch(0, 1, 4)] == [3, 3, 3] and served.steps(4) == 3
    assert [len(b.index) for b in served.in_order(4)] == [4, 4, 1]
    with pytest.raises(PoseTopoError, match="at least 2"):
        next(make_batches(store, people, rows=np.arange(1)).epoch(0, 1, 4))


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_people_of_every_step(store: CropStore, people: People, processes: int) -> None:
    served = make_batches(store, people, rows=np.arange(23))
    alone = [b.index.tolist() for b in served.epoch(0, 1, 2 * processes)]
    parts = [list(served.epoch(0, 1, 2, process=p, processes=processes)) for p in range(processes)]
    assert [np.concatenate([b.index for b in step]).tolist() for step in zip(*parts, strict=True)] == alone
    assert len(alone) == served.steps(2, processes)
    for step in zip(*parts, strict=True):
        # the mean over processes of weight x own mean is the mean over the people of the step
        own = [float(b.index.mean()) for b in step]
        together = np.concatenate([b.index for b in step]).mean()
        assert np.mean([b.process_weight * mean for b, mean in zip(step, own, strict=True)]) == pytest.approx(together)
    in_order = [list(served.in_order(4, process=p, processes=processes)) for p in range(processes)]
    assert sorted(i for part in in_order for b in part for i in b.index) == list(range(23))


def test_an_epoch_can_begin_after_some_steps(store: CropStore, people: People) -> None:
    served = make_batches(store, people)
    whole = [b.index.tolist() for b in served.epoch(0, 1, 8)]
    assert [b.index.tolist() for b in served.epoch(0, 1, 8, skip=3)] == whole[3:]
    assert list(served.epoch(0, 1, 8, skip=5)) == []


@pytest.mark.parametrize("changes", [{}, {"resident": True}, {"prefetch": True}, {"augment_batch": 9}])
@pytest.mark.parametrize("augment", ["standard", "mild", "none"])
def test_batches_do_not_depend_on_how_they_are_served(
    store: CropStore, people: People, changes: dict, augment: str
) -> None:
    """An image does not depend on batch size, split, residence on the device, or prefetching."""
    recipe = replace(RECIPE, augment=augment)
    rows = np.array([1, 2, 5, 8, 9, 30, 33, 38])
    reference = gather(list(make_batches(store, people, recipe).epoch(3, 4, 10)))
    found = gather(list(make_batches(store, people, recipe, rows, **changes).epoch(3, 4, 4)))
    assert sorted(found) == rows.tolist()
    for row, values in found.items():
        for mine, other in zip(values, reference[row], strict=True):
            assert torch.equal(mine, other)
    in_order = gather(list(make_batches(store, people, recipe, rows, **changes).in_order(3)))
    plain = gather(list(make_batches(store, people, recipe).in_order(40)))
    assert all(torch.equal(a, b) for row in rows for a, b in zip(in_order[int(row)], plain[int(row)], strict=True))


@pytest.mark.parametrize("more", [{}, {"skip": 1}, {"process": 1, "processes": 2}])
def test_augmenting_several_steps_at_once_changes_none(store: CropStore, people: People, more: dict) -> None:
    one_by_one = list(make_batches(store, people, augment_batch=1).epoch(3, 4, 6, **more))
    at_once = list(make_batches(store, people, augment_batch=20).epoch(3, 4, 6, **more))  # three steps
    assert len(one_by_one) == len(at_once) > 3
    for one, other in zip(one_by_one, at_once, strict=True):
        assert one.index.tolist() == other.index.tolist() and one.process_weight == other.process_weight
        assert torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)
        assert torch.equal(one.mask, other.mask)
        assert other.images.is_contiguous(memory_format=torch.channels_last)


def test_stopping_early_leaves_no_thread(store: CropStore, people: People) -> None:
    stream = make_batches(store, people, prefetch=True).epoch(0, 1, 4)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_squeeze_truncates_to_the_study_cell(people: People) -> None:
    """The target has its peak at the cell int(16 * x / width), where x counts from the edge of a pixel."""
    store = make_store(people, picture(0), "squeeze")
    recipe = replace(PAPER, input_size=SIZE)
    everybody = replace(people, joints=np.random.default_rng(2).uniform(0, [639, 479], (40, 16, 2)))
    for batch in make_batches(store, everybody, recipe).in_order(40):
        cells = ((everybody.joints + 0.5) / [640, 480] * 16).astype(int)
        for b, k in np.argwhere(people.labelled):
            assert divmod(int(batch.targets[b, k].argmax()), 16) == (cells[b, k, 1], cells[b, k, 0])
        assert np.array_equal(batch.mask.numpy() > 0, people.labelled)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("resident", [True, False])
def test_on_a_gpu_as_on_the_cpu(store: CropStore, people: People, resident: bool, monkeypatch) -> None:
    monkeypatch.setattr(Batches, "_fits", lambda _: resident)
    served = Batches(store, people, np.arange(40), RECIPE, torch.device("cuda"))
    found, reference = gather(list(served.epoch(0, 1, 7))), gather(list(make_batches(store, people).epoch(0, 1, 7)))
    assert sorted(found) == sorted(reference)
    for row, (images, targets, weights) in found.items():
        assert (images.cpu() - reference[row][0]).abs().max() < 2e-3  # a grey level is 0.017
        assert (targets.cpu() - reference[row][1]).abs().max() < 1e-5
        assert torch.equal(weights.cpu(), reference[row][2])


# ---- Heatmap targets, against loops over the cells.


def nearest(x: float, y: float, size: int, sigma: float) -> tuple[np.ndarray, float]:
    """The public code of Xiao et al. 2018, except that a patch with no cell in the map has weight 0."""
    radius = int(3 * sigma)
    mu_x, mu_y = int(x + 0.5), int(y + 0.5)
    heat, touched = np.zeros((size, size)), False
    for row in range(mu_y - radius, mu_y + radius + 1):
        for column in range(mu_x - radius, mu_x + radius + 1):
            if 0 <= row < size and 0 <= column < size:
                touched = True
                heat[row, column] = math.exp(-((column - mu_x) ** 2 + (row - mu_y) ** 2) / (2 * sigma**2))
    return heat, float(touched)


def whole(x: float, y: float, size: int, sigma: float) -> tuple[np.ndarray, float]:
    heat = np.zeros((size, size))
    if not (-0.5 < x < size - 0.5 and -0.5 < y < size - 0.5):
        return heat, 0.0
    for row in range(size):
        for column in range(size):
            heat[row, column] = math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))
    return heat, 1.0


def truncated(x: float, y: float, size: int, sigma: float) -> tuple[np.ndarray, float]:
    return whole(int(x), int(y), size, sigma)


@pytest.mark.parametrize("direct", [nearest, whole, truncated])
@pytest.mark.parametrize(("size", "sigma"), [(64, 2.0), (96, 3.0), (24, 1.25)])
def test_targets_match_the_formula(direct, size: int, sigma: float) -> None:
    rng = np.random.default_rng(size)
    joints = rng.uniform(-0.25 * size, 1.25 * size, (2, 16, 2)).astype(np.float32)
    joints[0, :8] = rng.uniform(0, size, (8, 2))
    joints[0, 0] = [10.5, 11.499]  # halves and just below
    joints[0, 1] = [-0.3, 5]
    centre = "exact" if direct is whole else direct.__name__
    targets, mask = generate_heatmaps(
        torch.from_numpy(joints), torch.ones(2, 16, dtype=torch.bool), size, sigma, centre
    )
    for b in range(2):
        for k in range(16):
            heat, weight = direct(float(joints[b, k, 0]), float(joints[b, k, 1]), size, sigma)
            assert mask[b, k] == weight
            assert np.abs(targets[b, k].numpy() - heat).max() < 1e-6
    assert 0 < mask.sum() < 32


def test_patch_is_13_cells_wide_and_cut_at_the_edges() -> None:
    # the patch reaches from mu - 6 to mu + 6, so it overlaps the map of 64 from mu = -6 to mu = 69; int(-6.9) is -6
    xs = torch.tensor([20.0, -6.7, -7.6, 69.0, 70.0, -7.4, 69.6])
    joints = torch.stack([xs, torch.full_like(xs, 30.0)], -1)[None]
    targets, mask = generate_heatmaps(joints, torch.ones(1, 7, dtype=torch.bool), 64, 2.0, "nearest")
    assert mask[0].tolist() == [1, 1, 0, 1, 0, 1, 0]
    assert (targets[0, 0] > 0).sum() == 13 * 13
    assert (targets[0, 1] > 0).sum() == (targets[0, 3] > 0).sum() == 13  # one column each
    assert targets[0, 1, 30, 0] == pytest.approx(math.exp(-36 / 8))
    assert targets[0, 0, 30, 20] == 1
    assert targets[0, 0].max() == 1
    assert not targets[0, [2, 4, 6]].any()


def test_target_rows_are_y() -> None:
    targets, _ = generate_heatmaps(torch.tensor([[[3.0, 9.0]]]), torch.ones(1, 1, dtype=torch.bool), 16, 2.0, "exact")
    assert divmod(int(targets[0, 0].argmax()), 16) == (9, 3)


@pytest.mark.parametrize("centre", ["nearest", "exact", "truncated"])
def test_target_of_an_unlabelled_joint_is_empty_for_any_coordinates(centre: str) -> None:
    joints = torch.tensor([[[float("nan"), float("nan")], [5.0, 5.0], [float("inf"), 1.0]]])
    targets, mask = generate_heatmaps(joints, torch.tensor([[False, False, False]]), 16, 2.0, centre)
    assert not targets.any()
    assert not mask.any()


def test_targets_do_not_change_their_inputs() -> None:
    joints = torch.tensor([[[5.7, 5.2]]])
    generate_heatmaps(joints, torch.ones(1, 1, dtype=torch.bool), 16, 2.0, "nearest")
    assert torch.equal(joints, torch.tensor([[[5.7, 5.2]]]))


# ---- The warp of stored crops.


def opencv(crop: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def test_warp_is_that_of_opencv() -> None:
    size, side = 128, 224
    crops = np.stack([picture(seed, side, side) for seed in range(24)])
    draws = augmentation.draw_epoch(24, 0, 1, augment="standard")
    matrix = augmentation.to_stored(draws, np.arange(24), side, size)
    ours = warp(torch.from_numpy(crops), matrix, size).permute(0, 2, 3, 1).numpy()
    theirs = np.stack([opencv(crop, m, size) for crop, m in zip(crops, matrix, strict=True)])
    difference = np.abs(ours - theirs)
    print(f"mean absolute difference {difference.mean():.3f} grey levels, largest {difference.max():.2f}")
    assert difference.mean() < 0.3  # OpenCV rounds to whole grey levels, which alone is 0.25
    assert difference.max() < 1.0


def test_warp_is_exact_without_interpolation() -> None:
    crops = np.stack([picture(seed, 56, 56) for seed in range(9)])
    matrix = np.tile([[[0.0, -1.0, 43.0], [1.0, 0.0, 12.0]]], (9, 1, 1))  # a quarter turn of the inner 32 x 32
    found = warp(torch.from_numpy(crops), matrix, 32)
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = np.rot90(crops[:, 12:44, 12:44], 1, axes=(1, 2)).transpose(0, 3, 1, 2)
    assert np.abs(found.numpy() - expected).max() < 0.01


def test_warp_is_zero_outside() -> None:
    crops = torch.full((1, 56, 56, 3), 200, dtype=torch.uint8)
    found = warp(crops, np.array([[[1.0, 0.0, -16.0], [0.0, 1.0, 30.5]]]), 32)
    assert not found[..., :16].any()
    assert found[0, :, 0, 16:].tolist() == [[200.0] * 16] * 3
    assert found[0, 0, 25, 20] == pytest.approx(100, abs=0.01)  # half a pixel beyond the edge
    assert not found[0, :, 26:].any()


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_warp_does_not_depend_on_the_chunk_size(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = torch.from_numpy(np.stack([picture(seed, 56, 56) for seed in range(7)]))
    matrix = augmentation.to_stored(augmentation.draw_epoch(7, 0, 1, "standard"), np.arange(7), 56, 32)
    before = matrix.copy()
    whole = warp(crops, matrix, 32)
    monkeypatch.setattr(batches, "CPU_CHUNK", chunk)
    assert torch.equal(warp(crops, matrix, 32), whole)
    assert np.array_equal(matrix, before)


# ---- Reading ahead.


def running() -> int:
    return sum(thread.name.startswith("prefetch") for thread in threading.enumerate())


def test_prefetched_items_are_the_same_in_order() -> None:
    assert list(prefetched(iter(range(100)))) == list(range(100))
    assert list(prefetched([])) == []
    assert list(prefetched([None, None])) == [None, None]
    assert running() == 0


def test_prefetch_works_ahead_by_depth() -> None:
    made: list[int] = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    stream = prefetched(items(), depth=3)
    assert next(stream) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3, 4]  # 0 is used, 1 to 3 are in the queue, 4 waits for a place in it
    stream.close()
    assert running() == 0


def test_prefetch_raises_the_error_of_the_source() -> None:
    def items():
        yield 1
        raise ValueError("broken")

    stream = prefetched(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert running() == 0


def test_prefetch_thread_ends_when_the_consumer_fails() -> None:
    def consume() -> None:
        for number in prefetched(range(1000)):
            if number == 3:
                raise KeyError(number)

    with pytest.raises(KeyError):
        consume()
    deadline = time.monotonic() + 5  # the iterator is closed when it is collected
    while running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running() == 0
