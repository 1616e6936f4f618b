"""A box -> the network's input: numbers worked out by hand."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pose_topo.core.errors import UsageError
from pose_topo.data import crops as boxes
from pose_topo.data import geometry
from pose_topo.data.crops import squeeze
from pose_topo.study.protocols import DEMO, PAPER, STANDARD


def photo(height: int = 480, width: int = 640) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3", "x,y,w,h"),
        ("1,2,3,4,5", "x,y,w,h"),
        ("a,b,c,d", "x,y,w,h"),
        ("", "x,y,w,h"),
        ("1;2;3;4", "x,y,w,h"),
        ("1,2,0,4", "positive"),
        ("1,2,3,-4", "positive"),
        ("nan,2,3,4", "at most"),
        ("1,2,inf,4", "at most"),
        ("1,2,3,1e300", "at most"),
    ],
)
def test_a_badly_written_box_is_refused(text, words):
    with pytest.raises(UsageError, match="--box") as error:
        boxes.parse_box(text)
    assert words in str(error.value)


def test_a_box_is_four_numbers():
    assert boxes.parse_box("100,50.5,-3e0, 400".replace("-3e0", "3e0")) == (100.0, 50.5, 3.0, 400.0)


def test_which_boxes_touch_a_photograph():
    picture = photo(100, 200)
    for box in ((0, 0, 200, 100), (-10, -10, 11, 11), (199, 99, 5, 5), (-50, -50, 900, 900)):
        assert boxes.touches(box, picture)
    for box in ((200, 0, 5, 5), (0, 100, 5, 5), (-10, 0, 10, 5), (0, -10, 5, 10)):
        assert not boxes.touches(box, picture)


def test_a_persons_box_by_hand():
    """300 x 400 at (100, 50): centre (250, 250); side 1.25 * 400 = 500, so 500 / 128 = 3.90625 a pixel of the input,
    whose pixel 64 is the centre: pixel 0 lies at 250 - 64 * 3.90625 = 0."""
    _, affine = boxes.network_input(photo(), (100, 50, 300, 400), DEMO)
    assert affine.tolist() == [[3.90625, 0, 0], [0, 3.90625, 0]]
    assert geometry.apply(affine[None], np.array([[[64.0, 64.0], [0, 0], [128, 32]]]))[0].tolist() == [
        [250, 250], [0, 0], [500, 125],
    ]  # fmt: skip


def test_a_squeezed_box_by_hand():
    """128 x 256 at (10, 20) on 256 pixels: 0.5 and 1 a pixel; the outer edges of both coincide."""
    picture = photo()
    crop, affine = boxes.network_input(picture, (10, 20, 128, 256), PAPER)
    assert affine.tolist() == [[0.5, 0, 0.25 - 0.5 + 10], [0, 1, 20]]
    assert np.array_equal(crop, squeeze(picture[20:276, 10:138], 256))


def test_a_squeezed_box_is_rounded_outwards_and_clipped():
    picture = photo(100, 200)
    crop, affine = boxes.network_input(picture, (-30.5, 40.5, 60, 900), PAPER)
    assert np.array_equal(crop, squeeze(picture[40:, :30], 256))
    corners = np.array([[[-0.5, -0.5], [255.5, 255.5]]])
    assert geometry.apply(affine[None], corners)[0].tolist() == [[-0.5, 39.5], [29.5, 99.5]]


def test_the_input_is_opencvs_own_warp_in_rgb():
    picture = photo()
    crop, affine = boxes.network_input(picture, (200, 100, 150, 160), replace(STANDARD, antialias=False))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    assert affine[0, 0] == 200 / 256
    assert np.array_equal(crop, cv2.warpAffine(picture, affine, (256, 256), flags=flags)[..., ::-1])


@pytest.mark.parametrize(("width", "smooth"), [(800, False), (840, True)])
def test_a_photograph_shrunk_four_times_is_averaged_first(width, smooth):
    """1.25 * 819.2 = 4 * 256. A checkerboard of single pixels shrunk so much is grey only if it was averaged."""
    picture = (np.indices((1200, 1200)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    crop, _ = boxes.network_input(picture, (100, 100, width, width), STANDARD)
    assert (np.abs(crop[100:150, 100:150].astype(int) - 127).max() <= 2) == smooth
