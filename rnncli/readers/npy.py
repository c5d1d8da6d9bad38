"""NumPy's ``.npy`` files, read a chunk at a time."""

import io
import os
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.rows import BLOCK_STEPS, Rows, in_blocks, steps_in_block
from rnncli.model.arrays import READ_NPY_HEADER
from rnncli.model.errors import InputError
from rnncli.readers.columns import choose
from rnncli.readers.input import (
    OF_TEXT,
    Input,
    Keys,
    Layout,
    check_layout,
    check_rows,
    display_name,
    unnamed,
)

# Bytes that are read at once.
_CHUNK = 1 << 22
# Most features or sequences of an array without steps: they take memory, but no bytes of the file.
_MOST_WITHOUT_VALUES = 1 << 20


def read_npy(path: str, file: io.BufferedReader, layout: Layout, keys: Keys) -> Input:
    """Read an array of shape (T,), (T, I) or (N, T, I), with the key column ``sequence``."""
    name = display_name(path)
    check_layout(name, layout, "an array", *OF_TEXT, "passthrough", "group_by")
    array = StoredArray(name, file)
    shape = array.shape
    N, T, I = {1: (1, *shape, 1), 2: (1, *shape), 3: shape}.get(len(shape), (0, 0, 0))
    if 0 in (N, I):
        expected = "expected an array of shape (T,), (T, I) or (N, T, I)"
        raise InputError(name, f"{expected}, got {shape}")
    columns = choose(name, layout.columns, I, header=None, otherwise=range(I))
    steps = steps_in_block(len(columns), BLOCK_STEPS, N * T)
    numbers = keys.number([str(n + 1) for n in range(N)]) if N > 1 else None
    # Types that float32 holds become float32, others float64, where larger values are infinite.
    float_type = f"f{min(np.promote_types(array.dtype, np.float32).itemsize, 8)}"

    def rows() -> Iterator[Rows]:
        step = min(steps, max(1, _CHUNK // (I * array.dtype.itemsize)))
        # In Fortran order the values of a column lie together.
        values = array.read_all().reshape(-1, I) if array.is_fortran else None
        for start in range(0, N * T, step):
            count = min(step, N * T - start)
            if values is None:
                x = array.read(start * I, count * I).reshape(count, I)
            else:
                x = values[start : start + count]
            x = x if columns == [*range(I)] else x[:, columns]
            with np.errstate(all="ignore"):  # a float64 may be infinite in float32
                x = np.ascontiguousarray(x, float_type)
            at = np.arange(start, start + count) // T
            yield Rows(x, None if numbers is None else numbers[at])

    labels = [column + 1 for column in columns]
    return Input(
        unnamed(len(columns)),
        in_blocks(check_rows(name, rows(), labels, layout), min(steps, layout.block_steps)),
        key_columns=() if numbers is None else ("sequence",),
        keys=() if numbers is None else keys.names,
        share=lambda rows: rows / max(1, N * T),
        shape=(T,) if numbers is None else (N, T),
        chosen=labels,
    )


class StoredArray:
    """An array of numbers in a seekable file, which are read on demand."""

    def __init__(self, name: str, file: io.BufferedReader) -> None:
        self._name, self._file = name, file
        try:
            read_header = READ_NPY_HEADER[np.lib.format.read_magic(file)]
            shape, self.is_fortran, self.dtype = read_header(file)
        # A damaged header fails in NumPy, ast or tokenize, each with errors of its own.
        except Exception as error:
            raise InputError(name, "not a whole .npy file: its header is damaged") from error
        if self.dtype.kind not in "fiub":
            raise InputError(name, f"expected numbers, got an array of {self.dtype}")
        self.shape = tuple(map(int, shape))
        self._start = file.tell()
        size, got = prod(self.shape) * self.dtype.itemsize, file.seek(0, os.SEEK_END) - self._start
        without_values = not size and prod(filter(None, shape)) > _MOST_WITHOUT_VALUES
        if min(shape, default=0) < 0 or got < size or without_values:
            what = f"{got:,} bytes for shape {self.shape} of {self.dtype}"
            raise InputError(name, f"not a whole .npy file: {what}")

    def read_all(self) -> NDArray[Any]:
        """Read the array."""
        order: Any = "F" if self.is_fortran else "C"
        return self.read(0, prod(self.shape)).reshape(self.shape, order=order)

    def read(self, start: int, count: int) -> NDArray[Any]:
        """Read some values, in the order of the file."""
        values = np.empty(count, self.dtype)
        self._file.seek(self._start + start * self.dtype.itemsize)
        if self._file.readinto(values.view(np.uint8).data) < values.nbytes:
            raise InputError(self._name, "was cut while it was read")
        return values
