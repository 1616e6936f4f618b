"""No damaged file crashes the interpreter, hangs, fills the memory, runs a program, or ends in a traceback."""

from pathlib import Path

import doors
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", doors.DOORS)
def test_a_thousand_damaged_files(name: str, tmp_path: Path) -> None:
    found = doors.child(name, 0, doors.INPUTS, tmp_path)
    assert found["read"] + found["refused"] == doors.INPUTS
    assert found["peak"] < doors.MOST_MEMORY
    assert min(found["read"], found["refused"]) >= 20  # the damage is neither harmless nor total


@pytest.mark.slow
def test_two_thousand_more_damaged_annotation_files(tmp_path: Path) -> None:
    """SciPy's reader, which stands behind this door, crashes the interpreter on one in a hundred."""
    found = doors.child("annotation of MPII (.mat)", 10_000, 2000, tmp_path)
    assert found["peak"] < doors.MOST_MEMORY and min(found["read"], found["refused"]) >= 50


@pytest.mark.slow
@pytest.mark.data
def test_five_thousand_damaged_annotation_files_of_real_people(tmp_path: Path, real_data: Path) -> None:
    found = doors.child(doors.REAL, 0, 5000, tmp_path)
    assert found["peak"] < doors.MOST_MEMORY and min(found["read"], found["refused"]) >= 100


def test_some_damaged_annotation_files(tmp_path: Path) -> None:
    found = doors.child("annotation of MPII (.mat)", 300, 60, tmp_path)
    assert found["refused"] > 0


def test_the_page_has_every_door() -> None:
    lines = doors.PAGE.read_text(encoding="utf-8").splitlines()
    for name in doors.DOORS:
        (line,) = [line for line in lines if line.startswith(f"| {name} |")]
        inputs, refused, read = (int(cell.replace(",", "")) for cell in line.split("|")[2:5])
        assert inputs == refused + read == doors.INPUTS
