"""A log in pieces: each is read by itself, and its rows are divided among parts by their keys.

Rows stay what they are: lines of text as they stand in a file, or rows of a
table with its types. So the file of a part is read as the log itself would
be. A row keeps its number, for messages about it to name the file that it is
from.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from rnncli.model.arrays import Integers
from rnncli.model.errors import InputError
from rnncli.readers.arrow import readable
from rnncli.readers.arrow.cells import key_cells
from rnncli.readers.columns import choose, others, parted
from rnncli.readers.foreign import STDIN, UTF_8
from rnncli.readers.header import csv_rows, is_blank, syntax_error, take_header
from rnncli.readers.input import Layout
from rnncli.readers.keyed import Keys
from rnncli.readers.text import Lines, read_lines, read_stretch
from rnncli.storage import opened

# Bytes that a worker reads at once, and rows of text that it makes a table of.
PIECE_BYTES, _ROWS = 1 << 25, 1 << 16
# How many times longer text is than its gzip data.
_GZIP = 8
TEXT, PARQUET, ARROW = "text", "Parquet", "Arrow"
_STARTS = {b"PAR1": PARQUET, b"ARROW1": ARROW, b"\xff\xff\xff\xff": ARROW}
# A row of text, its number in the piece, what it is ordered by and its keys: no columns of a table.
_LINE, _ROW, _ORDER, _KEY = "\0line", "\0row", "\0order", "\0key"


class Piece(NamedTuple):
    """Rows that stand together in a file.

    Parameters
    ----------
    path : str
    start, stop : int
        Bytes of text, row groups of Parquet, or batches of Arrow. All that
        there is, if `stop` is 0.
    before : int
        Rows of a table before these.
    """

    path: str
    start: int = 0
    stop: int = 0
    before: int = 0


class Log(NamedTuple):
    """What all pieces of a log have in common: what its first file has.

    Parameters
    ----------
    path : str
        The first file.
    kind : {"text", "Parquet", "Arrow"}
    layout : Layout
    columns : list of str
        Names of all columns of text, or of those of a table that are read.
    schema : pyarrow.Schema
        Of the rows of a piece.
    grouping : sequence of int
        Which of the columns are the key.
    order : int or None
        Which of them the rows of a key are ordered by.
    options : mapping
        Those of ``rnn run`` that read a part as the log would be read.
    named : bool
        Whether text has a header.
    delimiter : str
        Of text.
    """

    path: str
    kind: str
    layout: Layout
    columns: list[str]
    schema: Any
    grouping: Sequence[int]
    order: int | None
    options: Mapping[str, Any]
    named: bool = True
    delimiter: str = ","

    @property
    def extension(self) -> str:
        """Of the file of a part."""
        return ".csv" if self.kind == TEXT else ".arrow"


def open_log(path: str, layout: Layout, order_by: str | None) -> Log:
    """Look at the first file of a log.

    Parameters
    ----------
    path : str
    layout : Layout
    order_by : str, optional
        The column that rows of a key are ordered by, given as in
        ``layout.columns``.

    Raises
    ------
    InputError
        It cannot be read, or has no such column.
    """
    if _kind(path) == TEXT:
        return _open_text(path, layout, order_by)
    return _open_table(path, layout, order_by)


def cut(log: Log, path: str) -> tuple[list[Piece], int]:
    """Cut a file of a log into pieces; return how much memory its rows take, too.

    Raises
    ------
    InputError
        It cannot be read, or is of another kind than the first.
    """
    kind = _kind(path)
    if kind != log.kind:
        what = f"is {kind}, and {log.path} is {log.kind}: expected files of one kind"
        raise InputError(path, what)
    if kind == TEXT:
        return _cut_text(path, log.layout.encoding)
    return _cut_parquet(path, log) if kind == PARQUET else _cut_arrow(path)


def divided(piece: Piece, log: Log, parts: int) -> dict[int, bytes]:
    """Read a piece, and divide its rows among so many parts.

    Returns
    -------
    dict
        Of each part that has rows here: these in their order, as an Arrow
        stream.

    Raises
    ------
    InputError
        The piece cannot be read, or is unlike the first file of the log.
    """
    import pyarrow as pa

    table, keys = (_read_text if log.kind == TEXT else _read_table)(piece, log)
    part = _parts_of(keys, parts)
    order = np.argsort(part, kind="stable")
    rows = table.take(pa.array(order)).replace_schema_metadata({"piece": json.dumps(piece)})
    present, starts = np.unique(part[order], return_index=True)
    edges = [*starts.tolist(), len(rows)]
    found: dict[int, bytes] = {}
    for number, (start, stop) in zip(present.tolist(), pairwise(edges), strict=True):
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows.slice(start, stop - start))
        found[number] = stream.getvalue().to_pybytes()
    return found


def part_of(key: Sequence[str], parts: int) -> int:
    """Return the part of a key: the same in every version and on every machine.

    It is the CRC-32 of the key in UTF-8, with a NUL between its columns.
    """
    return crc32("\0".join(key).encode(errors="surrogatepass")) % parts


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
        self._table = pa.concat_tables(tables or [log.schema.empty_table()])
        if tables and log.order is not None:
            order = self._order(log.order)
            self._table, self._piece = self._table.take(pa.array(order)), self._piece[order]
        self._ends: Integers | None = None

    def write(self, path: str) -> Mapping[str, Any]:
        """Write a file with the rows; return the options of ``rnn run`` that read it.

        Text without rows has a header at least, or it would not be read. Of
        the rows only their numbers are kept.
        """
        import pyarrow as pa
        from pyarrow import compute

        options = self._log.options
        with pa.OSFile(path, "wb") as file:
            if self._log.kind == TEXT:
                if not len(self._table):
                    options = {**options, "first_row": "header"}
                    file.write(_header(self._log._replace(named=True)))
                    return options
                file.write(_header(self._log))
                for chunk in self._table[_LINE].chunks:
                    file.write(_joined(chunk))
                self._ends = np.cumsum(compute.count_substring(self._table[_LINE], "\n"))
            else:
                table = self._table.drop_columns([_ROW]).combine_chunks()
                with pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table, max_chunksize=_ROWS)
                del table
        self._table = self._table.select([_ROW]).combine_chunks()
        pa.default_memory_pool().release_unused()
        return options

    def with_origins(self, message: str, path: str) -> str:
        """Name the file that a row is from in a message about the file of the part."""
        place = r":(\d+)" if self._log.kind == TEXT else r": row (\d+)"
        found = re.search(re.escape(path) + place, message)
        if found is None:
            return message
        number = int(found[1]) - 1
        if self._ends is not None:
            line = number - _header(self._log).count(b"\n")
            number = int(np.searchsorted(self._ends, line, "right"))
        return message[: found.start()] + self._origin(number) + message[found.end() :]

    def _origin(self, number: int) -> str:
        """Return where a row, counted from 0, stands in the log."""
        piece = self._pieces[self._piece[number]]
        row = self._table[_ROW][number].as_py() + 1
        if self._log.kind == TEXT:
            return f"{piece.path}:{_lines_before(piece) + row}"
        return f"{piece.path}: row {piece.before + row}"

    def _order(self, column: int) -> Integers:
        """Return the rows in order; those that are equal stay as they stand."""
        from pyarrow import compute

        name, is_text = self._log.columns[column], self._log.kind == TEXT
        label, cells = f"column {name!r}", self._table[_ORDER if is_text else name]
        if is_text:
            cells = _typed(cells, self._log.layout.decimal, label)
        absent = compute.is_null(cells, nan_is_null=True)
        if compute.any(absent).as_py():
            place = self._origin(compute.index(absent, True).as_py())
            raise InputError(f"{place}: {label}", "is missing, and rows are ordered by it")
        return np.asarray(compute.sort_indices(cells)).astype(np.intp)


def _kind(path: str) -> str:
    """Tell what a file is by its first bytes."""
    if path == STDIN:
        raise InputError("standard input", "cannot be cut into parts", "give files")
    with opened(path, seekable=True) as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY"):
        raise InputError(path, "is an .npy array, which has no keys")
    return next((kind for mark, kind in _STARTS.items() if start.startswith(mark)), TEXT)


def _one(
    path: str, order_by: str | None, names: Sequence[str], *, header: bool = True
) -> int | None:
    """Return which column to order by."""
    wanted = [] if order_by is None else [order_by]
    found = choose(path, wanted, len(names), names if header else None, "order_by")
    if len(found) > 1:
        raise InputError(path, f"{order_by!r} is {len(found)} columns", "`order_by` takes one")
    return found[0] if found else None


def _open_text(path: str, layout: Layout, order_by: str | None) -> Log:
    import pyarrow as pa

    # Names that are asked for tell whether the first row is a header.
    layout = layout._replace(x=order_by or layout.x)
    lines = read_lines(path, layout.encoding)
    delimiter, width, header, _ = take_header(lines, path, layout)
    group_by = parted(layout.group_by, header or ())
    grouping = choose(path, group_by, width, header, "group_by")
    choose(path, layout.columns, width, header, otherwise=others(grouping, width))
    columns = header or [f"column_{i + 1}" for i in range(width)]
    order = _one(path, order_by, columns, header=header is not None)
    kinds = {_LINE: pa.large_string(), _ROW: pa.int64()}
    options = {"encoding": UTF_8, "first_row": "header" if header else "data"}
    if delimiter != layout.decimal:
        options["delimiter"] = delimiter
    schema = pa.schema(kinds if order is None else {**kinds, _ORDER: pa.string()})
    named = header is not None
    return Log(path, TEXT, layout, columns, schema, grouping, order, options, named, delimiter)


def _size(path: str) -> int:
    with opened(path, seekable=True) as file:
        return file.seek(0, os.SEEK_END)


def _cut_text(path: str, encoding: str) -> tuple[list[Piece], int]:
    size, packed = _size(path), path.lower().endswith(".gz")
    if packed or encoding != UTF_8 or size <= PIECE_BYTES:
        return [Piece(path)], size * _GZIP if packed else size
    edges = [0]
    with opened(path, seekable=True) as file:
        while edges[-1] + PIECE_BYTES < size:
            file.seek(edges[-1] + PIECE_BYTES)
            while (line := file.readline(PIECE_BYTES)) and not line.endswith(b"\n"):
                pass
            edges.append(file.tell())
    if edges[-1] < size:
        edges.append(size)
    return [Piece(path, start, stop) for start, stop in pairwise(edges)], size


def _read_text(piece: Piece, log: Log) -> tuple[Any, list[Any]]:
    import pyarrow as pa

    if piece.stop:
        lines = read_stretch(piece.path, piece.start, piece.stop)
    else:
        lines = read_lines(piece.path, log.layout.encoding)
    try:
        begin = 0 if piece.start else _begin(piece.path, lines, log)
        table = pa.concat_tables(_tables(lines, begin, piece.path, log))
    except InputError as error:
        raise _further(error, piece) from error
    keys = [table.column(len(log.schema) + i) for i in range(len(log.grouping))]
    return table.select(range(len(log.schema))), keys


def _begin(path: str, lines: Lines, log: Log) -> int:
    """Take the header of a file; return how many lines stand before the rows."""
    delimiter, width, header, line = take_header(lines, path, log.layout)
    got = header or [f"column_{i + 1}" for i in range(width)]
    if got != log.columns:
        expected = f"expected the columns {', '.join(log.columns)}, as in {log.path}"
        raise InputError(path, f"{expected}, got {', '.join(got)}")
    if delimiter != log.delimiter:
        what = f"its cells are separated by {delimiter!r}, those of {log.path} by {log.delimiter!r}"
        raise InputError(path, what)
    return line - 1


def _tables(lines: Lines, begin: int, path: str, log: Log) -> Iterator[Any]:
    """Read rows of text: as they stand, with their numbers, what orders them, and their keys."""
    import pyarrow as pa

    wanted = [*([] if log.order is None else [log.order]), *log.grouping]
    schema = log.schema
    for i in range(len(log.grouping)):
        schema = schema.append(pa.field(f"{_KEY}{i}", pa.string()))
    taken: list[str] = []
    rows = csv_rows(_kept(lines, taken), log.delimiter)
    ended = False
    while not ended:
        texts, numbers, cells = list[str](), list[int](), [list[str]() for _ in wanted]
        try:
            number = rows.line_num
            for row in islice(rows, _ROWS):
                if not is_blank(row):
                    texts.append("".join(taken).rstrip("\r\n") + "\n")
                    numbers.append(begin + number)
                    for column, into in zip(wanted, cells, strict=True):
                        into.append(row[column] if column < len(row) else "")
                taken.clear()
                number = rows.line_num
        except csv.Error as error:
            raise syntax_error(path, begin + rows.line_num, error) from error
        ended = not texts
        yield pa.table([texts, numbers, *cells], schema=schema)


def _kept(lines: Lines, taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _further(error: InputError, piece: Piece) -> InputError:
    """Return an error of a piece of text with the line that it has in the file."""
    place, _, line = error.place.rpartition(":")
    if not piece.start or not line.isdecimal():
        return error
    hint = error.hint
    if "end of data" in error.what:
        hint = f"a quoted cell of several lines, cut at byte {piece.stop}? .gz is not cut"
    return InputError(f"{place}:{_lines_before(piece) + int(line)}", error.what, hint)


def _lines_before(piece: Piece) -> int:
    """Count the lines of a file before a piece of it."""
    found = left = 0
    with opened(piece.path, seekable=True) as file:
        left = piece.start
        while left and (some := file.read(min(left, PIECE_BYTES))):
            left -= len(some)
            found += some.count(b"\n")
    return found


def _header(log: Log) -> bytes:
    """Return the header of a part, if it has one."""
    if not log.named:
        return b""
    text = io.StringIO()
    csv.writer(text, delimiter=log.delimiter, lineterminator="\n").writerow(log.columns)
    return text.getvalue().encode()


def _joined(texts: Any) -> memoryview | bytes:
    """Return the bytes of texts in an array, one after the other."""
    if not len(texts):
        return b""
    _, offsets, data = texts.buffers()
    edges = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data)[edges[0] : edges[-1]]


def _typed(cells: Any, decimal: str, label: str) -> Any:
    """Read cells as numbers or as times, if all of them are; an empty one as missing."""
    import pyarrow as pa
    from pyarrow import compute

    cells = compute.utf8_trim_whitespace(cells)
    cells = compute.if_else(compute.equal(cells, ""), None, cells)
    numbers = compute.replace_substring(cells, decimal, ".")
    whole, real = pa.int64(), pa.float64()
    times = pa.timestamp("ns"), pa.timestamp("ns", "UTC")
    for texts, kinds in ((numbers, (whole, real)), (cells, times)):
        for kind in kinds:
            with suppress(pa.ArrowInvalid):
                return texts.cast(kind)
    if compute.any(compute.match_substring_regex(numbers, r"^[+-]?\d+(\.\d*)?$")).as_py():
        raise InputError(label, "holds numbers and text, and rows are ordered by it")
    return cells


def _open_table(path: str, layout: Layout, order_by: str | None) -> Log:
    import pyarrow as pa

    schema = _schema(path)
    names = schema.names
    grouping = choose(path, parted(layout.group_by, names), len(names), names, "group_by")
    rest = others(grouping, len(names))
    chosen = choose(path, layout.columns, len(names), names, otherwise=rest)
    order = _one(path, order_by, names)
    beside = {name: _one(path, getattr(layout, name), names) for name in ("x", "against")}
    alone = [i for i in (order, *beside.values()) if i is not None]
    read = {*grouping, *chosen, *alone}
    kept = sorted(range(len(names)) if layout.passthrough else read)
    place = {column: str(kept.index(column) + 1) for column in read}
    options = {
        "columns": tuple(place[i] for i in chosen),
        "group_by": tuple(place[i] for i in grouping),
        **{name: place[i] for name, i in beside.items() if i is not None},
    }
    columns = [names[i] for i in kept]
    for name in columns:
        if names.count(name) > 1:
            raise InputError(path, f"column {name!r} stands twice")
    fields = [pa.field(names[i], _plain_type(schema.types[i])) for i in kept]
    rows = pa.schema([*fields, pa.field(_ROW, pa.int64())])
    grouping, order = (
        [kept.index(i) for i in grouping],
        None if order is None else kept.index(order),
    )
    return Log(path, _kind(path), layout, columns, rows, grouping, order, options)


def _cut_parquet(path: str, log: Log) -> tuple[list[Piece], int]:
    from pyarrow import parquet

    with readable(path, PARQUET):
        groups = parquet.read_metadata(path)
    pieces, start, before, rows, size, total = list[Piece](), 0, 0, 0, 0, 0
    for i in range(groups.num_row_groups):
        group = groups.row_group(i)
        rows += group.num_rows
        size += sum(
            max(column.total_uncompressed_size, column.num_values * 8)
            for column in map(group.column, range(group.num_columns))
            if column.path_in_schema.split(".")[0] in log.columns
        )
        if size >= PIECE_BYTES or i + 1 == groups.num_row_groups:
            pieces.append(Piece(path, start, i + 1, before))
            start, before, total, rows, size = i + 1, before + rows, total + size, 0, 0
    return pieces or [Piece(path)], total


def _cut_arrow(path: str) -> tuple[list[Piece], int]:
    import pyarrow as pa

    size = _size(path)
    with opened(path, seekable=True) as file, readable(path, ARROW):
        if not file.read(8).startswith(b"ARROW1"):
            return [Piece(path)], size
        reader = pa.ipc.open_file(file)
        pieces, start, before, rows = list[Piece](), 0, 0, 0
        most = max(1, reader.num_record_batches * PIECE_BYTES // size)
        for i in range(reader.num_record_batches):
            rows += reader.get_batch(i).num_rows
            if i + 1 - start == most or i + 1 == reader.num_record_batches:
                pieces.append(Piece(path, start, i + 1, before))
                start, before, rows = i + 1, before + rows, 0
    return pieces or [Piece(path)], size


def _schema(path: str) -> Any:
    """Return the schema of a table."""
    import pyarrow as pa
    from pyarrow import parquet

    kind = _kind(path)
    with opened(path, seekable=True) as file, readable(path, kind):
        if kind == PARQUET:
            return parquet.read_schema(file)
        is_file = file.read(8).startswith(b"ARROW1")
        file.seek(0)
        return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(file).schema


def _read_table(piece: Piece, log: Log) -> tuple[Any, list[Any]]:
    import pyarrow as pa

    schema = _schema(piece.path)
    for field in list(log.schema)[:-1]:
        place = schema.get_field_index(field.name)
        if place < 0:
            raise InputError(piece.path, f"no column {field.name!r}, as {log.path} has")
        if _plain_type(schema.types[place]) != field.type:
            what = f"column {field.name!r} is {schema.types[place]}"
            raise InputError(piece.path, f"{what}, that of {log.path} {field.type}")
    with opened(piece.path, seekable=True) as file, readable(piece.path, log.kind):
        table = _rows(file, piece, log).select(log.columns)
    table = table.cast(pa.schema(list(log.schema)[:-1]))
    numbers = pa.array(np.arange(len(table)))
    table = table.append_column(_ROW, numbers).replace_schema_metadata()
    return table, [table.column(i) for i in log.grouping]


def _rows(file: Any, piece: Piece, log: Log) -> Any:
    """Read the rows of a piece."""
    import pyarrow as pa
    from pyarrow import parquet

    if log.kind == PARQUET:
        whole = parquet.ParquetFile(file, pre_buffer=False)
        stop = piece.stop or whole.num_row_groups
        return whole.read_row_groups(
            range(piece.start, stop), columns=log.columns, use_threads=False
        )
    if not piece.stop and not file.peek(6).startswith(b"ARROW1"):
        return pa.ipc.open_stream(file).read_all()
    reader = pa.ipc.open_file(file)
    batches = [reader.get_batch(i) for i in range(piece.start, piece.stop)]
    return pa.Table.from_batches(batches, reader.schema)


def _plain_type(kind: Any) -> Any:
    """Return the type of values that are stored as a dictionary."""
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def _parts_of(keys: Sequence[Any], parts: int) -> Integers:
    """Return the part of each row, of whose key a column has a part."""
    known = Keys()
    numbers = known.number_cells([key_cells(column.combine_chunks()) for column in keys])
    return np.array([part_of(key, parts) for key in known.names], np.intp)[numbers]
