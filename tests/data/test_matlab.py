"""MATLAB 5 arrays: as scipy reads them, and no crash on any bytes."""

import contextlib
import functools
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from pose_topo.data import matlab
from pose_topo.data.matlab import checked_file, read_array

TYPES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=st.sampled_from(TYPES).flatmap(
        lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4))
    ),
    packed=st.booleans(),
)
def test_arrays_come_back(tmp_path, array, packed):
    content = {"before": "text", "cells": np.array([1.0, "two"], object), "preds": array, "after": 1.0}
    savemat(tmp_path / "a.mat", content, do_compression=packed)
    found = read_array(tmp_path / "a.mat", "preds")
    assert found.dtype == array.dtype and found.shape == array.shape
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_what_is_no_number_is_told_apart(tmp_path):
    savemat(tmp_path / "a.mat", {"text": "abc", "struct": {"x": 1.0}, "complex": np.ones((2, 2)) * 1j})
    for name in ("text", "struct", "complex"):
        with pytest.raises(TypeError):
            read_array(tmp_path / "a.mat", name)
    with pytest.raises(KeyError):
        read_array(tmp_path / "a.mat", "preds")


def element(kind, content, order="little"):
    return kind.to_bytes(4, order) + len(content).to_bytes(4, order) + content + bytes(-len(content) % 8)


def array(kind, shape, name, *parts):
    """An array of MATLAB's class `kind`."""
    flags, dims = (np.array(numbers, "<i4").tobytes() for numbers in ([kind, 0], shape))
    return element(14, b"".join((element(6, flags), element(5, dims), element(1, name), *parts)))


def number(name, value):
    return array(6, (1, 1), name, element(9, np.array([value]).tobytes()))


def file_of(path, *variables, packed=False):
    found = b"".join(variables)
    if packed:
        found = zlib.compress(found)
        found = (15).to_bytes(4, "little") + len(found).to_bytes(4, "little") + found
    path.write_bytes(b"\0\1IM".rjust(128) + found)
    return path


def test_the_other_byte_order_by_hand(tmp_path):
    big = functools.partial(element, order="big")
    small = (1).to_bytes(2, "big") + (1).to_bytes(2, "big") + b"x\0\0\0"  # the name, one byte in the tag itself
    dims = big(5, np.array([2, 2], ">i4").tobytes())
    body = big(6, np.array([6, 0], ">u4").tobytes()) + dims + small + big(4, np.array([1, 2, 3, 4], ">u2").tobytes())
    (tmp_path / "a.mat").write_bytes(bytes(124) + b"\1\0MI" + big(14, body))
    assert read_array(tmp_path / "a.mat", "x").tolist() == [[1.0, 3.0], [2.0, 4.0]]


FIELD = element(5, (8).to_bytes(4, "little"))  # the length of a field's name


@pytest.mark.parametrize(
    "content",
    [
        array(matlab.STRUCT, (1, 1 << 30), b"x", FIELD, element(1, b"")),  # of no fields
        array(matlab.TEXT, (1, 1 << 30), b"x", element(16, b"")),  # blanks
        array(matlab.CELL, (1, 1 << 30), b"x"),
        array(6, [1] * 40, b"x", element(9, bytes(8))),
    ],
    ids=["struct", "text", "cell", "dimensions"],
)
def test_a_small_file_does_not_promise_much(tmp_path, content):
    with pytest.raises(ValueError, match=r"impossible shape|without flags, shape"):
        checked_file(file_of(tmp_path / "a.mat", content), "x")


@pytest.mark.parametrize("packed", [True, False])
def test_sizes_are_limited(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(matlab, "MOST_VALUES", 100)
    monkeypatch.setattr(matlab, "MOST_ARRAYS", 100)
    for count, raised in ((100, contextlib.nullcontext()), (101, pytest.raises(ValueError, match="than any data set"))):
        file_of(tmp_path / "a.mat", array(8, (1, count), b"x", element(1, bytes(count))), packed=packed)
        with raised:
            assert read_array(tmp_path / "a.mat", "x").size == count
        cells = array(matlab.CELL, (1, count - 1), b"x", *[element(14, b"")] * (count - 1))
        with raised:
            assert loadmat(checked_file(file_of(tmp_path / "a.mat", cells, packed=packed), "x"))["x"].size == count - 1
    monkeypatch.setattr(matlab, "MOST_BYTES", 500)
    with pytest.raises(ValueError, match="larger than any data set"):
        read_array(file_of(tmp_path / "a.mat", bytes(501), packed=packed), "x")


def test_scipy_reads_what_was_checked(tmp_path):
    """Behind an element whose size is no multiple of 8, SciPy looks for the next one at another place than we do."""
    first = array(8, (1, 4), b"a", element(1, b"1234"))[8:-4]
    hidden = number(b"x", 8.0)[8:]
    of_scipy = np.array([14, len(hidden), len(hidden) - 4], "<u4").tobytes() + hidden[4:]  # we see a tag 4 bytes later
    found = np.array([14, len(first)], "<u4").tobytes() + first + of_scipy
    path = file_of(tmp_path / "a.mat", found + bytes(-len(found) % 8), number(b"x", 7.0))
    assert loadmat(path, variable_names=["x"])["x"].item() == 8.0
    assert loadmat(checked_file(path, "x"))["x"].item() == read_array(path, "x").item() == 7.0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packed=st.booleans(),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(1, 255)), max_size=5),
)
def test_any_bytes_are_read_or_refused(tmp_path, packed, cut, flips):
    savemat(tmp_path / "a.mat", {"preds": np.arange(12.0).reshape(3, 2, 2), "other": "text"}, do_compression=packed)
    content = bytearray((tmp_path / "a.mat").read_bytes())
    for place, bits in flips:
        content[int(place * len(content))] ^= bits
    (tmp_path / "a.mat").write_bytes(content[: int(cut * len(content))] if cut < 0.5 else content)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        assert read_array(tmp_path / "a.mat", "preds").size <= 12 * 8


@pytest.mark.data
def test_the_fields_ground_truth_is_read_as_scipy_reads_it(real_data):
    path = real_data / "mpii-val" / "detections_our_format.mat"
    expected = loadmat(path, mat_dtype=True)  # doubles, though stored as bytes
    for name in ("pos_gt_src", "jnt_missing", "headboxes_src"):
        found = read_array(path, name)
        assert found.dtype == expected[name].dtype and np.array_equal(found, expected[name], equal_nan=True)
