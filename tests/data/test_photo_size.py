"""Sizes from headers are those that decoding gives."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_topo.data.crops import _jpeg_size, photo_size, photo_sizes, read_photograph

PICTURE = np.random.default_rng(0).integers(0, 256, (37, 301, 3), dtype=np.uint8)


def jpeg(picture: np.ndarray = PICTURE, **flags: int) -> bytes:
    given = [value for name, flag in flags.items() for value in (getattr(cv2, f"IMWRITE_JPEG_{name}"), flag)]
    return cv2.imencode(".jpg", picture, given)[1].tobytes()


def with_thumbnail(data: bytes) -> bytes:
    """An EXIF segment that says "turned by 90 degrees" and holds a whole smaller JPEG, and fill bytes behind it."""
    inside = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0" + jpeg(PICTURE[:8, :8])
    return data[:2] + b"\xff\xe1" + (len(inside) + 2).to_bytes(2, "big") + inside + b"\xff\xff" + data[2:]


@pytest.mark.parametrize(
    "data",
    [
        jpeg(),
        jpeg(PROGRESSIVE=1),
        jpeg(OPTIMIZE=1, RST_INTERVAL=4),
        jpeg(PICTURE[..., 0]),
        with_thumbnail(jpeg()),
        cv2.imencode(".png", PICTURE)[1].tobytes(),
    ],
    ids=["baseline", "progressive", "restarts", "grey", "thumbnail", "png"],
)
def test_the_header_says_what_decoding_gives(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    assert photo_size(path) == (301, 37)
    photo = read_photograph(path)
    assert photo is not None and photo.shape[:2] == (37, 301)


def test_a_jpeg_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pose_topo.data.crops.read_photograph", None)
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_thumbnail(jpeg()))
    assert photo_size(path) == (301, 37)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 20, 160, 166])
def test_a_header_cut_off_is_no_picture(tmp_path: Path, length: int) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg()[:length])
    assert photo_size(path) is None


def test_sizes_of_people_share_their_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "b.jpg").write_bytes(jpeg(PICTURE[:9]))
    read = []
    monkeypatch.setattr("pose_topo.data.crops._jpeg_size", lambda stream: read.append(1) or _jpeg_size(stream))
    found = photo_sizes(tmp_path, ["b.jpg", "a.jpg", "b.jpg"])
    assert found is not None and found.tolist() == [[301, 9], [301, 37], [301, 9]] and len(read) == 2
    assert photo_sizes(tmp_path, ["a.jpg", "missing.jpg"]) is None


def test_rendered_photographs(small_data: Path) -> None:
    for path in sorted((small_data / "images").iterdir())[:4]:
        photo = read_photograph(path)
        assert photo is not None and photo_size(path) == (photo.shape[1], photo.shape[0])


@pytest.mark.data
def test_real_photographs(real_data: Path) -> None:
    for path in sorted((real_data / "mini-mpii" / "images").iterdir()):
        photo = read_photograph(path)
        assert photo is not None and photo_size(path) == (photo.shape[1], photo.shape[0])
