"""Batches: pictures, joints and targets that belong together, independent of how they are served."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from made_up_people import make_people, picture
from test_targets import nearest

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import augmentation, geometry
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD, Batch, Batches
from pose_topo.data.crop_store import CropStore
from pose_topo.data.crops import CropSettings, warp_person
from pose_topo.data.people import People
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


def batches(
    store: CropStore, people: People, recipe: Recipe = RECIPE, rows: np.ndarray | None = None, **more
) -> Batches:
    return Batches(store, people, np.arange(len(people)) if rows is None else rows, recipe, CPU, **more)


def grey(batch: Batch) -> np.ndarray:
    """Pictures (B, H, W, 3) in 0..255, normalisation undone."""
    sd, mean = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_SD, IMAGENET_MEAN))
    return ((batch.images * sd + mean) * 255).permute(0, 2, 3, 1).numpy()


def gather(found: list[Batch]) -> dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    return {int(row): (b.images[i], b.targets[i], b.weights[i]) for b in found for i, row in enumerate(b.index)}


def test_plain_is_the_slice(store: CropStore, people: People) -> None:
    rows = np.array([3, 7, 8, 20, 31])
    found = list(batches(store, people, rows=rows).in_order(2))
    assert [b.index.tolist() for b in found] == [[3, 7], [8, 20], [31]]
    for batch in found:
        assert batch.images.dtype == torch.float32
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert np.abs(grey(batch) - store.crops[batch.index, 24:88, 24:88]).max() < 1e-3
        assert (batch.targets.shape, batch.weights.shape) == ((len(batch.index), 16, 16, 16), (len(batch.index), 16))
        assert not batch.weights[torch.from_numpy(~people.labelled[batch.index])].any()


def test_plain_targets_peak_at_the_joint(store: CropStore, people: People) -> None:
    served = batches(store, people)
    to_photo = served.input_to_photo()
    for batch in served.in_order(16):
        where = geometry.apply(geometry.invert(to_photo[batch.index]), people.joints[batch.index]) / 4
        for b, k in np.argwhere(batch.weights.numpy() > 0):
            x, y = np.trunc(where[b, k] + 0.5)
            if 0 <= x < 16 and 0 <= y < 16:
                assert divmod(int(batch.targets[b, k].argmax()), 16) == (y, x)
                assert batch.targets[b, k].max() == 1


def test_augmented_against_opencv(store: CropStore, people: People) -> None:
    draws = augmentation.draw_epoch(40, 5, 2, augment="standard")
    matrix = augmentation.to_stored(draws, np.arange(40), SIDE, SIZE)
    total = 0.0
    for batch in batches(store, people).epoch(5, 2, 8):
        pictures = grey(batch)
        for place, row in enumerate(batch.index):
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            theirs = cv2.warpAffine(store.crops[row], matrix[row], (SIZE, SIZE), flags=flags)
            difference = np.abs(pictures[place] - theirs)
            assert difference.max() < 1.01
            total += difference.mean()
    assert total / 40 < 0.3


def test_augmented_targets_are_the_formulas_at_the_moved_joints(store: CropStore, people: People) -> None:
    """Joints moved one by one by the inverse of OpenCV's matrix, left and right exchanged, the formula cell by cell."""
    draws = augmentation.draw_epoch(40, 5, 2, augment="standard")
    matrix = augmentation.to_stored(draws, np.arange(40), SIDE, SIZE)
    found = gather(list(batches(store, people).epoch(5, 2, 8)))
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


def test_augmented_against_a_warp_of_the_photograph(people: People) -> None:
    """Warped twice (photograph -> stored crop -> picture) or once: how far apart, on a photograph with texture."""
    photo = picture(0)
    store = make_store(people, photo)
    draws = augmentation.draw_epoch(40, 0, 1, augment="standard")
    matrix = augmentation.to_stored(draws, np.arange(40), SIDE, SIZE)
    differences, lost = [], 0.0
    for batch in batches(store, people).epoch(0, 1, 40):
        for found, row in zip(grey(batch), batch.index, strict=True):
            onto = np.vstack([store.to_photo[row], [0, 0, 1]]) @ np.vstack([matrix[row], [0, 0, 1]])
            direct = warp_person(photo, onto[:2], SIZE)
            differences.append(np.abs(found - direct).mean())
            lost += ((found.sum(-1) < 1) & (direct.sum(-1) > 60)).mean() / 40
    print(f"mean {np.mean(differences):.2f} grey levels, worst crop {np.max(differences):.2f}, lost {lost:.5f}")
    assert np.mean(differences) < 8
    assert lost < 1e-3  # the stored margin is wide enough: nearly no pixel is black that the photograph has


def test_bright_dots_land_at_the_joints() -> None:
    """A dot is drawn at one joint of each person: the augmented picture has it where the joint's target is, and in a
    mirror at the target of the other side."""
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
    for batch in batches(store, people, recipe).epoch(0, 1, 8):
        pictures = np.maximum(grey(batch).mean(-1) - 1, 0)
        for place, row in enumerate(batch.index):
            k = J.FLIP_INDEX[joint[row]] if draws.flip[row] else joint[row]
            dot, heat = pictures[place], batch.targets[place, k].numpy()
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
    for row, (_, _, weights) in gather(list(batches(store, people).epoch(0, 1, 16))).items():
        labelled = people.labelled[row][list(J.FLIP_INDEX)] if draws.flip[row] else people.labelled[row]
        assert not weights[torch.from_numpy(~labelled)].any()


def test_epoch_serves_everybody_once_in_a_seeded_order(store: CropStore, people: People) -> None:
    rows = np.arange(0, 40, 3)
    served = batches(store, people, rows=rows)
    order = np.concatenate([b.index for b in served.epoch(0, 1, 5)])
    assert sorted(order) == rows.tolist()
    assert np.array_equal(order, np.concatenate([b.index for b in served.epoch(0, 1, 5)]))
    assert not np.array_equal(order, np.concatenate([b.index for b in served.epoch(0, 2, 5)]))
    assert not np.array_equal(order, np.concatenate([b.index for b in served.epoch(1, 1, 5)]))


def test_who_comes_before_whom_does_not_depend_on_the_split(store: CropStore, people: People) -> None:
    rows = np.arange(1, 40, 2)
    order = [np.concatenate([b.index for b in batches(store, people, rows=r).epoch(4, 2, 7)]) for r in (None, rows)]
    assert order[1].tolist() == [row for row in order[0] if row in rows]


def test_people_are_dealt_out_evenly(store: CropStore, people: People) -> None:
    served = batches(store, people, rows=np.arange(9))
    assert [len(b.index) for b in served.epoch(0, 1, 4)] == [3, 3, 3] and served.steps(4) == 3
    assert [len(b.index) for b in served.in_order(4)] == [4, 4, 1]
    with pytest.raises(PoseTopoError, match="at least 2"):
        next(batches(store, people, rows=np.arange(1)).epoch(0, 1, 4))


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_every_step(store: CropStore, people: People, processes: int) -> None:
    served = batches(store, people, rows=np.arange(23))
    alone = [b.index.tolist() for b in served.epoch(0, 1, 2 * processes)]
    parts = [list(served.epoch(0, 1, 2, process=p, processes=processes)) for p in range(processes)]
    assert [np.concatenate([b.index for b in step]).tolist() for step in zip(*parts, strict=True)] == alone
    assert len(alone) == served.steps(2, processes)
    for step in zip(*parts, strict=True):
        # mean over processes of share x own mean = mean over the people of the step
        own = [float(b.index.mean()) for b in step]
        together = np.concatenate([b.index for b in step]).mean()
        assert np.mean([b.share * mean for b, mean in zip(step, own, strict=True)]) == pytest.approx(together)
    in_order = [list(served.in_order(4, process=p, processes=processes)) for p in range(processes)]
    assert sorted(i for part in in_order for b in part for i in b.index) == list(range(23))


def test_an_epoch_is_taken_up_after_some_steps(store: CropStore, people: People) -> None:
    served = batches(store, people)
    whole = [b.index.tolist() for b in served.epoch(0, 1, 8)]
    assert [b.index.tolist() for b in served.epoch(0, 1, 8, skip=3)] == whole[3:]
    assert list(served.epoch(0, 1, 8, skip=5)) == []


@pytest.mark.parametrize("changes", [{}, {"resident": True}, {"prefetch": True}, {"together": 9}])
@pytest.mark.parametrize("augment", ["standard", "mild", "none"])
def test_the_way_of_serving_does_not_matter(store: CropStore, people: People, changes: dict, augment: str) -> None:
    """Batch size, split, residence and prefetching: a person's picture of an epoch is always the same."""
    recipe = replace(RECIPE, augment=augment)
    rows = np.array([1, 2, 5, 8, 9, 30, 33, 38])
    reference = gather(list(batches(store, people, recipe).epoch(3, 4, 10)))
    found = gather(list(batches(store, people, recipe, rows, **changes).epoch(3, 4, 4)))
    assert sorted(found) == rows.tolist()
    for row, values in found.items():
        for mine, other in zip(values, reference[row], strict=True):
            assert torch.equal(mine, other)
    in_order = gather(list(batches(store, people, recipe, rows, **changes).in_order(3)))
    plain = gather(list(batches(store, people, recipe).in_order(40)))
    assert all(torch.equal(a, b) for row in rows for a, b in zip(in_order[int(row)], plain[int(row)], strict=True))


@pytest.mark.parametrize("more", [{}, {"skip": 1}, {"process": 1, "processes": 2}])
def test_making_several_steps_at_once_changes_none(store: CropStore, people: People, more: dict) -> None:
    one_by_one = list(batches(store, people, together=1).epoch(3, 4, 6, **more))
    at_once = list(batches(store, people, together=20).epoch(3, 4, 6, **more))  # three steps
    assert len(one_by_one) == len(at_once) > 3
    for one, other in zip(one_by_one, at_once, strict=True):
        assert one.index.tolist() == other.index.tolist() and one.share == other.share
        assert torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)
        assert torch.equal(one.weights, other.weights)
        assert other.images.is_contiguous(memory_format=torch.channels_last)


def test_stopping_early_leaves_no_thread(store: CropStore, people: People) -> None:
    import threading

    stream = batches(store, people, prefetch=True).epoch(0, 1, 4)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_squeeze_truncates_to_the_study_cell(people: People) -> None:
    """The target's peak is at the cell int(16 * x / width), for edge-based x."""
    store = make_store(people, picture(0), "squeeze")
    recipe = replace(PAPER, input_size=SIZE)
    everybody = replace(people, joints=np.random.default_rng(2).uniform(0, [639, 479], (40, 16, 2)))
    for batch in batches(store, everybody, recipe).in_order(40):
        cells = ((everybody.joints + 0.5) / [640, 480] * 16).astype(int)
        for b, k in np.argwhere(people.labelled):
            assert divmod(int(batch.targets[b, k].argmax()), 16) == (cells[b, k, 1], cells[b, k, 0])
        assert np.array_equal(batch.weights.numpy() > 0, people.labelled)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("resident", [True, False])
def test_on_a_gpu_as_on_the_cpu(store: CropStore, people: People, resident: bool) -> None:
    served = Batches(store, people, np.arange(40), RECIPE, torch.device("cuda"), resident=resident)
    found, reference = gather(list(served.epoch(0, 1, 7))), gather(list(batches(store, people).epoch(0, 1, 7)))
    assert sorted(found) == sorted(reference)
    for row, (images, targets, weights) in found.items():
        assert (images.cpu() - reference[row][0]).abs().max() < 2e-3  # a grey level is 0.017
        assert (targets.cpu() - reference[row][1]).abs().max() < 1e-5
        assert torch.equal(weights.cpu(), reference[row][2])
