"""Parquet files, Arrow files and Arrow streams: columns with types, read in batches by PyArrow."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc, types

from rnncli.engine.rows import BLOCK_STEPS, Rows, in_blocks, steps_in_block
from rnncli.model.arrays import Doubles
from rnncli.model.errors import InputError, one_line
from rnncli.readers import ARROW, PARQUET, STREAM
from rnncli.readers.columns import choose_all, make_input
from rnncli.readers.input import (
    OF_TEXT,
    Input,
    Keys,
    Layout,
    check_layout,
    check_rows,
    display_name,
)

# Bytes of a column that are read at once: a row group may be the whole file.
_CHUNK = 1 << 16
# Kinds of numbers; a column without any value is of the type null.
_NUMBERS = ("integer", "floating", "decimal", "boolean", "null")
# The mark at the end of an Arrow stream.
_END = STREAM + bytes(4)
_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
# A schema, a function that reads batches of some columns, and the number of rows, if known.
Source = tuple[Any, Callable[[Sequence[int]], Iterator[Any]], int | None]


def read_arrow(path: str, file: Any, layout: Layout, keys: Keys) -> Input:
    """Read a Parquet file, an Arrow file or an Arrow stream; blocks are cut as those of CSV."""
    name, start = display_name(path), file.peek(len(ARROW))
    kinds = {PARQUET[:4]: _open_parquet, ARROW[:6]: _open_file, STREAM: _open_stream}
    open_kind = next((kind for mark, kind in kinds.items() if start.startswith(mark)), None)
    if open_kind is None:
        raise InputError(name, "neither a Parquet nor an Arrow file")
    with _readable(name):
        schema, batches, count = open_kind(file)
    check_layout(name, layout, "a table", *OF_TEXT)
    fields = [field.with_type(_plain_type(field.type)) for field in schema]
    names = schema.names
    chosen = choose_all(name, layout, len(names), names)
    grouping, features, copied, _ = chosen
    steps = chosen.count_steps(layout)
    for field in (fields[i] for i in features):
        if not any(getattr(types, f"is_{kind}")(field.type) for kind in _NUMBERS):
            what = f"column {field.name!r}: expected numbers, got {field.type}"
            raise InputError(name, what, "`columns` chooses those to read")

    def rows() -> Iterator[Rows]:
        done, wanted = 0, sorted({*grouping, *features, *copied})
        with _readable(name):
            for batch in batches(wanted):
                batch.validate(full=True)
                for start in range(0, batch.num_rows, steps):
                    columns = map(_plain, batch.slice(start, steps).columns)
                    data = dict(zip(wanted, columns, strict=True))
                    x = np.stack([_numbers(data[i]) for i in features], axis=1)
                    texts = [_texts(data[i], names[i]) for i in grouping]
                    cells = [data[i] for i in copied]
                    yield Rows(
                        x,
                        key=keys.number(*texts) if grouping else None,
                        cells=Typed(pa.Table.from_arrays(cells, names)) if copied else None,
                    )
                done += batch.num_rows
            if count not in (None, done):
                raise OSError(f"expected {count} rows, got {done}")

    labels = [repr(names[i]) for i in features]
    blocks = in_blocks(check_rows(name, rows(), labels, layout), steps)
    return make_input(blocks, chosen, names, keys)._replace(
        share=lambda done: None if count is None else done / max(1, count),
        shape=() if grouping or count is None else (count,),
        types=pa.schema(fields, schema.metadata) if layout.passthrough else None,
    )


def _open_parquet(file: Any) -> Source:
    from pyarrow import parquet

    how = {"buffer_size": _CHUNK, "pre_buffer": False, "page_checksum_verification": True}
    stored = parquet.ParquetFile(file, **how)
    schema = stored.schema_arrow

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        names, steps = [schema.names[i] for i in columns], steps_in_block(len(columns), BLOCK_STEPS)
        # A name with a point may select a field of a column.
        unique = len({*schema.names}) == len(schema.names) and "." not in "".join(names)
        stream = stored.iter_batches(steps, columns=names if unique else None, use_threads=False)
        return (batch.select(names if unique else columns) for batch in stream)

    return schema, batches, stored.metadata.num_rows


def _open_file(file: Any) -> Source:
    # A thread of Arrow that holds a Python object at the end of the process would abort it.
    with suppress(io.UnsupportedOperation):  # a file in memory
        name = f"/dev/fd/{file.fileno()}"  # Windows has no such names
        file = pa.OSFile(name) if os.path.exists(name) else file
    reader = ipc.open_file(file, options=ipc.IpcReadOptions(use_threads=False))

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        options = ipc.IpcReadOptions(included_fields=[*columns], use_threads=False)
        chosen = ipc.open_file(file, options=options)
        return map(chosen.get_batch, range(reader.num_record_batches))

    return reader.schema, batches, None


def _open_stream(file: Any) -> Source:
    # PyArrow does not notice that a stream is cut between two batches.
    file.seek(max(0, file.seek(0, io.SEEK_END) - len(_END)))
    if file.read() != _END:
        raise pa.ArrowInvalid("it has no end (was the program that wrote it stopped?)")
    file.seek(0)
    reader = ipc.open_stream(file, options=ipc.IpcReadOptions(use_threads=False))

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        yield from (batch.select(columns) for batch in reader)
        if file.read(1):
            raise pa.ArrowInvalid("more follows its end (a second stream?)")

    return reader.schema, batches, None


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn PyArrow's errors about a damaged file into an InputError."""
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeError, OverflowError) as error:
        raise InputError(name, f"not a whole Parquet or Arrow file: {one_line(error)}") from error


class Typed(Sequence[Sequence[str]]):
    """Rows of cells with their types, in a pyarrow.Table; as a sequence, rows of text."""

    def __init__(self, arrow: Any) -> None:
        self.arrow = arrow

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __iter__(self) -> Iterator[list[str]]:
        columns = [
            [text for chunk in column.chunks for text in _texts(chunk, name)]
            for name, column in zip(self.arrow.column_names, self.arrow.columns, strict=True)
        ]
        return map(list, zip(*columns, strict=True))

    def __getitem__(self, rows: Any) -> Any:
        """Return some rows with their types."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return Typed(self.arrow.slice(start, stop - start))
        # `pyarrow.array` would import pandas, where it is installed: 0.2 s.
        bits = [None, pa.py_buffer(np.packbits(rows, bitorder="little"))]
        try:
            return Typed(self.arrow.filter(pa.Array.from_buffers(pa.bool_(), len(rows), bits)))
        except pa.ArrowNotImplementedError as error:
            raise InputError("", f"rows cannot be chosen: {one_line(error)}") from error

    def clear(self, copied: Sequence[int]) -> "Typed":
        """Return rows without values, but in the columns `copied`."""
        columns = [
            column if n in copied else pa.nulls(len(self), column.type)
            for n, column in enumerate(self.arrow.columns)
        ]
        return Typed(pa.Table.from_arrays(columns, schema=self.arrow.schema))

    @staticmethod
    def of(blocks: "Sequence[Typed]") -> "Typed":
        """Join rows of the same columns."""
        return Typed(pa.concat_tables([block.arrow for block in blocks]))


def _plain_type(kind: Any) -> Any:
    """Return the type to read: that of the values of a dictionary, and no views."""
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return _VIEWS.get(kind, kind)


def _plain(column: Any) -> Any:
    """Return a column as its `_plain_type`."""
    kind = _plain_type(column.type)
    if hasattr(column, "dictionary"):
        return column.dictionary.cast(kind).take(column.indices)
    return column if column.type == kind else column.cast(kind)


def _numbers(column: Any) -> Doubles:
    """Return the numbers of a column, each rounded once; NaN where there is none."""
    if types.is_decimal(column.type):  # Arrow would round twice
        column = column.cast(pa.string())
    return _fill(column.cast(pa.float64(), safe=False), np.nan)


def _fill(column: Any, value: float) -> NDArray[Any]:
    """Return numbers with one for no value; `fill_null` and `to_numpy` would import pandas."""
    if not column.null_count:
        return np.from_dlpack(column)
    data = [None, column.buffers()[1]]
    stored = pa.Array.from_buffers(column.type, len(column), data, offset=column.offset)
    is_valid = np.from_dlpack(column.is_valid().cast("uint8")) > 0
    return np.where(is_valid, np.from_dlpack(stored), value)


def _texts(column: Any, name: str) -> list[str]:
    """Return the text of each cell of a column: empty where there is no value."""
    if types.is_floating(column.type):  # Arrow would write 1.0 as 1
        texts, known = _fill(column, 0).astype(str).tolist(), column.is_valid().to_pylist()
        return [text if each else "" for text, each in zip(texts, known, strict=True)]
    try:
        return [text or "" for text in column.cast("string").to_pylist()]
    except pa.ArrowException as error:
        what = f"{column.type} has no text: {one_line(error)}"
        raise InputError(f"column {name!r}", what) from error


class _Unpacked(io.RawIOBase):
    """A stream that PyArrow decompresses."""

    def __init__(self, file: Any) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def open_zstd(file: Any) -> io.BufferedReader:
    """Open text that is compressed by zstd."""
    return io.BufferedReader(_Unpacked(file), 1 << 20)
