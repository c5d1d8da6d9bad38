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

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError, one_line
from rnncli.writers.result import Result, Style


class TypedWriter:
    """Writes the same columns as CSV, in a group of rows for each block."""

    def __init__(self, out: TextIO, result: Result, _style: Style, form: str) -> None:
        import pyarrow as pa

        self._result, self._form = result, form
        names = [*result.new_keys, *(result.header if result.types is None else ())]
        fields = [*(pa.field(name, pa.string()) for name in names), *(result.types or ())]
        if not result.header:
            fields.append(pa.field("t", pa.int64()))
        number = pa.from_numpy_dtype(result.initial().x.dtype)
        fields += [pa.field(unit, number) for unit in result.units]
        self._schema = pa.schema(fields, {"model": json.dumps(result.model)})
        try:
            is_file = stat.S_ISREG(os.fstat(out.fileno()).st_mode)
        except io.UnsupportedOperation:  # a stream in memory
            is_file = False
        self._is_whole = form == "parquet" or is_file
        with self._storable():
            self._writer = self._open(out)

    def _open(self, out: TextIO) -> Any:
        if self._form == "arrow":
            from pyarrow import ipc

            return (ipc.new_file if self._is_whole else ipc.new_stream)(out.buffer, self._schema)
        import pyarrow.parquet as pq

        class Writer(pq.ParquetWriter):  # type: ignore[misc]
            def __del__(self) -> None:
                """Do nothing: the file of a run that failed may be closed."""

        floats = ("halffloat", "float", "double")  # four times as slow with dictionaries
        repeated = [field.name for field in self._schema if str(field.type) not in floats]
        return Writer(out.buffer, self._schema, compression="zstd", use_dictionary=repeated)

    def rows(self, rows: Rows) -> None:
        """Write a block of results."""
        import pyarrow as pa

        columns: list[Any] = []
        if rows.key is not None and self._result.new_keys:
            present, inverse = np.unique(rows.key, return_inverse=True)
            keys = zip(*(self._result.keys[number] for number in present.tolist()), strict=True)
            columns += [_strings(texts).take(_column(inverse)) for texts in keys]
        if rows.cells is None:
            columns.append(_column(rows.t.astype(np.int64, copy=False)))
        elif hasattr(rows.cells, "arrow"):
            columns += rows.cells.arrow.columns
        else:
            columns += map(_strings, zip(*rows.cells, strict=True))
        columns += map(_column, np.ascontiguousarray(self._result.rows(rows).T))
        with self._storable():
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def end(self, error: ValueError | None) -> None:
        """Mark the end; without the mark, the reader of a stream learns that the run failed."""
        if self._is_whole or not error:
            self._writer.close()

    @contextmanager
    def _storable(self) -> Iterator[None]:
        """Turn PyArrow's error about a type that the format lacks into an InputError."""
        import pyarrow as pa

        try:
            yield
        except pa.ArrowException as error:
            what = f"{self._form.capitalize()} does not hold a column of the input"
            raise InputError("", f"{what}: {one_line(error)}") from error


def _column(values: NDArray[Any]) -> Any:
    """Return numbers as a column; `pyarrow.array` would spend 0.2 s on importing pandas."""
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
