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
from rnncli.writers.trajectory import Style, Trajectory, UntilError

# Values of blocks in a row group of Parquet: one block may have more.
_GROUP = 1 << 20


def write_parquet(out: TextIO, trajectory: Trajectory, _style: Style) -> None:
    """Write the columns of CSV in row groups of some megabytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    blocks = UntilError(trajectory.blocks)
    columns = _Columns(trajectory)
    floats = (pa.float16(), pa.float32(), pa.float64())
    names = (*trajectory.key_columns, *trajectory.header)
    repeated = [name for name in names if columns.schema.field(name).type not in floats]
    held: list[Rows] = []
    with (
        _storable("Parquet"),
        pq.ParquetWriter(
            out.buffer,
            columns.schema,
            compression="zstd",
            use_dictionary=repeated,
            # Keys that are interleaved, and states, have much the same ends in each group.
            write_statistics=["t", *trajectory.header],
        ) as writer,
    ):
        for block in blocks:
            held.append(block)
            if sum(len(each.t) for each in held) * columns.width >= _GROUP:
                writer.write_table(columns.table(join(held)))
                held = []
        if held:
            writer.write_table(columns.table(join(held)))
    blocks.check()


def write_arrow(out: TextIO, trajectory: Trajectory, _style: Style) -> None:
    """Write the columns of CSV, a batch a block: to a file as that of Arrow, else a stream.

    A stream of a run that fails has no mark of its end: who reads it learns that.
    """
    from pyarrow import ipc

    blocks = UntilError(trajectory.blocks)
    is_file = _is_file(out)
    columns = _Columns(trajectory)
    new = ipc.new_file if is_file else ipc.new_stream
    with _storable("Arrow"):
        writer = new(out.buffer, columns.schema)
        for block in blocks:
            writer.write_table(columns.table(block))
        if is_file or not blocks.error:
            writer.close()
    blocks.check()


def _is_file(out: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(out.fileno()).st_mode)
    except io.UnsupportedOperation:  # a stream in memory
        return False


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


class _Columns:
    """The columns of a result.

    Parameters
    ----------
    trajectory : Trajectory

    Attributes
    ----------
    schema : pyarrow.Schema
        Their names and types, and what was run.
    width : int
        How many values a row has.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        import pyarrow as pa

        self._trajectory = trajectory
        number = pa.from_numpy_dtype(trajectory.initial().rows().h.dtype)
        self._keyed = not set(trajectory.key_columns) <= set(trajectory.header)
        fields = [pa.field(name, pa.string()) for name in trajectory.key_columns if self._keyed]
        if trajectory.types is not None:
            fields += trajectory.types
        else:
            fields += [pa.field(name, pa.string()) for name in trajectory.header]
        if not trajectory.header:
            fields.append(pa.field("t", pa.int64()))
        fields += [pa.field(unit, number) for unit in trajectory.units]
        self.schema = pa.schema(fields, {"model": json.dumps(trajectory.model)})
        self.width = len(fields)

    def table(self, block: Rows) -> Any:
        """Return a block as a table."""
        import pyarrow as pa

        columns: list[Any] = []
        if block.key is not None and self._keyed:
            present, places = np.unique(block.key, return_inverse=True)
            keys = [self._trajectory.keys[number] for number in present.tolist()]
            for place in range(len(self._trajectory.key_columns)):
                texts = _strings([key[place] for key in keys])
                columns.append(texts.take(_column(places)))
        if block.cells is None:
            columns.append(_column(block.t.astype(np.int64, copy=False)))
        elif hasattr(block.cells, "arrow"):
            columns += block.cells.arrow.columns
        else:
            width = len(self._trajectory.header)
            columns += [_strings([row[i] for row in block.cells]) for i in range(width)]
        columns += map(_column, np.ascontiguousarray(self._trajectory.rows(block).T))
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
