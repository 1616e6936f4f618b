"""Broken annotation files: each person is parsed correctly or counted as left out, without a traceback."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from pose_topo.core.errors import PoseTopoError
from pose_topo.data.mpii import FARTHEST, load_people
from pose_topo.data.people import People

EMPTY = np.zeros((0, 0))
GONE = object()  # the field is absent

ODD = (
    [GONE, EMPTY, "1", "0", "abc", "", np.uint8(7), np.uint16(300), np.int16(-3), float("nan"), float("inf"), -1.5, 0.0,
     1e-9, 1e12, 1e308, 3 + 4j, True, np.array([1.0, 2.0]), np.array([["ab", "cd"]]), {"x": 1.0}, {"y": EMPTY},
     np.array([[({"x": 1.0}, {"x": 2.0})]], [("x", object), ("y", object)]),
     np.array([[(1.0, 2.0), (3.0, 4.0)]], [("x", object), ("y", object)])]
)  # fmt: skip
odd = st.sampled_from(ODD)


def mostly(good: st.SearchStrategy, bad: st.SearchStrategy = odd, of: int = 25) -> st.SearchStrategy:
    """Draw from `bad` about once in `of` times."""
    return st.sampled_from([False] * (of - 1) + [True]).flatmap(lambda broken: bad if broken else good)


number = mostly(st.one_of(st.floats(1, 2000), st.integers(0, 255).map(np.uint8)))
identity = mostly(mostly(st.integers(0, 15), st.integers(-2, 20).map(float)))


def struct(**fields: Any) -> st.SearchStrategy:
    return st.fixed_dictionaries(fields).map(lambda d: {k: v for k, v in d.items() if v is not GONE})


def rows(items: st.SearchStrategy, most: int) -> st.SearchStrategy:
    """No, one or several structs, as MATLAB stores them."""
    return st.lists(items, max_size=most).map(lambda found: as_struct_array(found) if found else EMPTY)


def as_struct_array(dicts: list[dict]) -> np.ndarray:
    names = sorted({name for d in dicts for name in d}) or ["nothing"]
    array = np.empty((1, len(dicts)), dtype=[(name, object) for name in names])
    for place, d in enumerate(dicts):
        for name in names:
            array[0, place][name] = d.get(name, EMPTY)
    return array


point = struct(x=number, y=number, id=identity, is_visible=st.one_of(st.sampled_from([0, 1, "0", "1"]), odd))
rect = struct(
    x1=number, y1=number, x2=number, y2=number, scale=mostly(st.floats(0.3, 8)),
    objpos=mostly(struct(x=number, y=number)), annopoints=mostly(struct(point=rows(point, 4))),
)  # fmt: skip
image = struct(
    image=mostly(struct(name=mostly(st.sampled_from(["1.jpg", "2.jpg"]), st.sampled_from(["../x.jpg", "a\nb", 5.0])))),
    annorect=mostly(rows(rect, 3)),
)


@pytest.fixture(scope="module")
def mat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken") / "a.mat"


def test_random_files_are_parsed_or_counted(mat: Path) -> None:
    kept = []

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(images=st.lists(image, min_size=1, max_size=3))
    def check(images: list[dict]) -> None:
        savemat(mat, {"RELEASE": {"annolist": as_struct_array(images)}})
        try:
            people, counts = load_people(mat)
        except PoseTopoError as error:
            assert "no annotated person" in str(error)
            return
        kept.append(len(people))
        assert counts.rects == counts.kept + sum(counts.left_out.values())
        assert counts.kept == len(people) > 0
        check_sound(people)
        for row in range(len(people)):
            check_against_the_file(people, row, images)

    check()
    assert sum(kept) > 12  # else the test shows nothing


PLACES = [
    ["image"], ["image", "name"], ["annorect"],
    *(["annorect", name] for name in ("x1", "y1", "x2", "y2", "scale", "objpos", "annopoints")),
    ["annorect", "objpos", "x"], ["annorect", "objpos", "y"], ["annorect", "annopoints", "point"],
    *(["annorect", "annopoints", "point", name] for name in ("x", "y", "id", "is_visible")),
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_every_odd_value_in_every_place(mat: Path, place: list[str]) -> None:
    """One field of one person is broken at a time; the other person must be read unchanged."""
    for value in ODD:
        images = [as_structs(a_person(name)) for name in ("1.jpg", "2.jpg")]
        images[1] = as_structs(changed(a_person("2.jpg"), place, value))
        savemat(mat, {"RELEASE": {"annolist": as_struct_array(images)}})
        people, counts = load_people(mat)
        assert counts.rects == counts.kept + sum(counts.left_out.values()) and people.annolist_index[0] == 0
        assert people.labelled[0].nonzero()[0].tolist() == [0, 9] and people.visible[0].sum() == 2
        check_sound(people)
        for row in range(len(people)):
            check_against_the_file(people, row, images)


def a_person(name: str) -> dict:
    """Return a complete entry with one annorect of two joints, as nested dicts."""
    points = [{"x": 50.0 + k, "y": 60.0 + k, "id": k, "is_visible": "1"} for k in (0, 9)]
    rect = {"x1": 10, "y1": 20, "x2": 30.5, "y2": 50, "scale": 1.5, "objpos": {"x": 100, "y": np.uint8(200)}}
    return {"image": {"name": name}, "annorect": [{**rect, "annopoints": {"point": points}}]}


def changed(entry: Any, place: list[str], value: Any) -> Any:
    """Return the entry with one field (of the first struct, if there are several) replaced or removed."""
    if isinstance(entry, list):
        return [changed(entry[0], place, value), *entry[1:]]
    name, *rest = place
    new = changed(entry[name], rest, value) if rest else value
    return {key: new if key == name else old for key, old in entry.items() if key != name or new is not GONE}


def as_structs(entry: Any) -> Any:
    """Convert lists of dicts to struct arrays, as MATLAB stores them."""
    if isinstance(entry, list):
        return as_struct_array([as_structs(one) for one in entry])
    return {key: as_structs(value) for key, value in entry.items()} if isinstance(entry, dict) else entry


def check_sound(people: People) -> None:
    assert np.isfinite(people.center).all()
    assert np.isfinite(people.head_box).all()
    assert (people.scale * 200 >= 2).all()
    assert np.array_equal(np.isnan(people.joints).any(-1), ~people.labelled)
    assert people.labelled.any(1).all()
    assert not (people.visible & ~people.labelled).any()
    for values in (people.joints, people.center, people.head_box):
        assert np.nanmax(np.abs(values)) <= FARTHEST + 1
    assert set(people.names) <= {"1.jpg", "2.jpg", "1", "0", "abc"}


def check_against_the_file(people: People, row: int, images: list[dict]) -> None:
    """Check every value of the person at `row` against the rect that its numbers name."""
    entry = images[people.annolist_index[row]]
    assert people.names[row] == entry["image"]["name"]
    assert people.rects_in_image[row] == entry["annorect"].shape[1]
    given_rect = entry["annorect"][0, people.person[row]]
    assert people.center[row].tolist() == [float(given_rect["objpos"][axis]) - 1 for axis in ("x", "y")]
    assert people.scale[row] == float(given_rect["scale"])
    assert people.head_box[row].tolist() == [float(given_rect[name]) - 1 for name in ("x1", "y1", "x2", "y2")]
    given_points = {int(float(p["id"])): p for p in given_rect["annopoints"]["point"][0]}
    assert len(given_points) == given_rect["annopoints"]["point"].shape[1]  # no id twice
    for k in people.labelled[row].nonzero()[0]:
        assert people.joints[row, k].tolist() == [float(given_points[k][axis]) - 1 for axis in ("x", "y")]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(release=st.one_of(odd.filter(lambda v: v is not GONE), struct(annolist=odd), struct(annolist=struct(image=odd))))
def test_any_value_for_release(mat: Path, release: Any) -> None:
    savemat(mat, {"RELEASE": release})
    with pytest.raises(PoseTopoError, match="no annotated person"):
        load_people(mat)
