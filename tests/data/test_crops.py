"""One photograph: its size, its pixels, its crops, and the network's input at a box."""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_people import picture

from pose_topo.core.errors import UsageError
from pose_topo.data import crops, geometry
from pose_topo.data.crops import photo_size, photo_sizes, read_photograph, squeeze, warp_people, warp_person
from pose_topo.data.people import CropSettings
from pose_topo.study.protocols import PAPER, SMALL, STANDARD

# ---- Reading.


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
def test_cut_off_png_is_unreadable_and_prints_nothing(
    tmp_path: Path, keep: float, capfd: pytest.CaptureFixture
) -> None:
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


def test_a_thumbnail_in_the_header_is_not_the_end_of_the_picture(tmp_path: Path) -> None:
    """Phones append videos, and put a thumbnail, which is a JPEG with its own end marker, into the header."""
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
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == (640, 480, 3)  # OpenCV understands the tag
    assert read_photograph(tmp_path / "a.jpg").shape == (480, 640, 3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("orientation", "shape", "corner"),
    [(1, (40, 60), (0, 0)), (3, (40, 60), (-1, -1)), (6, (60, 40), (0, -1)), (8, (60, 40), (-1, 0))],
)
def test_upright_turns_the_photograph_as_exif_says(tmp_path: Path, orientation, shape, corner) -> None:
    """With orientation 6, for example, the stored top left corner is the top right corner of the turned photograph."""
    white_corner = np.zeros((40, 60, 3), np.uint8)
    white_corner[:16, :16] = 255
    write(tmp_path / "a.jpg", white_corner)
    turned(tmp_path / "a.jpg", orientation)
    read = read_photograph(tmp_path / "a.jpg", upright=True)
    assert read is not None and read.shape[:2] == shape
    corners = {(y, x): read[y, x, 0] > 128 for y in (0, -1) for x in (0, -1)}
    assert [place for place, white in corners.items() if white] == [corner]


# ---- Sizes from the header.

SIZED = np.random.default_rng(0).integers(0, 256, (37, 301, 3), dtype=np.uint8)


def test_size_is_that_of_the_stored_pixels(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", SIZED)
    turned(tmp_path / "a.jpg", 6)  # a quarter turn, which annotations do not use
    write(tmp_path / "b.png", SIZED)
    for name in ("a.jpg", "b.png"):
        photo = read_photograph(tmp_path / name)
        assert photo is not None and photo.shape[:2] == (37, 301)
        assert photo_size(tmp_path / name) == (301, 37)


@pytest.mark.parametrize("length", [0, 1, 2, 5, 20, 160, None])
def test_a_header_that_is_cut_off_has_no_size(tmp_path: Path, length: int | None) -> None:
    whole = write(tmp_path / "a.jpg", SIZED)
    (tmp_path / "a.jpg").write_bytes(b"<html>" * 9 if length is None else whole[:length])
    assert photo_size(tmp_path / "a.jpg") is None
    assert photo_size(tmp_path / "absent.jpg") is None


def test_sizes_of_people_read_each_photograph_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jpg", SIZED)
    write(tmp_path / "b.jpg", SIZED[:9])
    read: list[Path] = []
    monkeypatch.setattr(crops, "photo_size", lambda path: read.append(path) or photo_size(path))
    sizes = photo_sizes(tmp_path, ["b.jpg", "a.jpg", "b.jpg"])
    assert sizes is not None and sizes.tolist() == [[301, 9], [301, 37], [301, 9]] and len(read) == 2
    assert photo_sizes(tmp_path, ["a.jpg", "missing.jpg"]) is None


@pytest.mark.data
def test_sizes_of_real_photographs(real_data: Path) -> None:
    for path in sorted((real_data / "mini-mpii" / "images").iterdir()):
        photo = read_photograph(path)
        assert photo is not None and photo_size(path) == (photo.shape[1], photo.shape[0])


# ---- Crops of annotated people.


def test_pixels_of_crops_belong_to_crops_version() -> None:
    """Without a new CROPS_VERSION, caches would go on serving the crops of the older code."""
    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    affines = geometry.person_to_photo(np.array([[300.0, 200.0], [20.0, 460.0]]), np.array([1.3, 2.9]), 64)
    cut = [crop for antialias in (False, True) for crop in warp_people(photo, affines, 112, antialias)]
    pixels = hashlib.sha256(np.stack([*cut, squeeze(photo, 112)]).tobytes()).hexdigest()[:16]
    assert (crops.CROPS_VERSION, pixels) == (1, "81e6d986e9bb775f"), (
        f"crops have other pixels than before (OpenCV {cv2.__version__}): raise CROPS_VERSION in data/crops.py, "
        "and write the new version and hash here"
    )


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
    """Four channels give the same bits as OpenCV's warp of three."""
    photo = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    first = np.array([[shrink, 0, middle[0]], [0, shrink, middle[1]]])
    across, down = shrink * np.cos(turn), shrink * np.sin(turn)
    second = np.array([[across, -down, middle[1]], [down, across, middle[0]]])
    matrices = np.stack([first, second, first])
    for matrix, crop in zip(matrices, warp_people(photo, matrices, 64), strict=True):
        plain = cv2.warpAffine(photo, matrix, (64, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
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
    """The centre of a bright disc lies where the affine says, with and without area averages."""
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


def test_squeeze_shows_the_whole_photograph() -> None:
    photo = np.zeros((40, 80, 3), np.uint8)
    photo[:, :40] = (1, 2, 3)
    small = squeeze(photo, 20)
    assert small.shape == (20, 20, 3)
    assert small[:, :10].reshape(-1, 3).tolist() == [[3, 2, 1]] * 200
    assert not small[:, 10:].any()


def test_side_of_a_stored_crop() -> None:
    assert CropSettings("person", 256).side == 448
    assert CropSettings("squeeze", 256).side == 256


# ---- The network's input at a box.


def noise(height: int = 480, width: int = 640) -> np.ndarray:
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
def test_a_malformed_box_is_refused(text, words):
    with pytest.raises(UsageError, match="--box") as error:
        crops.parse_box(text)
    assert words in str(error.value)


def test_parse_box():
    assert crops.parse_box("100,50.5,-3e0, 400".replace("-3e0", "3e0")) == (100.0, 50.5, 3.0, 400.0)


def test_which_boxes_touch_a_photograph():
    picture = noise(100, 200)
    for box in ((0, 0, 200, 100), (-10, -10, 11, 11), (199, 99, 5, 5), (-50, -50, 900, 900)):
        assert crops.touches(box, picture)
    for box in ((200, 0, 5, 5), (0, 100, 5, 5), (-10, 0, 10, 5), (0, -10, 5, 10)):
        assert not crops.touches(box, picture)


def test_input_of_a_person_by_hand():
    """The box of 300 x 400 at (100, 50) has its centre at (250, 250). The side is 1.25 * 400 = 500, which is
    500 / 128 = 3.90625 per input pixel. Input pixel 64 is the centre, so pixel 0 lies at 250 - 64 * 3.90625 = 0."""
    _, affine = crops.network_input(noise(), (100, 50, 300, 400), SMALL)
    assert affine.tolist() == [[3.90625, 0, 0], [0, 3.90625, 0]]
    assert geometry.apply(affine[None], np.array([[[64.0, 64.0], [0, 0], [128, 32]]]))[0].tolist() == [
        [250, 250], [0, 0], [500, 125],
    ]  # fmt: skip


def test_squeezed_input_by_hand():
    """A box of 128 x 256 at (10, 20) has 0.5 x 1 photograph pixels per input pixel; the outer edges coincide."""
    picture = noise()
    crop, affine = crops.network_input(picture, (10, 20, 128, 256), PAPER)
    assert affine.tolist() == [[0.5, 0, 0.25 - 0.5 + 10], [0, 1, 20]]
    assert np.array_equal(crop, squeeze(picture[20:276, 10:138], 256))


def test_squeezed_input_is_rounded_outwards_and_clipped():
    picture = noise(100, 200)
    crop, affine = crops.network_input(picture, (-30.5, 40.5, 60, 900), PAPER)
    assert np.array_equal(crop, squeeze(picture[40:, :30], 256))
    corners = np.array([[[-0.5, -0.5], [255.5, 255.5]]])
    assert geometry.apply(affine[None], corners)[0].tolist() == [[-0.5, 39.5], [29.5, 99.5]]


def test_input_is_the_warp_of_opencv_in_rgb():
    picture = noise()
    crop, affine = crops.network_input(picture, (200, 100, 150, 160), replace(STANDARD, antialias=False))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    assert affine[0, 0] == 200 / 256
    assert np.array_equal(crop, cv2.warpAffine(picture, affine, (256, 256), flags=flags)[..., ::-1])


@pytest.mark.parametrize(("width", "smooth"), [(800, False), (840, True)])
def test_input_shrunk_four_times_is_averaged_first(width, smooth):
    """The limit is 1.25 * 819.2 = 4 * 256. A checkerboard of single pixels becomes grey only if it is averaged."""
    picture = (np.indices((1200, 1200)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    crop, _ = crops.network_input(picture, (100, 100, width, width), STANDARD)
    assert (np.abs(crop[100:150, 100:150].astype(int) - 127).max() <= 2) == smooth
