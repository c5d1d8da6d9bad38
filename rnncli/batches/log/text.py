"""A log of text: pieces end with a line, and a row stays as it stands."""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from typing import IO, Any

import numpy as np

from rnncli.batches.log import pieces
from rnncli.batches.log.pieces import ROW, Log, Piece
from rnncli.model.arrays import Integers
from rnncli.model.errors import InputError
from rnncli.readers import Layout
from rnncli.readers.columns import choose_all, choose_one
from rnncli.readers.foreign import UTF_8
from rnncli.readers.header import csv_rows, is_blank, syntax_error, take_header
from rnncli.readers.text import Lines, read_lines, read_stretch
from rnncli.storage import opened

# Rows that a table is made of.
_ROWS = 1 << 16
# How many times longer text is than its gzip data.
_GZIP = 8
# A row as it stands, what it is ordered by, and its keys.
_LINE, _ORDER, _KEY = "\0line", "\0order", "\0key"


def open_text(path: str, layout: Layout, order_by: str | None) -> Log:
    """Look at the first file of a log, which is text.

    Raises
    ------
    InputError
        It cannot be read, or has no such column.
    """
    # Names that are asked for tell whether the first row is a header.
    telling = layout._replace(x=order_by or layout.x)
    delimiter, width, header, _ = take_header(read_lines(path, layout.encoding), path, telling)
    grouping, _, _ = choose_all(path, layout, width, header)
    order = choose_one(path, order_by, width, header, "order_by")
    columns = header or _numbered(width)
    common = path, telling, columns, grouping, order
    return _TextLog(*common, delimiter=delimiter, named=header is not None)


class _TextLog(Log):
    """A log of text.

    Parameters
    ----------
    path, layout, columns, grouping, order
        As of a `Log`.
    delimiter : str
        What stands between two cells.
    named : bool
        Whether its files have a header.
    """

    is_table, extension, mark, ordering = False, ".csv", ":", _ORDER

    def __init__(self, *common: Any, delimiter: str, named: bool) -> None:
        import pyarrow as pa

        super().__init__(*common)
        self._delimiter, self._named = delimiter, named
        kinds = {_LINE: pa.large_string(), **({} if self.order is None else {_ORDER: pa.string()})}
        self.schema = pa.schema({**kinds, ROW: pa.int64()})

    def cut(self, path: str) -> tuple[list[Piece], int]:
        size, packed = _size(path), path.lower().endswith(".gz")
        if packed or self.layout.encoding != UTF_8 or size <= pieces.PIECE_BYTES:
            return [Piece(path)], size * _GZIP if packed else size
        edges = [0]
        with opened(path, seekable=True) as file:
            while edges[-1] + pieces.PIECE_BYTES < size:
                file.seek(edges[-1] + pieces.PIECE_BYTES)
                while (line := file.readline(pieces.PIECE_BYTES)) and not line.endswith(b"\n"):
                    pass
                edges.append(file.tell())
        if edges[-1] < size:
            edges.append(size)
        return [Piece(path, start, stop) for start, stop in pairwise(edges)], size

    def read(self, piece: Piece) -> tuple[Any, list[Any]]:
        import pyarrow as pa

        if piece.stop:
            lines = read_stretch(piece.path, piece.start, piece.stop)
        else:
            lines = read_lines(piece.path, self.layout.encoding)
        try:
            begin = 0 if piece.start else self._begin(piece.path, lines)
            table = pa.concat_tables(self._tables(lines, begin, piece.path))
        except InputError as error:
            raise self._further(error, piece) from error
        keys = [table[f"{_KEY}{i}"] for i in range(len(self.grouping))]
        return table.select(self.schema.names), keys

    def _begin(self, path: str, lines: Lines) -> int:
        """Take the header of a file; return how many lines stand before the rows."""
        delimiter, width, header, line = take_header(lines, path, self.layout)
        got = header or _numbered(width)
        if got != self.columns:
            expected = f"expected the columns {', '.join(self.columns)}, as in {self.path}"
            raise InputError(path, f"{expected}, got {', '.join(got)}")
        if delimiter != self._delimiter:
            what = f"its cells are separated by {delimiter!r}"
            raise InputError(path, f"{what}, those of {self.path} by {self._delimiter!r}")
        return line - 1

    def _tables(self, lines: Lines, begin: int, path: str) -> Iterator[Any]:
        """Read rows as they stand, with what orders them, their numbers, and their keys."""
        import pyarrow as pa

        wanted = [*([] if self.order is None else [self.order]), *self.grouping]
        schema = self.schema
        for i in range(len(self.grouping)):
            schema = schema.append(pa.field(f"{_KEY}{i}", pa.string()))
        taken: list[str] = []
        rows = csv_rows(_kept(lines, taken), self._delimiter)
        ended = False
        while not ended:
            texts, numbers, cells = list[str](), list[int](), [list[str]() for _ in wanted]
            first = number = rows.line_num
            try:
                for row in islice(rows, _ROWS):
                    if not is_blank(row):
                        texts.append("".join(taken).rstrip("\r\n") + "\n")
                        numbers.append(begin + number)
                        for column, into in zip(wanted, cells, strict=True):
                            into.append(row[column] if column < len(row) else "")
                    taken.clear()
                    number = rows.line_num
            except csv.Error as error:
                raise syntax_error(path, begin + number + 1, error) from error
            ended = number == first
            ordering = cells[: len(wanted) - len(self.grouping)]
            keys = cells[len(ordering) :]
            yield pa.table([texts, *ordering, numbers, *keys], schema=schema)

    def _further(self, error: InputError, piece: Piece) -> InputError:
        """Return an error of a piece with the line that it has in the file."""
        place, _, line = error.place.rpartition(":")
        if not piece.stop or not line.isdecimal():
            return error
        hint = error.hint
        if "end of data" in error.what:
            cut = f"a cell of several lines cut at byte {piece.stop}"
            hint = f"is a quote left open, or {cut}? .gz is not cut"
        return InputError(f"{place}:{self.rows_before(piece) + int(line)}", error.what, hint)

    def write(self, rows: Any, file: IO[bytes]) -> tuple[Mapping[str, Any], Integers]:
        """Write text; with a header, where it could not be read without.

        No rows cannot, nor rows such as 7,8 where that is a number too.
        """
        from pyarrow import compute

        is_told = self._delimiter != self.layout.decimal
        named = self._named or not len(rows) or not is_told
        options = {"encoding": UTF_8, "first_row": "header" if named else "data"}
        if is_told:
            options["delimiter"] = self._delimiter
        lines = 0
        if named:
            text = io.StringIO()
            writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
            writer.writerow(self.columns)
            file.write(text.getvalue().encode())
            lines = text.getvalue().count("\n")
        for chunk in rows[_LINE].chunks:
            file.write(_joined(chunk))
        return options, np.cumsum(compute.count_substring_regex(rows[_LINE], r"\r\n?|\n")) + lines

    def rows_before(self, piece: Piece) -> int:
        found, last = 0, b""
        with opened(piece.path, seekable=True) as file:
            left = piece.start
            while left and (some := file.read(min(left, pieces.PIECE_BYTES))):
                left -= len(some)
                found += some.count(b"\n") + some.count(b"\r") - (last + some).count(b"\r\n")
                last = some[-1:]
        return found


def _numbered(width: int) -> list[str]:
    return [f"column_{i + 1}" for i in range(width)]


def _size(path: str) -> int:
    with opened(path, seekable=True) as file:
        return file.seek(0, os.SEEK_END)


def _kept(lines: Lines, taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _joined(texts: Any) -> memoryview | bytes:
    """Return the bytes of texts in an array, one after the other."""
    if not len(texts):
        return b""
    _, offsets, data = texts.buffers()
    edges = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data)[edges[0] : edges[-1]]
