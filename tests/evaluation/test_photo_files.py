"""Which photographs are meant, and what their results are called."""

from pathlib import Path

import pytest

from pose_topo.core.errors import PoseTopoError
from pose_topo.stages.predict import find_photographs


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_equal_stems_keep_apart(tmp_path):
    """Also from a photograph that is called as a numbered one, and where file names know no case."""
    files(tmp_path, "a/x.jpg", "a/x-2.jpg", "b/x.jpg", "b/X.png", "c/x.webp")
    found = find_photographs([tmp_path / "b", tmp_path / "a", tmp_path / "c" / "x.webp"])
    assert [(file.path.relative_to(tmp_path).as_posix(), file.name) for file in found] == [
        ("b/X.png", "X"), ("b/x.jpg", "x-2"), ("a/x-2.jpg", "x-2-2"), ("a/x.jpg", "x-3"), ("c/x.webp", "x-4"),
    ]  # fmt: skip
    assert len({file.name.casefold() for file in found}) == 5


def test_a_folder_gives_its_photographs_and_nothing_else(tmp_path):
    files(tmp_path, "b.JPG", "a.png", "notes.txt", "keypoints.json", "._b.jpg", "a.overlay.png", "sub/c.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert [file.path.name for file in find_photographs([tmp_path])] == ["a.png", "b.JPG"]


def test_a_named_file_is_taken_whatever_it_is_called(tmp_path):
    files(tmp_path, "photo.dat", "a.overlay.png")
    assert len(find_photographs([tmp_path / "photo.dat", tmp_path / "a.overlay.png"])) == 2


def test_a_photograph_named_twice_is_one(tmp_path):
    files(tmp_path, "a.jpg")
    assert len(find_photographs([tmp_path / "a.jpg", tmp_path, tmp_path / ".." / tmp_path.name / "a.jpg"])) == 1


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(PoseTopoError, match=r"absent\.jpg: no such photograph"):
        find_photographs([tmp_path / "absent.jpg"])
    files(tmp_path, "notes.txt")
    with pytest.raises(PoseTopoError, match="no photograph in this folder"):
        find_photographs([tmp_path])
