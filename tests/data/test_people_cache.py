"""The parsed annotation is kept, and only a whole one is believed."""

import dataclasses
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from made_up_people import IDS, rect

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import dataset as people_cache
from pose_topo.data.dataset import cached_people
from pose_topo.data.mpii import Census
from pose_topo.data.people import People
from pose_topo.rendering.annotation import ImageEntry, RectEntry, write_mpii_mat


def equal(a: People, b: People) -> bool:
    arrays = [f.name for f in dataclasses.fields(People) if f.name != "images"]
    return a.images == b.images and all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=getattr(a, name).dtype.kind == "f")
        for name in arrays
    )


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "a.mat"
    path.parent.mkdir()
    partly = rect(points=[(3, 4, 7, "0")])
    write_mpii_mat(path, [ImageEntry("ä.jpg", [rect(), rect(scale=0)]), ImageEntry("b.jpg", [partly])])
    return path


def parse_is_not_called(*_: object) -> None:
    raise AssertionError("parsed again")


def test_read_again_without_parsing(mat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(mat.parent.iterdir())
    people, census = cached_people(mat, tmp_path / "cache")
    monkeypatch.setattr(people_cache, "load_people", parse_is_not_called)
    again, census_again = cached_people(mat, tmp_path / "cache")
    assert equal(people, again)
    assert again.sha256() == people.sha256()
    assert census == census_again == Census(images=2, rects=3, kept=2, left_out={"scale not positive": 1})
    assert sorted(mat.parent.iterdir()) == before  # nothing is written beside the data


def test_keyed_by_content(mat: Path, tmp_path: Path) -> None:
    cached_people(mat, tmp_path / "cache")
    write_mpii_mat(mat, [ImageEntry("c.jpg", [rect()])])
    assert cached_people(mat, tmp_path / "cache")[0].names == ["c.jpg"]


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "text", "version"])
def test_damaged_cache_is_made_again(mat: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    people, _ = cached_people(mat, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("people.npz")
    whole = file.read_bytes()
    if damage == "version":
        monkeypatch.setattr(people_cache, "VERSION", people_cache.VERSION + 1)
    elif damage == "bit":
        at = whole.index(people.center.tobytes()) + 3
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    else:
        file.write_bytes({"empty": b"", "cut": whole[:-500], "text": b"hello"}[damage])
    assert equal(cached_people(mat, tmp_path / "cache")[0], people)
    if damage != "version":
        assert file.read_bytes() == whole
    monkeypatch.setattr(people_cache, "load_people", parse_is_not_called)
    assert equal(cached_people(mat, tmp_path / "cache")[0], people)  # and is whole now


def test_no_room_for_a_cache_is_no_error(mat: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(cached_people(mat, tmp_path / "cache")[0]) == 2


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PoseTopoError, match="pose-topo download annotations"):
        cached_people(tmp_path / "no.mat", tmp_path)


@pytest.mark.slow
def test_official_size(tmp_path: Path) -> None:
    """24,987 images, 40,593 rects, 28,883 annotated people: parsed within 25 s and 3 GB, reopened within 0.3 s."""
    write_mpii_mat(tmp_path / "a.mat", official_size(np.random.default_rng(0)))
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    people, census = cached_people(tmp_path / "a.mat", tmp_path)
    parsing, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (census.images, census.rects, census.kept, len(people)) == (24_987, 40_593, 28_883, 28_883)
    opening = []
    for _ in range(3):
        started = time.perf_counter()
        assert equal(cached_people(tmp_path / "a.mat", tmp_path)[0], people)
        opening.append(time.perf_counter() - started)
    print(f"parsed in {parsing:.1f} s, peak {peak / 2**20:.2f} GB (before {peak_before / 2**20:.2f}), {opening}")
    assert parsing < 25
    assert peak < 3 * 2**20
    assert min(opening) < 0.3


def official_size(rng: np.random.Generator) -> list[ImageEntry]:
    """960 images without a rect, 15,715 with one, 8,312 with more; 28,883 annotated people among 40,593 rects."""
    counts = np.concatenate([np.zeros(960, int), np.ones(15_715, int), np.full(8_312, 2)])
    spare = 40_593 - counts.sum()
    counts[-8_312:] += np.bincount(rng.integers(0, 8_312, spare), minlength=8_312)
    annotated = rng.permutation(np.arange(40_593) < 28_883)
    rects = iter(annotated)
    return [
        ImageEntry(f"{k:09d}.jpg", [a_rect(rng, next(rects)) for _ in range(count)]) for k, count in enumerate(counts)
    ]


def a_rect(rng: np.random.Generator, annotated: bool) -> RectEntry:
    x, y = (int(v) for v in rng.integers(200, 900, 2))
    if not annotated:
        return RectEntry(scale=float(rng.uniform(1, 6)), objpos=(x, y))
    xy = rng.integers(1, 1900, (16, 2)).tolist()
    flags = rng.integers(0, 2, 16).tolist()
    return rect(x, y, points=[(a, b, k, str(v)) for (a, b), v, k in zip(xy, flags, IDS, strict=True)], scale=2.5)
