"""Parquet files, Arrow files and Arrow streams: columns with types, read in batches by PyArrow."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc, types

from rnncli.engine.rows import BLOCK_STEPS, Rows, in_blocks, steps_in_block
from rnncli.model.errors import InputError, one_line
from rnncli.readers.columns import choose_all, named
from rnncli.readers.foreign import ARROW, PARQUET, STREAM, display_name
from rnncli.readers.input import OF_TEXT, Doubles, Input, Layout, check_layout, checked
from rnncli.readers.keyed import Keys

# Bytes of a column that are read at once: a row group may be the whole file.
_PIECE = 1 << 16
_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


class Source(NamedTuple):
    """A table whose rows come in record batches."""

    kind: str  # for messages
    schema: Any  # a pyarrow.Schema
    batches: Callable[[Sequence[int]], Iterator[Any]]  # of some columns
    rows: int | None = None  # how many there are, if that is known
    share: Callable[[int], float | None] = lambda _: None  # as that of `Input`


def read_arrow(path: str, file: Any, layout: Layout, keys: Keys) -> Input:
    """Read a Parquet file, an Arrow file or an Arrow stream: a row is a step.

    Blocks are cut as those of CSV are, whatever the batches: the same numbers
    give the same states, to the bit.
    """
    name = display_name(path)
    source = _open(name, file)
    check_layout(name, layout, source.kind, *OF_TEXT)
    fields = [field.with_type(_plain_type(field.type)) for field in source.schema]
    schema = pa.schema(fields, source.schema.metadata)
    names = schema.names
    grouping, chosen, kept = choose_all(name, layout, len(names), names)
    # As many as in CSV, where a cell that is kept takes as much memory as eight values.
    steps = steps_in_block(len(chosen) + 8 * len(kept), layout.block_steps)
    for field in (schema.field(i) for i in chosen):
        if not _is_number(field.type):
            what = f"column {field.name!r}: expected numbers, got {field.type}"
            chooses = "`columns` chooses those to read"
            hint = "make numbers of it where the file is written"
            raise InputError(name, what, hint if layout.columns else chooses)

    def rows() -> Iterator[Rows]:
        with _readable(name, source.kind):
            for of in _read(source, sorted({*grouping, *chosen, *kept}), steps):
                key = None
                if grouping:
                    texts = (_key_texts(of[i], f"{name}: column {names[i]!r}") for i in grouping)
                    key = keys.number(*texts)
                cells = Typed(pa.Table.from_arrays([of[i] for i in kept], names)) if kept else None
                yield Rows(np.stack([_numbers(of[i]) for i in chosen], axis=1), key, None, cells)

    labels = [repr(names[i]) for i in chosen]
    return Input(
        columns=[names[i] for i in chosen],
        blocks=in_blocks(checked(name, rows(), labels, layout), steps),
        key_columns=[names[i] for i in grouping],
        keys=keys.names if grouping else (),
        header=[names[i] for i in kept],
        share=source.share,
        shape=() if grouping or source.rows is None else (source.rows,),
        chosen=named(chosen, names),
        types=schema if layout.passthrough else None,
    )


def _read(source: Source, columns: list[int], steps: int) -> Iterator[dict[int, Any]]:
    """Read columns of some rows at a time."""
    done = 0
    for batch in source.batches(columns):
        batch.validate(full=True)
        for start in range(0, batch.num_rows, steps):
            some = map(_plain, batch.slice(start, steps).columns)
            yield dict(zip(columns, some, strict=True))
        done += batch.num_rows
    if source.rows not in (None, done):
        raise OSError(f"expected {source.rows} rows, got {done}")


def _open(name: str, file: Any) -> Source:
    """Find the kind of a file by its first bytes, and read its schema."""
    start = file.peek(len(ARROW))
    kinds = {PARQUET[:4]: _open_parquet, ARROW[:6]: _open_file, STREAM: _open_stream}
    for mark, kind in kinds.items():
        if start.startswith(mark):
            with _readable(name, "Parquet" if kind is _open_parquet else "Arrow"):
                return kind(file)
    if start.startswith(b"PARE"):
        raise InputError(name, "is encrypted; expected a Parquet file that is not")
    what = f"it begins with {start[:4]!r}" if start else "it is empty"
    raise InputError(name, f"neither a Parquet nor an Arrow file: {what}")


def _open_parquet(file: Any) -> Source:
    from pyarrow import parquet

    how = {"buffer_size": _PIECE, "pre_buffer": False, "page_checksum_verification": True}
    stored = parquet.ParquetFile(file, **how)
    schema, rows = stored.schema_arrow, stored.metadata.num_rows

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        times, wanted = Counter(schema.names), [schema.names[i] for i in columns]
        # A name with a point may be of a part of a column.
        apart = all(times[name] == 1 and "." not in name for name in wanted)
        steps, names = steps_in_block(len(columns), BLOCK_STEPS), wanted if apart else None
        for batch in stored.iter_batches(steps, columns=names, use_threads=False):
            yield batch.select(wanted if apart else columns)

    return Source("Parquet", schema, batches, rows, lambda done: done / max(1, rows))


def _open_file(file: Any) -> Source:
    # A thread of Arrow that has a Python object when the process ends aborts it.
    with suppress(io.UnsupportedOperation):  # of a file elsewhere
        file = pa.OSFile(f"/dev/fd/{file.fileno()}")
    reader = ipc.open_file(file, options=ipc.IpcReadOptions(use_threads=False))
    count, read = reader.num_record_batches, 0

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        nonlocal read
        options = ipc.IpcReadOptions(included_fields=[*columns], use_threads=False)
        some = ipc.open_file(file, options=options)
        for read in range(count):
            yield some.get_batch(read)

    return Source("Arrow", reader.schema, batches, share=lambda _: read / max(1, count))


def _open_stream(file: Any) -> Source:
    marked = _Mark(file)
    reader = ipc.open_stream(marked, options=ipc.IpcReadOptions(use_threads=False))

    def batches(columns: Sequence[int]) -> Iterator[Any]:
        yield from (batch.select(columns) for batch in reader)
        if not marked.found:
            raise pa.ArrowInvalid("it has no end (was the program that wrote it stopped?)")
        if file.read(1):
            raise pa.ArrowInvalid("more follows its end (a second stream?)")

    return Source("Arrow", reader.schema, batches)


class _Mark:
    """A stream for PyArrow, which takes one that is cut between two batches for a whole one."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self.found = True  # whether what was read last was there: at the end, the mark of the end

    def read(self, size: int) -> bytes:
        """Read so many bytes, fewer where the stream ends."""
        content: bytes = self._file.read(size)
        self.found = len(content) == size
        return content


@contextmanager
def _readable(name: str, kind: str) -> Iterator[None]:
    """Make an InputError of what PyArrow raises where a file is damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeError, OverflowError) as error:
        raise InputError(name, f"not a whole {kind} file: {one_line(error)}") from error


class Typed(Sequence[Sequence[str]]):
    """Rows of cells with their types, in a pyarrow.Table; as a sequence, rows of text."""

    def __init__(self, arrow: Any) -> None:
        self.arrow = arrow

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __iter__(self) -> Iterator[list[str]]:
        columns = [
            [text for chunk in column.chunks for text in _texts(chunk, f"column {name!r}")]
            for name, column in zip(self.arrow.column_names, self.arrow.columns, strict=True)
        ]
        return map(list, zip(*columns, strict=True))

    def __getitem__(self, rows: Any) -> Any:
        """Return the text of a row, or some rows with their types."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return Typed(self.arrow.slice(start, stop - start))
        if not isinstance(rows, np.ndarray):
            return next(iter(self[rows : rows + 1]))
        # `pyarrow.array` would import pandas, where it is installed: 0.2 s.
        bits = [None, pa.py_buffer(np.packbits(rows, bitorder="little"))]
        try:
            return Typed(self.arrow.filter(pa.Array.from_buffers(pa.bool_(), len(rows), bits)))
        except pa.ArrowNotImplementedError as error:
            what = f"rows of such a column cannot be chosen: {one_line(error)}"
            raise InputError("", what) from error

    @staticmethod
    def of(parts: "Sequence[Typed]") -> "Typed":
        """Join rows of the same columns."""
        return Typed(pa.concat_tables([part.arrow for part in parts]))


def _plain_type(kind: Any) -> Any:
    """Return the type that columns of a type are read as: the values of a dictionary, no views."""
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return _VIEWS.get(kind, kind)


def _plain(column: Any) -> Any:
    """Return a column as its `_plain_type`."""
    kind = _plain_type(column.type)
    if hasattr(column, "dictionary"):
        return column.dictionary.cast(kind).take(column.indices)
    return column if column.type == kind else column.cast(kind)


def _is_number(kind: Any) -> bool:
    """Return whether values of a type are numbers, or none is there."""
    numbers = (types.is_integer, types.is_floating, types.is_decimal)
    return any(each(kind) for each in (*numbers, types.is_boolean, types.is_null))


def _numbers(column: Any) -> Doubles:
    """Return the numbers of a column, each rounded once; NaN where there is none."""
    if types.is_decimal(column.type):  # Arrow would round twice
        column = column.cast(pa.string())
    return _filled(column.cast(pa.float64(), safe=False), np.nan)


def _filled(column: Any, value: float) -> NDArray[Any]:
    """Return numbers with one for no value; `fill_null` and `to_numpy` would import pandas."""
    if not column.null_count:
        return np.from_dlpack(column)
    data = [None, column.buffers()[1]]
    stored = pa.Array.from_buffers(column.type, len(column), data, offset=column.offset)
    is_valid = np.from_dlpack(column.is_valid().cast("uint8")) > 0
    return np.where(is_valid, np.from_dlpack(stored), value)


def _key_texts(column: Any, label: str) -> list[str]:
    """Return the text of each cell, each different one made once."""
    try:
        column = column.dictionary_encode()
    except pa.ArrowNotImplementedError:
        return _texts(column, label)
    texts = [*_texts(column.dictionary, label), ""]
    places = _filled(column.indices, len(column.dictionary)).tolist()
    return [texts[int(place)] for place in places]


def _texts(column: Any, label: str) -> list[str]:
    """Return the text of each cell, as CSV would have it: empty where there is no value."""
    kind = column.type
    if getattr(kind, "extension_name", "") == "arrow.uuid":
        return ["" if each is None else str(each) for each in column.to_pylist()]
    if types.is_floating(kind):
        texts = _filled(column, 0).astype(str).tolist()
        is_valid = column.is_valid().to_pylist()
        return [text if known else "" for text, known in zip(texts, is_valid, strict=True)]
    try:
        texts = [text or "" for text in column.cast("string").to_pylist()]
    except pa.ArrowException as error:
        raise InputError(label, f"{kind} has no text: {one_line(error)}") from error
    if not (types.is_timestamp(kind) or types.is_time(kind)):
        return texts
    # As ISO 8601 has them, without zeros at the end of a second; beyond all dates, a number.
    for pattern, by in (
        (r"^(\S+) (?=\d)", r"\1T"),
        (r"\.0+(?=[-+Z]|$)|(\.\d+?)0+(?=[-+Z]|$)", r"\1"),
        (r"([-+]\d\d)(\d\d)$", r"\1:\2"),
    ):
        texts = [re.sub(pattern, by, text) for text in texts]
    return texts
