"""Decoding and warping one photograph."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_people import picture

from pose_topo.data.crops import CropSettings, KeptArrays, read_photograph, squeeze, warp_people, warp_person


def write(path: Path, pixels: np.ndarray) -> bytes:
    cv2.imwrite(str(path), pixels)
    return path.read_bytes()


def test_reads_a_whole_jpeg(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", picture(0))
    read = read_photograph(tmp_path / "a.jpg")
    assert read is not None
    assert np.array_equal(read, cv2.imread(str(tmp_path / "a.jpg")))


@pytest.mark.parametrize("keep", [0, 1, 2, 100, 0.3, 0.9, -2, -1])
def test_cut_off_jpeg_is_unreadable(tmp_path: Path, keep: float) -> None:
    whole = write(tmp_path / "a.jpg", picture(0))
    cut = whole[: int(keep * len(whole))] if 0 < keep < 1 else whole[: int(keep)]
    (tmp_path / "a.jpg").write_bytes(cut)
    assert read_photograph(tmp_path / "a.jpg") is None


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_cut_off_png_is_unreadable_without_a_word(tmp_path: Path, keep: float, capfd: pytest.CaptureFixture) -> None:
    whole = write(tmp_path / "a.png", picture(0))
    assert read_photograph(tmp_path / "a.png") is not None
    (tmp_path / "a.png").write_bytes(whole[: int(keep * len(whole))])
    assert read_photograph(tmp_path / "a.png") is None
    assert capfd.readouterr().err == ""


def test_other_unreadable_files(tmp_path: Path) -> None:
    assert read_photograph(tmp_path / "absent.jpg") is None
    assert read_photograph(tmp_path) is None  # a folder
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    assert read_photograph(tmp_path / "text.jpg") is None
    whole = bytearray(write(tmp_path / "huge.jpg", picture(0)))
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = b"\xff\xff\xff\xff"  # claims 65,535 x 65,535 pixels
    (tmp_path / "huge.jpg").write_bytes(whole)
    assert read_photograph(tmp_path / "huge.jpg") is None


def test_bytes_after_the_end_are_harmless(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.jpg", picture(0))
    (tmp_path / "a.jpg").write_bytes(whole + b"\0" * 100)
    assert read_photograph(tmp_path / "a.jpg") is not None


def test_a_video_after_the_end_is_harmless_and_a_thumbnail_is_no_end(tmp_path: Path) -> None:
    """Phones append videos of megabytes, and put a thumbnail, a JPEG with an end of its own, into the header."""
    whole = write(tmp_path / "a.jpg", picture(0))
    thumbnail = cv2.imencode(".jpg", picture(0)[::8, ::8])[1].tobytes()
    header = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail
    (tmp_path / "a.jpg").write_bytes(whole[:2] + header + whole[2:] + b"\0" * 100_000)
    assert read_photograph(tmp_path / "a.jpg") is not None
    (tmp_path / "a.jpg").write_bytes(whole[:2] + header + whole[2:-2])
    assert read_photograph(tmp_path / "a.jpg") is None


def turned(path: Path, orientation: int) -> None:
    """Give a JPEG an EXIF orientation."""
    tag = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    exif = b"\xff\xe1" + (len(tag) + 8).to_bytes(2, "big") + b"Exif\0\0" + tag
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + exif + whole[2:])


def test_exif_rotation_is_ignored(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", picture(0))
    turned(tmp_path / "a.jpg", 6)  # a quarter turn
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == (640, 480, 3)  # so the tag is a real one
    assert read_photograph(tmp_path / "a.jpg").shape == (480, 640, 3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("orientation", "shape", "corner"),
    [(1, (40, 60), (0, 0)), (3, (40, 60), (-1, -1)), (6, (60, 40), (0, -1)), (8, (60, 40), (-1, 0))],
)
def test_upright_puts_the_top_left_corner_where_exif_says(tmp_path: Path, orientation, shape, corner) -> None:
    """6: the camera was turned left, so the stored top left is the top right of what was seen; and so on."""
    white_corner = np.zeros((40, 60, 3), np.uint8)
    white_corner[:16, :16] = 255
    write(tmp_path / "a.jpg", white_corner)
    turned(tmp_path / "a.jpg", orientation)
    read = read_photograph(tmp_path / "a.jpg", upright=True)
    assert read is not None and read.shape[:2] == shape
    corners = {(y, x): read[y, x, 0] > 128 for y in (0, -1) for x in (0, -1)}
    assert [place for place, white in corners.items() if white] == [corner]


def test_warp_shifts_swaps_colours_and_fills_with_zero() -> None:
    photo = np.zeros((6, 8, 3), np.uint8)
    photo[2, 3] = (10, 20, 30)  # BGR
    crop = warp_person(photo, np.array([[1.0, 0, -1], [0, 1.0, -2]]), 10)
    assert crop[4, 4].tolist() == [30, 20, 10]
    assert crop.sum() == 60
    half = warp_person(photo, np.array([[1.0, 0, -0.5], [0, 1.0, 0]]), 10)
    assert half[2, 3].tolist() == half[2, 4].tolist() == [15, 10, 5]


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    shrink=st.floats(0.05, 9),
    turn=st.floats(-4, 4),
    middle=st.tuples(st.floats(-400, 400), st.floats(-400, 400)),
    seed=st.integers(0, 999),
)
def test_every_crop_is_the_plain_warp_of_the_photograph(
    size: tuple[int, int], shrink: float, turn: float, middle: tuple[float, float], seed: int
) -> None:
    """Bit by bit OpenCV's own with three channels, also in arrays that held another person before."""
    photo = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    first = np.array([[shrink, 0, middle[0]], [0, shrink, middle[1]]])
    across, down = shrink * np.cos(turn), shrink * np.sin(turn)
    second = np.array([[across, -down, middle[1]], [down, across, middle[0]]])
    kept = KeptArrays()
    for array in (kept.get("bgra", 300, 300, 4), kept.get("warped", 64, 64, 4), kept.get("crop", 64, 64, 3)):
        array[:] = 7
    matrices = np.stack([first, second, first])
    for matrix, crop in zip(matrices, warp_people(photo, matrices, 64, kept=kept), strict=True):
        plain = cv2.warpAffine(photo, matrix, (64, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        assert np.shares_memory(crop, kept.get("crop", 64, 64, 3))
        assert np.array_equal(crop, plain[..., ::-1])


def test_antialias_averages_before_it_shrinks() -> None:
    """A checkerboard of single pixels shrunk four times is grey, not black or white."""
    photo = np.indices((400, 400)).sum(0)[..., None].repeat(3, -1) % 2 * np.uint8(255)
    matrix = np.array([[4.0, 0, 20], [0, 4.0, 20]])
    aliased = warp_person(photo.astype(np.uint8), matrix, 64)
    smooth = warp_person(photo.astype(np.uint8), matrix, 64, antialias=True)
    assert set(np.unique(aliased)) <= {0, 255}
    assert np.abs(smooth.astype(int) - 127.5).max() <= 1


def test_antialias_keeps_the_place() -> None:
    """The centre of a bright disc lies where the affine says, with and without."""
    photo = np.zeros((600, 800, 3), np.uint8)
    cv2.circle(photo, (400, 300), 30, (255, 255, 255), -1, cv2.LINE_AA)
    matrix = np.array([[5.0, 0, 103.0], [0, 5.0, 52.0]])
    for antialias, tolerance in ((False, 0.1), (True, 0.05)):
        crop = warp_person(photo, matrix, 100, antialias)[..., 0].astype(float)
        y, x = (np.indices(crop.shape) * crop).sum((1, 2)) / crop.sum()
        assert (x, y) == pytest.approx(((400 - 103) / 5, (300 - 52) / 5), abs=tolerance)


def test_antialias_leaves_an_enlarging_warp_alone() -> None:
    matrix = np.array([[1.9, 0, 3.0], [0, 1.9, 5.0]])
    photo = picture(3)
    assert np.array_equal(warp_person(photo, matrix, 64, True), warp_person(photo, matrix, 64))


def test_squeeze_is_the_whole_picture() -> None:
    photo = np.zeros((40, 80, 3), np.uint8)
    photo[:, :40] = (1, 2, 3)
    small = squeeze(photo, 20)
    assert small.shape == (20, 20, 3)
    assert small[:, :10].reshape(-1, 3).tolist() == [[3, 2, 1]] * 200
    assert not small[:, 10:].any()


def test_sides() -> None:
    assert CropSettings("person", 256).side == 448
    assert CropSettings("squeeze", 256).side == 256
