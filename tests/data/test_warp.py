"""The batch's warp against OpenCV's, with the same matrices."""

import cv2
import numpy as np
import pytest
import torch
from made_up_people import picture

from pose_topo.data import augmentation
from pose_topo.data import batches as warp
from pose_topo.data.batches import warp as warp_batch


def opencv(crop: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def test_augmentations_against_opencv() -> None:
    size, side = 128, 224
    crops = np.stack([picture(seed, side, side) for seed in range(24)])
    draws = augmentation.draw_epoch(24, 0, 1, augment="standard")
    matrix = augmentation.to_stored(draws, np.arange(24), side, size)
    ours = warp_batch(torch.from_numpy(crops), matrix, size).permute(0, 2, 3, 1).numpy()
    theirs = np.stack([opencv(crop, m, size) for crop, m in zip(crops, matrix, strict=True)])
    difference = np.abs(ours - theirs)
    print(f"mean absolute difference {difference.mean():.3f} grey levels, largest {difference.max():.2f}")
    assert difference.mean() < 0.3  # OpenCV rounds to whole grey levels, which alone is 0.25
    assert difference.max() < 1.0


def test_exact_where_nothing_is_interpolated() -> None:
    crops = np.stack([picture(seed, 56, 56) for seed in range(9)])
    matrix = np.tile([[[0.0, -1.0, 43.0], [1.0, 0.0, 12.0]]], (9, 1, 1))  # a quarter turn of the inner 32 x 32
    found = warp_batch(torch.from_numpy(crops), matrix, 32)
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = np.rot90(crops[:, 12:44, 12:44], 1, axes=(1, 2)).transpose(0, 3, 1, 2)
    assert np.abs(found.numpy() - expected).max() < 0.01


def test_zero_outside() -> None:
    crops = torch.full((1, 56, 56, 3), 200, dtype=torch.uint8)
    found = warp_batch(crops, np.array([[[1.0, 0.0, -16.0], [0.0, 1.0, 30.5]]]), 32)
    assert not found[..., :16].any()
    assert found[0, :, 0, 16:].tolist() == [[200.0] * 16] * 3
    assert found[0, 0, 25, 20] == pytest.approx(100, abs=0.01)  # half a pixel beyond the edge
    assert not found[0, :, 26:].any()


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = torch.from_numpy(np.stack([picture(seed, 56, 56) for seed in range(7)]))
    matrix = augmentation.to_stored(augmentation.draw_epoch(7, 0, 1, "standard"), np.arange(7), 56, 32)
    before = matrix.copy()
    whole = warp_batch(crops, matrix, 32)
    monkeypatch.setattr(warp, "CPU_CHUNK", chunk)
    assert torch.equal(warp_batch(crops, matrix, 32), whole)
    assert np.array_equal(matrix, before)
