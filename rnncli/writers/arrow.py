"""States as columns with types: a Parquet file, an Arrow file or an Arrow stream."""

import io
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.rows import Rows, join
from rnncli.model.errors import InputError, one_line
from rnncli.writers.result import Result, Style

# Values of blocks in a row group of Parquet: one block may have more.
_GROUP = 1 << 20


@contextmanager
def _storable(form: str) -> Iterator[None]:
    """Make an InputError of what PyArrow raises where a format has no such type."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        hint = "`format` arrow does" if form == "Parquet" else ""
        what = f"{form} does not hold a column of the input: {one_line(error)}"
        raise InputError("", what, hint) from error


class ArrowWriter:
    """Writes the columns of CSV, a batch a block: to a file as that of Arrow, else a stream.

    A stream of a run that fails has no mark of its end: who reads it learns that.
    """

    @_storable("Arrow")
    def __init__(self, out: TextIO, result: Result, _style: Style) -> None:
        from pyarrow import ipc

        self._columns = _Columns(result)
        try:
            self._is_file = stat.S_ISREG(os.fstat(out.fileno()).st_mode)
        except io.UnsupportedOperation:  # a stream in memory
            self._is_file = False
        new = ipc.new_file if self._is_file else ipc.new_stream
        self._writer = new(out.buffer, self._columns.schema)

    @_storable("Arrow")
    def rows(self, rows: Rows) -> None:
        """Write a block of results."""
        self._writer.write_table(self._columns.table(rows))

    @_storable("Arrow")
    def end(self, error: ValueError | None) -> None:
        """Complete a file, or the stream of a run that did not fail."""
        if self._is_file or not error:
            self._writer.close()


class ParquetWriter:
    """Writes the columns of CSV in row groups of some megabytes."""

    @_storable("Parquet")
    def __init__(self, out: TextIO, result: Result, _style: Style) -> None:
        import pyarrow.parquet as pq

        class Writer(pq.ParquetWriter):  # type: ignore[misc]
            def __del__(self) -> None:
                """Leave a file that was abandoned as it is: it may be closed."""

        self._columns = _Columns(result)
        self._held: list[Rows] = []
        schema = self._columns.schema
        names = (*result.key_columns, *result.header)
        kinds = ((name, str(schema.field(name).type)) for name in names)
        self._writer = Writer(
            out.buffer,
            schema,
            compression="zstd",
            use_dictionary=[n for n, kind in kinds if kind not in ("halffloat", "float", "double")],
            # Keys that are interleaved, and states, have much the same ends in each group.
            write_statistics=["t", *result.header],
        )

    @_storable("Parquet")
    def rows(self, rows: Rows) -> None:
        """Write a block of results, or hold it where it is short."""
        self._held.append(rows)
        if sum(len(each.t) for each in self._held) * len(self._columns.schema) >= _GROUP:
            self._writer.write_table(self._columns.table(join(self._held)))
            self._held = []

    @_storable("Parquet")
    def end(self, error: ValueError | None) -> None:  # noqa: ARG002
        """Write the blocks that are held, and complete the file."""
        if self._held:
            self._writer.write_table(self._columns.table(join(self._held)))
        self._writer.close()


class _Columns:
    """The columns of a result: their `schema`, and blocks as tables."""

    def __init__(self, result: Result) -> None:
        import pyarrow as pa

        self._result = result
        number = pa.from_numpy_dtype(result.initial().rows().h.dtype)
        self._keyed = not set(result.key_columns) <= set(result.header)
        fields = [pa.field(name, pa.string()) for name in result.key_columns if self._keyed]
        if result.types is not None:
            fields += result.types
        else:
            fields += [pa.field(name, pa.string()) for name in result.header]
        if not result.header:
            fields.append(pa.field("t", pa.int64()))
        fields += [pa.field(unit, number) for unit in result.units]
        self.schema = pa.schema(fields, {"model": json.dumps(result.model)})

    def table(self, block: Rows) -> Any:
        """Return a block as a table."""
        import pyarrow as pa

        columns: list[Any] = []
        if block.key is not None and self._keyed:
            present, places = np.unique(block.key, return_inverse=True)
            keys = [self._result.keys[number] for number in present.tolist()]
            for place in range(len(self._result.key_columns)):
                texts = _strings([key[place] for key in keys])
                columns.append(texts.take(_column(places)))
        if block.cells is None:
            columns.append(_column(block.t.astype(np.int64, copy=False)))
        elif hasattr(block.cells, "arrow"):
            columns += block.cells.arrow.columns
        else:
            width = len(self._result.header)
            columns += [_strings([row[i] for row in block.cells]) for i in range(width)]
        columns += map(_column, np.ascontiguousarray(self._result.rows(block).T))
        return pa.Table.from_arrays(columns, schema=self.schema)


def _column(values: NDArray[Any]) -> Any:
    """Wrap numbers; `pyarrow.array` would import pandas, where it is installed: 0.2 s."""
    import pyarrow as pa

    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _strings(texts: Sequence[str]) -> Any:
    """Return text as a column."""
    import pyarrow as pa

    encoded = [text.encode(errors="backslashreplace") for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    content = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), content)
