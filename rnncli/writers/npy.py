"""States as an array of shape (T, H) in NumPy's ``.npy`` format."""

from typing import TextIO

import numpy as np

from rnncli.writers.trajectory import Style, Trajectory


def write_npy(out: TextIO, trajectory: Trajectory, style: Style) -> None:  # noqa: ARG001
    """Write all states at once: the array's length stands before its values."""
    blocks = [block.h for block in trajectory.blocks]
    h = np.concatenate([trajectory.h0[None, :][:0], *blocks])
    # Not write_array: its own way to write to a file reports neither a closed pipe nor a full disk.
    header = np.lib.format.header_data_from_array_1_0(h)
    np.lib.format.write_array_header_1_0(out.buffer, header)
    out.buffer.write(h.tobytes())
