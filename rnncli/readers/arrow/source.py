"""Parquet files, Arrow files and Arrow streams: record batches of some of their columns."""

import io
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rnncli.engine.rows import BLOCK_STEPS, steps_in_block
from rnncli.model.errors import InputError, one_line
from rnncli.readers.arrow.cells import plain, plain_type
from rnncli.readers.foreign import ARROW, PARQUET, STREAM

# Bytes of a column that are read at once: a row group may be the whole file.
_PIECE = 1 << 16


class Source(ABC):
    """A file or a stream, whose rows stand in groups.

    Parameters
    ----------
    name : str
        The input, for messages.
    file : binary file

    Attributes
    ----------
    kind : str
        What it is, for messages.
    schema : pyarrow.Schema
    rows : int or None
        How many there are, if that is known.
    """

    kind = "Arrow"
    schema: Any
    rows: int | None = None

    def __init__(self, name: str, file: Any) -> None:
        self.name, self._file = name, file
        with readable(name, self.kind):
            self._open()
            import pyarrow as pa

            fields = (field.with_type(plain_type(field.type)) for field in self.schema)
            self.schema = pa.schema(fields, self.schema.metadata)

    def batches(self, columns: Sequence[int]) -> Iterator[Any]:
        """Read record batches that are not empty, and are what they claim to be.

        Columns are as `schema` says: of a dictionary its values, of views plain text.
        """
        import pyarrow as pa

        schema = pa.schema([self.schema.field(i) for i in columns])
        with readable(self.name, self.kind):
            for batch in self._batches(columns):
                batch.validate(full=True)
                if batch.num_rows:
                    arrays = [plain(column) for column in batch.columns]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def share(self, done: int) -> float | None:
        """Return the share of the rows that has been read, 0 to 1, as for `Input`."""
        return done / max(1, self.rows) if self.rows is not None else None

    @abstractmethod
    def _open(self) -> None:
        """Read what there is before the rows."""

    @abstractmethod
    def _batches(self, columns: Sequence[int]) -> Iterator[Any]: ...


def open_source(name: str, file: Any) -> Source:
    """Find the kind of a file by its first bytes, and read its schema."""
    start = file.peek(len(ARROW))
    if start.startswith(PARQUET[:4]):
        return _Parquet(name, file)
    if start.startswith(ARROW[:6]):
        return _ArrowFile(name, file)
    if start.startswith(STREAM):
        return _Stream(name, file)
    if start.startswith(b"PARE"):
        raise InputError(name, "is encrypted; expected a Parquet file that is not")
    what = f"it begins with {start[:4]!r}" if start else "it is empty"
    raise InputError(name, f"neither a Parquet nor an Arrow file: {what}")


@contextmanager
def readable(name: str, kind: str) -> Iterator[None]:
    """Make an InputError of what PyArrow raises where a file is damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeError, OverflowError) as error:
        raise InputError(name, f"not a whole {kind} file: {one_line(error)}") from error


class _Parquet(Source):
    kind = "Parquet"

    def _open(self) -> None:
        from pyarrow import parquet

        how = {"buffer_size": _PIECE, "pre_buffer": False, "page_checksum_verification": True}
        self._parquet = parquet.ParquetFile(self._file, **how)
        self.schema, self.rows = self._parquet.schema_arrow, self._parquet.metadata.num_rows

    def _batches(self, columns: Sequence[int]) -> Iterator[Any]:
        names, times = self.schema.names, Counter(self.schema.names)
        wanted = [names[i] for i in columns]
        # A name with a point may be of a part of a column.
        apart = all(times[name] == 1 and "." not in name for name in wanted)
        for batch in self._parquet.iter_batches(
            steps_in_block(len(columns), BLOCK_STEPS),
            columns=wanted if apart else None,
            use_threads=False,
        ):
            yield batch.select(wanted if apart else columns)


class _ArrowFile(Source):
    def _open(self) -> None:
        import pyarrow as pa

        # A thread of Arrow that has a Python object when the process ends aborts it.
        with suppress(io.UnsupportedOperation):  # of a file elsewhere
            self._file = pa.OSFile(f"/dev/fd/{self._file.fileno()}")
        self._share = 0.0
        reader = self._reader(None)
        self.schema, self._count = reader.schema, reader.num_record_batches

    def _batches(self, columns: Sequence[int]) -> Iterator[Any]:
        in_file = sorted(columns)
        reader = self._reader(in_file)
        for number in range(self._count):
            yield reader.get_batch(number).select([in_file.index(i) for i in columns])
            self._share = (number + 1) / self._count

    def share(self, done: int) -> float | None:
        del done
        return self._share

    def _reader(self, columns: list[int] | None) -> Any:
        from pyarrow import ipc

        options = ipc.IpcReadOptions(included_fields=columns, use_threads=False)
        return ipc.open_file(self._file, options=options)


class _Stream(Source):
    def _open(self) -> None:
        from pyarrow import ipc

        self._mark = _Mark(self._file)
        options = ipc.IpcReadOptions(use_threads=False)
        self._reader = ipc.open_stream(self._mark, options=options)
        self.schema = self._reader.schema

    def _batches(self, columns: Sequence[int]) -> Iterator[Any]:
        import pyarrow as pa

        yield from (batch.select(columns) for batch in self._reader)
        if not self._mark.found:
            raise pa.ArrowInvalid("it has no end (was the program that wrote it stopped?)")
        if self._file.read(1):
            raise pa.ArrowInvalid("more follows its end (a second stream?)")


class _Mark:
    """A stream for PyArrow, which takes one that is cut between two batches for a whole one.

    Attributes
    ----------
    found : bool
        Whether what was read last was there: at the end, the mark of the end.
    """

    closed = False

    def __init__(self, file: Any) -> None:
        self._file, self.found = file, True

    def read(self, size: int) -> bytes:
        """Read so many bytes, fewer where the stream ends."""
        content: bytes = self._file.read(size)
        self.found = len(content) == size
        return content
