"""States as columns with types: a Parquet file, an Arrow file or an Arrow stream."""

import io
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.stream import Block
from rnncli.model.arrays import Integers
from rnncli.model.errors import InputError, one_line
from rnncli.writers.labels import Key
from rnncli.writers.trajectory import Style, Trajectory, UntilError, joined

# Values of blocks in a row group of Parquet: one block may have more.
_GROUP = 1 << 20


def write_parquet(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write the columns of CSV in row groups of some megabytes.

    Raises
    ------
    InputError
        The input has a column of a type that Parquet does not have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    blocks = UntilError(trajectory.blocks)
    columns = _Columns(trajectory, style)
    schema = _with_room(columns.schema)
    floats = (pa.float16(), pa.float32(), pa.float64())
    names = (*trajectory.key_columns, *trajectory.header)
    repeated = [name for name in names if columns.schema.field(name).type not in floats]
    held: list[Block] = []
    # Lists are one column: its pieces are as large as those of all columns together.
    most = max(1, _GROUP // columns.width) if style.layout == "list" else None
    with (
        _storable("Parquet"),
        pq.ParquetWriter(
            out.buffer,
            schema,
            compression="zstd",
            use_dictionary=repeated,
            # Keys that are interleaved, and states, have much the same ends in each group.
            write_statistics=["t", *trajectory.header],
        ) as writer,
    ):
        for block in blocks:
            held.append(block)
            if sum(len(each.t) for each in held) * columns.width >= _GROUP:
                writer.write_table(columns.table(joined(held)).cast(schema), most)
                held = []
        if held:
            writer.write_table(columns.table(joined(held)).cast(schema), most)
    blocks.check()


def _with_room(schema: Any) -> Any:
    """Return a schema whose dictionaries can grow: who reads a file of Parquet joins them."""
    import pyarrow as pa

    for place, field in enumerate(schema):
        kind = field.type
        if pa.types.is_dictionary(kind) and kind.index_type.bit_width < 32:
            kind = pa.dictionary(pa.int32(), kind.value_type, kind.ordered)
            schema = schema.set(place, field.with_type(kind))
    return schema


def write_arrow(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write the columns of CSV, a batch a block: to a file as that of Arrow, else a stream.

    A stream of a run that fails has no mark of its end: who reads it learns that.
    """
    from pyarrow import ipc

    blocks = UntilError(trajectory.blocks)
    is_file = _is_file(out)
    columns = _Columns(trajectory, style, growing=is_file)
    options = ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    new = ipc.new_file if is_file else ipc.new_stream
    with _storable("Arrow"):
        writer = new(out.buffer, columns.schema, options=options)
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
    style : Style
    growing : bool
        Whether the dictionary of a column has the values of those before it
        first: an Arrow file has but one for each.

    Attributes
    ----------
    schema : pyarrow.Schema
        Their names and types, and what was run.
    width : int
        How many values a row has.
    """

    def __init__(self, trajectory: Trajectory, style: Style, *, growing: bool = False) -> None:
        import pyarrow as pa

        self._growing = growing
        self._before: dict[int, list[Any]] = {}  # of each column, no rows with its dictionary
        self._trajectory, self._lists = trajectory, style.layout == "list"
        number = pa.from_numpy_dtype(trajectory.initial().rows().h.dtype)
        keyed = not set(trajectory.key_columns) <= set(trajectory.header)
        self._keys = [_Codes(i) for i in range(len(trajectory.key_columns))] if keyed else []
        text = pa.dictionary(pa.int32(), pa.string())
        fields = [pa.field(name, text) for name in trajectory.key_columns] if keyed else []
        if trajectory.types is not None:
            fields += trajectory.types
        else:
            fields += [pa.field(name, pa.string()) for name in trajectory.header]
        if not trajectory.header:
            fields.append(pa.field("t", pa.int64()))
        fields += self._units(number)
        self.schema = pa.schema(fields, {"model": json.dumps(trajectory.model)})
        self.width = len(fields) - self._lists + self._lists * len(trajectory.units)

    def _units(self, number: Any) -> list[Any]:
        import pyarrow as pa

        trajectory = self._trajectory
        if not self._lists:
            return [pa.field(unit, number) for unit in trajectory.units]
        return [
            pa.field(part.name, pa.list_(number, part.width))
            for part in trajectory.values
            if part.array in trajectory.shown and part.width
        ]

    def table(self, block: Block) -> Any:
        """Return a block as a table."""
        import pyarrow as pa

        columns: list[Any] = []
        if block.key is not None:
            columns = [key.column(block.key, self._trajectory.keys) for key in self._keys]
        if block.cells is None:
            columns.append(_column(block.t.astype(np.int64, copy=False)))
        elif hasattr(block.cells, "arrow"):
            columns += map(self._kept, count(), block.cells.arrow.columns)
        else:
            places = range(len(self._trajectory.header))
            columns += [_strings([row[i] for row in block.cells]) for i in places]
        columns += self._values(block)
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _kept(self, place: int, column: Any) -> Any:
        """Return a column of the input, behind what its dictionary has had, where that grows."""
        import pyarrow as pa

        if self._growing and pa.types.is_dictionary(column.type):
            column = pa.chunked_array([*self._before.get(place, ()), *column.chunks])
            column = column.unify_dictionaries()
            self._before[place] = [column.chunk(0).slice(0, 0)]
        return column

    def _values(self, block: Block) -> Iterator[Any]:
        import pyarrow as pa

        if not self._lists:
            yield from map(_column, np.ascontiguousarray(self._trajectory.rows(block).T))
            return
        for part, array in self._trajectory.by_layer(block):
            if part.array in self._trajectory.shown and part.width:
                flat = _column(np.ascontiguousarray(array).reshape(-1))
                yield pa.FixedSizeListArray.from_arrays(flat, part.width)


class _Codes:
    """A column of keys, whose texts are numbered as they come.

    Parameters
    ----------
    place : int
        Of the column in a key.
    """

    def __init__(self, place: int) -> None:
        self._place = place
        self._numbers: dict[str, int] = {}
        self._codes = np.empty(0, np.int32)  # of each key
        self._texts = _strings([])

    def column(self, numbers: Integers, keys: Sequence[Key]) -> Any:
        """Return the column of rows with keys of such numbers."""
        import pyarrow as pa

        known, found = len(self._codes), self._numbers
        if known < len(keys):
            new = [found.setdefault(key[self._place], len(found)) for key in keys[known:]]
            self._codes = np.append(self._codes, np.array(new, np.int32))
            new_texts = [*islice(reversed(found), len(found) - len(self._texts))]
            self._texts = pa.concat_arrays([self._texts, _strings(new_texts[::-1])])
        return pa.DictionaryArray.from_arrays(_column(self._codes[numbers]), self._texts)


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
