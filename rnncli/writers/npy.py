"""States as an array of shape (T, H), or (N, T, H), in NumPy's ``.npy`` format."""

from typing import TextIO

import numpy as np

from rnncli.model.arrays import Floats, Integers
from rnncli.writers.trajectory import Style, Trajectory


def write_npy(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write the states as they come where their number is known, else all at once.

    The array's shape stands before its values.

    Raises
    ------
    ValueError
        Several sequences differ in length.
    """
    width, dtype = len(trajectory.units(final=style.last)), trajectory.carried.state.dtype
    if trajectory.shape:
        _write_header(out, (*trajectory.shape, width), dtype)
        for block in trajectory.blocks:
            out.buffer.write(block.h.tobytes())
        return
    blocks = list(trajectory.blocks)
    h = np.concatenate([np.empty((0, width), dtype), *(block.h for block in blocks)])
    if trajectory.key_columns:
        numbers = [block.key for block in blocks if block.key is not None]
        key = np.concatenate([np.empty(0, np.intp), *numbers])
        h = _by_sequence(h, key, len(trajectory.carried.t))
    _write_header(out, h.shape, h.dtype)
    out.buffer.write(h.tobytes())


def _write_header(out: TextIO, shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> None:
    """Write what numpy.save writes before the values.

    numpy.save itself tells neither a closed pipe nor a full disk from other errors.
    """
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out.buffer, header)


def _by_sequence(h: Floats, key: Integers, sequences: int) -> Floats:
    """Gather the rows of each sequence, (N, T, H)."""
    lengths = np.bincount(key, minlength=sequences)
    if len(set(lengths.tolist())) > 1:
        raise ValueError(
            f"npy: the sequences have {lengths.min()} to {lengths.max()} steps, an array takes "
            "equal lengths; write CSV or JSONL"
        )
    return h[np.argsort(key, kind="stable")].reshape(sequences, lengths.max(initial=0), h.shape[1])
