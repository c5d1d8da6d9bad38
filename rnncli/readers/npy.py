"""NumPy's ``.npy`` files, read a piece at a time.

They are not mapped: where a mapped file is cut, or its disk fails, the system
kills the process. What is read and falls short is an error.
"""

import os
import weakref
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.rows import BLOCK_STEPS, Rows, in_blocks, steps_in_block
from rnncli.model.arrays import READ_NPY_HEADER, Floats, Integers
from rnncli.model.errors import InputError
from rnncli.readers.columns import choose, named
from rnncli.readers.input import Input, Layout, check_layout, checked, unnamed
from rnncli.readers.keyed import Keys
from rnncli.storage import opened

# Bytes of rows that are read at once where few of their columns are chosen.
_PIECE = 1 << 22
# Features or sequences of an array without a step: they take memory, and no room in the file.
_MOST_WITHOUT_VALUES = 1 << 20


def read_npy(path: str, layout: Layout, keys: Keys) -> Input:
    """Read an array of shape (T,), (T, I) or (N, T, I), a block at a time.

    Several sequences have the key column ``sequence``, counted from 1.

    The file is not loaded, in either order of its values, so memory does not
    grow with it.
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
    rows = checked(path, map(Rows, array.parts(columns, steps)), labels, layout)
    blocks = in_blocks(rows, min(steps, layout.block_steps))
    names, chosen = unnamed(len(columns)), named(columns, header=None)

    def share(rows: int) -> float:
        return rows / max(1, N * T)

    if N == 1:
        return Input(names, blocks, share=share, shape=(T,), chosen=chosen)
    numbers = keys.number([str(n + 1) for n in range(N)])
    blocks = _numbered(blocks, numbers, T)
    key = ("sequence",), keys.names
    return Input(names, blocks, *key, share=share, shape=(N, T), chosen=chosen)


def _numbered(blocks: Iterator[Rows], numbers: Integers, T: int) -> Iterator[Rows]:
    """Add to each row the number of its sequence, where each has T steps."""
    start = 0
    for rows in blocks:
        stop = start + len(rows.x)
        yield rows._replace(key=numbers[np.arange(start, stop) // T])
        start = stop


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
    InputError
        The file is damaged, or of another kind.
    OSError
        It cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = opened(path, seekable=True)
        weakref.finalize(self, self._file.close)
        if os.path.exists(path) and not os.path.isfile(path):
            raise InputError(path, "cannot be read: not a plain file")
        end = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self.shape, self._fortran_order, self.dtype = self._header()
        holds = np.promote_types(self.dtype, np.float32)
        self._float = np.dtype(f"f{min(holds.itemsize, 8)}")
        self._start = self._file.tell()
        size, got = prod(self.shape) * self.dtype.itemsize, end - self._start
        if got < size:
            raise self._not_whole(
                f"expected {size:,} bytes, as its shape {self.shape} of {self.dtype} takes, "
                f"got {got:,}"
            )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The shape as (N, T, I)."""
        *several, T, I = (*self.shape, 1) if len(self.shape) == 1 else self.shape
        return prod(several), T, I

    def array(self) -> NDArray[Any]:
        """Read all of it."""
        values = self._read(0, prod(self.shape))
        return values.reshape(self.shape, order="F" if self._fortran_order else "C")

    def parts(self, columns: Sequence[int], steps: int) -> Iterator[Floats]:
        """Read columns of all rows, some rows at a time.

        The rows of several sequences come one sequence after another. Values
        that float32 holds come as that, others as float64. What that does not
        hold becomes infinite.
        """
        N, T, _ = self.sizes
        if self._fortran_order and N > 1:
            yield from self._transposed(columns)
            return
        for start in range(0, N * T, steps):
            yield self._rows(start, min(N * T, start + steps), columns)

    def _rows(self, start: int, stop: int, columns: Sequence[int]) -> Floats:
        _, T, I = self.sizes
        found = np.empty((stop - start, len(columns)), self._float)
        if self._fortran_order:
            for feature, column in enumerate(columns):
                _convert(self._read(column * T + start, stop - start), found[:, feature])
            return found
        chosen = _as_slice(columns)
        step = max(1, _PIECE // (I * self.dtype.itemsize))
        for at in range(start, stop, step):
            values = self._read(at * I, min(step, stop - at) * I).reshape(-1, I)
            _convert(values[:, chosen], found[at - start : at - start + step])
        return found

    def _transposed(self, columns: Sequence[int]) -> Iterator[Floats]:
        """Read sequences whose values do not lie together: all of the file for every few of them.

        The longer the file, the more sequences at once, so that it is not
        read more than 64 times below 2^29 values.
        """
        N, T, _ = self.sizes
        most = max(1, min(max(prod(self.shape) // 64, 1 << 19), 1 << 23) // len(columns))
        several, steps = max(1, most // max(1, T)), max(1, min(T, most))
        piece = max(1, _PIECE // (N * self.dtype.itemsize))
        for n in range(0, N, several):
            for t in range(0, T, steps):
                shape = (min(several, N - n), min(steps, T - t), len(columns))
                found = np.empty(shape, self._float)
                for at in range(0, found.shape[1], piece):
                    some = min(piece, found.shape[1] - at)
                    for feature, column in enumerate(columns):
                        read = self._read((column * T + t + at) * N, some * N).reshape(some, N)
                        _convert(read[:, n : n + several].T, found[:, at : at + some, feature])
                yield found.reshape(-1, len(columns))

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

    def _header(self) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
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
        return tuple(map(int, shape)), fortran_order, dtype

    def _not_whole(self, why: str) -> InputError:
        return InputError(self._path, f"not a whole .npy file of numbers: {why}")


def _as_slice(columns: Sequence[int]) -> Sequence[int] | slice:
    """Return neighbours as a slice: an array gives a view of them, and a slow copy of others."""
    start, stop = columns[0], columns[0] + len(columns)
    return slice(start, stop) if list(columns) == list(range(start, stop)) else columns


def _convert(values: NDArray[Any], out: Floats) -> None:
    """Convert values to another float type."""
    with np.errstate(all="ignore"):
        out[...] = values
