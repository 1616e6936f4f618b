"""MATLAB 5 arrays: as scipy reads them, and no crash on any bytes."""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from pose_topo.data.matlab import read_array

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


def test_the_other_byte_order_by_hand(tmp_path):
    def element(kind: int, content: bytes) -> bytes:
        return kind.to_bytes(4, "big") + len(content).to_bytes(4, "big") + content + bytes(-len(content) % 8)

    small = (1).to_bytes(2, "big") + (1).to_bytes(2, "big") + b"x\0\0\0"  # the name, one byte in the tag itself
    dims = element(5, np.array([2, 2], ">i4").tobytes())
    body = (
        element(6, np.array([6, 0], ">u4").tobytes())
        + dims
        + small
        + element(4, np.array([1, 2, 3, 4], ">u2").tobytes())
    )
    (tmp_path / "a.mat").write_bytes(bytes(124) + b"\1\0MI" + element(14, body))
    assert read_array(tmp_path / "a.mat", "x").tolist() == [[1.0, 3.0], [2.0, 4.0]]


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
