"""The rows of a part of a log, put together."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from rnncli.batches.log.pieces import ROW, Log, Piece
from rnncli.model.arrays import Integers
from rnncli.model.errors import InputError
from rnncli.readers.input import Notation


class Part:
    """The rows of a part, put together.

    Parameters
    ----------
    streams : sequence of buffers
        What `divided` has made of each piece, in the order of the pieces.
    log : Log

    Raises
    ------
    InputError
        What the rows are ordered by is missing, or of several kinds.
    """

    def __init__(self, streams: Sequence[Any], log: Log) -> None:
        import pyarrow as pa

        self._log = log
        tables = [pa.ipc.open_stream(pa.py_buffer(each)).read_all() for each in streams]
        self._pieces = [Piece(*json.loads(each.schema.metadata[b"piece"])) for each in tables]
        numbers = np.arange(len(tables), dtype=np.int32)
        self._piece = np.repeat(numbers, [len(each) for each in tables])
        tables = [each.replace_schema_metadata() for each in tables]
        self._rows = pa.concat_tables([pa.Table.from_batches([], log.schema), *tables])
        if tables and log.order is not None:
            order = self._order(log.columns[log.order])
            self._rows, self._piece = self._rows.take(pa.array(order)), self._piece[order]

    def write(self, path: str) -> Mapping[str, Any]:
        """Write a file with the rows; return the options of ``rnn run`` that read it.

        Of the rows only their numbers are kept.
        """
        import pyarrow as pa

        with open(path, "wb") as file:
            options, self._numbers = self._log.write(self._rows, file)
        self._rows = self._rows.select([ROW]).combine_chunks()
        pa.default_memory_pool().release_unused()
        return options

    def with_origins(self, message: str, path: str) -> str:
        """Name the file that a row is from in a message about the file of the part."""
        found = re.search(re.escape(path + self._log.mark) + r"(\d+)", message)
        if found is None:
            return message
        row = int(np.searchsorted(self._numbers, int(found[1])))
        return message[: found.start()] + self._origin(row) + message[found.end() :]

    def _origin(self, row: int) -> str:
        """Return where a row stands in the log."""
        piece = self._pieces[self._piece[row]]
        number = self._log.rows_before(piece) + self._rows[ROW][row].as_py() + 1
        return f"{piece.path}{self._log.mark}{number}"

    def _order(self, column: str) -> Integers:
        """Return the rows in order; those that are equal stay as they stand."""
        from pyarrow import compute, types

        cells, label = self._rows[self._log.ordering], f"column {column!r}"
        if types.is_string(cells.type) or types.is_large_string(cells.type):
            cells = _typed(cells, self._log.layout.notation, label)
        absent = compute.is_null(cells, nan_is_null=True)
        if compute.any(absent).as_py():
            place = self._origin(compute.index(absent, True).as_py())
            raise InputError(f"{place}: {label}", "is missing, and rows are ordered by it")
        return np.asarray(compute.sort_indices(cells)).astype(np.intp)


def _typed(cells: Any, notation: Notation, label: str) -> Any:
    """Read text as numbers or as times, if all of it is; an empty cell is missing.

    Raises
    ------
    InputError
        It is neither, and has digits: 10:00 would come before 9:59.
    """
    import pyarrow as pa
    from pyarrow import compute

    cells = compute.utf8_trim_whitespace(cells)
    missing = pa.array(["", *notation.null_values], cells.type)
    numbers = cells = compute.if_else(compute.is_in(cells, missing), None, cells)
    if notation.decimal != ".":  # a point makes it no number
        numbers = compute.replace_substring(cells, ".", notation.decimal * 2)
        numbers = compute.replace_substring(numbers, notation.decimal, ".")
    exact = pa.int64(), pa.decimal128(38, 18)
    times = [pa.timestamp(unit, zone) for unit in ("ns", "us") for zone in (None, "UTC")]
    for texts, kinds in ((numbers, (*exact, pa.float64())), (cells, times)):
        for kind in kinds:
            with suppress(pa.ArrowInvalid):
                return texts.cast(kind)
    if compute.any(compute.match_substring_regex(cells, r"\d")).as_py():
        what = "has cells that are neither numbers nor times, and rows are ordered by it"
        raise InputError(label, what, "expected times such as 2024-05-01T10:00:00")
    return cells
