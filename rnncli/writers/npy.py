"""States as an array of shape (T, H), or (N, T, H), in NumPy's ``.npy`` format."""

from typing import TextIO

import numpy as np

from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError
from rnncli.writers.trajectory import Style, Trajectory


def write_npy(out: TextIO, trajectory: Trajectory, style: Style) -> None:  # noqa: ARG001
    """Write the states as they come if the shape is known, else all at the end.

    The shape stands before the values in the file.

    Raises
    ------
    ValueError
        Several sequences differ in length.
    """
    width, dtype = len(trajectory.units), trajectory.initial().rows().h.dtype
    if trajectory.shape:
        _write_header(out, (*trajectory.shape, width), dtype)
        for block in trajectory.blocks:
            out.buffer.write(trajectory.rows(block).tobytes())
        return
    blocks = list(trajectory.blocks)
    h = np.concatenate([np.empty((0, width), dtype), *map(trajectory.rows, blocks)])
    if trajectory.key_columns:
        numbers = [block.key for block in blocks if block.key is not None]
        key = np.concatenate([np.empty(0, np.intp), *numbers])
        h = _by_sequence(h, key, len(trajectory.keys))
    _write_header(out, h.shape, h.dtype)
    out.buffer.write(h.tobytes())


def _write_header(out: TextIO, shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> None:
    """Write what `numpy.save` writes before the values.

    `numpy.save` itself reports a closed pipe or a full disk like any other error.
    """
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out.buffer, header)


def _by_sequence(h: Floats, key: Integers, sequences: int) -> Floats:
    """Return the rows of each sequence together, shape (N, T, H)."""
    lengths = np.bincount(key, minlength=sequences)
    if len(set(lengths.tolist())) > 1:
        raise InputError(
            "npy",
            f"the sequences have {lengths.min()} to {lengths.max()} steps, an array takes "
            "equal lengths",
            "write CSV or JSONL",
        )
    return h[np.argsort(key, kind="stable")].reshape(sequences, lengths.max(initial=0), h.shape[1])
