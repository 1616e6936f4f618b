"""Affines computed by hand, and crops whose pixels do not depend on how they were cut."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_people import make_people, picture

from pose_topo.data import geometry
from pose_topo.data.crops import warp_person


def test_person_affine_by_hand() -> None:
    # scale 256/250 at 256 px: one photograph pixel per crop pixel; the box centre is moved down by 15 * scale = 15.36
    matrix = geometry.person_to_photo(np.array([[500.0, 300.0]]), np.array([1.024]), 256)
    assert matrix[0, 0].tolist() == [1, 0, 500 - 224]
    assert matrix[0, 1].tolist() == [0, 1, np.round((300 + 15.36 - 224) * 4096) / 4096]
    # the box centre lies at (128, 128) of the test crop, which begins 96 px inside the stored one
    to_input = geometry.translate_input(matrix, 96)
    centre = geometry.apply(to_input, np.array([[[128.0, 128.0]]]))
    assert centre[0, 0] == pytest.approx([500, 315.36], abs=1e-3)


def test_stored_size() -> None:
    assert [geometry.stored_size(size) for size in (32, 96, 128, 256, 384)] == [56, 168, 224, 448, 672]


@given(
    x=st.floats(-3000, 6000), y=st.floats(-3000, 6000), scale=st.floats(0.01, 100),
    size=st.sampled_from([32, 96, 128, 256, 384]),
)  # fmt: skip
def test_affines_invert_and_snapping_is_small(x: float, y: float, scale: float, size: int) -> None:
    matrix = geometry.person_to_photo(np.array([[x, y]]), np.array([scale]), size)
    side = geometry.stored_size(size)
    corners = np.array([[[0, 0], [side - 1, 0], [0, side - 1], [side / 2, side / 2]]], float)
    there = geometry.apply(matrix, corners)
    assert (
        np.abs(geometry.apply(geometry.invert(matrix), there) - corners).max() < 1e-9 * max(1, 1 / matrix[0, 0, 0]) ** 2
    )
    # the step is 2^-12 photograph pixels, at worst 2^-8 for boxes of 20,000 px: less than 1/1000 of a crop's side
    exact = 250 * scale / size
    middle = np.array([x, y + 15 * scale])
    step = 2.0**-12 if np.abs(middle).max() + side * exact < 4096 else 2.0**-8
    assert np.abs(there[0, 3] - middle).max() <= step
    assert np.abs(there[0, 1, 0] - there[0, 0, 0] - exact * (side - 1)) <= step * side
    bits = np.abs(np.concatenate([matrix.ravel(), there.ravel(), matrix[0, 0, :1] * side])).max() * 2**12
    assert bits < 2**24 or step > 2**-12


@pytest.mark.parametrize("size", [96, 128, 256])
def test_slice_is_the_direct_warp(size: int) -> None:
    """The test crop that is warped from the photograph has the same bits as the slice of the stored crop."""
    people = make_people(50, width=1280, height=720, seed=size, scale=4.0)
    photo = picture(1, 1280, 720)
    affines = geometry.person_to_photo(people.center, people.scale, size)
    side = geometry.stored_size(size)
    margin = (side - size) // 2
    outside = 0
    for matrix in affines:
        stored = warp_person(photo, matrix, side)
        inner = stored[margin : margin + size, margin : margin + size]
        box = matrix.copy()
        box[:, 2] += margin * np.diag(box)
        direct = cv2.warpAffine(photo, box, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        assert np.array_equal(inner, direct[..., ::-1])
        outside += bool((inner.sum(-1) == 0).mean() > 0.05)
    assert outside >= 10  # people partly outside the photograph are among them


@pytest.mark.parametrize("scale", [20.0, 60.0])
def test_slice_is_the_direct_warp_for_a_huge_box(scale: float) -> None:
    """Beyond 4,096 px, 2^-12 is finer than the resolution of a 32-bit float."""
    photo = picture(2, 1600, 1200)
    rng = np.random.default_rng(0)
    for matrix in geometry.person_to_photo(rng.uniform(0, 1600, (10, 2)), scale * rng.uniform(0.5, 1.5, 10), 256):
        inner = warp_person(photo, matrix, 448)[96:352, 96:352]
        assert np.array_equal(inner, warp_person(photo, geometry.translate_input(matrix, 96), 256))


def test_squeeze_maps_edges_to_edges() -> None:
    matrix = geometry.squeeze_to_photo(np.array([[640, 480]]), 256)
    # pixel centres: the left edge of the result, x = -0.5, is the left edge of the photograph
    ends = geometry.apply(matrix, np.array([[[-0.5, -0.5], [255.5, 255.5], [127.5, 127.5]]]))
    assert ends[0].tolist() == [[-0.5, -0.5], [639.5, 479.5], [319.5, 239.5]]


def test_squeeze_is_what_opencv_does() -> None:
    """A bright column at x = 100 of 640 px lies where the affine says."""
    photo = np.zeros((480, 640, 3), np.uint8)
    photo[:, 100:105] = 255
    small = cv2.resize(photo, (256, 256), interpolation=cv2.INTER_LINEAR)[128, :, 0].astype(float)
    found = (small * np.arange(256)).sum() / small.sum()
    to_crop = geometry.invert(geometry.squeeze_to_photo(np.array([[640, 480]]), 256))
    assert found == pytest.approx(geometry.apply(to_crop, np.array([[[102.0, 0.0]]]))[0, 0, 0], abs=0.25)


def test_apply_and_invert_by_hand() -> None:
    matrix = np.array([[[0.0, -2.0, 5.0], [2.0, 0.0, 7.0]]])  # a quarter turn, enlarged twice
    assert geometry.apply(matrix, np.array([[[3.0, 4.0]]])).tolist() == [[[-3.0, 13.0]]]
    assert geometry.invert(matrix)[0] == pytest.approx(np.array([[0, 0.5, -3.5], [-0.5, 0, 2.5]]))
    many = np.repeat(matrix, 3, axis=0)
    assert geometry.apply(many, np.ones((3, 2, 2))).shape == (3, 2, 2)
