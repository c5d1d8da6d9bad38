"""States as an array of shape (T, H), or (N, T, H), in NumPy's ``.npy`` format."""

from typing import TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.writers.result import Result, Style


class NpyWriter:
    """Writes the states as they come if the shape is known, else all at the end.

    The shape stands before the values in the file.
    """

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        self._out, self._result, self._place = out, result, style.place
        self._dtype = result.initial().rows().h.dtype
        self._held = [np.empty((0, len(result.units)), self._dtype)]
        self._keys = [np.empty(0, np.intp)]
        if result.shape:
            self._write_header(result.shape)

    def rows(self, rows: Rows) -> None:
        """Write a block of results, or hold it."""
        values = self._result.rows(rows)
        if self._result.shape:
            self._write(values)
        else:
            self._held.append(values)
            self._keys += [] if rows.key is None else [rows.key]

    def end(self, error: ValueError | None) -> None:
        """Write what is held, if all of it is there."""
        if error or self._result.shape:
            return
        if not self._result.key_columns:
            self._write_header((sum(map(len, self._held)),))
            for values in self._held:
                self._write(values)
            return
        key = np.concatenate(self._keys)
        lengths = np.bincount(key, minlength=len(self._result.keys))
        if len(set(lengths.tolist())) > 1:
            raise InputError(
                self._place,
                f"the sequences have {lengths.min()} to {lengths.max()} steps, an array takes "
                "equal lengths",
                "write CSV or JSONL",
            )
        self._write_header((len(lengths), int(lengths.max(initial=0))))
        self._write(np.concatenate(self._held)[np.argsort(key, kind="stable")])

    def _write_header(self, shape: tuple[int, ...]) -> None:
        """Write what `numpy.save` writes first; that reports a full disk like any other error."""
        descr = np.lib.format.dtype_to_descr(self._dtype)
        whole = (*shape, len(self._result.units))
        header = {"descr": descr, "fortran_order": False, "shape": whole}
        np.lib.format.write_array_header_1_0(self._out.buffer, header)

    def _write(self, values: Floats) -> None:
        # `tobytes` would copy them to new memory first.
        self._out.buffer.write(np.ascontiguousarray(values).data)
