"""States as an array of shape (T, H), or (N, T, H), in NumPy's ``.npy`` format."""

from typing import TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError
from rnncli.writers.result import Result, Style


class NpyWriter:
    """Writes states as they come if the shape, which goes first, is known; else at the end."""

    def __init__(self, out: TextIO, result: Result, _style: Style) -> None:
        self._file, self._result = out.buffer, result
        self._dtype = result.initial().x.dtype
        self._values = [np.empty((0, len(result.units)), self._dtype)]
        self._keys = [np.empty(0, np.intp)]
        if result.shape:
            self._write_header(result.shape)

    def rows(self, rows: Rows) -> None:
        """Write a block of results, or keep it."""
        values = np.ascontiguousarray(self._result.rows(rows))
        if self._result.shape:
            self._file.write(values.data)  # `tobytes` would copy them first
        else:
            self._values.append(values)
            self._keys += [] if rows.key is None else [rows.key]

    def end(self, error: ValueError | None) -> None:
        """Write the blocks that were kept, unless the run failed."""
        if error or self._result.shape:
            return
        shape: tuple[int, ...] = (sum(map(len, self._values)),)
        if self._result.key_columns:
            key = np.concatenate(self._keys)
            lengths = np.bincount(key, minlength=len(self._result.keys))
            shortest, longest = lengths.min(initial=len(key)), lengths.max(initial=0)
            if shortest < longest:
                what = f"the sequences have {shortest} to {longest} steps"
                raise InputError("", f"{what}, an array takes equal lengths", "write CSV or JSONL")
            shape = (len(lengths), int(longest))
            self._values = [np.concatenate(self._values)[np.argsort(key, kind="stable")]]
        self._write_header(shape)
        for values in self._values:
            self._file.write(values.data)

    def _write_header(self, shape: tuple[int, ...]) -> None:
        """Write the header; `numpy.save` would not report a full disk as such."""
        descr = np.lib.format.dtype_to_descr(self._dtype)
        full_shape = (*shape, len(self._result.units))
        header = {"descr": descr, "fortran_order": False, "shape": full_shape}
        np.lib.format.write_array_header_1_0(self._file, header)
