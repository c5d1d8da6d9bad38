"""NumPy's ``.npy`` files."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rnncli.readers.columns import choose
from rnncli.readers.input import Input, Keys, Layout, filled, first_fault, unnamed
from rnncli.stream import BLOCK_STEPS, Rows


def read_npy(path: str, layout: Layout, keys: Keys) -> Input:
    """Read an array of shape (T,), (T, I) or (N, T, I), a block at a time.

    Several sequences have the key column ``sequence``, counted from 1.

    The file is mapped, not loaded, so memory does not grow with it.

    Raises
    ------
    ValueError
        The file is damaged, or not an array of numbers of such a shape.
    OSError
        The file cannot be opened.
    """
    if layout.delimiter or layout.first_row != "auto":
        raise ValueError(f"{path}: --delimiter and --first-row are for CSV text, not for .npy")
    if layout.passthrough:
        raise ValueError(f"{path}: --passthrough is for CSV text, not for .npy")
    if layout.group_by:
        raise ValueError(f"{path}: --group-by is for CSV text: an array has no column of keys")
    array = _sequences(path, map_npy(path))  # (N, T, I)
    N, T, I = array.shape
    columns = choose(path, layout.columns, I, header=None) or list(range(I))
    names = unnamed(len(columns))
    blocks = _blocks(path, array.reshape(N * T, I), columns, layout)
    if N == 1:
        return Input(names, blocks, shape=(T,))
    numbers = keys.number((str(n + 1),) for n in range(N))
    return Input(
        names, _numbered(blocks, np.repeat(numbers, T)), ("sequence",), keys.names, shape=(N, T)
    )


def map_npy(path: str) -> NDArray[np.generic]:
    """Map the array in a ``.npy`` file.

    Raises
    ------
    ValueError
        The file is damaged, or of another kind.
    OSError
        It cannot be opened.
    """
    with open(path, "rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        raise ValueError(f"{path}: not an .npy file; expected one made by numpy.save")
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    # A damaged header fails in NumPy, ast or tokenize, each with errors of its own.
    except Exception as error:
        raise ValueError(f"{path}: not a whole .npy file of numbers: {error}") from error
    return array


def _sequences(path: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Check kind and rank, and give the array as (N, T, I)."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: expected numbers, got an array of {array.dtype}")
    shape = {1: (1, *array.shape, 1), 2: (1, *array.shape), 3: array.shape}.get(array.ndim)
    if shape is None or 0 in (shape[0], shape[2]):
        raise ValueError(
            f"{path}: expected an array of shape (T,), (T, I) or (N, T, I), got {array.shape}"
        )
    return array.reshape(shape)


def _blocks(
    path: str, array: NDArray[np.generic], columns: list[int], layout: Layout
) -> Iterator[Rows]:
    for start in range(0, len(array), BLOCK_STEPS):
        read = array[start : start + BLOCK_STEPS, columns].astype(np.float64)
        values, held = filled(read, layout.missing)
        x = values if held is None else read
        fault = first_fault(values, layout.dtype)
        if fault is None:
            yield Rows(x.astype(layout.dtype), held=held)
            continue
        row, column, what = fault
        sound = None if held is None else held[:row]
        yield Rows(x[:row].astype(layout.dtype), held=sound)
        raise ValueError(f"{path}: row {start + row + 1}, column {columns[column] + 1}: {what}")


def _numbered(blocks: Iterator[Rows], key: NDArray[np.intp]) -> Iterator[Rows]:
    """Tell which sequence each row belongs to."""
    start = 0
    for rows in blocks:
        yield rows._replace(key=key[start : start + len(rows.x)])
        start += len(rows.x)
