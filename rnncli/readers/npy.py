"""NumPy's ``.npy`` files."""

from collections.abc import Iterator

import numpy as np

from rnncli.engine.rows import BLOCK_STEPS, Rows, in_blocks, steps_in_block
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError
from rnncli.readers.columns import choose, named
from rnncli.readers.input import Input, Keys, Layout, filled, first_unfit, unfit, unnamed
from rnncli.readers.stored import StoredArray


def read_npy(path: str, layout: Layout, keys: Keys) -> Input:
    """Read an array of shape (T,), (T, I) or (N, T, I), a block at a time.

    Several sequences have the key column ``sequence``, counted from 1.

    The file is not loaded, in either order of its values, so memory does not
    grow with it.

    Raises
    ------
    InputError
        The file is damaged, or not an array of numbers of such a shape.
    OSError
        The file cannot be opened.
    """
    _check_layout(path, layout)
    array = StoredArray(path)
    N, T, I = array.sizes if len(array.shape) in (1, 2, 3) else (0, 0, 0)
    if 0 in (N, I):
        expected = "expected an array of shape (T,), (T, I) or (N, T, I)"
        raise InputError(path, f"{expected}, got {array.shape}")
    columns = choose(path, layout.columns, I, header=None) or list(range(I))
    steps = steps_in_block(len(columns), BLOCK_STEPS)
    rows = _checked(path, array.parts(columns, steps), columns, layout)
    blocks = in_blocks(rows, min(steps, layout.block_steps))
    names, chosen = unnamed(len(columns)), named(columns, header=None)
    if N == 1:
        return Input(names, blocks, shape=(T,), chosen=chosen)
    numbers = keys.number((str(n + 1),) for n in range(N))
    blocks = _numbered(blocks, numbers, T)
    return Input(names, blocks, ("sequence",), keys.names, shape=(N, T), chosen=chosen)


def _check_layout(path: str, layout: Layout) -> None:
    """Check that nothing is asked of an array that only text has."""
    if layout.delimiter or layout.first_row != "auto":
        hint = "`delimiter` and `first_row` are for CSV text"
        raise InputError(path, "an array has no lines of cells", hint)
    if layout.passthrough:
        raise InputError(path, "an array has no cells of text", "`passthrough` is for CSV text")
    if layout.group_by:
        raise InputError(path, "an array has no column of keys", "`group_by` is for CSV text")


def _checked(
    path: str, parts: Iterator[Floats], columns: list[int], layout: Layout
) -> Iterator[Rows]:
    """Make rows of the values, up to an error."""
    start = 0
    for read in parts:
        values, masked = filled(read, layout.missing)
        wrong = first_unfit(values, layout.dtype)
        rows = Rows(values if masked is None else read, masked=masked)
        whole = rows.cut(0, wrong[0] if wrong else None)
        yield whole._replace(x=whole.x.astype(layout.dtype))
        if wrong:
            place = f"{path}: row {start + wrong[0] + 1}, column {columns[wrong[1]] + 1}"
            raise InputError(place, *unfit(values[wrong], layout.dtype, values[wrong]))
        start += len(values)


def _numbered(blocks: Iterator[Rows], numbers: Integers, T: int) -> Iterator[Rows]:
    """Add to each row the number of its sequence, where each has T steps."""
    start = 0
    for rows in blocks:
        stop = start + len(rows.x)
        yield rows._replace(key=numbers[np.arange(start, stop) // T])
        start = stop
