"""Parquet files, Arrow files and Arrow streams: columns with types, read in batches by PyArrow."""

import json
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.rows import Rows, in_blocks, steps_in_block
from rnncli.engine.threads import ahead
from rnncli.model.arrays import Integers, Truths, parse_numbers
from rnncli.model.errors import InputError, one_line
from rnncli.readers.columns import choose_all, named
from rnncli.readers.foreign import ARROW, PARQUET, STDIN, STREAM, display_name
from rnncli.readers.input import Doubles, Input, Layout, check_layout, checked
from rnncli.readers.keyed import Keys
from rnncli.readers.text import standard_input
from rnncli.storage import opened

# Bytes of a column that are read at once: a row group may be the whole file.
_PIECE = 1 << 20
# Digits of a second that a unit of time has.
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def read_arrow(path: str, layout: Layout, keys: Keys) -> Input:
    """Read a Parquet file, an Arrow file or an Arrow stream: a row is a step.

    Its first bytes tell which it is. A column of lists is as many features as
    each of them has values. Blocks are cut as those of CSV are, whatever the
    batches: the same numbers give the same states, to the bit.

    Parameters
    ----------
    path : str
        A file, or ``-`` for standard input.
    layout : Layout
    keys : Keys
        Those so far, in files before this one too.

    Raises
    ------
    InputError
        The file is damaged or of another kind, or has no such column. Errors
        in rows, and of columns without numbers, are raised by the blocks.
    ImportError
        PyArrow is not installed.
    OSError
        The file cannot be opened.
    """
    name = display_name(path)
    _check_installed(name)
    file: Any = standard_input() if path == STDIN else opened(path, seekable=True)
    source = _source(name, file, layout.block_steps)
    check_layout(name, layout, source.kind, columns=True)
    names = source.schema.names
    table = _Table(name, source, layout, keys)
    if path != STDIN:
        weakref.finalize(table, file.close)
    features, kept = table.features, table.kept
    # As many as in CSV, where a cell that is kept takes as much memory as eight values.
    steps = steps_in_block(len(features) + 8 * len(kept), layout.block_steps)
    parts = table.rows(min(steps, layout.block_steps))
    blocks = in_blocks(checked(name, parts, [*map(repr, features)], layout), steps)
    if path != STDIN and file.seekable() and layout.block_steps > 1:
        blocks = ahead(blocks)
    return Input(
        columns=features,
        blocks=blocks,
        key_columns=[names[i] for i in table.grouping],
        keys=keys.names if table.grouping else (),
        header=[names[i] for i in kept],
        share=source.share,
        shape=() if table.grouping or source.rows is None else (source.rows,),
        chosen=named(table.chosen, names),
        types=source.schema if layout.passthrough else None,
    )


class Typed(Sequence[Sequence[str]]):
    """Rows of cells with their types; as a sequence, rows of text.

    Parameters
    ----------
    arrow : pyarrow.Table
    """

    def __init__(self, arrow: Any) -> None:
        self.arrow = arrow

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __iter__(self) -> Iterator[list[str]]:
        columns = (chain.from_iterable(map(_texts, each.chunks)) for each in self.arrow.columns)
        return map(list, zip(*columns, strict=True))

    def __getitem__(self, rows: Any) -> Any:
        """Return the text of a row, or some rows with their types."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return Typed(self.arrow.slice(start, stop - start))
        if isinstance(rows, np.ndarray):
            return Typed(_taken(self.arrow, rows))
        return next(iter(self[rows : rows + 1]))

    @staticmethod
    def of(parts: "Sequence[Typed]") -> "Typed":
        """Join rows of the same columns."""
        import pyarrow as pa

        return Typed(pa.concat_tables([part.arrow for part in parts]))


class _Source(NamedTuple):
    """A file or a stream.

    Parameters
    ----------
    kind : str
        What it is, for messages.
    schema : pyarrow.Schema
    batches : callable
        Takes positions of columns, in their order, and returns an iterator
        over record batches of these.
    share : callable
        As for `Input`.
    rows : int, optional
        How many there are, if that is known.
    """

    kind: str
    schema: Any
    batches: Callable[[Sequence[int]], Iterator[Any]]
    share: Callable[[int], float | None] = lambda _: None
    rows: int | None = None


def _check_installed(name: str) -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        message = f"{name}: Parquet and Arrow need PyArrow: pip install 'rnncli[arrow]'"
        raise ImportError(message) from None


@contextmanager
def _readable(name: str, kind: str) -> Iterator[None]:
    """Make an InputError of what PyArrow raises where a file is damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeError, OverflowError) as error:
        raise InputError(name, f"not a whole {kind} file: {one_line(error)}") from error


def _source(name: str, file: Any, steps: int) -> _Source:
    """Tell by its first bytes what a file is, and read its schema."""
    start = file.peek(len(ARROW))
    if start.startswith(PARQUET[:4]):
        with _readable(name, "Parquet"):
            return _parquet(file, steps)
    is_file = start.startswith(ARROW[:6])
    if is_file or start.startswith(STREAM):
        with _readable(name, "Arrow"):
            return _arrow_file(file) if is_file and file.seekable() else _stream(file)
    if start.startswith(b"PARE"):
        raise InputError(name, "is encrypted; expected a Parquet file that is not")
    what = f"it begins with {start[:4]!r}" if start else "it is empty"
    raise InputError(name, f"neither a Parquet nor an Arrow file: {what}")


def _parquet(file: Any, steps: int) -> _Source:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(
        file if file.seekable() else _spooled(file), buffer_size=_PIECE, pre_buffer=False
    )
    schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    times = Counter(schema.names)

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        names = [schema.names[i] for i in columns]
        # A name with a point may be of a part of a column.
        apart = all(times[name] == 1 and "." not in name for name in names)
        some = names if apart else None
        for batch in parquet.iter_batches(steps, columns=some, use_threads=False):
            yield batch.select(names if apart else columns)

    return _Source("Parquet", schema, batches, lambda done: done / max(1, rows), rows)


def _spooled(file: Any) -> Any:
    """Copy what can be read but once to a file without a name."""
    import shutil
    import tempfile

    copy = tempfile.TemporaryFile()  # noqa: SIM115  it is closed when it has been read
    shutil.copyfileobj(file, copy, _PIECE)
    copy.seek(0)
    return copy


def _arrow_file(file: Any) -> _Source:
    from pyarrow import ipc

    share = [0.0]

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        options = ipc.IpcReadOptions(included_fields=list(columns), use_threads=False)
        reader = ipc.open_file(file, options=options)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
            share[0] = (number + 1) / reader.num_record_batches

    return _Source("Arrow", ipc.open_file(file).schema, batches, lambda _: share[0])


def _stream(file: Any) -> _Source:
    from pyarrow import ipc

    if file.peek(1).startswith(ARROW[:1]):  # a file in a pipe: a stream after these bytes
        file.read(len(ARROW))
    reader = ipc.open_stream(file, options=ipc.IpcReadOptions(use_threads=False))
    return _Source("Arrow", reader.schema, lambda columns: (b.select(columns) for b in reader))


class _Table:
    """Columns of a source that become rows.

    Attributes
    ----------
    grouping, chosen, kept : sequence of int
        Columns of the keys, those that are features, and whose cells are kept.
    features : sequence of str
        Their names: a column of lists is several.
    """

    def __init__(self, name: str, source: _Source, layout: Layout, keys: Keys) -> None:
        self._name, self._source, self._layout, self._keys = name, source, layout, keys
        names = source.schema.names
        self.grouping, self.chosen, self.kept = choose_all(name, layout, len(names), names)
        read = sorted({*self.grouping, *self.chosen, *self.kept})
        self._place = {column: place for place, column in enumerate(read)}
        self._batches = self._read(read)
        # How many features each of the chosen columns is, None where it holds no lists.
        self._widths = [self._width(column) for column in self.chosen]
        self.features: list[str] = []
        for column, width in zip(self.chosen, self._widths, strict=True):
            name = names[column]
            several = [f"{name}_{j}" for j in range(width or 0)]
            self.features += [name] if width is None else several

    def _read(self, columns: Sequence[int]) -> Iterator[Any]:
        """Read batches that are not empty, and are what they claim to be."""
        with _readable(self._name, self._source.kind):
            for batch in self._source.batches(columns):
                batch.validate(full=True)
                if batch.num_rows:
                    yield batch

    def _width(self, column: int) -> int | None:
        """Return how many values the lists of a column have; None where there are no lists."""
        kind = _plain_type(self._source.schema.field(column).type)
        if not _is_list(kind):
            return None
        if hasattr(kind, "list_size"):
            return int(kind.list_size)
        first = list(islice(self._batches, 1))
        self._batches = chain(first, self._batches)
        for batch in first:
            lengths = _numbers(_plain(batch.column(self._place[column])).value_lengths())
            if not np.isnan(lengths).all():
                return int(lengths[~np.isnan(lengths)][0])
        label = repr(self._source.schema.names[column])
        raise InputError(self._name, f"column {label}: no row says how long its lists are")

    def rows(self, steps: int) -> Iterator[Rows]:
        """Read some rows at a time, up to a list that is not as long as the first."""
        for column in self.chosen:
            self._check_type(column)
        done = 0
        for batch in self._batches:
            for start in range(0, batch.num_rows, steps):
                some = batch.slice(start, steps)
                row, error = self._unlike(some, done)
                yield self._rows(some.slice(0, row))
                if error:
                    raise error
                done += some.num_rows
        if self._source.rows not in (None, done):
            what = f"expected {self._source.rows} rows, got {done}"
            raise InputError(self._name, f"not a whole {self._source.kind} file: {what}")

    def _check_type(self, column: int) -> None:
        """Check that a column holds numbers, or lists of them.

        Raises
        ------
        InputError
            It does not.
        """
        field = self._source.schema.field(column)
        kind = _plain_type(field.type)
        if _is_list(kind):
            kind = _plain_type(kind.value_type)
        if not _is_number(kind):
            what = f"column {field.name!r}: expected numbers, got {field.type}"
            chosen = bool(self._layout.columns)
            hint = _hint(kind) if chosen else "`columns` chooses those to read"
            raise InputError(self._name, what, hint)

    def _unlike(self, batch: Any, done: int) -> tuple[int, InputError | None]:
        """Find the first row in which a list is not as long as the first of its column."""
        row, error = batch.num_rows, None
        for column, width in zip(self.chosen, self._widths, strict=True):
            if width is None:
                continue
            lists = _plain(batch.column(self._place[column]))
            lengths = _numbers(lists.value_lengths())
            wrong = np.flatnonzero((lengths != width) & ~np.isnan(lengths))
            if len(wrong) and wrong[0] < row:
                row = int(wrong[0])
                place = f"row {done + row + 1}, column {self._source.schema.names[column]!r}"
                what = f"expected a list of {width} values, as in the rows before"
                got = f"got one of {int(lengths[row])}"
                error = InputError(f"{self._name}: {place}", f"{what}, {got}")
        return row, error

    def _rows(self, batch: Any) -> Rows:
        x = np.empty((batch.num_rows, len(self.features)))
        at = 0
        with _readable(self._name, self._source.kind):
            for column, width in zip(self.chosen, self._widths, strict=True):
                cells = batch.column(self._place[column])
                if width is None:
                    x[:, at] = _numbers(cells)
                else:
                    x[:, at : at + width] = _lists(cells, width)
                at += 1 if width is None else width
            return Rows(x, self._key(batch), None, self._cells(batch))

    def _key(self, batch: Any) -> Integers | None:
        if not self.grouping:
            return None
        columns = (batch.column(self._place[column]) for column in self.grouping)
        return self._keys.number_coded([*map(_coded, columns)])

    def _cells(self, batch: Any) -> Typed | None:
        import pyarrow as pa

        if not self.kept:
            return None
        return Typed(pa.Table.from_batches([batch.select([self._place[i] for i in self.kept])]))


def _plain_type(kind: Any) -> Any:
    """Return the type of values that are stored as a dictionary, runs, or under another name."""
    from pyarrow import BaseExtensionType, types

    while True:
        if isinstance(kind, BaseExtensionType):
            kind = kind.storage_type
        elif types.is_dictionary(kind) or types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def _plain(column: Any) -> Any:
    """Return a column that is stored so as one of its values."""
    import pyarrow as pa

    while True:
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        elif isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        elif isinstance(column, pa.RunEndEncodedArray):
            from pyarrow import compute

            column = compute.run_end_decode(column)
        else:
            return column


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(each(kind) for each in (*lists, types.is_list_view, types.is_large_list_view))


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    numbers = (types.is_integer, types.is_floating, types.is_decimal)
    return any(each(kind) for each in (*numbers, types.is_boolean, types.is_null))


def _hint(kind: Any) -> str:
    """Return what to do with a column that holds no numbers."""
    from pyarrow import types

    if types.is_temporal(kind):
        return "make a number of it, such as seconds, where the file is written"
    text = (types.is_string, types.is_large_string, types.is_string_view)
    if any(each(kind) for each in text):
        return "make numbers of text where the file is written"
    return ""


def _numbers(column: Any) -> Doubles:
    """Return the numbers of a column, each rounded once; NaN where there is none."""
    from pyarrow import types

    column = _plain(column)
    kind = column.type
    if types.is_decimal(kind):
        texts = column.cast("string").to_pylist()
        numbers = parse_numbers([text or "nan" for text in texts])
        assert numbers is not None
        return numbers
    values = np.full(len(column), np.nan)
    if not types.is_null(kind):
        present = _present(column)
        values[present] = _stored(column)[present]
    return values


def _lists(column: Any, width: int) -> Doubles:
    """Return the numbers in lists of so many, (n, width); NaN where there is no list."""
    lists = _plain(column)
    values = np.full((len(lists), width), np.nan)
    values[_present(lists)] = _numbers(lists.flatten()).reshape(-1, width)
    return values


def _present(column: Any) -> slice | Truths:
    """Return the rows of a column in which there is a value."""
    if not column.null_count:
        return slice(None)
    return np.from_dlpack(column.is_valid().cast("uint8")) > 0


def _stored(column: Any) -> NDArray[Any]:
    """Return what a column of numbers holds, anything where there is no value."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast("uint8")
    if column.null_count:
        data = [None, column.buffers()[1]]
        column = pa.Array.from_buffers(column.type, len(column), data, offset=column.offset)
    return np.from_dlpack(column)


def _taken(table: Any, truths: Truths) -> Any:
    """Return the rows of a table of which it is true."""
    import pyarrow as pa

    # `pyarrow.array` would import pandas, where it is installed: 0.2 s.
    bits = [None, pa.py_buffer(np.packbits(truths, bitorder="little"))]
    try:
        return table.filter(pa.Array.from_buffers(pa.bool_(), len(truths), bits))
    except pa.ArrowNotImplementedError:  # of a type that is new
        edges = np.flatnonzero(np.diff(truths, prepend=False, append=False)).reshape(-1, 2)
        parts = [table.slice(start, stop - start) for start, stop in edges.tolist()]
        return pa.concat_tables([table.slice(0, 0), *parts]).combine_chunks()


def _coded(column: Any) -> tuple[Integers, Sequence[str]]:
    """Return a code for each cell, and the text of each code."""
    import pyarrow as pa

    if not isinstance(column, pa.DictionaryArray) or len(column.dictionary) > len(column):
        try:
            column = (column if _is_uuid(column) else _plain(column)).dictionary_encode()
        except pa.ArrowNotImplementedError:
            return np.arange(len(column)), _texts(column)
    codes, texts = np.empty(len(column), np.intp), _texts(column.dictionary)
    codes[...] = len(texts)
    present = _present(column.indices)
    codes[present] = _stored(column.indices)[present]
    return codes, [*texts, ""]


def _texts(column: Any) -> list[str]:
    """Return the text of each cell, as CSV would have it: empty where there is no value."""
    from pyarrow import types

    if _is_uuid(column):
        return ["" if each is None else str(each) for each in column.to_pylist()]
    column = _plain(column)
    kind = column.type
    if types.is_floating(kind):
        texts = np.full(len(column), "", object)
        present = _present(column)
        texts[present] = _stored(column)[present].astype(str)
        return texts.tolist()
    if types.is_timestamp(kind) or types.is_time(kind):
        return [_iso(text, _DIGITS[kind.unit]) for text in _cast(column)]
    if "binary" in str(kind):
        return [str(each or b"", "utf-8", "backslashreplace") for each in column.to_pylist()]
    if types.is_nested(kind) or types.is_interval(kind):
        values = column.to_pylist()
        return ["" if each is None else json.dumps(each, default=str) for each in values]
    return _cast(column)


def _is_uuid(column: Any) -> bool:
    return getattr(column.type, "extension_name", "") == "arrow.uuid"


def _cast(column: Any) -> list[str]:
    return [text or "" for text in column.cast("string").to_pylist()]


def _iso(text: str, digits: int) -> str:
    """Return a time as ISO 8601 has it, without zeros at the end of its second."""
    head, _, tail = text.partition(".")
    fraction = tail[:digits].rstrip("0")
    text = head.replace(" ", "T") + (fraction and f".{fraction}") + tail[digits:]
    return f"{text[:-2]}:{text[-2:]}" if text[-5] in "+-" else text
