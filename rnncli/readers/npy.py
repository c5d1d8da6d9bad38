"""NumPy's ``.npy`` files."""

from collections.abc import Iterator

import numpy as np

from rnncli.engine.rows import BLOCK_STEPS, Rows, in_blocks, steps_in_block
from rnncli.model.arrays import Floats, Integers
from rnncli.readers.columns import choose, named
from rnncli.readers.input import Input, Keys, Layout, filled, first_fault, unnamed
from rnncli.readers.stored import StoredArray


def read_npy(path: str, layout: Layout, keys: Keys) -> Input:
    """Read an array of shape (T,), (T, I) or (N, T, I), a block at a time.

    Several sequences have the key column ``sequence``, counted from 1.

    The file is not loaded, in either order of its values, so memory does not
    grow with it.

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
    array = StoredArray(path)
    N, T, I = _sequences(path, array)
    columns = choose(path, layout.columns, I, header=None) or list(range(I))
    names, chosen = unnamed(len(columns)), named(columns, header=None)
    steps = steps_in_block(len(columns), BLOCK_STEPS)
    rows = _checked(path, array.parts(columns, steps), columns, layout)
    blocks = in_blocks(rows, min(steps, layout.block_steps))
    if N == 1:
        return Input(names, blocks, shape=(T,), chosen=chosen)
    numbers = keys.number((str(n + 1),) for n in range(N))
    return Input(
        names,
        _numbered(blocks, numbers, T),
        ("sequence",),
        keys.names,
        shape=(N, T),
        chosen=chosen,
    )


def _sequences(path: str, array: StoredArray) -> tuple[int, int, int]:
    """Check the rank, and give the shape as (N, T, I)."""
    shape = (*array.shape, 1) if len(array.shape) == 1 else array.shape
    if len(shape) not in (2, 3) or 0 in (shape[-1], *shape[:-2]):
        raise ValueError(
            f"{path}: expected an array of shape (T,), (T, I) or (N, T, I), got {array.shape}"
        )
    N, T, I = (1, *shape)[-3:]
    return N, T, I


def _checked(
    path: str, parts: Iterator[Floats], columns: list[int], layout: Layout
) -> Iterator[Rows]:
    """Make rows of the values, up to a fault."""
    start = 0
    for read in parts:
        values, held = filled(read, layout.missing)
        x = values if held is None else read
        fault = first_fault(values, layout.dtype)
        if fault is None:
            yield Rows(x.astype(layout.dtype), masked=held)
            start += len(x)
            continue
        row, column, what = fault
        sound = None if held is None else held[:row]
        yield Rows(x[:row].astype(layout.dtype), masked=sound)
        raise ValueError(f"{path}: row {start + row + 1}, column {columns[column] + 1}: {what}")


def _numbered(blocks: Iterator[Rows], numbers: Integers, T: int) -> Iterator[Rows]:
    """Tell which sequence each row belongs to, where each has T steps."""
    start = 0
    for rows in blocks:
        stop = start + len(rows.x)
        yield rows._replace(key=numbers[np.arange(start, stop) // T])
        start = stop
