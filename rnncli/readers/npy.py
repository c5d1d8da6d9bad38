"""NumPy's ``.npy`` files, read a piece at a time."""

import os
import weakref
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.rows import BLOCK_STEPS, Rows, in_blocks, steps_in_block
from rnncli.model.arrays import READ_NPY_HEADER, Floats
from rnncli.model.errors import InputError
from rnncli.readers.columns import choose, named
from rnncli.readers.input import Input, Layout, check_layout, checked, unnamed
from rnncli.readers.keyed import Keys
from rnncli.storage import opened

# Bytes that are read at once.
_PIECE = 1 << 22
# Features or sequences of an array without a step: they take memory, and no room in the file.
_MOST_WITHOUT_VALUES = 1 << 20


def read_npy(path: str, layout: Layout, keys: Keys) -> Input:
    """Read an array of shape (T,), (T, I) or (N, T, I), a block at a time.

    Several sequences have the key column ``sequence``, counted from 1.
    """
    check_layout(path, layout, "an array")
    array = StoredArray(path)
    N, T, I = array.sizes if len(array.shape) in (1, 2, 3) else (0, 0, 0)
    if 0 in (N, I):
        expected = "expected an array of shape (T,), (T, I) or (N, T, I)"
        raise InputError(path, f"{expected}, got {array.shape}")
    columns = choose(path, layout.columns, I, header=None, otherwise=range(I))
    steps = steps_in_block(len(columns), BLOCK_STEPS, N * T)
    labels = [column + 1 for column in columns]
    numbers = keys.number([str(n + 1) for n in range(N)]) if N > 1 else None

    def parts() -> Iterator[Rows]:
        for start, x in array.parts(columns, steps):
            at = np.arange(start, start + len(x)) // T
            yield Rows(x, None if numbers is None else numbers[at])

    blocks = in_blocks(checked(path, parts(), labels, layout), min(steps, layout.block_steps))
    return Input(
        unnamed(len(columns)),
        blocks,
        key_columns=() if numbers is None else ("sequence",),
        keys=() if numbers is None else keys.names,
        share=lambda rows: rows / max(1, N * T),
        shape=(T,) if numbers is None else (N, T),
        chosen=named(columns, header=None),
    )


class StoredArray:
    """An array of numbers in a file, of which none is read yet."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = opened(path, seekable=True)
        weakref.finalize(self, self._file.close)
        if os.path.exists(path) and not os.path.isfile(path):
            raise InputError(path, "cannot be read: not a plain file")
        end = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self.shape, self._order, self.dtype = self._header()
        self._start = self._file.tell()
        size, got = prod(self.shape) * self.dtype.itemsize, end - self._start
        if got < size:
            takes = f"as its shape {self.shape} of {self.dtype} takes"
            raise self._not_whole(f"expected {size:,} bytes, {takes}, got {got:,}")

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The shape as (N, T, I)."""
        *several, T, I = (*self.shape, 1) if len(self.shape) == 1 else self.shape
        return prod(several), T, I

    def array(self) -> NDArray[Any]:
        """Read all of it."""
        return self._read(0, prod(self.shape)).reshape(self.shape, order=self._order)

    def parts(self, columns: list[int], steps: int) -> Iterator[tuple[int, Floats]]:
        """Read columns of all rows, one sequence after another; number the first row of each part.

        Values that float32 holds come as that, others as float64, infinite where that holds none.
        """
        N, T, I = self.sizes
        float_type = f"f{min(np.promote_types(self.dtype, np.float32).itemsize, 8)}"
        wanted = slice(None) if columns == [*range(I)] else columns
        whole: Any = None
        if self._order == "F" and N > 1:  # the values of a row do not lie together
            where: Any = self._start, self.shape, "F"
            is_here = os.path.isfile(self._path)
            whole = np.memmap(self._path, self.dtype, "r", *where) if is_here else self.array()
        step = min(steps, max(1, _PIECE // (I * self.dtype.itemsize)))
        for start in range(0, N * T, step):
            count = min(step, N * T - start)
            if self._order == "C":
                x = self._read(start * I, count * I).reshape(count, I)[:, wanted]
            elif whole is None:
                x = np.array([self._read(column * T + start, count) for column in columns]).T
            else:
                n, t = np.divmod(np.arange(start, start + count), T)
                x = whole[n[:, None], t[:, None], columns]
            with np.errstate(all="ignore"):
                yield start, np.ascontiguousarray(x, float_type)

    def _read(self, place: int, count: int) -> NDArray[Any]:
        """Read some values, in the order of the file."""
        values = np.empty(count, self.dtype)
        content = values.view(np.uint8).data
        try:
            self._file.seek(self._start + place * self.dtype.itemsize)
            while len(content):
                read = self._file.readinto(content)
                if not read:
                    raise InputError(self._path, "was cut while it was read")
                content = content[read:]
        except OSError as error:
            raise InputError(self._path, f"cannot be read: {error.strerror}") from error
        return values

    def _header(self) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
        """Read shape, order and type of the values that follow."""
        magic = np.lib.format.MAGIC_PREFIX
        if self._file.read(len(magic)) != magic:
            raise InputError(self._path, "not an .npy file; expected one made by numpy.save")
        self._file.seek(0)
        try:
            read_header = READ_NPY_HEADER[np.lib.format.read_magic(self._file)]
            shape, fortran_order, dtype = read_header(self._file)
        # A damaged header fails in NumPy, ast or tokenize, each with errors of its own.
        except Exception as error:
            raise self._not_whole("its header is damaged") from error
        if dtype.kind not in "fiub":
            hint = "" if dtype.kind == "c" else "array.astype('float32') makes numbers of text"
            raise InputError(self._path, f"expected numbers, got an array of {dtype}", hint)
        without_values = 0 in shape and prod(filter(None, shape)) > _MOST_WITHOUT_VALUES
        if min(shape, default=0) < 0 or without_values:
            raise self._not_whole(f"shape {shape}")
        return tuple(map(int, shape)), "F" if fortran_order else "C", dtype

    def _not_whole(self, why: str) -> InputError:
        return InputError(self._path, f"not a whole .npy file of numbers: {why}")
