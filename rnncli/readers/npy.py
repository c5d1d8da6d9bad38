"""NumPy's ``.npy`` files."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rnncli.network import Floats
from rnncli.readers.columns import choose
from rnncli.readers.input import BLOCK_STEPS, Input, Layout, first_fault, unnamed


def read_npy(path: str, layout: Layout) -> Input:
    """Read an array of shape (T,), (T, I) or (1, T, I), a block at a time.

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
    array = _steps(path, _mapped(path))
    columns = choose(path, layout.columns, array.shape[1], header=None)
    return Input(unnamed(len(columns)), _blocks(path, array, columns, layout.dtype))


def _mapped(path: str) -> NDArray[np.generic]:
    with open(path, "rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        raise ValueError(f"{path}: not an .npy file; expected one made by numpy.save")
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError, SyntaxError) as error:
        raise ValueError(f"{path}: not a whole .npy file of numbers: {error}") from error
    return array


def _steps(path: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Check kind and rank, and give the array as (T, I)."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: expected numbers, got an array of {array.dtype}")
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(
            f"{path}: expected one sequence, of shape (T,), (T, I) or (1, T, I), got {array.shape}"
        )
    return array


def _blocks(
    path: str, array: NDArray[np.generic], columns: list[int], dtype: np.dtype[np.floating]
) -> Iterator[Floats]:
    for start in range(0, len(array), BLOCK_STEPS):
        values = array[start : start + BLOCK_STEPS, columns].astype(np.float64)
        fault = first_fault(values, dtype)
        if fault is None:
            yield values.astype(dtype)
            continue
        row, column, what = fault
        yield values[:row].astype(dtype)
        raise ValueError(f"{path}: step {start + row + 1}, column {columns[column] + 1}: {what}")
