"""MATLAB 5 files of unknown origin: check one before SciPy reads it, or read one numeric array.

`scipy.io.loadmat` trusts the types and sizes in a file. A few changed bytes can crash the interpreter, and a file of
200 bytes can take 8 GB. `checked_file` walks a variable's elements first and raises an error instead.
Format: MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEADER = 128
MATRIX, COMPRESSED = 14, 15
# how numbers are stored: a double array of whole numbers may be stored as bytes
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
STORED_SIZES = {kind: int(stored[1]) for kind, stored in STORED.items()}
# the classes of numeric arrays; the others are cell, struct, text and sparse
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX = 0x800
CELL, STRUCT, TEXT = 1, 2, 4
TEXT_STORED = {1: 1, 2: 1, 4: 2, 16: 1, 17: 2, 18: 4}  # how text is stored -> bytes per character
SHAPES = range(8, 132, 4)  # bytes of a shape: SciPy reads up to 32 dimensions
DEEPEST = 30  # levels of structs and cells; MPII's annotation has 7
MOST_BYTES = 1 << 29  # unpacked; MPII's annotation has about 170 MB
MOST_ARRAYS = 6_000_000  # with field names; MPII's annotation has about 3 million
MOST_VALUES = 20_000_000  # of a numeric array; MPII has 1.3 million, and COCO 8


def read_array(path: Path, name: str) -> NDArray:
    """Return the real numeric array `name`.

    Raises:
        KeyError: no such variable.
        TypeError: it is not an array of real numbers.
        ValueError: not a MATLAB 5 file, broken, or larger than any data set.
    """
    body = _variable(path, name)[2]
    flag, shape, at = body.header(0, len(body.content))
    if flag & 0xFF not in CLASSES or flag & COMPLEX:
        raise TypeError("not an array of real numbers")
    if math.prod(shape) > MOST_VALUES:
        raise ValueError("an array larger than any data set")
    kind, start, size, _ = body.element(at, len(body.content))
    if kind not in STORED or size != math.prod(shape) * STORED_SIZES[kind]:
        raise ValueError("its numbers do not fill its shape")
    with np.errstate(invalid="ignore"):  # a broken file may store NaN in a whole-number array
        values = np.frombuffer(body.content[start : start + size], body.order + STORED[kind])
        return values.astype(CLASSES[flag & 0xFF]).reshape(shape, order="F")


def checked_file(path: Path, name: str) -> io.BytesIO:
    """Return a MATLAB 5 file in memory with nothing but the variable `name`, for `scipy.io.loadmat`.

    The variable is built of numbers, text, cells and structs whose sizes agree. SciPy gets what was checked, because
    it finds the variables of some damaged files at other places.

    Raises:
        KeyError: no such variable.
        ValueError: not a MATLAB 5 file, broken, or larger than any data set.
    """
    kind, stored, body = _variable(path, name)
    body.check(0, len(body.content), DEEPEST)
    mark = b"\0\1IM" if body.order == "<" else b"\1\0MI"
    return io.BytesIO(b"".join((mark.rjust(HEADER), struct.pack(f"{body.order}II", kind, len(stored)), stored)))


def _variable(path: Path, name: str) -> tuple[int, memoryview, _Elements]:
    """Return type and content of a variable in the file, and the elements of its array."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError("a file larger than any data set")
    content = memoryview(path.read_bytes())
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[HEADER - 2 : HEADER]))
    if order is None:
        raise ValueError("not a MATLAB 5 file")
    file, at = _Elements(content, order), HEADER
    while at + 8 <= len(content):
        kind, start, size, at = file.element(at, len(content))
        stored = content[start : start + size]
        array_kind, array = kind, stored
        if kind == COMPRESSED:
            unpacked = memoryview(_unpack(stored))
            array_kind, start, size, _ = _Elements(unpacked, order).element(0, len(unpacked))
            array = unpacked[start : start + size]
        if array_kind == MATRIX and (body := _Elements(array, order)).name() == name:
            return kind, stored, body
    raise KeyError(name)


def _unpack(packed: memoryview) -> bytes:
    try:
        unpacked = zlib.decompressobj().decompress(packed, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"a broken variable: {error}") from None
    if len(unpacked) == MOST_BYTES:
        raise ValueError("a variable larger than any data set")
    return unpacked


class _Elements:
    """The elements of a file or an array, found by offsets: MPII's annotation has two million arrays."""

    def __init__(self, content: memoryview, order: str) -> None:
        self.content, self.order = content, order
        self.arrays = 0
        self.pair = struct.Struct(f"{order}II").unpack_from

    def element(self, at: int, end: int) -> tuple[int, int, int, int]:
        """Return type, start and size of the element at `at`, which lies before `end`, and where the next begins."""
        if at + 8 > end:
            raise ValueError("an element is missing")
        kind, size = self.pair(self.content, at)
        if kind >> 16:  # a small element: up to 4 bytes, within the tag
            size, kind, start, after = kind >> 16, kind & 0xFFFF, at + 4, at + 8
            if size > 4:
                raise ValueError("a broken element")
        else:
            start, after = at + 8, at + 8 + (size if kind == COMPRESSED else size + 7 & ~7)
        if start + size > end:
            raise ValueError("an element ends after the array that holds it")
        return kind, start, size, after

    def name(self) -> str | None:
        """Return an array's name, its third element. None if there is no such element."""
        at = start = size = 0
        for _ in range(3):
            if at + 8 > len(self.content):
                return None
            _, start, size, at = self.element(at, len(self.content))
        return bytes(self.content[start : start + size]).decode("latin-1")

    def header(self, at: int, end: int) -> tuple[int, tuple[int, ...], int]:
        """Return flags and shape of the array at `at`, and where its content begins.

        Raises:
            ValueError: they and the name are not the array's first elements, or no array of this shape fits the file.
        """
        flags_kind, flags, flags_size, at = self.element(at, end)
        dims_kind, dims, dims_size, at = self.element(at, end)
        name_kind, _, _, at = self.element(at, end)
        if (flags_kind, flags_size, dims_kind, name_kind) != (6, 8, 5, 1) or dims_size not in SHAPES:
            raise ValueError("an array without flags, shape and name")
        shape = struct.unpack_from(f"{self.order}{dims_size // 4}i", self.content, dims)
        if min(shape) < 0 or math.prod(shape) > end - flags:  # an item takes at least a byte
            raise ValueError("an array of impossible shape")
        return self.pair(self.content, flags)[0], shape, at

    def check(self, at: int, end: int, depth: int) -> None:
        """Raise ValueError unless the elements have the types and sizes that the array's class and shape need."""
        self.arrays += 1
        if self.arrays > MOST_ARRAYS:
            raise ValueError("more arrays than any data set")
        if at == end:
            return  # an empty array may be stored without content
        if depth == 0:
            raise ValueError("structs within structs without end")
        flag, shape, at = self.header(at, end)
        kind, count = flag & 0xFF, math.prod(shape)
        if kind == STRUCT:
            length_kind, start, size, at = self.element(at, end)
            names_kind, _, names_size, at = self.element(at, end)
            length = int.from_bytes(self.content[start : start + size], "little" if self.order == "<" else "big")
            if (length_kind, size, names_kind) != (5, 4, 1) or not 0 < length <= 64 or names_size % length:
                raise ValueError("a struct whose field names do not fill their places")
            count *= names_size // length
            self.arrays += names_size // length
        if kind in (CELL, STRUCT):
            for _ in range(count):
                element, start, size, at = self.element(at, end)
                if element != MATRIX:
                    raise ValueError("a field that is no array")
                self.check(start, start + size, depth - 1)
            return
        if kind not in CLASSES and kind != TEXT:
            raise ValueError("an array that is neither numbers, text, cells nor structs")
        sizes = TEXT_STORED if kind == TEXT else STORED_SIZES
        for _ in range(2 if flag & COMPLEX else 1):
            stored, _, size, at = self.element(at, end)
            if stored not in sizes or (kind != TEXT and size != count * sizes[stored]):
                raise ValueError("its numbers do not fill its shape")
