"""An array in a ``.npy`` file, read a piece at a time.

It is not mapped: where a mapped file is cut, or its disk fails, the system
kills the process. What is read and falls short is an error.
"""

import os
import stat
import weakref
from collections.abc import Sequence
from functools import cached_property
from io import BufferedReader, FileIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.readers.decimals import Doubles

# Bytes of rows that are read at once where few of their columns are chosen.
_PIECE = 1 << 22
# Features or sequences of an array without a step: they take memory, and no room in the file.
_MOST_WITHOUT_VALUES = 1 << 20
# numpy.lib.format's readers of headers, by version; version 3 is for structured arrays.
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class StoredArray:
    """An array of numbers of shape (T,), (T, I) or (N, T, I), of which none is read yet.

    Parameters
    ----------
    path : str
        Of the file.

    Attributes
    ----------
    shape : tuple of int
        As the file has it.
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        The file is damaged, or of another kind.
    OSError
        It cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path}: cannot be read: not a plain file")
            self.shape, self._fortran_order, self.dtype = self._header(file)
            self._start = file.tell()
            number = os.dup(file.fileno())
        weakref.finalize(self, os.close, number)
        self._file = FileIO(number, closefd=False)
        got = os.fstat(number).st_size - self._start
        size = prod(self.shape) * self.dtype.itemsize
        if got < size:
            raise ValueError(
                f"{path}: not a whole .npy file of numbers: expected {size:,} bytes, as its "
                f"shape {self.shape} of {self.dtype} takes, got {got:,}"
            )

    def array(self) -> NDArray[Any]:
        """Read all of it."""
        values = self._read(0, prod(self.shape))
        return values.reshape(self.shape, order="F" if self._fortran_order else "C")

    def rows(self, start: int, stop: int, columns: Sequence[int]) -> Doubles:
        """Read columns of some rows as float64; the rows of several sequences as one after another.

        What float64 does not hold becomes infinite.
        """
        width = self.shape[-1] if len(self.shape) > 1 else 1
        found = np.empty((stop - start, len(columns)))
        with np.errstate(all="ignore"):
            if not self._fortran_order:
                step = max(1, _PIECE // (width * self.dtype.itemsize))
                for at in range(start, stop, step):
                    values = self._read(at * width, min(step, stop - at) * width)
                    found[at - start : at - start + step] = values.reshape(-1, width)[:, columns]
            elif len(self.shape) < 3:
                for feature, column in enumerate(columns):
                    place = column * self.shape[0] + start
                    found[:, feature] = self._read(place, stop - start)
            else:
                found[:] = self._gathered[start:stop, columns]
        return found

    @cached_property
    def _gathered(self) -> NDArray[Any]:
        """Rows of sequences that do not lie together in the file."""
        return self.array().reshape(-1, self.shape[-1])

    def _read(self, place: int, count: int) -> NDArray[Any]:
        """Read some values, in the order of the file."""
        values = np.empty(count, self.dtype)
        content = values.view(np.uint8).data
        try:
            self._file.seek(self._start + place * self.dtype.itemsize)
            while len(content):
                read = self._file.readinto(content)
                if not read:
                    raise ValueError(f"{self._path}: was cut while it was read")
                content = content[read:]
        except OSError as error:
            raise ValueError(f"{self._path}: cannot be read: {error.strerror}") from error
        return values

    def _header(self, file: BufferedReader) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        """Read shape, order and type of the values that follow."""
        magic = np.lib.format.MAGIC_PREFIX
        if file.peek(len(magic))[: len(magic)] != magic:
            raise ValueError(f"{self._path}: not an .npy file; expected one made by numpy.save")
        try:
            shape, fortran_order, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
        # A damaged header fails in NumPy, ast or tokenize, each with errors of its own.
        except Exception as error:
            raise ValueError(
                f"{self._path}: not a whole .npy file of numbers: its header is damaged"
            ) from error
        if dtype.kind not in "fiub":
            raise ValueError(f"{self._path}: expected numbers, got an array of {dtype}")
        without_values = 0 in shape and prod(filter(None, shape)) > _MOST_WITHOUT_VALUES
        if min(shape, default=0) < 0 or without_values:
            raise ValueError(f"{self._path}: not a whole .npy file of numbers: shape {shape}")
        return tuple(map(int, shape)), fortran_order, dtype
