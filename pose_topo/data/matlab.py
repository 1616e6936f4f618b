"""Read one numeric array from a MATLAB 5 file of unknown origin, such as a file of predictions.

`scipy.io.loadmat` can crash the interpreter on a file with a few changed bytes; this reader raises an error.
Format: MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEADER = 128
MATRIX, COMPRESSED = 14, 15
# how numbers are stored: a double array of whole numbers may be stored as bytes
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
# the classes of numeric arrays; the others are cell, struct, text and sparse
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX = 0x800
MOST_BYTES = 1 << 30  # unpacked


def read_array(path: Path, name: str) -> NDArray:
    """Return the real numeric array `name`.

    Raises:
        KeyError: no such variable.
        TypeError: it is not an array of real numbers.
        ValueError: not a MATLAB 5 file, or broken.
    """
    content = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("not a MATLAB 5 file")
    for kind, body in _elements(content[HEADER:], order):
        if kind == COMPRESSED:
            unpacked = next(_elements(_unpack(body), order), None)
            if unpacked is None:
                raise ValueError("an empty variable")
            kind, body = unpacked
        if kind == MATRIX:
            parts = _elements(body, order)
            flags, dims, element_name = (next(parts, (0, b""))[1] for _ in range(3))
            if element_name.decode("latin-1") == name:
                return _array(flags, dims, next(parts, (0, b"")), order)
    raise KeyError(name)


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each element. Elements start at multiples of 8 bytes, except after compressed ones."""
    at, word = 0, "little" if order == "<" else "big"
    while at + 8 <= len(content):
        kind = int.from_bytes(content[at : at + 4], word)
        if kind >> 16:  # a small element: up to 4 bytes, within the tag
            size, kind, start = kind >> 16, kind & 0xFFFF, at + 4
            end = at + 8
            if size > 4:
                raise ValueError("a broken element")
        else:
            size, start = int.from_bytes(content[at + 4 : at + 8], word), at + 8
            end = start + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > len(content):
            raise ValueError("the file ends too early")
        yield kind, content[start : start + size]
        at = end


def _unpack(packed: bytes) -> bytes:
    try:
        unpacked = zlib.decompressobj().decompress(packed, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"a broken variable: {error}") from None
    if len(unpacked) == MOST_BYTES:
        raise ValueError("a variable larger than any data set")
    return unpacked


def _array(flags: bytes, dims: bytes, numbers: tuple[int, bytes], order: str) -> NDArray:
    flag = int(np.frombuffer(flags[:4], f"{order}u4").sum())
    if flag & 0xFF not in CLASSES or flag & COMPLEX:
        raise TypeError("not an array of real numbers")
    kind, stored = numbers
    shape = tuple(np.frombuffer(dims, f"{order}i4").tolist())
    if kind not in STORED or len(stored) != math.prod(shape) * int(STORED[kind][1]) or min(shape, default=-1) < 0:
        raise ValueError("its numbers do not fill its shape")
    with np.errstate(invalid="ignore"):  # a broken file may store NaN in a whole-number array
        values = np.frombuffer(stored, order + STORED[kind]).astype(CLASSES[flag & 0xFF])
    return values.reshape(shape, order="F")
