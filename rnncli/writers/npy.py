"""States as an array of shape (T, H), or (N, T, H), in NumPy's ``.npy`` format."""

from collections.abc import Iterable
from typing import TextIO

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.writers.trajectory import Style, Trajectory


def write_npy(out: TextIO, trajectory: Trajectory, style: Style) -> None:  # noqa: ARG001
    """Write the states as they come if the shape is known, else all at the end.

    The shape stands before the values in the file.
    """
    width, dtype = len(trajectory.units), trajectory.initial().rows().h.dtype
    rows: Iterable[Floats] = map(trajectory.rows, trajectory.blocks)
    shape = trajectory.shape
    if not shape:
        rows, shape = _all_rows(trajectory, np.empty((0, width), dtype))
    _write_header(out, (*shape, width), dtype)
    for h in rows:
        # `tobytes` would copy them to new memory first.
        out.buffer.write(np.ascontiguousarray(h).data)


def _write_header(out: TextIO, shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> None:
    """Write what `numpy.save` writes before the values.

    `numpy.save` itself reports a closed pipe or a full disk like any other error.
    """
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out.buffer, header)


def _all_rows(trajectory: Trajectory, none: Floats) -> tuple[list[Floats], tuple[int, ...]]:
    """Wait for all rows; return them as they stand in the file, and (T,) or (N, T)."""
    blocks = [(trajectory.rows(block), block.key) for block in trajectory.blocks]
    rows = [none, *(h for h, _ in blocks)]
    if not trajectory.key_columns:
        return rows, (sum(map(len, rows)),)
    numbers = [key for _, key in blocks if key is not None]
    key = np.concatenate([np.empty(0, np.intp), *numbers])
    lengths = np.bincount(key, minlength=len(trajectory.keys))
    if len(set(lengths.tolist())) > 1:
        raise InputError(
            "npy",
            f"the sequences have {lengths.min()} to {lengths.max()} steps, an array takes "
            "equal lengths",
            "write CSV or JSONL",
        )
    by_sequence = np.concatenate(rows)[np.argsort(key, kind="stable")]
    return [by_sequence], (len(lengths), int(lengths.max(initial=0)))
